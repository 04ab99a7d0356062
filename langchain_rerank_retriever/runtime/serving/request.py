"""One caller's inputs on their way through the worker."""

from collections.abc import Callable, Sequence
from typing import Any

from langchain_rerank_retriever.protocols import FloatArray
from langchain_rerank_retriever.runtime.backend import Backend, Row
from langchain_rerank_retriever.runtime.serving.answer import Answer

Progress = Callable[[int], object]


class Request:
    """Inputs, how far they have been read, and the answer they get.

    Args:
        items: The inputs, at least one.
        kind: Handed to the backend's ``tokenise``.
        urgent: Whether it goes ahead of requests that are not.
        progress: Called in the worker's thread with the number of rows that have just become ready.
        deadline: A time of ``time.monotonic`` after which no further batch of it is begun.
    """

    def __init__(
        self,
        items: Sequence[Any],
        kind: str,
        *,
        urgent: bool = False,
        progress: Progress | None = None,
        deadline: float | None = None,
    ) -> None:
        self.answer = Answer(len(items), deadline=deadline)
        self.urgent = urgent
        self._items = items
        self._kind = kind
        self._progress = progress
        self._read = 0

    def wanted(self) -> bool:
        """Whether anybody still waits; ends the wait of one whose deadline has come."""
        self.answer.expire()
        return self.answer.alive

    @property
    def unread(self) -> bool:
        """Whether some inputs are not tokenised yet."""
        return self._read < len(self._items)

    def read(self, backend: Backend, count: int) -> list[Row]:
        """Tokenise the next ``count`` inputs; a long job is never held tokenised as a whole."""
        start = self._read
        rows = backend.tokenise(self._items[start : start + count], self._kind)
        self._read = min(start + count, len(self._items))
        placed = [Row(row.item + start, row.length, row.payload, row.group, row.truncated) for row in rows]
        self.answer.expect(placed)
        return placed

    def deliver(self, rows: Sequence[Row], values: FloatArray) -> None:
        """Take the values of some rows."""
        if self._progress is not None:
            self._progress(len(rows))
        self.answer.deliver(rows, values)

    def fail(self, error: BaseException) -> None:
        """Hand the error to whoever waits; nothing happens where nobody does."""
        self.answer.fail(error)
