"""One thread a model: takes requests from a queue, packs shared batches, resolves the futures."""

import os
import sys
import threading
import weakref
from collections import deque
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from langchain_rerank_retriever.errors import ClosedError
from langchain_rerank_retriever.runtime.answer import Answer
from langchain_rerank_retriever.runtime.backend import Backend, Row
from langchain_rerank_retriever.runtime.batching import pack, slices
from langchain_rerank_retriever.runtime.request import Progress, Request

Placed = tuple[Request, Row]
_Shelf = tuple[int, str]

#: After so many urgent batches in a row a bulk one runs, so that a stream of queries starves nobody.
URGENT_STREAK = 4
#: Where there is a deadline, rows are sorted by length within so many batches of a list and not beyond: with
#: two, hardly more is padded than by sorting all of them, and a deadline finds the head of the list done.
SLICE_BATCHES = 2
#: A fork waits this long for running batches; a child made in the middle of one could inherit held locks.
FORK_WAIT_SECONDS = 10.0


class _Round:
    """Batches made of the requests that waited at one moment, and those requests."""

    def __init__(self, requests: list[Request], batches: list[list[Placed]]) -> None:
        self.requests = requests
        self.batches = deque(batches)
        self.urgent = requests[0].urgent


class Worker:
    """Drives one backend from one thread, which starts with the first request.

    Requests that wait at the same moment form a round and share its batches; rounds take turns, one batch
    each, urgent rounds first. So a query overtakes a bulk job between two of its batches, and a small job
    beside a large one is done after about twice its own time. Between two batches cancelled requests are
    dropped.

    Args:
        backend: The model.
        budget: Largest cost of a batch in padded tokens.
        max_rows: Largest row count of a batch; ``None`` for no limit but the budget.
        chunk: Inputs that are tokenised for one round; the rest of a long job waits as text.
        name: Name of the thread.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        budget: int,
        max_rows: int | None = None,
        chunk: int = 256,
        name: str = "model",
    ) -> None:
        self._backend: Backend | None = backend
        self._budget = budget
        self._max_rows = max_rows
        self._chunk = chunk
        self._name = name
        self._closed = False
        self._reset()
        _workers.add(self)

    def _reset(self) -> None:
        self._ready = threading.Condition()
        self.busy = threading.RLock()
        self._thread: threading.Thread | None = None
        self._inbox: list[Request] = []
        self._unread: list[Request] = []
        self._rounds: deque[_Round] = deque()
        self._streak = 0

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
        """
        request = Request(items, kind, urgent=urgent, progress=progress, deadline=deadline)
        with self._ready:
            if self._closed:
                raise ClosedError("This model was closed. Make a new one to go on.")
            self._inbox.append(request)
            if self._thread is None:
                self._thread = threading.Thread(target=self._main, name=self._name, daemon=True)
                self._thread.start()
            self._ready.notify()
        return request.answer

    def close(self) -> None:
        """Finish the running batch, fail what waits (ClosedError), let go of the model. May be repeated."""
        with self._ready:
            self._closed = True
            thread = self._thread
            self._ready.notify()
        if thread is None:
            self._backend = None
        elif thread is not threading.current_thread():
            thread.join()

    def after_fork(self) -> None:
        """In a child process: forget the parent's thread and requests; the next request starts a thread."""
        self._reset()

    def _main(self) -> None:
        backend = self._backend
        if backend is None:
            return
        with self.busy:
            backend.start()
        while self._wait():
            with self.busy:
                try:
                    self._expire()
                    self._open_rounds(backend)
                    self._run_next(backend)
                except Exception as error:  # noqa: BLE001 - its callers get it; the thread lives on
                    self._fail_all(error)
        self._fail_all(ClosedError("This model was closed before the request was done."))
        self._backend = None

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
        self._unread = []
        for urgent in (True, False):
            requests = [request for request in waiting if request.urgent == urgent]
            if requests:
                self._rounds.append(_Round(requests, self._batches(backend, requests)))

    def _batches(self, backend: Backend, requests: list[Request]) -> list[list[Placed]]:
        share = max(1, self._chunk // len(requests))
        placed: list[tuple[_Shelf, Placed]] = []
        for request in requests:
            try:
                rows = request.read(backend, share)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is this request's
                request.fail(error)
            else:
                shelves = self._shelves(rows, requests)
                placed += zip(shelves, [(request, row) for row in rows], strict=True)
        placed.sort(key=itemgetter(0))
        batches: list[list[Placed]] = []
        for _, group in groupby(placed, key=itemgetter(0)):
            members = [one for _, one in group]
            lengths = [row.length for _, row in members]
            packed = pack(lengths, budget=self._budget, max_rows=self._max_rows)
            batches += [[members[place] for place in batch] for batch in packed]
        return batches

    def _shelves(self, rows: list[Row], requests: list[Request]) -> list[_Shelf]:
        """Say which rows of a request may share a batch with which of others, and in which order."""
        numbers = [0] * len(rows)
        if any(request.answer.has_deadline for request in requests):
            size = max(1, SLICE_BATCHES * self._budget // len(requests))
            numbers = slices([row.length for row in rows], size)
        return [(number, repr(row.group)) for number, row in zip(numbers, rows, strict=True)]

    def _run_next(self, backend: Backend) -> None:
        if not self._rounds:
            return
        current = self._next_round()
        self._streak = self._streak + 1 if current.urgent else 0
        if current.batches:
            self._run(backend, current.batches.popleft())
        if current.batches:
            self._rounds.append(current)
        else:
            self._unread += [request for request in current.requests if request.unread]

    def _next_round(self) -> _Round:
        prefer_urgent = self._streak < URGENT_STREAK
        chosen = next((one for one in self._rounds if one.urgent == prefer_urgent), self._rounds[0])
        self._rounds.remove(chosen)
        return chosen

    def _run(self, backend: Backend, placed: list[Placed]) -> None:
        placed = [(request, row) for request, row in placed if request.wanted()]
        if not placed:
            return
        try:
            values = backend.run([row for _, row in placed])
        except Exception as error:  # noqa: BLE001 - out of memory or one bad row: halve and see
            if len(placed) == 1:
                placed[0][0].fail(error)
                return
            half = len(placed) // 2
            self._run(backend, placed[:half])
            self._run(backend, placed[half:])
            return
        owners: dict[int, list[int]] = {}
        for place, (request, _) in enumerate(placed):
            owners.setdefault(id(request), []).append(place)
        for places in owners.values():
            request = placed[places[0]][0]
            try:
                request.deliver([placed[place][1] for place in places], values[places])
            except Exception as error:  # noqa: BLE001 - a caller's progress callback may raise anything
                request.fail(error)

    def _fail_all(self, error: BaseException) -> None:
        with self._ready:
            waiting = [*self._inbox, *self._unread]
            self._inbox, self._unread = [], []
        for one in self._rounds:
            waiting += one.requests
        self._rounds.clear()
        for request in waiting:
            request.fail(error)


_workers: weakref.WeakSet[Worker] = weakref.WeakSet()
_held: list[Worker] = []


def _before_fork() -> None:
    _held.extend(worker for worker in list(_workers) if worker.busy.acquire(timeout=FORK_WAIT_SECONDS))


def _after_fork_in_parent() -> None:
    while _held:
        _held.pop().busy.release()


def _after_fork_in_child() -> None:
    _held.clear()
    for worker in list(_workers):
        worker.after_fork()
    # The threads of an OpenMP pool do not survive a fork, and a child that waits for them hangs for ever.
    torch = sys.modules.get("torch")
    if torch is not None and len(_workers):
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
    )
