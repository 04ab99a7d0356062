"""What a comparison says."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.evaluation.measures import cutoff, parse_measure
from langchain_rerank_retriever.tables import as_html, as_markdown, as_paragraphs, as_text

BASELINE = "baseline"
UNDECIDED = "not enough queries to tell"


@dataclass(frozen=True, slots=True)
class ComparedSystem:
    """One system by one measure, against another. The baseline's own row has difference 0 and p 1.

    Attributes:
        system: Its name.
        against: The name of the other, which is the baseline unless all pairs are compared.
        measure: Canonical name of the measure.
        mean: Mean over all queries.
        mean_interval: 95 % interval of the mean, bootstrap over queries. Whether two systems differ is not seen
            from these: see `interval`.
        difference: Mean minus the other's mean; above 0 is better.
        interval: 95 % interval of the difference, paired bootstrap over queries.
        p_value: Two-sided paired randomisation test.
        p_holm: The same, corrected for the number of pairs compared by this measure.
        wins: Queries on which it is better than the other.
        ties: Queries on which both are alike.
        losses: Queries on which it is worse.
        verdict: `"baseline"`, `"better"`, `"worse"`, `"no difference of more than 0.012"` or
            `"not enough queries to tell"`.
        queries_needed: About how many queries would do to tell, if more come that are like these; None where these
            do, or where there is but one. How it is computed: see `paired.queries_needed`.
    """

    system: str
    against: str
    measure: str
    mean: float
    mean_interval: tuple[float, float]
    difference: float
    interval: tuple[float, float]
    p_value: float
    p_holm: float
    wins: int
    ties: int
    losses: int
    verdict: str
    queries_needed: int | None

    @property
    def words(self) -> str:
        """The verdict, with how many queries would do where there are not enough."""
        if self.queries_needed is None:
            return self.verdict
        # More than two digits of an estimate from a few queries would be a pretence.
        step = 10 ** max(len(str(self.queries_needed)) - 2, 0)
        return f"{self.verdict}: about {math.ceil(self.queries_needed / step) * step:,} would do"


@dataclass(frozen=True, slots=True, repr=False)
class Comparison:
    """Several systems on the same queries; `str()` is a table.

    Attributes:
        baseline: Name of the system that the others are compared with.
        queries: How many queries the means are over.
        rows: Measure by measure: each system against the baseline, in the order given, then all other pairs where
            they are compared.
        latency_ms: `Evaluation.latency_ms` by system.
        resamples: Of the test and of the bootstrap.
        seed: Of both.
        asked: `Evaluation.asked` by system: what is timed together should be asked alike.
        unjudged: `Evaluation.unjudged_documents` by system.
        returned: `Evaluation.most_returned` by system.
    """

    baseline: str
    queries: int
    rows: tuple[ComparedSystem, ...]
    latency_ms: Mapping[str, Mapping[str, Mapping[str, float]]]
    resamples: int
    seed: int
    asked: Mapping[str, str]
    unjudged: Mapping[str, Mapping[str, float]]
    returned: Mapping[str, int]

    def row(self, system: str, measure: str, *, against: str | None = None) -> ComparedSystem:
        """One row of the table.

        Args:
            system: The name of the system.
            measure: The measure by its canonical name.
            against: What it is compared with; None is the baseline.

        Raises:
            InvalidArgumentError: If there is no such row; names those there are.
        """
        other = self.baseline if against is None else against
        for row in self.rows:
            if (row.system, row.against, row.measure) == (system, other, measure):
                return row
        raise InvalidArgumentError(
            f"No row for system {system!r} and measure {measure!r} against {other!r}; systems: "
            f"{', '.join(self.latency_ms)}; measures: {', '.join(self._measures())}; pairs other than with the "
            f"baseline: {', '.join(f'{one} against {two}' for one, two in self._pairs()) or 'none'}."
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON types."""
        systems: dict[str, dict[str, Any]] = {
            name: {
                "name": name,
                "measures": {},
                "latency_ms": _plain(latency),
                "asked": self.asked.get(name, ""),
                "unjudged_documents": dict(self.unjudged.get(name, {})),
                "most_returned": self.returned.get(name, 0),
            }
            for name, latency in self.latency_ms.items()
        }
        pairs = []
        for row in self.rows:
            values = asdict(row) | {"interval": list(row.interval), "mean_interval": list(row.mean_interval)}
            if row.against != self.baseline:
                pairs.append(values)
                continue
            measure = values.pop("measure")
            systems[values.pop("system")]["measures"][measure] = values
        return {
            "baseline": self.baseline,
            "queries": self.queries,
            "resamples": self.resamples,
            "seed": self.seed,
            "systems": list(systems.values()),
            "pairs": pairs,
        }

    def to_markdown(self) -> str:
        """The tables in Markdown."""
        parts = [f"**{title}**\n\n{as_markdown(cells)}" for title, cells in self._tables()]
        return "\n\n".join([*parts, *self.notes()])

    def __str__(self) -> str:
        parts = [f"{title}\n{as_text(cells)}" for title, cells in self._tables()]
        return "\n\n".join([*parts, *self.notes()])

    def __repr__(self) -> str:
        return (
            f"<Comparison of {', '.join(self.latency_ms)} with {self.baseline} by "
            f"{', '.join(self._measures())} over {self.queries} queries>"
        )

    def _repr_html_(self) -> str:
        """Show as tables in a notebook."""
        parts = [as_html(cells, title) for title, cells in self._tables()]
        return "\n".join([*parts, as_paragraphs(list(self.notes()))])

    def _measures(self) -> list[str]:
        return list(dict.fromkeys(row.measure for row in self.rows))

    def _pairs(self) -> list[tuple[str, str]]:
        return list(
            dict.fromkeys((row.system, row.against) for row in self.rows if row.against != self.baseline)
        )

    def _tables(self) -> Iterator[tuple[str, list[list[str]]]]:
        for measure in self._measures():
            rows = [row for row in self.rows if row.measure == measure]
            own = [[*_mean(row), *_difference(row)] for row in rows if row.against == self.baseline]
            yield (
                f"{measure} over {self.queries} queries",
                [["system", "mean", "95% interval", *_DIFFERENCE], *own],
            )
            among = [
                [row.system, row.against, *_difference(row)] for row in rows if row.against != self.baseline
            ]
            if among:
                yield f"{measure}, the others with each other", [["system", "against", *_DIFFERENCE], *among]
        totals = {name: latency["total"] for name, latency in self.latency_ms.items() if "total" in latency}
        if totals:
            yield "milliseconds a query", self._latency(totals)

    def _latency(self, totals: Mapping[str, Mapping[str, float]]) -> list[list[str]]:
        percentiles = list(next(iter(totals.values())))
        rows = [
            [name, *(f"{values.get(percentile, math.nan):.1f}" for percentile in percentiles)]
            for name, values in totals.items()
        ]
        if not any(self.asked.values()):
            return [["system", *percentiles], *rows]
        return [
            ["system", *percentiles, "asked"],
            *([*cells, self.asked.get(name, "")] for name, cells in zip(totals, rows, strict=True)),
        ]

    def notes(self) -> Iterator[str]:
        """Say how the numbers came about, and what to be careful with."""
        yield (
            f"Differences are to {self.baseline} where no other is named. p: two-sided paired randomisation test; "
            f"p (Holm): corrected for the number of differences in a measure. Intervals: bootstrap over queries, of "
            f"differences paired, each by itself. {self.resamples} resamples, seed {self.seed}."
        )
        for measure in self._measures():
            shares = {name: found[measure] for name, found in self.unjudged.items() if measure in found}
            if shares and max(shares.values()) - min(shares.values()) > _UNEVEN:
                listed = ", ".join(f"{share:.0%} of {name}" for name, share in shares.items())
                yield (
                    f"Careful: of the documents that {measure} looks at, nobody judged {listed}. They count as not "
                    f"relevant, so that the systems with more of them may be better than they look."
                )
            yield from self._shallow(measure)

    def _shallow(self, measure: str) -> Iterator[str]:
        """Say where a measure looks deeper than some of the systems rank, and others rank more."""
        depth = cutoff(parse_measure(measure))
        reached = {name: min(most, depth or most) for name, most in self.returned.items() if most}
        if depth is not None and reached and min(reached.values()) < max(reached.values()):
            listed = ", ".join(f"{most} of {name}" for name, most in reached.items())
            yield (
                f"Careful: {measure} looks at {depth} documents, and there are at most {listed}. Those that rank fewer "
                f"can only lose by it; give them a larger fetch_k, or compare by a measure that looks less deep."
            )


#: One place of ten: systems that differ by more in what was never judged are not judged alike.
_UNEVEN = 0.1

_DIFFERENCE = ("difference", "95% interval", "p", "p (Holm)", "wins/ties/losses", "verdict")


def _mean(row: ComparedSystem) -> list[str]:
    return [row.system, f"{row.mean:.4f}", "{:.4f} to {:.4f}".format(*row.mean_interval)]


def _difference(row: ComparedSystem) -> list[str]:
    if row.verdict == BASELINE:
        return ["", "", "", "", "", row.verdict]
    return [
        f"{row.difference:+.4f}",
        "{:+.4f} to {:+.4f}".format(*row.interval),
        f"{row.p_value:.4f}",
        f"{row.p_holm:.4f}",
        f"{row.wins}/{row.ties}/{row.losses}",
        row.words,
    ]


def _plain(latency: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    return {stage: dict(values) for stage, values in latency.items()}
