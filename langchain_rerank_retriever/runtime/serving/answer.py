"""What a caller waits for: values that come in batch by batch, and an end that may come before the last of them."""

import asyncio
import threading
import time
from collections.abc import Sequence
from concurrent import futures

import numpy as np

from langchain_rerank_retriever.errors import ScoringError
from langchain_rerank_retriever.protocols import FloatArray
from langchain_rerank_retriever.runtime.backend import Output, Row


class Answer(futures.Future[Output]):
    """Collects the values of one request; resolves once, with all of them or with what a deadline left.

    The worker's thread delivers. Whoever waits may end the wait at the same moment, which is what the lock is
    for.

    Args:
        count: Inputs of the request, at least one.
        deadline: A time of ``time.monotonic``; ``None`` is no limit.
    """

    def __init__(self, count: int, *, deadline: float | None = None) -> None:
        super().__init__()
        self._deadline = deadline
        self._lock = threading.Lock()
        self._claimed = False
        self._values: FloatArray | None = None
        self._truncated = np.zeros(count, dtype=np.bool_)
        # Rows that an input still waits for. One that is not read yet waits for at least one.
        self._left = np.ones(count, dtype=np.int32)
        self._open = count

    @property
    def alive(self) -> bool:
        """Whether anybody still waits: not cancelled, not failed, not resolved."""
        return not self.done()

    @property
    def has_deadline(self) -> bool:
        """Whether it may resolve before everything has run."""
        return self._deadline is not None

    def expect(self, rows: Sequence[Row]) -> None:
        """Learn which rows some inputs have become; called once an input."""
        items = [row.item for row in rows]
        with self._lock:
            self._left[items] = 0
            np.add.at(self._left, items, 1)
            self._truncated[[row.item for row in rows if row.truncated]] = True

    def deliver(self, rows: Sequence[Row], values: FloatArray) -> None:
        """Take the values of some rows, and resolve with the last of them."""
        items = np.array([row.item for row in rows])
        touched = np.unique(items)
        with self._lock:
            if self._values is None:
                self._values = np.full((len(self._left), *values.shape[1:]), -np.inf, dtype=np.float32)
            if len(touched) == len(items):
                # The same as below, fifty times as fast for vectors.
                self._values[items] = np.maximum(self._values[items], values)
            else:
                np.maximum.at(self._values, items, values)
            np.subtract.at(self._left, items, 1)
            self._open -= int(np.count_nonzero(self._left[touched] == 0))
            finished = self._open == 0
        if finished:
            self._resolve()

    def fail(self, error: BaseException) -> None:
        """Hand the error to whoever waits; nothing happens where nobody does."""
        if self._claim():
            self.set_exception(_raisable(error))

    def expire(self) -> None:
        """Resolve with what is there if the deadline has come; nothing happens before it, or without one."""
        if self._deadline is not None and time.monotonic() >= self._deadline:
            self._end()

    def wait(self) -> Output:
        """Block until everything has run or the deadline comes. An exception on the way drops the rest."""
        try:
            if self._deadline is not None:
                futures.wait([self], timeout=self._seconds_left())
                self._end()
            return self.result()
        finally:
            # Does nothing to a finished one; after Ctrl-C it drops what has not run yet.
            self.cancel()

    async def wait_async(self) -> Output:
        """Do the same without blocking the event loop; cancelling drops the rest."""
        if self._deadline is None:
            return await asyncio.wrap_future(self)
        timer = asyncio.get_running_loop().call_later(self._seconds_left(), self._end)
        try:
            return await asyncio.wrap_future(self)
        finally:
            timer.cancel()

    def _seconds_left(self) -> float:
        if self._deadline is None:
            return 0.0
        # A lock cannot wait longer than its maximum, some centuries; a deadline may be infinite.
        return min(max(0.0, self._deadline - time.monotonic()), threading.TIMEOUT_MAX)

    def _end(self) -> None:
        # Looks at no clock: a timer may ring a tick early, and rings only once.
        if self.alive:
            self._resolve()

    def _resolve(self) -> None:
        with self._lock:
            output = self._output()
        if self._claim():
            self.set_result(output)

    def _output(self) -> Output:
        done = self._left == 0
        if self._values is None:
            nothing = np.full(len(done), np.nan, dtype=np.float32)
            return Output(nothing, np.zeros_like(done), np.zeros_like(done))
        if self._open == 0:
            return Output(self._values, self._truncated, done)
        # The worker may be about to deliver more: what is handed out must not change any more.
        values = self._values.copy()
        values[~done] = np.nan
        return Output(values, self._truncated & done, done)

    def _claim(self) -> bool:
        """Whether the caller is the one who ends it, and somebody still waits."""
        with self._lock:
            claimed, self._claimed = self._claimed, True
        # Asking makes a cancellation impossible that comes before the result is set.
        return not claimed and self.set_running_or_notify_cancel()


def _raisable(error: BaseException) -> Exception:
    """Return what can be raised where it is waited for.

    What is no ``Exception`` would end a caller's event loop or pass by all it does against errors; a
    ``StopIteration`` cannot be set on a future of asyncio, which would stay open for ever.
    """
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    wrapped = ScoringError(f"The model ended with {type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped
