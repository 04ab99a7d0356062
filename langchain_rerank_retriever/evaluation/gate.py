"""Whether a system is good enough to go on with: for a build that must stop when retrieval got worse."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.evaluation.compare import SIGNIFICANT, compare
from langchain_rerank_retriever.evaluation.comparison import ComparedSystem
from langchain_rerank_retriever.evaluation.measures import cutoff, parse_measure
from langchain_rerank_retriever.evaluation.paired import holm
from langchain_rerank_retriever.evaluation.result import Evaluation
from langchain_rerank_retriever.tables import as_html

#: Means that differ in their last digits only are equal.
_EQUAL = 1e-9


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was asked of a system.

    Attributes:
        passed: Whether it holds.
        reason: The figures, in words.
    """

    passed: bool
    reason: str


@dataclass(frozen=True, slots=True, repr=False)
class Gate:
    """Everything that was asked of a system; `str()` gives a line each.

    Attributes:
        checks: In the order of the floors, then of the measures compared.
    """

    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether all of it holds."""
        return all(check.passed for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON types."""
        return {"passed": self.passed, "checks": [asdict(check) for check in self.checks]}

    def __str__(self) -> str:
        return "\n".join(f"{_word(one)}: {one.reason}" for one in self.checks)

    def __repr__(self) -> str:
        passed = sum(one.passed for one in self.checks)
        return f"<Gate: {passed} of {len(self.checks)} checks passed>"

    def _repr_html_(self) -> str:
        """Show as a table in a notebook."""
        return as_html([["gate", "reason"], *([_word(one), one.reason] for one in self.checks)], "")


def _word(check: Check) -> str:
    return "passed" if check.passed else "FAILED"


def check_gate(
    evaluation: Evaluation,
    *,
    fail_below: Mapping[str, float] | None = None,
    against: Evaluation | None = None,
) -> Gate:
    """Check a system against floors, and against an earlier evaluation of the same queries.

    * A mean below its floor fails.
    * A mean that is significantly lower than the baseline's fails: the p of `compare`, corrected by Holm for the
      number of measures, is below 0.05. Between systems that do not differ, at most one gate in 20 finds a difference,
      however many measures there are, and one in 40 fails. A drop that is not significant passes, and its line tells
      how large it may be: with few queries, even a large drop can be chance, so set floors as well.

    Only measures that both evaluations have are compared.

    Args:
        evaluation: Of the system to check.
        fail_below: Lowest mean that will do, by measure: `{"nDCG@10": 0.70}`.
        against: The baseline; its name may be the same.

    Raises:
        InvalidArgumentError: If nothing is asked, a measure is unknown or was not computed, a floor is no finite
            number, or the baseline is of other queries, was judged by other judgements or has no measure in common.
    """
    if not fail_below and against is None:
        raise InvalidArgumentError(
            "A gate needs something to check: expected fail_below={'nDCG@10': 0.70}, or against=<an Evaluation>."
        )
    checks = [_floor(evaluation, measure, floor) for measure, floor in (fail_below or {}).items()]
    if against is not None:
        checks += _not_worse(evaluation, against)
    return Gate(tuple(checks))


def _floor(evaluation: Evaluation, measure: str, floor: float) -> Check:
    mean = evaluation[measure]
    given: Any = floor
    if isinstance(given, bool) or not isinstance(given, int | float) or not math.isfinite(given):
        raise InvalidArgumentError(f"The floor of {measure} must be a finite number, got {floor!r}.")
    passed = mean >= floor - _EQUAL
    says = "is not below" if passed else "is below"
    return Check(passed, f"{parse_measure(measure)} {mean:.4f} {says} {floor:g}")


def _not_worse(evaluation: Evaluation, baseline: Evaluation) -> list[Check]:
    shared = [measure for measure in evaluation.means if measure in baseline.means]
    if not shared:
        raise InvalidArgumentError(
            f"The baseline {baseline.name!r} has no measure of {evaluation.name!r}: it has "
            f"{', '.join(baseline.means)}. Evaluate with one of these."
        )
    # Names are keys there; here the two are usually called the same.
    comparison = compare(
        [_only(baseline, shared, "the baseline"), _only(evaluation, shared, evaluation.name)]
    )
    rows = [row for row in comparison.rows if row.verdict != "baseline"]
    corrected = holm(np.array([row.p_value for row in rows]))
    ranked = (evaluation.most_returned, baseline.most_returned)
    return [_compared(row, float(p), _fewer(row.measure, *ranked)) for row, p in zip(rows, corrected)]


def _only(evaluation: Evaluation, measures: list[str], name: str) -> Evaluation:
    return replace(
        evaluation,
        name=name,
        means={measure: evaluation.means[measure] for measure in measures},
        per_query={measure: evaluation.per_query[measure] for measure in measures},
    )


def _fewer(measure: str, ours: int, theirs: int) -> str:
    """Say where a measure looks deeper than the system ranks, and the baseline ranks more: it can only lose there."""
    depth = cutoff(parse_measure(measure))
    if depth is None or ours >= min(depth, theirs):
        return ""
    return f"; it ranks at most {ours} documents of {depth}, the baseline {min(depth, theirs)}"


def _compared(row: ComparedSystem, p: float, fewer: str) -> Check:
    low, high = row.interval
    worse = row.difference < 0 and p < SIGNIFICANT
    says = "is significantly below" if worse else "is not significantly below"
    if row.difference >= 0:
        says = "is not below"
    return Check(
        not worse,
        f"{row.measure} {row.mean:.4f} {says} the baseline's {row.mean - row.difference:.4f}: difference "
        f"{row.difference:+.4f}, 95% interval {low:+.4f} to {high:+.4f}, p {p:.4f}{fewer}",
    )
