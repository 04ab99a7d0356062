"""From stage scores to the final order of one query's candidates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from langchain_rerank_retriever.answering.rescore import Rescored
from langchain_rerank_retriever.blend import BlendVariant
from langchain_rerank_retriever.protocols import RelevanceKind
from langchain_rerank_retriever.recall.candidate import Candidate, stage_columns
from langchain_rerank_retriever.recall.fusion import Floats, best_first


@dataclass(frozen=True, slots=True)
class Ranking:
    """The final order of one query's candidates.

    Attributes:
        order: Places in the recall order, best first; candidates that a compressor dropped are last.
        relevance: What the order is by, one for each candidate in recall order; NaN where there is none.
        kind: What `relevance` is.
        blended: Blended scores in recall order, NaN where there is none; None without a fitted blend.
        dropped: Places that a compressor did not return, and which stage that was, from 1.
    """

    order: tuple[int, ...]
    relevance: Floats
    kind: RelevanceKind
    blended: Floats | None = None
    dropped: Mapping[int, int] = field(default_factory=dict)


def rank(candidates: Sequence[Candidate], rescored: Rescored | None, variant: BlendVariant | None) -> Ranking:
    """Order candidates by the blend where there is one, else by the re-ranker, else as recalled.

    Candidates that a deadline or an early stop left unscored follow the scored ones in the order in which they would
    have been scored: that of recall, or of the stage before. Ties keep that order, too. The scores of recall are
    standardised over all candidates, those of the re-ranker over the scored.
    """
    columns = stage_columns(candidates)
    if rescored is not None and rescored.is_final:
        return _by_compressor(columns["recall"], rescored)
    if rescored is not None and rescored.scores is not None:
        columns["rerank"] = rescored.scores
        left = np.array(rescored.order, int)
        scored = ~np.isnan(rescored.scores[left])
        dropped = rescored.dropped
    else:
        left, dropped = np.arange(len(candidates)), {}
        scored = np.ones(len(candidates), bool)
    relevance, blended, best = _scored(columns, left[scored], rescored, variant)
    order = (*best.tolist(), *left[~scored].tolist(), *sorted(dropped))
    kind: RelevanceKind = "recall_score" if rescored is None else "rerank_score"
    return Ranking(order, relevance, kind if variant is None else "probability", blended, dropped)


def _scored(
    columns: Mapping[str, Floats],
    places: np.typing.NDArray[np.intp],
    rescored: Rescored | None,
    variant: BlendVariant | None,
) -> tuple[Floats, Floats | None, np.typing.NDArray[np.intp]]:
    """Return the relevance of all candidates, their blended scores, and the places of the scored ones, best first."""
    size = columns["recall"].size
    if variant is None and rescored is None:
        return (
            columns["recall"],
            None,
            places,
        )  # A source's own order is believed, its scores are only reported.
    relevance = np.full(size, np.nan)
    if variant is None:
        relevance[places] = columns["rerank"][places]
        return relevance, None, places[best_first(relevance[places])]
    blended = np.full(size, np.nan)
    blended[places] = variant.blended(columns)[places]
    stopped = rescored is not None and rescored.unscored == "early_stop"
    relevance[places] = variant.probability(blended[places], scored=int(places.size) if stopped else None)
    return relevance, blended, places[best_first(blended[places])]


def _by_compressor(recall: Floats, rescored: Rescored) -> Ranking:
    order = (*rescored.order, *sorted(rescored.dropped))
    if rescored.scores is not None:
        return Ranking(order, rescored.scores, "rerank_score", None, rescored.dropped)
    return Ranking(order, recall, "recall_score", None, rescored.dropped)
