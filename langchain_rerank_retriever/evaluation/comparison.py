"""What a comparison says."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.evaluation.table import as_markdown, as_text


@dataclass(frozen=True, slots=True)
class ComparedSystem:
    """One system by one measure, against the baseline. The baseline's own row has difference 0 and p 1.

    Attributes:
        system: Its name.
        measure: Canonical name of the measure.
        mean: Mean over all queries.
        difference: Mean minus the baseline's mean; above 0 is better.
        interval: 95 % interval of the difference, paired bootstrap over queries.
        p_value: Two-sided paired randomisation test.
        p_holm: The same, corrected for the number of systems compared by this measure.
        wins: Queries on which it is better than the baseline; `ties` and `losses` accordingly.
        verdict: `"baseline"`, `"better"`, `"worse"`, `"no difference of more than 0.012"` or
            `"not enough queries to tell"`.
    """

    system: str
    measure: str
    mean: float
    difference: float
    interval: tuple[float, float]
    p_value: float
    p_holm: float
    wins: int
    ties: int
    losses: int
    verdict: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Several systems on the same queries; `str()` is a table.

    Attributes:
        baseline: Name of the system that the others are compared with.
        queries: How many queries the means are over.
        rows: One for each measure and system, measure by measure, systems in the order given.
        latency_ms: `Evaluation.latency_ms` by system.
        resamples: Of the test and of the bootstrap.
        seed: Of both.
    """

    baseline: str
    queries: int
    rows: tuple[ComparedSystem, ...]
    latency_ms: Mapping[str, Mapping[str, Mapping[str, float]]]
    resamples: int
    seed: int

    def row(self, system: str, measure: str) -> ComparedSystem:
        """One row of the table.

        Raises:
            InvalidArgumentError: If there is no such row; names those there are.
        """
        for row in self.rows:
            if (row.system, row.measure) == (system, measure):
                return row
        raise InvalidArgumentError(
            f"No row for system {system!r} and measure {measure!r}; systems: "
            f"{', '.join(self.latency_ms)}; measures: {', '.join(self._measures())}."
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON types."""
        systems: dict[str, dict[str, Any]] = {
            name: {"name": name, "measures": {}, "latency_ms": _plain(latency)}
            for name, latency in self.latency_ms.items()
        }
        for row in self.rows:
            values = asdict(row)
            values["interval"] = list(row.interval)
            measure = values.pop("measure")
            systems[values.pop("system")]["measures"][measure] = values
        return {
            "baseline": self.baseline,
            "queries": self.queries,
            "resamples": self.resamples,
            "seed": self.seed,
            "systems": list(systems.values()),
        }

    def to_markdown(self) -> str:
        """The tables in Markdown."""
        parts = [f"**{title}**\n\n{as_markdown(cells)}" for title, cells in self._tables()]
        return "\n\n".join([*parts, self._legend()])

    def __str__(self) -> str:
        parts = [f"{title}\n{as_text(cells)}" for title, cells in self._tables()]
        return "\n\n".join([*parts, self._legend()])

    def _measures(self) -> list[str]:
        return list(dict.fromkeys(row.measure for row in self.rows))

    def _tables(self) -> list[tuple[str, list[list[str]]]]:
        header = [
            "system",
            "mean",
            "difference",
            "95% interval",
            "p",
            "p (Holm)",
            "wins/ties/losses",
            "verdict",
        ]
        tables = []
        for measure in self._measures():
            rows = [_cells(row) for row in self.rows if row.measure == measure]
            tables.append((f"{measure} over {self.queries} queries", [header, *rows]))
        totals = {name: latency["total"] for name, latency in self.latency_ms.items() if "total" in latency}
        if totals:
            percentiles = list(next(iter(totals.values())))
            rows = [
                [name, *(f"{values.get(percentile, math.nan):.1f}" for percentile in percentiles)]
                for name, values in totals.items()
            ]
            tables.append(("milliseconds a query", [["system", *percentiles], *rows]))
        return tables

    def _legend(self) -> str:
        return (
            f"Differences are to {self.baseline}. p: two-sided paired randomisation test; p (Holm): "
            f"corrected for the number of systems. Interval: paired bootstrap. {self.resamples} resamples, "
            f"seed {self.seed}."
        )


def _cells(row: ComparedSystem) -> list[str]:
    cells = [row.system, f"{row.mean:.4f}"]
    if row.verdict == "baseline":
        return [*cells, "", "", "", "", "", row.verdict]
    low, high = row.interval
    return [
        *cells,
        f"{row.difference:+.4f}",
        f"{low:+.4f} to {high:+.4f}",
        f"{row.p_value:.4f}",
        f"{row.p_holm:.4f}",
        f"{row.wins}/{row.ties}/{row.losses}",
        row.verdict,
    ]


def _plain(latency: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    return {stage: dict(values) for stage, values in latency.items()}
