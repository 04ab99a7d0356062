"""A re-ranker as a part of a bundle: one cross-encoder, or a cascade of them."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain_rerank_retriever.bundle_folder import folder_of
from langchain_rerank_retriever.bundled_model import Placed, SavedModel
from langchain_rerank_retriever.cross_encoder import CrossEncoderScorer
from langchain_rerank_retriever.errors import FormatError
from langchain_rerank_retriever.reranker import CrossEncoderReranker

#: What a bundle notes of a `CrossEncoderReranker` besides its model.
_LIMITS = ("top_n", "score_threshold")
#: Each stage is a model to load; of a cascade of more, no query would see the end.
MOST_STAGES = 16


def own_models(reranker: Any) -> list[CrossEncoderScorer] | None:
    """Return the cross-encoder of each stage; None where a stage is made of anything that is not ours."""
    stages = reranker if isinstance(reranker, list | tuple) else [reranker]
    models = []
    for stage in stages:
        model = stage.model if isinstance(stage, CrossEncoderReranker) else stage
        if not isinstance(model, CrossEncoderScorer):
            return None
        models.append(model)
    return models


def noted(reranker: Any, entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Make a manifest's part of the entries of the models, one a stage.

    A cross-encoder alone is noted as it was before there were cascades, so that earlier versions open it.
    """
    if isinstance(reranker, CrossEncoderScorer):
        return dict(entries[0])
    stages = reranker if isinstance(reranker, list | tuple) else [reranker]
    return {
        "stages": [
            entry
            | (
                {name: getattr(stage, name) for name in _LIMITS}
                if isinstance(stage, CrossEncoderReranker)
                else {}
            )
            for stage, entry in zip(stages, entries, strict=True)
        ]
    }


def entries_of(part: Any) -> list[dict[str, Any]]:
    """Return what a manifest notes of each model of a part; none of a part that is not there or foreign."""
    if not isinstance(part, dict) or "foreign" in part:
        return []
    stages = part.get("stages")
    return [part] if stages is None else [stage for stage in stages if isinstance(stage, dict)]


@dataclass(frozen=True, slots=True)
class SavedReranker:
    """A bundle's re-ranker, looked up but not loaded.

    Attributes:
        stages: The folder of each stage's model, what is noted of the model, and how many it leaves: the fields of a
            `CrossEncoderReranker`, or None for a cross-encoder that only scores.
    """

    stages: tuple[tuple[Path, SavedModel, dict[str, Any] | None], ...]

    @classmethod
    def read(cls, source: Path, part: dict[str, Any]) -> "SavedReranker":
        """Find the folders that a manifest names.

        Raises:
            InvalidArgumentError: If it is a foreign part, which must be passed in.
            FormatError: If a folder is not there; also KeyError or TypeError for data of another shape.
        """
        entries = part.get("stages", [part])
        if not entries or any("top_n" not in entry for entry in entries[:-1]):
            raise TypeError("all stages but the last must say how many they leave")
        if len(entries) > MOST_STAGES:
            raise FormatError(
                f"{source} has {len(entries)} re-rankers; this version reads up to {MOST_STAGES}."
            )
        return cls(
            tuple(
                (
                    folder_of(source, entry, "reranker"),
                    SavedModel.from_dict(entry, pairs=True),
                    _limits(entry),
                )
                for entry in entries
            )
        )

    def load(
        self, opened: ExitStack, placed: Placed, calibration: Sequence[tuple[str, str]] | None = None
    ) -> Any:
        """Load all models.

        Args:
            opened: Closes them again where a later one cannot be loaded.
            placed: Where and how they run.
            calibration: As `CrossEncoderScorer` takes it.

        Returns:
            The stage, or a list of them where there are several.
        """
        stages: list[Any] = []
        for folder, model, limits in self.stages:
            scorer = opened.enter_context(model.load_scorer(folder, placed, calibration))
            stages.append(scorer if limits is None else CrossEncoderReranker(model=scorer, **limits))
        return stages[0] if len(stages) == 1 else stages


def _limits(entry: dict[str, Any]) -> dict[str, Any] | None:
    if "top_n" not in entry:
        return None
    top_n, threshold = (entry[name] for name in _LIMITS)
    if not isinstance(top_n, int) or top_n < 1 or not isinstance(threshold, float | int | None):
        raise TypeError(f"top_n={top_n!r}, score_threshold={threshold!r}")
    return {"top_n": top_n, "score_threshold": threshold}
