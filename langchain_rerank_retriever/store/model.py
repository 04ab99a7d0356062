"""The model behind a store: its vectors, checked and of unit length, and how it is told from another."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from langchain_core.embeddings import Embeddings

from langchain_rerank_retriever.errors import FormatError, InvalidArgumentError, ModelMismatchError
from langchain_rerank_retriever.protocols import Encoder, FloatArray

from .rows import PROBES_DAMAGED
from .vectors import unit_query, unit_vectors

_TOPICS = (
    "The harbour lay in fog, and no ship had left since the morning.",
    "A compiler turns the text of a program into instructions for a machine.",
    "봄이 오면 강가의 나무마다 하얀 꽃이 핀다.",
    "The court dismissed the appeal and ordered the company to pay.",
    "Knead the dough for ten minutes, then let it rise in a warm place.",
    "Light from the nearest star takes more than four years to reach us.",
    "He scored twice in the second half, and the crowd sang until midnight.",
    "Interest rates were raised again, which made mortgages dearer.",
)
#: Some eight hundred tokens whose topic changes, so that it shows where a model cuts a text. Only for encoders, which
#: cut by themselves: some services refuse so long a text.
_LONG = " ".join(" ".join([topic] * 7) for topic in _TOPICS)
#: Short and long, English and Korean; a prompt before documents shows most in the shortest. What changes between two
#: models shows in one of them. Stores of earlier versions have the first three.
PROBES = (
    "The quick brown fox jumps over the lazy dog.",
    "Where can I find the opening hours of the city library?",
    "서울의 한 연구소에서 새로운 검색 모델을 공개했다.",
    "Red",
    _LONG,
)
#: Another precision or backend of the same model stays well above this, another model well below.
SAME_MODEL = 0.99


class Made(Protocol):
    """What is known of the model that made some vectors."""

    @property
    def model(self) -> str | None:
        """The model in words."""

    @property
    def fingerprint(self) -> str | None:
        """Its own hash, where it has one."""

    @property
    def dimension(self) -> int | None:
        """Length of a vector."""


class Model:
    """Any LangChain Embeddings, seen as a source of unit vectors."""

    def __init__(self, embeddings: Embeddings) -> None:
        """Wrap an embedder; nothing is embedded yet."""
        if not (hasattr(embeddings, "embed_documents") and hasattr(embeddings, "embed_query")):
            raise InvalidArgumentError(
                f"embeddings must be a LangChain Embeddings, with embed_documents and embed_query, "
                f"got {type(embeddings).__name__}"
            )
        self.embeddings = embeddings

    @property
    def name(self) -> str:
        """The model in words: its class, and its own name where it has one."""
        label = type(self.embeddings).__name__
        for attribute in ("model_name", "model"):
            value = getattr(self.embeddings, attribute, None)
            if isinstance(value, str) and value:
                return f"{label}({value!r})"
        return label

    @property
    def fingerprint(self) -> str | None:
        """The model's hash of itself, None where it has none."""
        value = getattr(self.embeddings, "fingerprint", None)
        return value if isinstance(value, str) and value else None

    @cached_property
    def _encoder(self) -> Encoder | None:
        # Asked once: the check reads the model's properties, and a fingerprint can take time.
        return self.embeddings if isinstance(self.embeddings, Encoder) else None

    def documents(self, texts: Sequence[str], positions: Sequence[int] | None = None) -> FloatArray:
        """Unit vectors of documents, shape ``(len(texts), d)``; the positions are for messages."""
        vectors: Any = (
            self._encoder.encode(list(texts), kind="document")
            if self._encoder is not None
            else self.embeddings.embed_documents(list(texts))
        )
        return unit_vectors(vectors, range(len(texts)) if positions is None else positions)

    def query(self, text: str) -> FloatArray:
        """Unit vector of a query, shape ``(d,)``."""
        if self._encoder is not None:
            return unit_query(self._encoder.encode([text], kind="query")[0])
        return unit_query(self.embeddings.embed_query(text))

    def probes(self) -> dict[str, FloatArray]:
        """Vectors of the probe sentences."""
        texts = [text for text in PROBES if self._takes(text)]
        return dict(zip(texts, self.documents(texts)))

    def _takes(self, probe: str) -> bool:
        return self._encoder is not None or probe != _LONG

    def describe(self, dimension: int | None) -> str:
        """Name, fingerprint and dimension, for a message."""
        return _describe(self.name, self.fingerprint, dimension)

    def check(self, state: Made, probes: Mapping[str, bytes]) -> None:
        """Make sure that this model made a store's vectors.

        Args:
            state: What the store knows of its model.
            probes: Its probe sentences with their stored vectors.

        Raises:
            ModelMismatchError: Another dimension, or a probe's cosine below 0.99.
            FormatError: The stored vectors of the probes are damaged.
        """
        if self.fingerprint is not None and self.fingerprint == state.fingerprint:
            return
        asked = [text for text in probes if self._takes(text)]
        vectors = self.documents(asked)
        self.check_dimension(vectors, state.dimension, state)
        if any(len(probes[text]) != 4 * vectors.shape[1] for text in asked):
            raise FormatError(PROBES_DAMAGED)
        stored = np.stack([np.frombuffer(probes[text], dtype="<f4") for text in asked])
        cosine = float((vectors * stored).sum(axis=1).min())
        # NaN, which only a damaged probe leads to, is no cosine of the same model either.
        if not cosine >= SAME_MODEL:
            raise _mismatch(
                f"; on a probe sentence the two agree with a cosine of {cosine:.3f} only",
                expected=_describe(state.model, state.fingerprint, state.dimension),
                got=self.describe(vectors.shape[1]),
            )

    def check_dimension(self, vectors: FloatArray, dimension: int | None, state: Made) -> None:
        """Raise ModelMismatchError where vectors, shape ``(..., d)``, have another dimension than expected.

        A store without a model of its own expects what this model gave for the probes.
        """
        if dimension is not None and vectors.shape[-1] != dimension:
            raise _mismatch(
                "",
                expected=_describe(state.model or self.name, state.fingerprint, dimension),
                got=self.describe(vectors.shape[-1]),
            )


def _describe(name: str | None, fingerprint: str | None, dimension: int | None) -> str:
    parts = [f"{dimension} dimensions"] if dimension else []
    if fingerprint:
        parts.append(f"fingerprint {fingerprint}")
    return f"{name} ({', '.join(parts)})" if parts else f"{name}"


def _mismatch(detail: str, *, expected: str, got: str) -> ModelMismatchError:
    return ModelMismatchError(
        f"The store's vectors were made by {expected}, got {got}{detail}. Pass the embeddings that the store "
        "was made with, or open it with check_model=False and move it to the new model with reembed()",
        expected=expected,
        got=got,
    )
