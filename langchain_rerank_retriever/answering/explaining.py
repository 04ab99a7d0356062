"""The last step of a query: the scores in the metadata of what is returned, and what is said of each candidate."""

import copy
from collections.abc import Sequence

import numpy as np
from langchain_core.documents import Document

from langchain_rerank_retriever.answering.options import Options
from langchain_rerank_retriever.answering.outcomes import outcomes
from langchain_rerank_retriever.answering.ranking import Ranking
from langchain_rerank_retriever.answering.rescore import Rescored
from langchain_rerank_retriever.protocols import SCORE_KEYS, ExplainedCandidate, RelevanceKind, Unscored
from langchain_rerank_retriever.recall.candidate import Candidate


def explained(
    candidates: Sequence[Candidate], rescored: Rescored | None, ranking: Ranking, options: Options
) -> tuple[ExplainedCandidate, ...]:
    """Say of every candidate, in final order, what its scores are and whether it is returned.

    Args:
        candidates: In recall order.
        rescored: What the re-ranker made of them, None where there is none.
        ranking: Their final order.
        options: What decides which are returned.
    """
    documents = documents_of(candidates, rescored)
    result = []
    for rank, (place, outcome) in enumerate(
        zip(ranking.order, outcomes(ranking, documents, options)), start=1
    ):
        candidate = candidates[place]
        score, truncated, unscored = _reranked(place, rescored)
        result.append(
            ExplainedCandidate(
                document=_without_scores(documents[place]),
                rank=rank,
                recall_rank=place + 1,
                recall_score=candidate.recall_score,
                dense_score=candidate.dense_score,
                lexical_score=candidate.lexical_score,
                rerank_score=score,
                blended_score=None if ranking.blended is None else _number(ranking.blended[place]),
                relevance_score=_number(ranking.relevance[place]),
                truncated=truncated,
                outcome=outcome,
                unscored=unscored,
                dropped_by=ranking.dropped.get(place),
            )
        )
    return tuple(result)


def documents_of(candidates: Sequence[Candidate], rescored: Rescored | None) -> Sequence[Document]:
    """Return the candidates' documents in recall order, as a compressor rewrote them."""
    return [one.document for one in candidates] if rescored is None else rescored.documents


def returned_documents(candidates: Sequence[ExplainedCandidate], kind: RelevanceKind) -> tuple[Document, ...]:
    """Copy the documents that are returned, with their scores, and whether time was too short, in the metadata."""
    timed_out = any(candidate.unscored == "timeout" for candidate in candidates) or None
    return tuple(
        _with_scores(candidate, kind, timed_out)
        for candidate in candidates
        if candidate.outcome == "returned"
    )


def _reranked(place: int, rescored: Rescored | None) -> tuple[float | None, bool | None, Unscored | None]:
    """Return the re-ranker's score of a candidate, whether it was cut, and why it was not scored."""
    if rescored is None:
        return None, None, None
    score = None if rescored.scores is None else _number(rescored.scores[place])
    if score is not None:
        return score, None if rescored.truncated is None else bool(rescored.truncated[place]), None
    if place in rescored.dropped:
        return None, None, "timeout" if place in rescored.late else None
    return None, None, rescored.unscored


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _without_scores(document: Document) -> Document:
    """Copy a document without the scores that an earlier retrieval left: they are not this query's."""
    metadata = {key: value for key, value in document.metadata.items() if key not in SCORE_KEYS}
    return Document(id=document.id, page_content=document.page_content, metadata=metadata)


def _with_scores(candidate: ExplainedCandidate, kind: RelevanceKind, timed_out: bool | None) -> Document:
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
        "query_timed_out": timed_out,
    }
    metadata = copy.deepcopy(candidate.document.metadata)
    metadata |= {key: value for key, value in scores.items() if value is not None}
    return Document(id=candidate.document.id, page_content=candidate.document.page_content, metadata=metadata)
