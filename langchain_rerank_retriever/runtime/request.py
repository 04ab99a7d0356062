"""One caller's inputs on their way through the worker."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np

from langchain_rerank_retriever.protocols import FloatArray
from langchain_rerank_retriever.runtime.backend import Backend, Output, Row

Progress = Callable[[int], object]


class Request:
    """Inputs, how far they have come, and the future that waits for them.

    Args:
        items: The inputs, at least one.
        kind: Handed to the backend's ``tokenise``.
        urgent: Whether it goes ahead of requests that are not.
        progress: Called in the worker's thread with the number of rows that have just become ready.
    """

    def __init__(
        self, items: Sequence[Any], kind: str, *, urgent: bool = False, progress: Progress | None = None
    ) -> None:
        self.future: Future[Output] = Future()
        self.urgent = urgent
        self._items = items
        self._kind = kind
        self._progress = progress
        self._read = 0
        self._in_flight = 0
        self._values: FloatArray | None = None
        self._truncated = np.zeros(len(items), dtype=np.bool_)

    @property
    def alive(self) -> bool:
        """Whether anybody still waits: not cancelled, not failed, not finished."""
        return not self.future.done()

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
        for row in placed:
            self._truncated[row.item] |= row.truncated
        self._in_flight += len(placed)
        return placed

    def deliver(self, rows: Sequence[Row], values: FloatArray) -> None:
        """Take the values of some rows, and resolve the future with the last of them."""
        if self._values is None:
            self._values = np.full((len(self._items), *values.shape[1:]), -np.inf, dtype=np.float32)
        np.maximum.at(self._values, [row.item for row in rows], values)
        self._in_flight -= len(rows)
        if self._progress is not None:
            self._progress(len(rows))
        # Asking first makes a cancellation that comes between the two lines impossible.
        if self._in_flight == 0 and not self.unread and self.future.set_running_or_notify_cancel():
            self.future.set_result(Output(self._values, self._truncated))

    def fail(self, error: BaseException) -> None:
        """Hand the error to whoever waits; nothing happens where nobody does."""
        if self.alive and self.future.set_running_or_notify_cancel():
            self.future.set_exception(error)
