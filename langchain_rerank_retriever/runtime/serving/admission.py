"""How much may wait for a model before more is refused."""

import threading

from langchain_rerank_retriever.errors import OverloadedError
from langchain_rerank_retriever.runtime.serving.answer import Answer

#: Inputs that may wait. An `abatch` of a thousand queries with a hundred candidates each sends a hundred thousand
#: at once and must fit. On two cores these are a quarter of an hour's work, so whoever is refused would have
#: waited that long; their texts are some hundred megabytes, and stop growing here.
MAX_WAITING = 2**17


class Admission:
    """Counts the inputs of unfinished requests, and refuses a request that would make them more than a bound.

    Args:
        limit: The bound. One request always fits when nothing else waits.
        largest: What one request counts at most. A bulk job counts no more, because it is read by chunks and the
            rest of it is its caller's own list; a query never waits for it.
    """

    def __init__(self, *, limit: int, largest: int) -> None:
        self._limit = limit
        self._largest = largest
        self._lock = threading.Lock()
        self._waiting = 0

    def admit(self, answer: Answer, count: int) -> None:
        """Count a request of ``count`` inputs in, until its answer is done in whatever way.

        Raises:
            OverloadedError: It does not fit; it is not counted.
        """
        weight = min(count, self._largest)
        with self._lock:
            if self._waiting and self._waiting + weight > self._limit:
                raise OverloadedError(
                    f"This model has {self._waiting} inputs waiting and keeps at most {self._limit}; {count} more "
                    "do not fit. Send fewer at a time (config={'max_concurrency': 32} for batch and abatch), or "
                    "try again later.",
                    waiting=self._waiting,
                )
            self._waiting += weight
        answer.add_done_callback(lambda _: self._leave(weight))

    def _leave(self, weight: int) -> None:
        with self._lock:
            self._waiting -= weight
