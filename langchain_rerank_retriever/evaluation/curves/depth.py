"""What re-ranking fewer candidates would cost in quality and gain in time, from one run."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.evaluation.judge import Judge
from langchain_rerank_retriever.evaluation.paired import RESAMPLES, bootstrap_intervals
from langchain_rerank_retriever.evaluation.result import Evaluation
from langchain_rerank_retriever.evaluation.trace import QueryTrace
from langchain_rerank_retriever.tables import as_html, known_columns

#: Quality changes with the logarithm of the depth, so that these are about equally far apart.
_LADDER = (0, 1, 2, 5, 10, 20, 30, 50, 75, 100, 150, 200, 300, 500, 750, 1000)


@dataclass(frozen=True, slots=True)
class DepthPoint:
    """What re-ranking the first `depth` candidates of recall gives.

    Attributes:
        depth: How many candidates are re-ranked; 0 is the order of recall.
        value: Mean of the measure.
        interval: 95 % interval of the mean, bootstrap over queries.
        milliseconds: Median time of a query; None where the time of re-ranking is not known by query.
    """

    depth: int
    value: float
    interval: tuple[float, float]
    milliseconds: float | None


@dataclass(frozen=True, slots=True, repr=False)
class DepthCurve:
    """Quality and time of one system by the depth of its re-ranking; a notebook shows it as a table.

    Attributes:
        name: The system's.
        measure: Canonical name.
        points: By rising depth; the last is the run as it was. One of depth 0 where nothing was re-ranked.
    """

    name: str
    measure: str
    points: tuple[DepthPoint, ...]

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON types."""
        return {**asdict(self), "points": [asdict(point) for point in self.points]}

    def __repr__(self) -> str:
        values = ", ".join(f"{point.depth}: {point.value:.4f}" for point in self.points)
        return f"<DepthCurve of {self.name!r} by {self.measure}: {values}>"

    def _repr_html_(self) -> str:
        """Show as a table in a notebook."""
        cells = [["re-ranked", self.measure, "95% interval", "ms p50"], *map(_cells, self.points)]
        return as_html(known_columns(cells), self.name)


def depth_curve(
    evaluation: Evaluation, measure: str = "nDCG@10", *, depths: Iterable[int] | None = None
) -> DepthCurve:
    """Compute what each smaller depth would have given, without asking again.

    At depth d, the candidates that recall put at 1 to d stand in their final order, the rest after them in recall
    order. A cross-encoder scores each pair by itself, so that this is what fetch_k = d would give in the first d
    places. Three things are approximate: a blend that standardises scores within the candidates keeps those of the
    full depth; what a threshold, a compressor or a collapse removed is missing at every depth; and candidates below d
    stay in the ranking, which for measures with a cutoff deeper than d is recall that went deeper.

    The time at depth d is that of the whole query less the share of re-ranking that the candidates below d took, each
    scored candidate counting the same.

    Args:
        evaluation: Of a retriever with `explain()`.
        measure: In the notation of ir-measures.
        depths: How many candidates to re-rank; None takes about equal steps of their logarithm. The full depth is
            always added, and what is beyond it left out.

    Raises:
        InvalidArgumentError: If there are no traces, or a depth is negative.
    """
    if not evaluation.traces or not evaluation.qrels:
        raise InvalidArgumentError(
            f"The evaluation {evaluation.name!r} holds no traces, so that its candidates are not known. Evaluate a "
            f"retriever with explain(), such as RerankRetriever."
        )
    steps = _depths(evaluation.traces.values(), depths)
    judge = Judge(evaluation.qrels, (measure,))
    (canonical,) = judge.measures
    columns = [
        judge({one: _order_at(evaluation, one, depth) for one in evaluation.ranking}).values(canonical)
        for depth in steps
    ]
    lower, upper = bootstrap_intervals(np.stack(columns, axis=1), resamples=RESAMPLES, seed=0)
    points = [
        DepthPoint(depth, float(values.mean()), (float(low), float(high)), _milliseconds(evaluation, depth))
        for depth, values, low, high in zip(steps, columns, lower, upper, strict=True)
    ]
    return DepthCurve(evaluation.name, canonical, tuple(points))


def _cells(point: DepthPoint) -> list[str]:
    taken = "" if point.milliseconds is None else f"{point.milliseconds:.1f}"
    return [str(point.depth), f"{point.value:.4f}", "{:.4f} to {:.4f}".format(*point.interval), taken]


def _depths(traces: Iterable[QueryTrace], asked: Iterable[Any] | None) -> list[int]:
    full = max((one.recall_rank for trace in traces if trace.reranked for one in trace.candidates), default=0)
    steps: tuple[Any, ...] = _LADDER if asked is None else tuple(asked)
    if wrong := [step for step in steps if isinstance(step, bool) or not isinstance(step, int) or step < 0]:
        raise InvalidArgumentError(f"depths must be whole numbers of at least 0, got {wrong[0]!r}.")
    return sorted({step for step in steps if step < full} | {full})


def _order_at(evaluation: Evaluation, query_id: str, depth: int) -> Sequence[str]:
    trace = evaluation.traces.get(query_id)
    if trace is None:
        return evaluation.ranking[query_id]
    recall_ranks: dict[str, int] = {}
    for one in sorted(trace.candidates, key=lambda one: one.recall_rank):
        recall_ranks.setdefault(one.document_id, one.recall_rank)
    kept = evaluation.ranking[query_id]
    ahead = [one for one in kept if recall_ranks[one] <= depth]
    behind = [one for one in kept if recall_ranks[one] > depth]
    return [*ahead, *sorted(behind, key=recall_ranks.__getitem__)]


def _milliseconds(evaluation: Evaluation, depth: int) -> float | None:
    if not {"total", "rerank"} <= evaluation.seconds.keys():
        return None
    totals, reranks = evaluation.seconds["total"], evaluation.seconds["rerank"]
    taken = [
        total - (1 - _share(evaluation.traces.get(query_id), depth)) * reranks.get(query_id, 0.0)
        for query_id, total in totals.items()
    ]
    return 1000 * float(np.median(taken))


def _share(trace: QueryTrace | None, depth: int) -> float:
    """Tell which share of what was re-ranked is within a depth; all of it where nothing was."""
    if trace is None or not trace.reranked:
        return 1.0
    # A compressor may give no scores; then every candidate counts.
    scored = [one for one in trace.candidates if one.rerank_score is not None] or trace.candidates
    return sum(one.recall_rank <= depth for one in scored) / len(scored)
