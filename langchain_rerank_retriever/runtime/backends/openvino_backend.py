"""Runs a model that was compiled for OpenVINO, on the CPU."""

import os
import weakref
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from langchain_rerank_retriever.protocols import FloatArray
from langchain_rerank_retriever.runtime.backend import Row
from langchain_rerank_retriever.runtime.backends.openvino_model import Arrays, read_by, result_of
from langchain_rerank_retriever.runtime.backends.values import checked_values, one_logit
from langchain_rerank_retriever.runtime.reading.rows import Rows


class OpenVINOBackend:
    """A compiled model. A batch is divided among its streams, which run side by side.

    Args:
        compiled: From `openvino_model`.
        load_again: Gives it once more, in a process that this one forked: the threads of the first do not run there.
        rows: How inputs are read.
        output: ``"sentence_embedding"`` or ``"scores"``.
        streams: Of the compiled model.
    """

    def __init__(
        self, compiled: Any, load_again: Callable[[], Any], *, rows: Rows, output: str, streams: int
    ) -> None:
        self._load_again = load_again
        self._rows = rows
        self._output = output
        self._streams = streams
        self._open(compiled)
        _backends.add(self)

    def _open(self, compiled: Any) -> None:
        self._compiled = compiled
        self._requests = [compiled.create_infer_request() for _ in range(self._streams)]
        self._foreign = False

    @property
    def compiled(self) -> Any:
        """What it runs."""
        return self._compiled

    def start(self) -> None:
        """Do nothing: OpenVINO's threads belong to the compiled model."""

    def after_fork(self) -> None:
        """Set what belongs to the parent process aside."""
        _inherited.append((self._compiled, self._requests))
        self._foreign = True

    def tokenise(self, items: Sequence[Any], kind: str) -> list[Row]:
        """Turn inputs into rows."""
        return self._rows.tokenise(items, kind)

    def run(self, rows: Sequence[Row]) -> FloatArray:
        """Run one batch.

        Returns:
            Float32, shape (batch, dimension) or (batch,).

        Raises:
            ScoringError: The model gave NaN, infinity or a wrong count.
            ModelLoadError: This is a forked process, and the model is not in the cache.
        """
        if self._foreign:
            self._open(self._load_again())
        parts = np.array_split(np.arange(len(rows)), min(self._streams, len(rows)))
        batches = [arrays(self._rows, [rows[place] for place in part]) for part in parts]
        used = self._requests[: len(batches)]
        # All are waited for, even when one fails, because of what they share.
        with ExitStack() as running:
            for request, batch in zip(used, batches, strict=True):
                # Shared, not copied: `batches` keeps the arrays until all have finished.
                request.start_async(read_by(self._compiled, batch), share_inputs=True)
                running.callback(request.wait)
        values = np.concatenate([result_of(request) for request in used])
        if self._output == "scores":
            values = one_logit(values)
        return checked_values(values, len(rows))


def arrays(rows: Rows, batch: Sequence[Row]) -> Arrays:
    """Pad a batch to what a model reads: int64, shape (batch, tokens), by name."""
    features = rows.collate(batch)
    return {
        name: np.ascontiguousarray(value.numpy())
        for name, value in features.items()
        # The others say something about the batch, such as its modality.
        if hasattr(value, "numpy")
    }


_backends: weakref.WeakSet[OpenVINOBackend] = weakref.WeakSet()
#: What belongs to a parent process, kept for ever in a forked one: letting go of it would wait for threads that are
#: not there, which ends the process.
_inherited: list[Any] = []


def _after_fork_in_child() -> None:
    for backend in list(_backends):
        backend.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
