"""The last step of a query: from stage scores to the final order, the scores in metadata and the explanation."""

import copy
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from langchain_core.documents import Document

from langchain_rerank_retriever.answering.collapse import belonging
from langchain_rerank_retriever.answering.rescore import Rescored
from langchain_rerank_retriever.blend import BlendVariant
from langchain_rerank_retriever.protocols import (
    SCORE_KEYS,
    ExplainedCandidate,
    Outcome,
    RelevanceKind,
    Unscored,
)
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
        dropped: Places that a compressor did not return.
    """

    order: tuple[int, ...]
    relevance: Floats
    kind: RelevanceKind
    blended: Floats | None = None
    dropped: frozenset[int] = frozenset()


def rank(candidates: Sequence[Candidate], rescored: Rescored | None, variant: BlendVariant | None) -> Ranking:
    """Order candidates by the blend where there is one, else by the re-ranker, else as recalled.

    Candidates that a deadline or an early stop left unscored follow the scored ones in recall order. Ties keep the
    recall order. The scores of recall are standardised over all candidates, those of the re-ranker over the scored.
    """
    if rescored is not None and rescored.order is not None:
        return _by_compressor(candidates, rescored, rescored.order)
    rerank = None if rescored is None else rescored.scores
    recall = stage_columns(candidates)["recall"]
    scored = np.ones(len(candidates), bool) if rerank is None else ~np.isnan(rerank)
    places = np.flatnonzero(scored)
    relevance, blended = np.full(len(candidates), np.nan), None
    kind: RelevanceKind = "recall_score" if rerank is None else "rerank_score"
    if variant is not None:
        kind, blended = "probability", np.full(len(candidates), np.nan)
        columns = stage_columns(candidates) | ({} if rerank is None else {"rerank": rerank})
        blended[places] = variant.blended(columns)[places]
        stopped = rescored is not None and rescored.unscored == "early_stop"
        relevance[places] = variant.probability(blended[places], scored=int(places.size) if stopped else None)
        best = places[best_first(blended[places])]
    elif rerank is not None:
        relevance[places] = rerank[places]
        best = places[best_first(rerank[places])]
    else:
        relevance, best = recall, places  # A source's own order is believed, its scores are only reported.
    order = (*best.tolist(), *np.flatnonzero(~scored).tolist())
    return Ranking(order, relevance, kind, blended)


def _by_compressor(candidates: Sequence[Candidate], rescored: Rescored, kept: tuple[int, ...]) -> Ranking:
    dropped = sorted(set(range(len(candidates))) - set(kept))
    if rescored.scores is not None:
        return Ranking((*kept, *dropped), rescored.scores, "rerank_score", None, frozenset(dropped))
    recall = stage_columns(candidates)["recall"]
    return Ranking((*kept, *dropped), recall, "recall_score", None, frozenset(dropped))


def explained(
    candidates: Sequence[Candidate],
    rescored: Rescored | None,
    ranking: Ranking,
    *,
    k: int,
    score_threshold: float | None,
    collapse: str | None = None,
) -> tuple[ExplainedCandidate, ...]:
    """Say of every candidate, in final order, what its scores are and whether it is returned.

    Args:
        candidates: In recall order.
        rescored: What the re-ranker made of them, None where there is none.
        ranking: Their final order.
        k: How many are returned at most.
        score_threshold: Those with less relevance are not returned; None returns all.
        collapse: Metadata key of the parent: of those that pass the threshold, the first of each parent stands for the
            others, too.
    """
    result = []
    door = _Door(ranking, k, score_threshold, collapse)
    for rank_, place in enumerate(ranking.order, start=1):
        candidate = candidates[place]
        relevance = _number(ranking.relevance[place])
        document = candidate.document if rescored is None else rescored.documents[place]
        score, truncated, unscored = _reranked(place, rescored)
        outcome = door.outcome(place, relevance, document.metadata)
        result.append(
            ExplainedCandidate(
                document=_without_scores(document),
                rank=rank_,
                recall_rank=place + 1,
                recall_score=candidate.recall_score,
                dense_score=candidate.dense_score,
                lexical_score=candidate.lexical_score,
                rerank_score=score,
                blended_score=None if ranking.blended is None else _number(ranking.blended[place]),
                relevance_score=relevance,
                truncated=truncated,
                outcome=outcome,
                unscored=unscored,
            )
        )
    return tuple(result)


def _reranked(place: int, rescored: Rescored | None) -> tuple[float | None, bool | None, Unscored | None]:
    """Return the re-ranker's score of a candidate, whether it was cut, and why it was not scored."""
    score = None if rescored is None or rescored.scores is None else _number(rescored.scores[place])
    if rescored is None or score is None:
        return None, None, None if rescored is None else rescored.unscored
    return score, None if rescored.truncated is None else bool(rescored.truncated[place]), None


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _without_scores(document: Document) -> Document:
    """Copy a document without the scores that an earlier retrieval left: they are not this query's."""
    metadata = {key: value for key, value in document.metadata.items() if key not in SCORE_KEYS}
    return Document(id=document.id, page_content=document.page_content, metadata=metadata)


class _Door:
    """Lets candidates out, one after the other in final order, and says why not."""

    def __init__(self, ranking: Ranking, k: int, score_threshold: float | None, collapse: str | None) -> None:
        self._dropped, self._left = ranking.dropped, k
        self._score_threshold, self._collapse = score_threshold, collapse
        self._parents: set[Hashable] = set()

    def outcome(self, place: int, relevance: float | None, metadata: Mapping[str, Any]) -> Outcome:
        if place in self._dropped:
            return "dropped_by_reranker"
        if self._score_threshold is not None and (relevance is None or relevance < self._score_threshold):
            return "below_threshold"
        parent = None if self._collapse is None else belonging(metadata, self._collapse)
        if parent is not None:
            if parent in self._parents:
                return "collapsed"
            self._parents.add(parent)
        self._left -= 1
        return "returned" if self._left >= 0 else "below_k"


def returned_documents(candidates: Sequence[ExplainedCandidate], kind: RelevanceKind) -> tuple[Document, ...]:
    """Copy the documents that are returned, with their scores in the metadata."""
    return tuple(_with_scores(candidate, kind) for candidate in candidates if candidate.outcome == "returned")


def _with_scores(candidate: ExplainedCandidate, kind: RelevanceKind) -> Document:
    relevance = candidate.relevance_score
    if relevance is None:
        # No time was left to score it, or its source gives no scores: its place is its place in recall.
        relevance, kind = candidate.recall_score, "recall_score"
    scores = {
        "relevance_score": relevance,
        "relevance_kind": kind,
        "recall_score": candidate.recall_score,
        "recall_rank": candidate.recall_rank,
        "dense_score": candidate.dense_score,
        "lexical_score": candidate.lexical_score,
        "rerank_score": candidate.rerank_score,
    }
    metadata = copy.deepcopy(candidate.document.metadata)
    metadata |= {key: value for key, value in scores.items() if value is not None}
    return Document(id=candidate.document.id, page_content=candidate.document.page_content, metadata=metadata)
