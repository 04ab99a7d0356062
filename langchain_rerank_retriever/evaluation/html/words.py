"""Numbers and verdicts as a reader of the page sees them."""

from typing import Any

from langchain_rerank_retriever.evaluation.comparison import ComparedSystem
from langchain_rerank_retriever.tables import visible


def visible_text(value: Any) -> Any:
    """Show what a page would act upon, see `visible`; other values than texts are left alone."""
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    return visible(value)


def number(value: float, digits: int = 4) -> str:
    """Write a measure."""
    return f"{value:.{digits}f}"


def signed(value: float, digits: int = 4) -> str:
    """Write a difference."""
    return f"{value:+.{digits}f}"


def p_value(value: float) -> str:
    """Write a p-value."""
    return f"{value:.4f}"


def sentence(row: ComparedSystem, baseline: ComparedSystem) -> str:
    """Say what came of comparing a system with the baseline."""
    low, high = row.interval
    return (
        f"{row.system} against {baseline.system}, by {row.measure}: "
        f"{row.words} ({number(row.mean, 3)} against {number(baseline.mean, 3)}; difference "
        f"{signed(row.difference, 3)}, 95 % interval {signed(low, 3)} to {signed(high, 3)}, p {p_value(row.p_holm)})."
    )
