"""What an evaluation says."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self, TypeVar

import numpy as np

from langchain_rerank_retriever.errors import DataError, InvalidArgumentError
from langchain_rerank_retriever.evaluation.measures import cutoff, parse_measure
from langchain_rerank_retriever.evaluation.paired import RESAMPLES, RULE_OF_THREE, Floats, bootstrap_intervals
from langchain_rerank_retriever.evaluation.trace import QueryTrace, Truncation, truncation_of
from langchain_rerank_retriever.tables import as_html, as_paragraphs

#: Of the saved form. Version 1 had no number and none of the fields that have a default here but the first two.
VERSION = 2

Value = TypeVar("Value")

_FIELDS = ("name", "means", "per_query", "ranking", "latency_ms", "unjudged_queries")


@dataclass(frozen=True, repr=False)
class Evaluation:
    """Measures of one system, over all judged queries and for each of them.

    Attributes:
        name: What the system is called in tables and comparisons.
        means: Arithmetic mean of each measure over all judged queries; a query that got nothing counts 0.
        per_query: The values behind the means, `{measure: {query id: value}}`.
        ranking: The ids that were judged, best first, each once, `{query id: (document id, ...)}`.
        latency_ms: Percentiles over the queries by stage, `{"total": {"p50": ..., "p95": ..., "p99": ...},
            ...}`; empty where nothing was timed.
        unjudged_queries: How many queries were left out because nothing is known of them.
        seconds: What `latency_ms` is made of, `{stage: {query id: seconds}}`.
        asked: How the queries were asked, and so what the seconds mean: see `evaluate`. Empty where no retriever
            was asked.
        traces: What became of each candidate, by query; empty where the retriever has no `explain()`.
        qrels: The judgements it was judged by, `{query id: {document id: relevance}}`, negative ones as 0.
        query_texts: What was asked, by query id; empty where no retriever was asked.
    """

    name: str
    means: Mapping[str, float]
    per_query: Mapping[str, Mapping[str, float]]
    ranking: Mapping[str, tuple[str, ...]]
    latency_ms: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    unjudged_queries: int = 0
    seconds: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    asked: str = ""
    traces: Mapping[str, QueryTrace] = field(default_factory=dict)
    qrels: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    query_texts: Mapping[str, str] = field(default_factory=dict)

    @property
    def queries(self) -> int:
        """How many queries the means are over."""
        return len(self.ranking)

    @property
    def queries_without_answer(self) -> int:
        """How many of them got no document at all."""
        return sum(not ids for ids in self.ranking.values())

    @cached_property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """95 % interval of each mean, `{measure: (low, high)}`: percentile bootstrap over queries, seed 0.

        Computed when first asked for. It tells how far the mean may be from that over all queries of the same kind;
        two systems on the same queries can differ surely although their intervals overlap, see `compare`.
        """
        if not self.ranking:
            return {}
        values = np.stack([self.values(measure) for measure in self.means], axis=1)
        lower, upper = bootstrap_intervals(values, resamples=RESAMPLES, seed=0)
        return {
            measure: (float(low), float(high))
            for measure, low, high in zip(self.means, lower, upper, strict=True)
        }

    @cached_property
    def unjudged_documents(self) -> dict[str, float]:
        """Share of the documents within each measure's depth that nobody judged, `{measure: share}`.

        They count as not relevant. Where one system has many more of them than another, it may be better than
        its values: what it finds was not found by those who made the judgements. 0.0 where nothing was returned;
        empty where the judgements are not known.
        """
        if not self.qrels:
            return {}
        return {measure: self._unjudged(cutoff(parse_measure(measure))) for measure in self.means}

    @cached_property
    def truncated(self) -> Truncation | None:
        """How many of the scored pairs the cross-encoder read only in part, and of how many this is known.

        None where no retriever told: it has no `explain()`, does not re-rank, or its re-ranker does not tell.
        """
        return truncation_of(self.traces)

    @cached_property
    def most_returned(self) -> int:
        """How many documents the longest ranking has; measures that look deeper cannot reach 1 by them alone.

        Of a retriever with `explain()` these are its candidates, so about its `fetch_k`.
        """
        return max(map(len, self.ranking.values()), default=0)

    @property
    def notes(self) -> tuple[str, ...]:
        """What to be careful with when the figures are read, a sentence or two each; usually nothing."""
        return tuple(self._notes())

    def values(self, measure: str) -> Floats:
        """Values of a measure by its canonical name, shape `(queries,)`, in the order of the sorted query ids."""
        values = self.per_query[measure]
        return np.array([values[query_id] for query_id in sorted(values)], dtype=np.float64)

    def __getitem__(self, measure: str) -> float:
        """Mean of a measure, in any notation that ir-measures reads.

        Raises:
            InvalidArgumentError: If the measure was not computed; names those that were.
        """
        name = measure if measure in self.means else str(parse_measure(measure))
        if name not in self.means:
            raise InvalidArgumentError(
                f"Measure {measure!r} was not computed; this evaluation has {', '.join(self.means)}."
            )
        return self.means[name]

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON types; `from_dict` reads it back."""
        return {
            "version": VERSION,
            "name": self.name,
            "queries": self.queries,
            "unjudged_queries": self.unjudged_queries,
            "queries_without_answer": self.queries_without_answer,
            "means": dict(self.means),
            "intervals": {measure: list(interval) for measure, interval in self.intervals.items()},
            "unjudged_documents": dict(self.unjudged_documents),
            "most_returned": self.most_returned,
            "notes": list(self.notes),
            "truncated": None if self.truncated is None else self.truncated._asdict(),
            "asked": self.asked,
            "latency_ms": _plain(self.latency_ms),
            "per_query": _plain(self.per_query),
            "ranking": {query_id: list(ids) for query_id, ids in self.ranking.items()},
            "seconds": _plain(self.seconds),
            "qrels": _plain(self.qrels),
            "query_texts": dict(self.query_texts),
            "traces": {query_id: trace.to_dict() for query_id, trace in self.traces.items()},
        }

    @classmethod
    def from_dict(cls, data: Any) -> Self:
        """Make the evaluation that `to_dict` described, by this version of the package or an earlier one.

        Raises:
            DataError: If something is missing or is not what it should be, or a newer version wrote it; says what.
        """
        missing = [name for name in _FIELDS if not (isinstance(data, Mapping) and name in data)]
        if missing:
            raise DataError(f"This is not a saved evaluation: it lacks {', '.join(missing)}.")
        if data.get("version", 1) not in range(1, VERSION + 1):
            raise DataError(
                f"This evaluation was saved in version {data['version']!r} of its form, and this package reads up "
                f"to {VERSION}. Update langchain-rerank-retriever."
            )
        try:
            return cls(
                name=data["name"],
                means=dict(data["means"]),
                per_query=_plain(data["per_query"]),
                ranking={query_id: tuple(ids) for query_id, ids in data["ranking"].items()},
                latency_ms=_plain(data["latency_ms"]),
                unjudged_queries=data["unjudged_queries"],
                seconds=_plain(data.get("seconds", {})),
                asked=data.get("asked", ""),
                traces={one: QueryTrace.from_dict(trace) for one, trace in data.get("traces", {}).items()},
                qrels=_plain(data.get("qrels", {})),
                query_texts=dict(data.get("query_texts", {})),
            )
        except (AttributeError, TypeError, ValueError) as error:
            raise DataError(f"This is not a saved evaluation: {error}.") from error

    def __repr__(self) -> str:
        means = ", ".join(f"{measure} {mean:.4f}" for measure, mean in self.means.items())
        return f"<Evaluation {self.name!r}: {means} over {self.queries} queries>"

    def __str__(self) -> str:
        lines = [f"{self.name}: {self.counts}"]
        width = max(map(len, [*self.means, *self.latency_ms]), default=0)
        lines += [f"  {measure:<{width}}  {'  '.join(cells)}" for measure, *cells in self._measures()]
        if self.latency_ms:
            lines.append(f"  milliseconds a query{_in_brackets(self.asked)}")
        for stage, values in self.latency_ms.items():
            percentiles = "  ".join(f"{name} {value:.1f}" for name, value in values.items())
            lines.append(f"  {stage:<{width}}  {percentiles}")
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])

    def _repr_html_(self) -> str:
        """Show as a table in a notebook."""
        header = ["measure", "mean", "95% interval", "not judged"]
        cells = as_html([header, *self._measures()], f"{self.name}: {self.counts}")
        return "\n".join([cells, *([as_paragraphs(list(self.notes))] if self.notes else [])])

    def _measures(self) -> list[list[str]]:
        unjudged = {measure: f"{share:.0%} not judged" for measure, share in self.unjudged_documents.items()}
        return [
            [
                measure,
                f"{mean:.4f}",
                "{:.4f} to {:.4f}".format(*self.intervals[measure]),
                *([unjudged[measure]] if measure in unjudged else []),
            ]
            for measure, mean in self.means.items()
        ]

    def _notes(self) -> Iterator[str]:
        depths = {measure: cutoff(parse_measure(measure)) or 0 for measure in self.means}
        deeper = [measure for measure, depth in depths.items() if 0 < self.most_returned < depth]
        if deeper:
            yield (
                f"No ranking has more than {self.most_returned} documents, and these measures look deeper: "
                f"{', '.join(deeper)}."
            )
        alike = [one for one in self.means if np.ptp(self.values(one)) == 0.0] if self.queries else []
        if alike:
            yield (
                f"All {self.queries} queries have one value of {', '.join(alike)}, so that the interval has no width. "
                f"Still, up to {min(1.0, RULE_OF_THREE / self.queries):.0%} of all such queries may have another."
            )

    @property
    def counts(self) -> str:
        """How many queries the means are over, and what is to be known of them, in words."""
        counted = [f"{self.queries} queries{_in_brackets(_left_out(self.unjudged_queries))}"]
        if self.queries_without_answer:
            counted.append(f"{self.queries_without_answer} got no document")
        if self.truncated is not None and self.truncated.pairs:
            counted.append("{} of {} scored pairs were read only in part".format(*self.truncated))
        return ", ".join(counted)

    def _unjudged(self, depth: int | None) -> float:
        looked_at = [(self.qrels.get(query_id, {}), ids[:depth]) for query_id, ids in self.ranking.items()]
        returned = sum(len(ids) for _, ids in looked_at)
        unjudged = sum(one not in judged for judged, ids in looked_at for one in ids)
        return unjudged / returned if returned else 0.0


def _left_out(queries: int) -> str:
    return f"{queries} without judgements left out" if queries else ""


def _in_brackets(words: str) -> str:
    return f" ({words})" if words else ""


def _plain(nested: Mapping[str, Mapping[str, Value]]) -> dict[str, dict[str, Value]]:
    return {outer: dict(inner) for outer, inner in nested.items()}
