"""From rankings of document ids to measures: no retriever, no clock."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from langchain_rerank_retriever.errors import DataError, InvalidArgumentError
from langchain_rerank_retriever.evaluation.judgements import check_id, checked_qrels, some
from langchain_rerank_retriever.evaluation.measures import DEFAULT_MEASURES, evaluator_of, parse_measures
from langchain_rerank_retriever.evaluation.result import Evaluation

PERCENTILES = (50, 95, 99)


class Judge:
    """Judgements and measures made ready once, for any number of rankings of the same queries.

    The measures are those of ir-measures, which computes nearly all of them with trec_eval:

    * nDCG takes the relevance itself as gain and discounts by log2(rank + 1), rank from 1; the ideal ranking
      is made of all judged documents, returned or not. Every other measure takes relevance 1 and above as
      relevant.
    * Documents without a judgement count as not relevant.
    * A query that got no documents counts 0, and so does one without any relevant document: both stay in the
      mean.
    * The rank of a document is its place in the sequence. trec_eval would order documents of one score by
      their id; here no two have the same score.

    Args:
        qrels: `{query id: {document id: relevance}}`; see `checked_qrels`. Queries without a judgement are
            left out.
        measures: In the notation of ir-measures.

    Raises:
        DataError: If the judgements cannot be used.
        InvalidArgumentError: If a measure is unknown or cannot be computed.
    """

    def __init__(
        self, qrels: Mapping[str, Mapping[str, float]], measures: Sequence[str] = DEFAULT_MEASURES
    ) -> None:
        self._qrels = checked_qrels(qrels)
        self._measures = parse_measures(measures)
        self._evaluator = evaluator_of(self._measures, self._qrels)

    @property
    def measures(self) -> tuple[str, ...]:
        """Canonical names of the measures, in the order given."""
        return tuple(self._measures)

    @property
    def qrels(self) -> Mapping[str, Mapping[str, int]]:
        """The judgements as they are used, of the queries that have some."""
        return self._qrels

    def __call__(
        self,
        rankings: Mapping[str, Sequence[str]],
        *,
        name: str = "rankings",
        seconds: Mapping[str, Mapping[str, float]] | None = None,
    ) -> Evaluation:
        """Judge rankings.

        Args:
            rankings: Document ids, best first, for every judged query; an id that comes again counts at its
                first place only. An empty sequence is a query that got nothing. Queries without judgements
                are counted and left out.
            name: What the system is called.
            seconds: Wall time by stage and query, `{stage: {query id: seconds}}`.

        Raises:
            DataError: If a judged query has no ranking at all (it must not pass for one that got nothing), or
                an id is not a string.
            InvalidArgumentError: If a measure has no value for some query.
        """
        if missing := self._qrels.keys() - rankings.keys():
            raise DataError(
                f"rankings lack {len(missing)} of {len(self._qrels)} judged queries: {some(missing)}. Give "
                f"an empty list for a query that got nothing."
            )
        unique = {query_id: _unique(query_id, rankings[query_id]) for query_id in self._qrels}
        per_query = self._values(unique)
        return Evaluation(
            name=name,
            means={
                measure: math.fsum(values.values()) / len(values) for measure, values in per_query.items()
            },
            per_query=per_query,
            ranking=unique,
            latency_ms=_latency(seconds or {}),
            unjudged_queries=len(rankings.keys() - self._qrels.keys()),
            seconds=seconds or {},
            qrels=self._qrels,
        )

    def _values(self, rankings: Mapping[str, tuple[str, ...]]) -> dict[str, dict[str, float]]:
        # Falling scores, all different and exact in any float type. Queries that got nothing stay out: some
        # providers cannot divide by their number of documents, and ir-measures gives 0 for a query that is
        # not there.
        run = {
            query_id: {document_id: float(-place) for place, document_id in enumerate(ids)}
            for query_id, ids in rankings.items()
            if ids
        }
        found: dict[str, dict[str, float]] = {measure: {} for measure in self._measures}
        for metric in self._evaluator.iter_calc(run):
            found[str(metric.measure)][metric.query_id] = float(metric.value)
        for measure, values in found.items():
            for query_id in rankings:
                if not math.isfinite(values.get(query_id, math.nan)):
                    raise InvalidArgumentError(
                        f"Measure {measure!r} has no value for query {query_id!r}; choose one that is "
                        f"defined for every judged query, such as {', '.join(DEFAULT_MEASURES)}."
                    )
        return {
            measure: {query_id: values[query_id] for query_id in rankings}
            for measure, values in found.items()
        }


def judge(
    rankings: Mapping[str, Sequence[str]],
    qrels: Mapping[str, Mapping[str, float]],
    measures: Sequence[str] = DEFAULT_MEASURES,
    *,
    name: str = "rankings",
    seconds: Mapping[str, Mapping[str, float]] | None = None,
) -> Evaluation:
    """Judge rankings once; for many of the same queries make one `Judge`, which says what the measures mean.

    Args:
        rankings: Document ids, best first, for every judged query; an empty sequence is a query that got nothing.
        qrels: `{query id: {document id: relevance}}`.
        measures: In the notation of ir-measures.
        name: What the system is called.
        seconds: Wall time by stage and query, `{stage: {query id: seconds}}`.

    Raises:
        DataError: If the judgements cannot be used, or a judged query has no ranking.
        InvalidArgumentError: If a measure is unknown or cannot be computed.
    """
    return Judge(qrels, measures)(rankings, name=name, seconds=seconds)


def _unique(query_id: str, ids: Sequence[str]) -> tuple[str, ...]:
    if isinstance(ids, str):
        raise DataError(f"The ranking of query {query_id!r} must be a sequence of document ids, got {ids!r}.")
    for document_id in ids:
        if not (document_id and isinstance(document_id, str)):
            check_id(document_id, f"document id in the ranking of query {query_id!r}")
    return tuple(dict.fromkeys(ids))


def _latency(seconds: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    return {
        stage: {
            f"p{percentile}": float(value)
            for percentile, value in zip(
                PERCENTILES, np.percentile(1000 * np.array(list(taken.values())), PERCENTILES)
            )
        }
        for stage, taken in seconds.items()
        if taken
    }
