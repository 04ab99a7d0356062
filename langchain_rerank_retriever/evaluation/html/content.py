"""What a report says, as plain data for the template."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from langchain_rerank_retriever.evaluation.attribution.attribute import Attribution
from langchain_rerank_retriever.evaluation.attribution.fates import IN_WORDS
from langchain_rerank_retriever.evaluation.html.words import number
from langchain_rerank_retriever.evaluation.result import Evaluation

Table = list[list[str]]


@dataclass(frozen=True, slots=True)
class WorstQuery:
    """A query that a system answers badly.

    Attributes:
        query_id: Of the query.
        text: Of the query; empty where it is not known.
        value: Of the system.
        baseline: Of the baseline; None for the baseline itself.
        lost: What became of its missed documents, in words.
    """

    query_id: str
    text: str
    value: float
    baseline: float | None
    lost: str


def worst_queries(
    evaluation: Evaluation,
    baseline: Evaluation,
    measure: str,
    attribution: Attribution | None,
    *,
    shown: int,
) -> list[WorstQuery]:
    """Find the queries with a relevant document that a system answers worst.

    Args:
        evaluation: Of the system.
        baseline: To show beside it; of those that are equally bad, those that lost most against it come first.
        measure: By which.
        attribution: Where the documents went.
        shown: How many at most.
    """
    values, others = evaluation.per_query[measure], baseline.per_query[measure]
    fates: Mapping[str, Counter[str]] = {}
    if attribution is not None:
        fates = {one.query_id: Counter() for one in attribution.lost}
        for one in attribution.lost:
            fates[one.query_id][IN_WORDS[one.fate]] += 1
    answerable = [one for one in values if _answerable(evaluation, one)]
    ordered = sorted(answerable, key=lambda one: (values[one], values[one] - others[one], one))
    return [
        WorstQuery(
            query_id=one,
            text=evaluation.query_texts.get(one, ""),
            value=values[one],
            baseline=None if evaluation is baseline else others[one],
            lost=", ".join(f"{count} {fate}" for fate, count in fates.get(one, Counter()).items()),
        )
        for one in ordered[:shown]
    ]


def _answerable(evaluation: Evaluation, query_id: str) -> bool:
    judged = evaluation.qrels.get(query_id)
    return judged is None or any(relevance > 0 for relevance in judged.values())


def latency_table(evaluations: Sequence[Evaluation]) -> Table:
    """Rows of stages and percentiles of every system, the header first; nothing but the header without times."""
    percentiles = list(
        dict.fromkeys(name for one in evaluations for stage in one.latency_ms.values() for name in stage)
    )
    rows = [
        [
            one.name,
            stage,
            one.asked,
            *(number(values[name], 1) if name in values else "" for name in percentiles),
        ]
        for one in evaluations
        for stage, values in one.latency_ms.items()
    ]
    return [["system", "stage", "asked", *percentiles], *rows]


def count_table(evaluations: Sequence[Evaluation]) -> Table:
    """Rows of what is counted of every system, the header first."""
    header = [
        "system",
        "queries",
        "queries without judgements, left out",
        "queries that got nothing",
        "pairs read only in part",
        "unjudged documents within the depth of each measure",
    ]
    return [header, *(_counts(one) for one in evaluations)]


def _counts(evaluation: Evaluation) -> list[str]:
    cut = evaluation.truncated
    return [
        evaluation.name,
        str(evaluation.queries),
        str(evaluation.unjudged_queries),
        str(evaluation.queries_without_answer),
        "not known" if cut is None else f"{cut.pairs} of {cut.scored}",
        ", ".join(f"{measure} {share:.0%}" for measure, share in evaluation.unjudged_documents.items())
        or "not known",
    ]
