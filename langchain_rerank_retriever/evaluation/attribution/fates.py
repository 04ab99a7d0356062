"""What can become of a relevant document on its way to the first places, and what became of each that is missed."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from langchain_core.documents import Document

from langchain_rerank_retriever.evaluation.result import Evaluation
from langchain_rerank_retriever.evaluation.trace import QueryTrace, TracedCandidate

#: In the order in which a query meets them.
Fate = Literal[
    "not_indexed",
    "filtered",
    "not_recalled",
    "not_returned",
    "timeout",
    "early_stop",
    "dropped_by_reranker",
    "below_threshold",
    "collapsed",
    "truncated",
    "ranked_out",
]
FATES: tuple[Fate, ...] = get_args(Fate)

#: Those that no order of the candidates can mend.
RECALL_FATES: tuple[Fate, ...] = ("not_indexed", "filtered", "not_recalled")

IN_WORDS: Mapping[Fate, str] = {
    "not_indexed": "not in the store",
    "filtered": "left out by the filter",
    "not_recalled": "not recalled",
    "not_returned": "not returned",
    "timeout": "not scored in time",
    "early_stop": "not scored after an early stop",
    "dropped_by_reranker": "dropped by the re-ranker",
    "below_threshold": "below the threshold",
    "collapsed": "another of its parent returned",
    "truncated": "ranked out, read only in part",
    "ranked_out": "ranked out",
}

#: What leaves its place to the next, whatever k is.
_TAKE_NO_PLACE = ("dropped_by_reranker", "collapsed")

#: The ids that a store has, or what tells those of the ids asked for, by themselves or with their documents.
Indexed = Collection[str] | Callable[[Sequence[str]], Iterable[str | Document]]


@dataclass(frozen=True, slots=True)
class LostDocument:
    """A relevant document that is not among the first k.

    Attributes:
        query_id: Of the query it answers.
        document_id: As in the judgements.
        relevance: Its judgement, 1 or more.
        fate: What became of it.
        place: In the final order of all candidates, each id once, 1-based; None where it is no candidate.
        recall_rank: In the recall order, 1-based; None where it is no candidate, or there is no trace.
    """

    query_id: str
    document_id: str
    relevance: int
    fate: Fate
    place: int | None = None
    recall_rank: int | None = None


def lost_documents(
    evaluation: Evaluation, *, k: int, indexed: Indexed | None, unfiltered: Evaluation | None
) -> tuple[LostDocument, ...]:
    """Find every relevant document that is missed, and its one fate; see `attribute`."""
    missed = [
        (query_id, document_id, relevance)
        for query_id, judged in evaluation.qrels.items()
        for document_id, relevance in judged.items()
        if relevance > 0 and document_id not in evaluation.ranking[query_id][:k]
    ]
    ways = {query_id: _Way.of(evaluation, query_id) for query_id, _, _ in missed}
    without_filter = {} if unfiltered is None else {one: _Way.of(unfiltered, one).places for one in ways}
    absent = [document_id for query_id, document_id, _ in missed if document_id not in ways[query_id].places]
    stored = _stored(indexed, sorted(set(absent))) if indexed is not None and absent else None
    lost = []
    for query_id, document_id, relevance in missed:
        way = ways[query_id]
        place, candidate = way.places.get(document_id, (None, None))
        if place is not None:
            fate: Fate = "ranked_out" if candidate is None else _outranked(candidate, way.above(place), k)
        elif stored is not None and document_id not in stored:
            fate = "not_indexed"
        elif document_id in without_filter.get(query_id, ()):
            fate = "filtered"
        else:
            fate = "not_recalled" if way.traced else "not_returned"
        recall_rank = None if candidate is None else candidate.recall_rank
        lost.append(LostDocument(query_id, document_id, relevance, fate, place, recall_rank))
    return tuple(lost)


@dataclass(frozen=True, slots=True)
class _Way:
    """What is known of how one query was answered.

    Attributes:
        places: By document id, its place from 1 and, where there is a trace, its first candidate in final order.
        traced: Whether there is a trace.
    """

    places: Mapping[str, tuple[int, TracedCandidate | None]]
    traced: bool

    def above(self, place: int) -> int:
        """How many before a place take one of k; those that others stand for, or a re-ranker dropped, do not."""
        return sum(
            candidate is None or candidate.outcome not in _TAKE_NO_PLACE
            for before, candidate in self.places.values()
            if before < place
        )

    @classmethod
    def of(cls, evaluation: Evaluation, query_id: str) -> "_Way":
        trace: QueryTrace | None = evaluation.traces.get(query_id)
        if trace is None:
            ranking = evaluation.ranking.get(query_id, ())
            return cls({name: (place, None) for place, name in enumerate(ranking, start=1)}, traced=False)
        first: dict[str, TracedCandidate] = {}
        for candidate in sorted(trace.candidates, key=lambda one: one.rank):
            first.setdefault(candidate.document_id, candidate)
        return cls(
            {name: (place, one) for place, (name, one) in enumerate(first.items(), start=1)}, traced=True
        )


def _outranked(candidate: TracedCandidate, above: int, k: int) -> Fate:
    """Say why a candidate is missed, before which stand so many that are returned or would be without the threshold."""
    if candidate.unscored is not None:
        return candidate.unscored
    if candidate.outcome in ("dropped_by_reranker", "collapsed"):
        return candidate.outcome
    # Further down it would be missed without the threshold, too.
    if candidate.outcome == "below_threshold" and above < k:
        return "below_threshold"
    return "truncated" if candidate.truncated else "ranked_out"


def _stored(indexed: Indexed, document_ids: Sequence[str]) -> set[str]:
    found = indexed(document_ids) if callable(indexed) else indexed
    return {str(one.id) if isinstance(one, Document) else one for one in found}
