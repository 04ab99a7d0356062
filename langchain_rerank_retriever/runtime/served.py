"""What the two model classes share: a folder, a worker, an identity and an end."""

import functools
import weakref
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from langchain_rerank_retriever.errors import StorageError
from langchain_rerank_retriever.runtime.backend import Output
from langchain_rerank_retriever.runtime.fingerprint import fingerprint
from langchain_rerank_retriever.runtime.saving import check_free, save_atomically
from langchain_rerank_retriever.runtime.select import (
    check_backend,
    check_positive,
    choose_budget,
    choose_device,
    choose_dtype,
)
from langchain_rerank_retriever.runtime.worker import Worker

if TYPE_CHECKING:
    from sentence_transformers.base.model import BaseModel

    from langchain_rerank_retriever.runtime.rows import Rows

#: Inputs tokenised ahead: enough to find rows of like length, little enough not to keep a query waiting.
CHUNK_ON_CPU = 256
CHUNK_ON_ACCELERATOR = 2048


@dataclass(frozen=True, slots=True)
class Placement:
    """Where and how fast a model runs; none of it decides what it computes, but for rounding."""

    device: str | None
    backend: str
    precision: str
    batch_size: int | None
    threads: int | None

    def check(self) -> None:
        """Refuse wrong settings before anything is loaded.

        Raises:
            InvalidArgumentError: The message names the argument and lists what there is.
        """
        check_backend(self.backend, self.precision)
        check_positive("batch_size", self.batch_size)
        check_positive("threads", self.threads)


class ServedModel:
    """A loaded model behind a worker.

    Copies are the same object, because a model is a service and not a value. Pickling keeps the settings and
    loads the model again where it arrives.

    Args:
        settings: The constructor's keyword arguments.
        folder: Where the weights lie.
    """

    def __init__(self, settings: Mapping[str, Any], folder: Path) -> None:
        self._settings = dict(settings)
        self._folder = folder

    def _serve(
        self,
        model: "BaseModel",
        rows: "Rows",
        placement: Placement,
        *,
        output: str,
        identity: Mapping[str, Any],
    ) -> None:
        """Take the loaded float32 model over: fingerprint it, cast it, and put a worker in front of it."""
        from langchain_rerank_retriever.runtime.torch_backend import TorchBackend

        device = choose_device(placement.device)
        dtype = choose_dtype(placement.precision, device)
        self._identity = dict(identity)
        self._fingerprint = fingerprint(model, self._identity)
        self._device = device
        self._precision = str(dtype).removeprefix("torch.")
        backend = TorchBackend(
            model, rows=rows, output=output, device=device, dtype=dtype, threads=placement.threads
        )
        self._worker = Worker(
            backend,
            budget=choose_budget(device),
            max_rows=placement.batch_size,
            chunk=CHUNK_ON_CPU if device.startswith("cpu") else CHUNK_ON_ACCELERATOR,
            name=f"{type(self).__name__}-worker",
        )
        # Closes when the last reference goes, and at the interpreter's end, before torch is taken down.
        self._finalizer = weakref.finalize(self, self._worker.close)

    @staticmethod
    def _wait(future: Future[Output]) -> Output:
        try:
            return future.result()
        finally:
            # Does nothing to a finished one; after Ctrl-C it drops what has not run yet.
            future.cancel()

    @property
    def model_name(self) -> str:
        """The name or folder the model was loaded by."""
        return str(self._settings["model_name"])

    @property
    def folder(self) -> Path:
        """Where the model's files lie on this machine."""
        return self._folder

    @property
    def fingerprint(self) -> str:
        """SHA-256 over weights, tokenizer, modules, prompts, lengths; not over the path or the precision."""
        return self._fingerprint

    @property
    def device(self) -> str:
        """Where the model runs, for instance ``"cpu"``."""
        return self._device

    @property
    def precision(self) -> str:
        """The number type that was chosen for the language model, for instance ``"bfloat16"``."""
        return self._precision

    @property
    def asked_precision(self) -> str:
        """The number type that the constructor was asked for, ``"auto"`` where it was left to choose."""
        return str(self._settings["precision"])

    def load_trainable(self) -> "BaseModel":
        """Load a fresh model for training."""
        raise NotImplementedError

    def save(self, folder: str | Path) -> None:
        """Write the model as it was loaded (float32), for sentence-transformers and for this class.

        Args:
            folder: New or empty. It appears whole or not at all.

        Raises:
            InvalidArgumentError: The folder exists and is not empty; nothing is changed.
            StorageError: It cannot be written, or the files the model came from have changed since.
        """
        check_free(Path(folder).expanduser().absolute())
        model = self.load_trainable()
        if fingerprint(model, self._identity) != self._fingerprint:
            raise StorageError(
                f"The files in '{self._folder}' have changed since the model was loaded. Load it again."
            )
        save_atomically(model, folder)

    def close(self) -> None:
        """End the worker and let go of the model; what waits fails with ClosedError. May be repeated."""
        self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        del memo
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial(type(self), **self._settings), ()

    def __repr__(self) -> str:
        given = [f"{name}={value!r}" for name, value in self._settings.items() if name != "model_name"]
        shown: Sequence[str] = [repr(self.model_name), *given]
        return f"{type(self).__name__}({', '.join(shown)})"
