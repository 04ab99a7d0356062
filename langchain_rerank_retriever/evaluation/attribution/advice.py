"""What to do first about documents that are lost, by a stated rule."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from langchain_rerank_retriever.evaluation.attribution.fates import FATES, IN_WORDS, Fate
from langchain_rerank_retriever.evaluation.attribution.splits import ErrorSplit
from langchain_rerank_retriever.evaluation.judge import judge
from langchain_rerank_retriever.evaluation.result import Evaluation
from langchain_rerank_retriever.evaluation.trace import TracedCandidate
from langchain_rerank_retriever.protocols import RecallMode

#: Less than this is not worth advice: hardly any set of queries can tell it from chance.
NEGLIGIBLE = 0.01


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a run shows of where its candidates come from.

    Attributes:
        depth: Most candidates that a query had; 0 where there are no traces.
        deeper_half: How many relevant documents recall found beyond half that depth.
        not_recalled: How many it did not find.
        side: Which scores recall ordered by, `"dense"` or `"lexical"`; None where by both, or by something else.
        reranked: Whether anything but recall decided the order.
        recall_order: The measure if the candidates stayed in recall order; None where there are no traces.
    """

    depth: int
    deeper_half: int
    not_recalled: int
    side: RecallMode | None
    reranked: bool
    recall_order: float | None


def evidence_of(evaluation: Evaluation, measure: str, not_recalled: int) -> Evidence:
    """Read what the advice needs from the traces of a run."""
    candidates = [
        (query_id, one) for query_id, trace in evaluation.traces.items() for one in trace.candidates
    ]
    depth = max((one.recall_rank for _, one in candidates), default=0)
    deeper = {
        (query_id, one.document_id)
        for query_id, one in candidates
        if 2 * one.recall_rank > depth and evaluation.qrels[query_id].get(one.document_id, 0) > 0
    }
    return Evidence(
        depth=depth,
        deeper_half=len(deeper),
        not_recalled=not_recalled,
        side=_side([one for _, one in candidates]),
        reranked=any(trace.reranked for trace in evaluation.traces.values()),
        recall_order=_recall_order(evaluation, measure),
    )


def _side(candidates: Sequence[TracedCandidate]) -> RecallMode | None:
    if candidates and all(one.recall_score == one.lexical_score for one in candidates):
        return None if candidates[0].recall_score is None else "lexical"
    return "dense" if candidates and all(one.recall_score == one.dense_score for one in candidates) else None


def _recall_order(evaluation: Evaluation, measure: str) -> float | None:
    judged = {
        query_id: documents
        for query_id, documents in evaluation.qrels.items()
        if any(relevance > 0 for relevance in documents.values())
    }
    if not judged or not judged.keys() <= evaluation.traces.keys():
        return None
    orders = {query_id: _by_recall(evaluation.traces[query_id].candidates) for query_id in judged}
    return judge(orders, judged, (measure,))[measure]


def _by_recall(candidates: Sequence[TracedCandidate]) -> list[str]:
    return [one.document_id for one in sorted(candidates, key=lambda one: one.recall_rank)]


def advise(split: ErrorSplit, evidence: Evidence) -> str:
    """Say what to do first: about the cause that costs most; of two that cost the same, the earlier one.

    Ranking out and a poor order among the first k are one cause: both are mended by a better order.
    """
    costs = {fate: split.lost[fate] for fate in FATES if fate != "ranked_out"}
    ordering = split.lost["ranked_out"] + split.lost["order"]
    cause = max(costs, key=lambda name: costs[name])
    if max(costs[cause], ordering) < NEGLIGIBLE:
        return f"Less than {NEGLIGIBLE} of {split.measure} is lost to any one cause: there is little to gain."
    if ordering > costs[cause]:
        return (
            f"Most is lost to the order of what was recalled, {ordering:.3f} of {split.measure}. "
            f"{_mend_order(split, evidence)}"
        )
    remedy = _not_recalled(evidence) if cause == "not_recalled" else _REMEDIES[cause]
    return f"Most is lost to documents {IN_WORDS[cause]}, {costs[cause]:.3f} of {split.measure}. {remedy}"


_REMEDIES: Mapping[Fate, str] = {
    "not_indexed": "Index the documents, under the ids that the judgements use.",
    "filtered": "Look at the filter: it leaves out documents that answer the queries.",
    "not_returned": (
        "Whether they were recalled is not known of a retriever without explain(). Let it return more, and see "
        "whether they come."
    ),
    "timeout": "Raise the timeout, lower fetch_k, or take a faster cross-encoder.",
    "early_stop": "Switch early_stop off, or fit it anew with tune().",
    "dropped_by_reranker": "Let the re-ranker keep more: raise its top_n.",
    "below_threshold": "Lower score_threshold.",
    "collapsed": "If any document of a parent answers the query, judge parents: evaluate(..., key=...).",
    "truncated": (
        "Raise max_length, score long documents by windows (long_documents='max'), or index smaller pieces."
    ),
}


def _not_recalled(evidence: Evidence) -> str:
    # Each doubling of the depth finds fewer than the one before it, so the last one says what the next can bring.
    if 2 * evidence.deeper_half >= evidence.not_recalled:
        return (
            f"Raise fetch_k: the deeper half of the {evidence.depth} candidates held {evidence.deeper_half} relevant "
            f"documents, so that twice as many candidates may hold a good part of the {evidence.not_recalled} that "
            f"are missed."
        )
    remedy = {
        "dense": "Tune the bi-encoder, or recall by words as well (recall_mode='hybrid')",
        "lexical": "Recall by meaning as well (recall_mode='hybrid')",
    }.get(evidence.side or "", "Tune the bi-encoder")
    return (
        f"{remedy}. More candidates would help little: the deeper half of the {evidence.depth} "
        f"held only {evidence.deeper_half} relevant documents, and {evidence.not_recalled} are missed."
    )


def _mend_order(split: ErrorSplit, evidence: Evidence) -> str:
    if evidence.recall_order is None:
        return "Add a cross-encoder, or tune the one there is."
    if not evidence.reranked:
        return "Add a cross-encoder, or tune the bi-encoder."
    if evidence.recall_order > split.value:
        return (
            f"The order of recall alone is better ({evidence.recall_order:.3f} against {split.value:.3f}): tune the "
            f"cross-encoder on your data, or go without it."
        )
    return f"Tune the cross-encoder. (The order of recall alone reaches {evidence.recall_order:.3f}.)"
