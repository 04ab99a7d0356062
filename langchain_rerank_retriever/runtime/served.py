"""What the two model classes share: a folder, a worker, an identity and an end."""

import functools
import weakref
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from langchain_rerank_retriever.errors import StorageError
from langchain_rerank_retriever.runtime.choosing.select import Placement
from langchain_rerank_retriever.runtime.models.fingerprint import fingerprint
from langchain_rerank_retriever.runtime.models.saving import check_free, save_atomically
from langchain_rerank_retriever.runtime.serving.counts import Counts
from langchain_rerank_retriever.runtime.serving.worker import Worker

if TYPE_CHECKING:
    from sentence_transformers.base.model import BaseModel

    from langchain_rerank_retriever.runtime.choosing.choice import Choice
    from langchain_rerank_retriever.runtime.choosing.compiled import Quantisation
    from langchain_rerank_retriever.runtime.reading.rows import Rows

#: Inputs tokenised ahead: enough to find rows of like length, little enough not to keep a query waiting.
CHUNK_ON_CPU = 256
CHUNK_ON_ACCELERATOR = 2048


class ServedModel(ABC):
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
        kinds: tuple[str, ...],
        identity: Mapping[str, Any],
    ) -> None:
        """Take the loaded float32 model over: fingerprint it, find it a backend, and put a worker in front of that."""
        from langchain_rerank_retriever.runtime.choosing.choice import make_ready
        from langchain_rerank_retriever.runtime.choosing.compiled import Source

        self._identity = dict(identity)
        self._fingerprint = fingerprint(model, self._identity)
        calibration = self._settings["calibration"]
        source = Source(model, rows, output, kinds, self._fingerprint, calibration)
        ready = make_ready(source, placement)
        self._choice, self._device, self._quantisation = ready.choice, ready.device, ready.quantisation
        # The worker alone holds the backend, and lets go of it when it is closed.
        self._worker = Worker(
            ready.backend,
            budget=ready.choice.budget,
            max_rows=placement.batch_size,
            chunk=CHUNK_ON_CPU if ready.device.startswith("cpu") else CHUNK_ON_ACCELERATOR,
            name=f"{type(self).__name__}-worker",
        )
        # Closes when the last reference goes, and at the interpreter's end, before torch is taken down.
        self._finalizer = weakref.finalize(self, self._worker.close)

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
    def backend(self) -> str:
        """What runs it: ``"torch"`` or ``"openvino"``."""
        return self._choice.backend

    @property
    def precision(self) -> str:
        """The number type of the language model, for instance ``"bfloat16"``; ``"int8"`` where it is quantised."""
        return self._choice.precision if self.quantisation is None else "int8"

    @property
    def choice(self) -> "Choice":
        """How the model runs on this machine, and what was measured to choose that."""
        return self._choice

    @property
    def quantisation(self) -> "Quantisation | None":
        """How far int8 is from float32; ``None`` for any other precision."""
        return self._quantisation

    @property
    def counts(self) -> Counts:
        """What has run so far: rows, tokens with and without padding, batches, seconds."""
        return self._worker.counts

    @property
    def asked_precision(self) -> str:
        """The number type that the constructor was asked for, ``"auto"`` where it was left to choose."""
        return str(self._settings["precision"])

    @abstractmethod
    def load_trainable(self) -> "BaseModel":
        """Load a fresh model for training."""

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
        save_atomically(model, folder, show_progress=bool(self._settings.get("show_progress")))

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
        hidden = ("model_name", "calibration")  # the second may be hundreds of texts
        given = [f"{name}={value!r}" for name, value in self._settings.items() if name not in hidden]
        shown: Sequence[str] = [repr(self.model_name), *given]
        return f"{type(self).__name__}({', '.join(shown)})"
