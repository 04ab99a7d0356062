"""A model as a part of a bundle: what is noted of it, and how it is loaded as the one that it was."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from langchain_rerank_retriever.cross_encoder import CrossEncoderScorer
from langchain_rerank_retriever.embeddings import PooledEmbeddings
from langchain_rerank_retriever.errors import FormatError, InvalidArgumentError
from langchain_rerank_retriever.runtime.choosing.select import Placement, choose_device

#: Number types that run on every machine. One of these, where it was asked for, is asked for again on loading, so
#: that scores stay what they were; any other choice belongs to the machine.
_PORTABLE_PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """Where and how the models of a bundle are asked to run; None leaves it to the bundle.

    The attributes are arguments of `PooledEmbeddings` and of `CrossEncoderScorer`.
    """

    device: str | None = None
    backend: str | None = None
    precision: str | None = None
    batch_size: int | None = None
    threads: int | None = None

    def given(self) -> dict[str, Any]:
        """Return those that are not left to the bundle, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def check(self) -> None:
        """Refuse wrong values before anything is opened.

        Raises:
            InvalidArgumentError: The message names the argument and lists what there is.
        """
        Placement(**self.of_scorer("auto")).check()
        if self.device is not None:
            choose_device(self.device)

    def check_used(self, *, embeddings: bool, scorer: bool) -> None:
        """Refuse what no model would see.

        Args:
            embeddings: Whether the bundle's bi-encoder is loaded.
            scorer: Whether a cross-encoder of the bundle is.

        Raises:
            InvalidArgumentError: Something is given that could have no effect.
        """
        names = [name for name in self.given() if name != "threads"]  # which are for the store as well
        if names and not embeddings and not scorer:
            raise InvalidArgumentError(
                f"{', '.join(names)}: for the bundle's own models, and none of them is loaded here. Give it to the "
                "models that you pass in."
            )
        if self.precision == "int8" and not scorer:
            raise InvalidArgumentError(
                "precision='int8' is for the bundle's own cross-encoder, and none is loaded here: the bundle has none, "
                "or another is passed in. Leave it out, or give it to the model that you pass in."
            )

    def of_embeddings(self, precision: str) -> dict[str, Any]:
        """Return arguments for a bi-encoder that was saved with a precision.

        Not int8: a store notices another model by its fingerprint, which is the same for every precision, so that
        queries in int8 would be compared with documents that were not, and nothing would tell how far they are apart.
        """
        asked = None if self.precision == "int8" else self.precision
        return self.of_scorer(precision) | {"precision": precision if asked is None else asked}

    def of_scorer(self, precision: str) -> dict[str, Any]:
        """Return arguments for a cross-encoder that was saved with a precision."""
        return {
            "device": None,
            "backend": "auto",
            "precision": precision,
            "batch_size": None,
            "threads": None,
        } | (self.given())


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
        precision = "auto" if _is_forgotten(model) else model.asked_precision
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

    def load_embeddings(self, folder: Path, placed: Placed | None = None) -> PooledEmbeddings:
        """Load a bi-encoder, where and how it is asked.

        Raises:
            FormatError: If it is another model than the one that was saved.
        """
        how = (placed or Placed()).of_embeddings(self.precision)
        embeddings = PooledEmbeddings(str(folder), normalize=self.normalize, **how)
        self._check_same(embeddings, folder)
        return embeddings

    def load_scorer(
        self,
        folder: Path,
        placed: Placed | None = None,
        calibration: Sequence[tuple[str, str]] | None = None,
    ) -> CrossEncoderScorer:
        """Load a cross-encoder, where and how it is asked; `calibration` as `CrossEncoderScorer` takes it.

        Raises:
            FormatError: If it is another model than the one that was saved.
        """
        scorer = CrossEncoderScorer(
            str(folder),
            max_length=self.max_length,
            long_documents=self.long_documents or "truncate",
            calibration=calibration,
            **(placed or Placed()).of_scorer(self.precision),
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


def not_kept(model: PooledEmbeddings | CrossEncoderScorer) -> str | None:
    """Say that a bundle does not keep the precision that a model was asked for, and how to have it again.

    Returns:
        None where it is kept, or was left to choose.
    """
    if not _is_forgotten(model):
        return None
    asked = f"precision={model.asked_precision!r}"
    if isinstance(model, CrossEncoderScorer):
        whose, again = "cross-encoder", f"RerankRetriever.load_local(folder, {asked})"
    else:
        whose, again = "bi-encoder", f"load_local(folder, embeddings=PooledEmbeddings(..., {asked}))"
    return (
        f"The bundle does not keep {asked} of its {whose}, which not every machine has. To have it again, open the "
        f"bundle by {again}."
    )


def _is_forgotten(model: PooledEmbeddings | CrossEncoderScorer) -> bool:
    return model.asked_precision not in (*_PORTABLE_PRECISIONS, "auto")
