"""What tuning found, as numbers and as words."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from langchain_rerank_retriever.blend import Blend
from langchain_rerank_retriever.evaluation.result import Evaluation
from langchain_rerank_retriever.tables import as_html, as_paragraphs
from langchain_rerank_retriever.training.proof.forms import FORM_OF
from langchain_rerank_retriever.training.proof.promote import Decision
from langchain_rerank_retriever.training.proof.signal import Signal, at_chance
from langchain_rerank_retriever.training.proof.systems import blend_of

#: Of an early stop, these numbers of returned documents are told: the best one, what a retriever returns unless told
#: otherwise, and what quality is measured on.
TOLD = (1, 4, 10)


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


@dataclass(frozen=True, slots=True, repr=False)
class TuningReport:
    """The outcome of `tune`; `str()` is a table with the verdict, and so is what a notebook shows.

    Attributes:
        systems: Every system, simplest first.
        chosen: The name of the one that the bundle serves.
        held_out_queries: How many queries the figures are means over; of scored pairs, how many pairs they are of.
        verdict: Why that one, in words.
        decisions: Every comparison on the way.
        depth_curve: nDCG@10 by `fetch_k`: of the chosen system where it re-ranks, else of the richest one that does;
            empty where none does.
        blend: The fitted weights, None where there were too few queries to fit any.
        training: Steps, loss and seconds of each encoder.
        data: Counts of documents and queries.
        comparison: Differences to base with intervals and tests, see `compare`.
        seconds: Wall time of each phase.
        blend_forms: Cross-fitted nDCG@10 of the blend by its form; empty where none was fitted.
        calibration: How true the chosen system's probabilities are, as `Calibration.to_dict`: `ece`, `queries` and
            `thresholds`; None where it has none, or there were too few queries to judge them.
        early_stop: How the chosen system's early stop does on queries that it was not fitted on, as
            `EarlyStopReport.to_dict`: `queries`, and by number of returned `documents` the share `changed`, the nDCG
            `lost`, the share of pairs `read`, and whether it is `offered`; None where none was fitted.
        depth: `fetch_k` of the chosen system, None where it is not known.
        signal: Whether the labels are better than chance, as a dictionary of `Signal`; None where it was not tested.
        warnings: What to know before trusting the figures, in words.
        data_card: What is in the data, as `DataCard.to_dict`; empty for scored pairs.
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
    blend_forms: Mapping[str, float] = field(default_factory=dict)
    calibration: Mapping[str, Any] | None = None
    early_stop: Mapping[str, Any] | None = None
    depth: int | None = None
    signal: Mapping[str, Any] | None = None
    warnings: Sequence[str] = ()
    data_card: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON data."""
        data = asdict(self)
        data["depth_curve"] = {str(depth): value for depth, value in self.depth_curve.items()}
        data["warnings"] = list(self.warnings)
        return data

    def __str__(self) -> str:
        """Return the table, what was fitted, warnings and the verdict."""
        return "\n".join([*self._table(), "", *self._remarks(), f"{self._judged()}. {self.verdict}"])

    def __repr__(self) -> str:
        measure, before = next(iter(self.systems[0].measures.items()))
        after = next(one for one in self.systems if one.name == self.chosen).measures[measure]
        return (
            f"<TuningReport: {self.chosen!r} chosen of {len(self.systems)} systems, {measure} {before:.3f} -> "
            f"{after:.3f} over {self._judged()}>"
        )

    def _repr_html_(self) -> str:
        """Show every system, with the interval of the first measure's mean, and the verdict in a notebook."""
        table = as_html(self._cells(self._intervals()), f"{self._judged()}; * is what the bundle serves")
        return f"{table}\n{as_paragraphs([*self._remarks(), self.verdict])}"

    def _judged(self) -> str:
        judged = "sentence pairs" if "held_out_pairs" in self.data else "queries"
        return f"{self.held_out_queries} held-out {judged}"

    def _remarks(self) -> Iterator[str]:
        yield from self._fitted()
        yield from (f"Warning: {one}" for one in self.warnings)

    def _intervals(self) -> dict[str, str]:
        """Write the 95 % interval of the first measure's mean, by system; nothing where none was computed."""
        first = next(iter(self.systems[0].measures))
        return {
            system["name"]: "{:.3f} to {:.3f}".format(*system["measures"][first]["mean_interval"])
            for system in self.comparison.get("systems", ())
        }

    def _fitted(self) -> Iterator[str]:
        kept = None if self.blend is None else blend_of(self.chosen, Blend.from_dict(self.blend))
        # Of the same length, the first is used: the richest.
        variant = max(kept.variants, key=lambda one: len(one.features)) if kept and kept.variants else None
        if variant is not None and len(variant.features) > 1:
            weights = ", ".join(f"{name} {weight:.2f}" for name, weight in variant.weights.items())
            yield f"Blend ({FORM_OF[variant.scaling]}): {weights}."
        if self.blend_forms:
            forms = ", ".join(f"{name} {value:.3f}" for name, value in self.blend_forms.items())
            yield f"nDCG@10 by form of the blend: {forms}."
        if self.calibration is not None:
            kept_most = self.calibration["thresholds"]["0.95"]
            yield (
                f"Probabilities: ECE {self.calibration['ece']:.3f}. score_threshold={kept_most['threshold']:.2g} "
                f"keeps 95 % of the relevant candidates and drops {100 * kept_most['dropped']:.0f} % of all."
            )
        if self.depth is not None:
            yield f"fetch_k: {self.depth}."
        if self.early_stop is not None:
            yield _early_stop(self.early_stop)

    def _cells(self, intervals: Mapping[str, str]) -> list[list[str]]:
        """Put every system in a row, the header first, and an interval after its first measure where there are any."""
        first, *more = self.systems[0].measures
        beside = ["95% interval"] if intervals else []
        rows = [
            [
                f"{system.name}{' *' if system.name == self.chosen else ''}",
                f"{system.measures[first]:.3f}",
                *(intervals[system.name] for _ in beside),
                *(f"{system.measures[measure]:.3f}" for measure in more),
                f"{system.latency_ms['p50']:.1f}" if system.latency_ms else "-",
            ]
            for system in self.systems
        ]
        return [["system", first, *beside, *more, "ms p50"], *rows]

    def _table(self) -> list[str]:
        header, *rows = self._cells({})
        widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
        return [
            "  ".join(
                cell.ljust(width) if place == 0 else cell.rjust(width)
                for place, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in [header, *rows]
        ]


def _early_stop(early_stop: Mapping[str, Any]) -> str:
    told = []
    for count in TOLD:
        error = early_stop["documents"][str(count)]
        told.append(
            f"for {count} {100 * error['read']:.0f} % of the pairs are read and {100 * error['changed']:.1f} % of the "
            "answers differ"
            if error["offered"]
            else f"for {count} it is not used"
        )
    return f"early_stop=True: {'; '.join(told)} (measured on {early_stop['queries']} queries)."


def verdict(
    chosen: str,
    decisions: Sequence[Decision],
    evaluations: Mapping[str, Evaluation],
    *,
    few: bool,
    signal: Signal | None = None,
) -> str:
    """Say in words what was chosen and why.

    Args:
        chosen: The name of the chosen system.
        decisions: What `promote` decided.
        evaluations: Every system on the reporting queries.
        few: Whether there were too few queries to fit weights.
        signal: Whether the labels say anything; None takes it that they do.
    """
    if signal is not None and not signal.ok:
        return at_chance(chosen)
    words = []
    base, best = evaluations["base"], evaluations[chosen]
    if chosen == "base":
        words.append("Nothing was promoted: the untuned bi-encoder stays.")
    else:
        before, after = base["nDCG@10"], best["nDCG@10"]
        words.append(f"Chosen: {chosen}. nDCG@10 {before:.3f} -> {after:.3f} ({after - before:+.3f}).")
    refused = [decision for decision in decisions if not decision.promoted and decision.candidate != chosen]
    words.extend(
        # Those differ from the figures above, which are of queries that nothing was chosen by.
        f"Not {one.candidate}: {one.reason}, against {one.incumbent} ({one.difference:+.3f} where it was chosen)."
        for one in refused[-2:]
    )
    if few:
        words.append("There were too few queries to fit any weights; more training queries would allow it.")
    return " ".join(words)
