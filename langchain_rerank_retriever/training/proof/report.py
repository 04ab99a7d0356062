"""What tuning found, as numbers and as words."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from langchain_rerank_retriever.evaluation.result import Evaluation
from langchain_rerank_retriever.training.proof.promote import Decision


@dataclass(frozen=True, slots=True)
class SystemReport:
    """One system on the held-out queries.

    Attributes:
        name: `"base"` is the untuned bi-encoder.
        measures: Measure to mean over the held-out queries.
        latency_ms: `p50` and `p95` of a query, one at a time; empty where it was not timed.
    """

    name: str
    measures: Mapping[str, float]
    latency_ms: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class TuningReport:
    """The outcome of `tune`.

    Attributes:
        systems: Every system, simplest first.
        chosen: The name of the one that the bundle serves.
        held_out_queries: How many queries the figures are means over.
        verdict: Why that one, in words.
        decisions: Every comparison on the way.
        depth_curve: nDCG@10 of the chosen system by `fetch_k`; empty for a system without re-ranking.
        blend: The fitted weights, None where there were too few queries to fit any.
        training: Steps, loss and seconds of each encoder.
        data: Counts of documents and queries.
        comparison: Differences to base with intervals and tests, see `compare`.
        seconds: Wall time of each phase.
    """

    systems: Sequence[SystemReport]
    chosen: str
    held_out_queries: int
    verdict: str
    decisions: Sequence[Decision]
    depth_curve: Mapping[int, float]
    blend: Mapping[str, Any] | None
    training: Mapping[str, Any]
    data: Mapping[str, int]
    comparison: Mapping[str, Any]
    seconds: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON data."""
        data = asdict(self)
        data["depth_curve"] = {str(depth): value for depth, value in self.depth_curve.items()}
        return data

    def __str__(self) -> str:
        """Return the table and the verdict."""
        measures = list(self.systems[0].measures)
        header = ["system", *measures, "ms p50"]
        rows = [
            [
                f"{system.name}{' *' if system.name == self.chosen else ''}",
                *(f"{system.measures[measure]:.3f}" for measure in measures),
                f"{system.latency_ms['p50']:.1f}" if system.latency_ms else "-",
            ]
            for system in self.systems
        ]
        widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
        lines = [
            "  ".join(
                cell.ljust(width) if place == 0 else cell.rjust(width)
                for place, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in [header, *rows]
        ]
        return "\n".join([*lines, "", f"{self.held_out_queries} held-out queries. {self.verdict}"])


def verdict(
    chosen: str, decisions: Sequence[Decision], evaluations: Mapping[str, Evaluation], *, few: bool
) -> str:
    """Say in words what was chosen and why.

    Args:
        chosen: The name of the chosen system.
        decisions: What `promote` decided.
        evaluations: Every system on the reporting queries.
        few: Whether there were too few queries to fit weights.
    """
    words = []
    base, best = evaluations["base"], evaluations[chosen]
    if chosen == "base":
        words.append("Nothing was promoted: the untuned bi-encoder stays.")
    else:
        before, after = base["nDCG@10"], best["nDCG@10"]
        words.append(f"Chosen: {chosen}. nDCG@10 {before:.3f} -> {after:.3f} ({after - before:+.3f}).")
    refused = [decision for decision in decisions if not decision.promoted and decision.candidate != chosen]
    words.extend(
        f"Not {one.candidate}: {one.reason}, against {one.incumbent} ({one.difference:+.3f})."
        for one in refused[-2:]
    )
    if few:
        words.append("There were too few queries to fit any weights; more training queries would allow it.")
    return " ".join(words)
