"""Numbers and verdicts as a reader of the page sees them."""

import unicodedata
from typing import Any

from langchain_rerank_retriever.evaluation.comparison import ComparedSystem

#: Format characters that are part of a word or an emoji, and cannot move other text.
_HARMLESS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}\N{SOFT HYPHEN}"


def visible(value: Any) -> Any:
    """Replace what a page would act upon instead of showing it; other values than texts are left alone.

    Control characters and those that change the direction of the text after them become their number in brackets, such
    as `[U+202E]`: a name must not make the page say something else. Markup is escaped by the template.
    """
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    return "".join(f"[U+{ord(one):04X}]" if _acts(one) else one for one in value)


def _acts(letter: str) -> bool:
    if letter in "\n\t" or letter in _HARMLESS:
        return False
    return unicodedata.category(letter) in ("Cc", "Cf", "Cs")


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
