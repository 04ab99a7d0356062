"""Runs a sentence-transformers model with torch. Imported only when a model is loaded."""

from collections.abc import Sequence
from typing import Any

import torch
from sentence_transformers.base.model import BaseModel
from sentence_transformers.base.modules import Transformer
from sentence_transformers.util import batch_to_device

from langchain_rerank_retriever.protocols import FloatArray
from langchain_rerank_retriever.runtime.backend import BatchTooLargeError, Row
from langchain_rerank_retriever.runtime.backends.values import checked_values, one_logit
from langchain_rerank_retriever.runtime.reading.rows import Rows, task_of
from langchain_rerank_retriever.runtime.serving.forking import came_through_a_fork


class TorchBackend:
    """A model on one device, its language model in one precision and everything after it in float32.

    Args:
        model: Loaded on the CPU in float32; is moved and cast in place.
        rows: How inputs are read.
        output: The feature to return: ``"sentence_embedding"``, shape (batch, dimension), or ``"scores"``,
            shape (batch, labels) with one label, or with two of which the second means relevant.
        device: Where it runs.
        dtype: Number type of the language model.
        threads: CPU threads for torch, a setting of the whole process; ``None`` leaves it alone.
    """

    def __init__(
        self,
        model: BaseModel,
        *,
        rows: Rows,
        output: str,
        device: str,
        dtype: torch.dtype,
        threads: int | None = None,
    ) -> None:
        self._model = model
        self._rows = rows
        self._output = output
        self._device = torch.device(device)
        self._threads = threads
        cast_language_model(model, dtype)
        model.to(self._device)
        model.eval()

    def start(self) -> None:
        """Apply the thread count; OpenMP keeps it by calling thread, and a forked thread must do with one."""
        if self._threads is not None and not came_through_a_fork():
            torch.set_num_threads(self._threads)

    def tokenise(self, items: Sequence[Any], kind: str) -> list[Row]:
        """Turn inputs into rows."""
        return self._rows.tokenise(items, kind)

    def run(self, rows: Sequence[Row]) -> FloatArray:
        """Run one batch.

        Returns:
            Float32, shape (batch, dimension) or (batch,).

        Raises:
            ScoringError: The model gave NaN, infinity or a wrong count.
            BatchTooLargeError: The device's memory does not hold it.
        """
        try:
            values = self._forward(rows)
        except torch.OutOfMemoryError as error:
            reason = str(error)
        else:
            return self._checked(values, rows)
        # Only here, where nothing holds the failed attempt's tensors any more, is their memory free: an error that
        # names the other as its cause would hold them as long as somebody holds the error.
        torch.cuda.empty_cache()
        longest = max(row.length for row in rows)
        raise BatchTooLargeError(
            f"{len(rows)} rows of {longest} tokens do not fit the memory of {self._device} ({reason}). Use a smaller "
            "max_length, another precision or another device."
        )

    @staticmethod
    def _checked(values: FloatArray, rows: Sequence[Row]) -> FloatArray:
        return checked_values(values, len(rows))

    @torch.inference_mode()
    def _forward(self, rows: Sequence[Row]) -> FloatArray:
        features = batch_to_device(self._rows.collate(rows), self._device)
        result = self._model(features, **task_of(rows))[self._output].float()
        values: FloatArray = result.cpu().numpy()
        return one_logit(values) if self._output == "scores" else values


def cast_language_model(model: BaseModel, dtype: torch.dtype) -> None:
    """Cast only the language model; what comes after it (pooling, heads, norms) gets float32 and stays so.

    Pooling and normalising in bf16 would leave vectors whose length is 1 only to three digits.
    """
    first = model[0]
    if dtype == torch.float32 or not isinstance(first, Transformer):
        return
    first.to(dtype)
    first.register_forward_hook(_to_float32)


def _to_float32(module: torch.nn.Module, args: Any, features: dict[str, Any]) -> dict[str, Any]:
    del module, args
    return {
        name: value.float() if torch.is_tensor(value) and value.is_floating_point() else value
        for name, value in features.items()
    }
