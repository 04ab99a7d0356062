"""A source of recall that a bundle cannot hold: what is noted of it, and how another model behind it is noticed."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from langchain_core.embeddings import Embeddings

from langchain_rerank_retriever.errors import ModelMismatchError
from langchain_rerank_retriever.recall import source_of
from langchain_rerank_retriever.recall.vectors import embedding_store
from langchain_rerank_retriever.store.model import Model


def kind_of(part: Any) -> str:
    """Name what a part is, for whoever must pass it in again."""
    if isinstance(part, list | tuple):
        return f"a list of {', '.join(map(kind_of, part))}"
    return "nothing" if part is None else f"{type(part).__module__}.{type(part).__qualname__}"


@dataclass(frozen=True, slots=True)
class SavedEmbeddings:
    """What a bundle notes of the embeddings of a foreign store, as a FaissStore does of its own.

    Attributes:
        kind: Their class.
        model: The model in words.
        fingerprint: Its own hash, where it has one.
        dimension: Length of a vector.
        probes: Sentences with their unit vectors, as little-endian float32.
    """

    kind: str
    model: str
    fingerprint: str | None
    dimension: int
    probes: dict[str, bytes]

    @classmethod
    def of(cls, recall: Any) -> "SavedEmbeddings | None":
        """Note the embeddings of a source, which embed a few sentences; None where it shows none."""
        embeddings = _embeddings_of(recall)
        if embeddings is None:
            return None
        model = Model(embeddings)
        probes = model.probes()
        dimension = next(len(vector) for vector in probes.values())
        vectors = {text: vector.astype("<f4").tobytes() for text, vector in probes.items()}
        return cls(kind_of(embeddings), model.name, model.fingerprint, dimension, vectors)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        probes = {text: base64.b64encode(vector).decode() for text, vector in self.probes.items()}
        return {
            "foreign": self.kind,
            "model": self.model,
            "fingerprint": self.fingerprint,
            "dimension": self.dimension,
            "probes": probes,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "SavedEmbeddings | None":
        """Read what `to_dict` wrote; None where nothing was noted.

        Raises:
            KeyError: If something is missing; also TypeError or AttributeError for data of another shape.
        """
        if "probes" not in data:
            return None
        try:
            probes = {text: base64.b64decode(vector) for text, vector in data["probes"].items()}
        except ValueError as error:
            raise TypeError(f"a probe's vector is no base64: {error}") from error
        if not probes:
            raise KeyError("probes")
        return cls(data["foreign"], data["model"], data["fingerprint"], data["dimension"], probes)

    def check(self, recall: Any) -> None:
        """Make sure that a source that is passed in has the same model; one that shows none is believed.

        Raises:
            ModelMismatchError: It has another.
        """
        embeddings = _embeddings_of(recall)
        if embeddings is None:
            return
        try:
            Model(embeddings).check(self, self.probes)
        except ModelMismatchError as error:
            raise ModelMismatchError(
                f"The bundle was saved over a store with the embeddings {error.expected}; those of the recall that is "
                f"passed in are {error.got}. Pass a store of the same model, or make a RerankRetriever of the parts "
                "and save it anew.",
                expected=error.expected,
                got=error.got,
            ) from error


def _embeddings_of(recall: Any) -> Embeddings | None:
    store = embedding_store(source_of(recall))
    return None if store is None else store.embeddings
