"""Evaluations with traces, as `evaluate` makes them, from a few letters a candidate."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from langchain_rerank_retriever.evaluation import Evaluation, judge
from langchain_rerank_retriever.evaluation.trace import QueryTrace, TracedCandidate

MEASURES = ("nDCG@10", "R@10")


def candidate(document_id: str, **known: Any) -> TracedCandidate:
    scores = dict.fromkeys(
        ("recall_score", "dense_score", "lexical_score", "rerank_score", "relevance_score")
    )
    rest = {"truncated": None, "outcome": "returned", "unscored": None, "rank": 0, "recall_rank": 0}
    return TracedCandidate(document_id, **{**scores, **rest, **known})


def trace(
    candidates: Sequence[TracedCandidate], *, kind: str = "rerank_score", **seconds: float
) -> QueryTrace:
    """Candidates in final order; recall had them in the same one unless they say otherwise."""
    placed = [
        replace(one, rank=place, recall_rank=one.recall_rank or place)
        for place, one in enumerate(candidates, start=1)
    ]
    stages = {"recall": 0.01, "rerank": 0.1, "blend": 0.0, "total": 0.11, **seconds}
    return QueryTrace(tuple(placed), stages, kind)  # type: ignore[arg-type]


def evaluated(
    traces: Mapping[str, QueryTrace],
    qrels: Mapping[str, Mapping[str, int]],
    *,
    name: str = "system",
    measures: Sequence[str] = MEASURES,
    texts: Mapping[str, str] | None = None,
) -> Evaluation:
    seconds = {
        stage: {query_id: one.seconds[stage] for query_id, one in traces.items()}
        for stage in ("recall", "rerank", "blend", "total")
    }
    rankings = {query_id: one.ranking for query_id, one in traces.items()}
    evaluation = judge(rankings, qrels, measures, name=name, seconds=seconds)
    return replace(evaluation, traces=traces, asked="one at a time", query_texts=texts or {})
