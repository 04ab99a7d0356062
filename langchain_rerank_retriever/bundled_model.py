"""A model as a part of a bundle: what is noted of it, and how it is loaded as the one that it was."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from langchain_rerank_retriever.cross_encoder import CrossEncoderScorer
from langchain_rerank_retriever.embeddings import PooledEmbeddings
from langchain_rerank_retriever.errors import FormatError

#: Number types that run on every machine. One of these, where it was asked for, is asked for again on loading, so
#: that scores stay what they were; any other choice belongs to the machine.
_PORTABLE_PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True, slots=True)
class SavedModel:
    """What a bundle notes of a model.

    Attributes:
        fingerprint: Of the model that was saved.
        precision: As `PooledEmbeddings` takes it.
        max_length: Of a cross-encoder: tokens after which a pair is cut; None where it is never cut.
        long_documents: Of a cross-encoder: what happens to longer passages; None of a bi-encoder.
        normalize: Of a bi-encoder, as `PooledEmbeddings` takes it; its own folder does not say.
    """

    fingerprint: str
    precision: Any
    max_length: int | None = None
    long_documents: Literal["truncate", "max"] | None = None
    normalize: bool = True

    @classmethod
    def of(cls, model: PooledEmbeddings | CrossEncoderScorer) -> "SavedModel":
        """Note what is needed to load the model again."""
        asked = model.asked_precision
        precision = asked if asked in _PORTABLE_PRECISIONS else "auto"
        if isinstance(model, CrossEncoderScorer):
            return cls(model.fingerprint, precision, model.max_length, model.long_documents)
        return cls(model.fingerprint, precision, normalize=model.normalize)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        of_others = ("max_length", "long_documents") if self.long_documents is None else ("normalize",)
        return {name: value for name, value in asdict(self).items() if name not in of_others}

    @classmethod
    def from_dict(cls, data: dict[str, Any], *, pairs: bool) -> "SavedModel":
        """Read what `to_dict` wrote, among other entries, of a cross-encoder (`pairs`) or of a bi-encoder.

        Raises:
            KeyError: If something is missing; also TypeError or AttributeError for data of another shape.
        """
        # The first bundles name neither the precision nor whether vectors are normalised: all that could be loaded are.
        precision = data.get("precision", "auto")
        if pairs:
            return cls(data["fingerprint"], precision, data["max_length"], data["long_documents"])
        return cls(data["fingerprint"], precision, normalize=data.get("normalize", True))

    def load_embeddings(self, folder: Path, *, threads: int | None = None) -> PooledEmbeddings:
        """Load a bi-encoder; `threads` as `PooledEmbeddings` takes it.

        Raises:
            FormatError: If it is another model than the one that was saved.
        """
        embeddings = PooledEmbeddings(
            str(folder), normalize=self.normalize, precision=self.precision, threads=threads
        )
        self._check_same(embeddings, folder)
        return embeddings

    def load_scorer(self, folder: Path, *, threads: int | None = None) -> CrossEncoderScorer:
        """Load a cross-encoder; `threads` as `CrossEncoderScorer` takes it.

        Raises:
            FormatError: If it is another model than the one that was saved.
        """
        scorer = CrossEncoderScorer(
            str(folder),
            max_length=self.max_length,
            precision=self.precision,
            threads=threads,
            long_documents=self.long_documents or "truncate",
        )
        self._check_same(scorer, folder)
        return scorer

    def _check_same(self, model: PooledEmbeddings | CrossEncoderScorer, folder: Path) -> None:
        if model.fingerprint != self.fingerprint:
            model.close()
            raise FormatError(
                f"The model in {folder} is not the one that was saved: its fingerprint is {model.fingerprint}, "
                f"expected {self.fingerprint}. Restore it from a copy, or save the bundle anew."
            )
