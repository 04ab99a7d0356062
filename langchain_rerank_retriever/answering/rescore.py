"""One stage of re-ranking, by whatever the user has: a cross-encoder of ours or others', or a document compressor."""

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Any

import numpy as np
from langchain_core.cross_encoders import BaseCrossEncoder
from langchain_core.documents import BaseDocumentCompressor, Document
from numpy.typing import NDArray

from langchain_rerank_retriever.answering.scoring import AReport, Report, Scored, StopRule, ascore, score
from langchain_rerank_retriever.errors import ScoringError
from langchain_rerank_retriever.protocols import SCORE_KEYS, Unscored
from langchain_rerank_retriever.recall.fusion import best_first
from langchain_rerank_retriever.reranker import CrossEncoderReranker

Reranker = BaseCrossEncoder | BaseDocumentCompressor

#: Marks a document on its way through a compressor, which may drop, reorder and rewrite what it is given.
_PLACE = "_langchain_rerank_retriever_place"
_NO_DOCUMENTS = "The compressor returned {}, expected a list of LangChain Documents with metadata."


@dataclass(frozen=True, slots=True)
class Rescored:
    """What re-ranking made of the candidates.

    Attributes:
        documents: One for each candidate, in recall order; a compressor may have rewritten some.
        order: The places of the candidates that are left: in the final order where a compressor gave it, else in the
            order in which they were scored.
        is_final: Whether a compressor gave the order; otherwise the scores decide.
        scores: Shape ``(n,)``; NaN where a candidate was not scored. None where the re-ranker gives no scores.
        truncated: Shape ``(n,)``, of meaning where there is a score; None where it is not known.
        unscored: Why a cross-encoder left candidates unscored; None where it did not.
        dropped: The places of the candidates that a compressor left out, and which stage that was, from 1.
        late: Those of the dropped that were left out because there was no time to score them.
    """

    documents: tuple[Document, ...]
    order: tuple[int, ...]
    is_final: bool = False
    scores: NDArray[np.float64] | None = None
    truncated: NDArray[np.bool_] | None = None
    unscored: Unscored | None = None
    dropped: Mapping[int, int] = field(default_factory=dict)
    late: frozenset[int] = frozenset()


def gives_scores(reranker: Any) -> bool:
    """Tell whether a re-ranker scores every pair (a cross-encoder) or only orders (a compressor)."""
    return isinstance(reranker, BaseCrossEncoder)


def rescore(
    reranker: Reranker,
    query: str,
    documents: Sequence[Document],
    *,
    deadline: float | None = None,
    stop: StopRule | None = None,
    report: Report | None = None,
) -> Rescored:
    """Re-rank the candidates of one query.

    Args:
        reranker: A cross-encoder or a compressor.
        query: The query.
        documents: In recall order; they are not changed.
        deadline: A time of `time.monotonic` after which no further pairs are scored, see `score`. A compressor cannot
            be stopped in the middle and ignores it, except our own: that puts what is unscored last. None is no limit.
        stop: Says when the rest need not be scored; a compressor ignores it.
        report: As for `score`; a compressor other than our own does not tell how far it is.

    Raises:
        ScoringError: If a model returns a number that is not finite, or not one number a pair; if a compressor
            returns what is no document, or one that it was not given.
    """
    if not documents:
        return _nothing(reranker)
    if isinstance(reranker, BaseCrossEncoder):
        pairs = _pairs(query, documents)
        return _with(documents, score(reranker, pairs, deadline=deadline, stop=stop, report=report))
    if type(reranker) is CrossEncoderReranker:
        return _best(reranker, rescore(reranker.model, query, documents, deadline=deadline, report=report))
    marked = _marked(documents)
    return _unmarked(documents, reranker.compress_documents(marked, query))


async def arescore(
    reranker: Reranker,
    query: str,
    documents: Sequence[Document],
    *,
    deadline: float | None = None,
    stop: StopRule | None = None,
    report: AReport | None = None,
) -> Rescored:
    """Do the same without blocking the event loop: awaited where the re-ranker can be, else in a thread."""
    if not documents:
        return _nothing(reranker)
    if isinstance(reranker, BaseCrossEncoder):
        pairs = _pairs(query, documents)
        return _with(documents, await ascore(reranker, pairs, deadline=deadline, stop=stop, report=report))
    if type(reranker) is CrossEncoderReranker:
        rescored = await arescore(reranker.model, query, documents, deadline=deadline, report=report)
        return _best(reranker, rescored)
    marked = _marked(documents)
    return _unmarked(documents, await reranker.acompress_documents(marked, query))


def _nothing(reranker: Reranker) -> Rescored:
    scores = gives_scores(reranker)
    return Rescored((), (), not scores, np.zeros(0) if scores else None)


def _pairs(query: str, documents: Sequence[Document]) -> list[tuple[str, str]]:
    return [(query, document.page_content) for document in documents]


def _with(documents: Sequence[Document], scored: Scored) -> Rescored:
    order = tuple(range(len(documents)))
    return Rescored(tuple(documents), order, False, scored.scores, scored.truncated, scored.unscored)


def _best(reranker: CrossEncoderReranker, rescored: Rescored) -> Rescored:
    """Keep what our own compressor keeps of what its cross-encoder scored."""
    scores = np.zeros(0) if rescored.scores is None else rescored.scores
    there = ~np.isnan(scores)
    best = np.flatnonzero(there)[best_first(scores[there])]
    if reranker.score_threshold is not None:
        best = best[scores[best] >= reranker.score_threshold]
    order = (*best.tolist(), *np.flatnonzero(~there).tolist())[: reranker.top_n]
    dropped = {place: 1 for place in range(len(scores)) if place not in order}
    lacking = dropped if rescored.unscored == "timeout" else ()
    late = frozenset(place for place in lacking if not there[place])
    return replace(rescored, order=order, is_final=True, dropped=dropped, late=late)


def _marked(documents: Sequence[Document]) -> list[Document]:
    """Copy the documents for a compressor, which may change what it is given.

    Scores that an earlier retrieval left in the metadata are taken out: they would be read as the compressor's.
    """
    return [
        Document(
            id=document.id,
            page_content=document.page_content,
            metadata={
                **{
                    key: copy.deepcopy(value)
                    for key, value in document.metadata.items()
                    if key not in SCORE_KEYS
                },
                _PLACE: place,
            },
        )
        for place, document in enumerate(documents)
    ]


def _unmarked(documents: Sequence[Document], kept: Any) -> Rescored:
    """Find out which candidates a compressor kept, in which order, and what it scored them."""
    result = list(documents)
    order: dict[int, None] = {}
    scores = np.full(len(documents), np.nan)
    for document in _listed(kept):
        place = _place(document, len(documents))
        if place in order:
            continue
        order[place] = None
        metadata = {key: value for key, value in document.metadata.items() if key != _PLACE}
        scores[place] = _score(metadata.get("relevance_score"))
        result[place] = Document(
            id=documents[place].id, page_content=document.page_content, metadata=metadata
        )
    known = None if not order or np.isnan(scores[list(order)]).any() else scores
    dropped = {place: 1 for place in range(len(documents)) if place not in order}
    return Rescored(tuple(result), tuple(order), True, known, dropped=dropped)


def _listed(kept: Any) -> list[Document]:
    """Check that a compressor, which is somebody else's, returned documents."""
    if not isinstance(kept, Iterable):
        raise ScoringError(_NO_DOCUMENTS.format(type(kept).__name__))
    found = list(kept)
    for one in found:
        if not isinstance(one, Document) or not isinstance(one.metadata, Mapping):
            raise ScoringError(_NO_DOCUMENTS.format(f"{type(kept).__name__} with {type(one).__name__} in it"))
    return found


def _place(document: Document, count: int) -> int:
    place = document.metadata.get(_PLACE)
    if type(place) is not int or not 0 <= place < count:
        raise ScoringError(
            "The compressor returned a document without the metadata it was given, so it cannot be told "
            "which candidate that is. A compressor must keep metadata; wrap it in a "
            "ContextualCompressionRetriever if it makes new documents."
        )
    return place


def _score(given: Any) -> float:
    """Read what a compressor scored a document; NaN where it did not."""
    if not isinstance(given, Real):
        return math.nan
    score = float(given)
    if not math.isfinite(score):
        raise ScoringError(
            f"The compressor gave the relevance_score {score}; a score must be a finite number. Check its model."
        )
    return score
