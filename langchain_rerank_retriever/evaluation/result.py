"""What an evaluation says."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from langchain_rerank_retriever.errors import DataError, InvalidArgumentError
from langchain_rerank_retriever.evaluation.measures import parse_measure

_FIELDS = ("name", "means", "per_query", "ranking", "latency_ms", "unjudged_queries")


@dataclass(frozen=True, slots=True)
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
    """

    name: str
    means: Mapping[str, float]
    per_query: Mapping[str, Mapping[str, float]]
    ranking: Mapping[str, tuple[str, ...]]
    latency_ms: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    unjudged_queries: int = 0

    @property
    def queries(self) -> int:
        """How many queries the means are over."""
        return len(self.ranking)

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
            "name": self.name,
            "queries": self.queries,
            "unjudged_queries": self.unjudged_queries,
            "means": dict(self.means),
            "latency_ms": {stage: dict(values) for stage, values in self.latency_ms.items()},
            "per_query": {measure: dict(values) for measure, values in self.per_query.items()},
            "ranking": {query_id: list(ids) for query_id, ids in self.ranking.items()},
        }

    @classmethod
    def from_dict(cls, data: Any) -> Self:
        """Make the evaluation that `to_dict` described.

        Raises:
            DataError: If something is missing; names it.
        """
        missing = [name for name in _FIELDS if not (isinstance(data, Mapping) and name in data)]
        if missing:
            raise DataError(f"This is not a saved evaluation: it lacks {', '.join(missing)}.")
        values = {name: data[name] for name in _FIELDS}
        values["ranking"] = {query_id: tuple(ids) for query_id, ids in data["ranking"].items()}
        return cls(**values)

    def __str__(self) -> str:
        left_out = f" ({self.unjudged_queries} without judgements left out)" if self.unjudged_queries else ""
        lines = [f"{self.name}: {self.queries} queries{left_out}"]
        width = max(map(len, [*self.means, *self.latency_ms]), default=0)
        lines += [f"  {measure:<{width}}  {mean:.4f}" for measure, mean in self.means.items()]
        if self.latency_ms:
            lines.append("  milliseconds a query")
        for stage, values in self.latency_ms.items():
            percentiles = "  ".join(f"{name} {value:.1f}" for name, value in values.items())
            lines.append(f"  {stage:<{width}}  {percentiles}")
        return "\n".join(lines)
