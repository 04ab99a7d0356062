"""One thread a model: takes requests from a queue, packs shared batches, resolves the answers."""

import threading
import time
from collections.abc import Sequence
from typing import Any

from langchain_rerank_retriever.errors import ClosedError
from langchain_rerank_retriever.protocols import FloatArray
from langchain_rerank_retriever.runtime.backend import Backend, BatchTooLargeError, Row
from langchain_rerank_retriever.runtime.serving import forking
from langchain_rerank_retriever.runtime.serving.admission import MAX_WAITING, Admission
from langchain_rerank_retriever.runtime.serving.answer import Answer
from langchain_rerank_retriever.runtime.serving.batching import cost
from langchain_rerank_retriever.runtime.serving.budget import BatchBudget
from langchain_rerank_retriever.runtime.serving.counts import Counts
from langchain_rerank_retriever.runtime.serving.request import Progress, Request
from langchain_rerank_retriever.runtime.serving.rounds import Placed, Round, Rounds


class Worker:
    """Drives one backend from one thread, which starts with the first request.

    Requests that wait at the same moment form a round and share its batches; rounds take turns, urgent ones
    first, so that each request gets the same share. So a query overtakes a bulk job between two of its batches,
    and a small job beside a large one is done after about twice its own time. Between two batches requests are
    dropped that were cancelled or whose deadline has come.

    Nothing that a backend raises ends the thread, on which every later request would wait for ever: neither an
    ``Exception`` nor what stands beside them, such as a panic of the tokenizer's library.

    Args:
        backend: The model.
        budget: Largest cost of a batch in padded tokens; less for a while after memory has ended.
        max_rows: Largest row count of a batch; ``None`` for no limit but the budget.
        chunk: Inputs that are tokenised for one round; the rest of a long job waits as text.
        max_waiting: Inputs that may wait; a request counts no more than ``chunk`` of them.
        name: Name of the thread.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        budget: int,
        max_rows: int | None = None,
        chunk: int = 256,
        max_waiting: int = MAX_WAITING,
        name: str = "model",
    ) -> None:
        self._backend: Backend | None = backend
        self._budget = BatchBudget(budget, name=name)
        self._max_rows = max_rows
        self._chunk = chunk
        self._max_waiting = max_waiting
        self._name = name
        self._counts = Counts()
        self._closed = False
        self._reset()
        forking.register(self)

    def _reset(self) -> None:
        self._ready = threading.Condition()
        self.busy = threading.RLock()
        self._thread: threading.Thread | None = None
        self._inbox: list[Request] = []
        self._unread: list[Request] = []
        self._rounds = Rounds()
        self._admission = Admission(limit=self._max_waiting, largest=self._chunk)

    @property
    def counts(self) -> Counts:
        """What has been done so far; a snapshot that does not change any more."""
        return self._counts

    def submit(
        self,
        items: Sequence[Any],
        kind: str = "",
        *,
        urgent: bool = False,
        progress: Progress | None = None,
        deadline: float | None = None,
    ) -> Answer:
        """Queue inputs; returns at once.

        Args:
            items: At least one input; the list must not change until the future is done.
            kind: Handed to the backend.
            urgent: Whether to go ahead of requests that are not.
            progress: Called in the worker's thread with the number of rows that have just become ready.
            deadline: A time of ``time.monotonic``. No batch is begun after it; what is not done by then is
                NaN. The inputs run in about their order, so that the first ones are done first.

        Returns:
            Resolves to the output: at the deadline for those who use its ``wait`` or ``wait_async``, at most
            one batch later for others. Cancelling it drops what has not run yet.

        Raises:
            ClosedError: After ``close``.
            OverloadedError: Too much waits already; nothing of this is queued.
        """
        request = Request(items, kind, urgent=urgent, progress=progress, deadline=deadline)
        with self._ready:
            if self._closed:
                raise ClosedError("This model was closed. Make a new one to go on.")
            self._admission.admit(request.answer, len(items))
            self._inbox.append(request)
            if self._thread is None:
                thread = threading.Thread(target=self._main, name=self._name, daemon=True)
                thread.start()
                # Not noted before: where Ctrl-C comes first, nobody must wait for a thread that never ran.
                self._thread = thread
            self._wake()
        return request.answer

    def close(self) -> None:
        """Finish the running batch, fail what waits (ClosedError), let go of the model. May be repeated."""
        with self._ready:
            self._closed = True
            thread = self._thread
            self._wake()
        if thread is None:
            self._backend = None
        elif thread is not threading.current_thread():
            thread.join()

    def _wake(self) -> None:
        # There is one thread to wake, but notify() may take another for it: one that an earlier notify() has woken, and
        # that is still in the queue because Ctrl-C came before it was taken out. Then nobody would be woken.
        self._ready.notify_all()

    def after_fork(self) -> None:
        """In a child process: forget the parent's thread and requests; the next request starts a thread."""
        self._reset()

    def _main(self) -> None:
        backend = self._backend
        if not self._is_the_one() or backend is None or not self._started(backend):
            return
        while self._wait():
            with self.busy:
                try:
                    self._expire()
                    self._open_rounds(backend)
                    self._run_next(backend)
                except BaseException as error:  # noqa: BLE001 - its callers get it; the thread lives on
                    self._fail_all(error)
        self._fail_all(ClosedError("This model was closed before the request was done."))
        self._backend = None

    def _is_the_one(self) -> bool:
        """Whether this thread serves: Ctrl-C can have come when it ran already and was not noted yet."""
        with self._ready:
            if self._thread is None and not self._closed:
                self._thread = threading.current_thread()
            return self._thread is threading.current_thread()

    def _started(self, backend: Backend) -> bool:
        try:
            with self.busy:
                backend.start()
        except BaseException as error:  # noqa: BLE001 - its callers get it; the next request starts a new thread
            with self._ready:
                self._thread = None
                waiting, self._inbox = self._inbox, []
            for request in waiting:
                request.fail(error)
            return False
        return True

    def _wait(self) -> bool:
        with self._ready:
            while not (self._closed or self._inbox or self._unread or self._rounds):
                self._ready.wait()
            self._unread += self._inbox
            self._inbox = []
            return not self._closed

    def _expire(self) -> None:
        for one in self._rounds:
            for request in one.requests:
                request.answer.expire()

    def _open_rounds(self, backend: Backend) -> None:
        waiting = [request for request in self._unread if request.wanted()]
        self._unread = [request for request in waiting if not request.urgent]
        urgent = [request for request in waiting if request.urgent]
        if urgent:
            self._open_round(backend, urgent)
        # Reading a chunk of a bulk job can take as long as a batch; no query waits for that.
        if self._unread and not self._rounds.urgent_next:
            bulk, self._unread = self._unread, []
            self._open_round(backend, bulk)

    def _open_round(self, backend: Backend, requests: list[Request]) -> None:
        share = max(1, self._chunk // len(requests))
        started = time.perf_counter()
        read: list[tuple[Request, list[Row]]] = []
        for request in requests:
            try:
                read.append((request, request.read(backend, share)))
            except BaseException as error:  # noqa: BLE001 - whatever it is, it is this request's
                request.fail(error)
        self._counts = self._counts.took(time.perf_counter() - started, reading=True)
        if read:
            self._rounds.add(Round(read, budget=self._budget.tokens, max_rows=self._max_rows))

    def _run_next(self, backend: Backend) -> None:
        if not self._rounds:
            return
        current = self._rounds.next_round()
        batch = current.next_batch(self._budget.tokens)
        if batch:
            current.put_back(self._run(backend, batch))
        self._rounds.ran(current, cost([row.length for _, row in batch]))
        if not current.open:
            self._unread += [request for request in current.requests if request.unread]

    def _run(self, backend: Backend, batch: list[Placed]) -> list[list[Placed]]:
        """Run a batch; return its halves if it failed and has any, to see what can be saved."""
        rows = [row for _, row in batch]
        started = time.perf_counter()
        try:
            values = backend.run(rows)
        except BaseException as error:  # noqa: BLE001 - out of memory or one bad row: halve and see
            self._counts = self._counts.took(time.perf_counter() - started)
            if len(batch) == 1:
                batch[0][0].fail(error)
                return []
            if isinstance(error, BatchTooLargeError):
                self._budget.failed(cost([row.length for row in rows]))
            half = len(batch) // 2
            return [batch[:half], batch[half:]]
        self._counts = self._counts.took(time.perf_counter() - started).ran(rows)
        self._budget.fitted(cost([row.length for row in rows]))
        _deliver(batch, values)
        return []

    def _fail_all(self, error: BaseException) -> None:
        with self._ready:
            waiting = [*self._inbox, *self._unread]
            self._inbox, self._unread = [], []
        for request in waiting + self._rounds.clear():
            request.fail(error)


def _deliver(batch: list[Placed], values: FloatArray) -> None:
    owners: dict[int, list[int]] = {}
    for place, (request, _) in enumerate(batch):
        owners.setdefault(id(request), []).append(place)
    for places in owners.values():
        request = batch[places[0]][0]
        try:
            request.deliver([batch[place][1] for place in places], values[places])
        except BaseException as error:  # noqa: BLE001 - a caller's progress callback may raise anything
            request.fail(error)
