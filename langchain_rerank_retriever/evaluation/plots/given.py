"""What a picture is drawn of: evaluations as they are, or what was computed from them before."""

from collections.abc import Callable, Sequence
from typing import TypeAlias, TypeVar

from langchain_rerank_retriever.evaluation.result import Evaluation

Computed = TypeVar("Computed")

#: One evaluation or several, or what a picture shows of them, ready.
Given: TypeAlias = Evaluation | Computed | Sequence[Evaluation | Computed]


def several(given: Given[Computed]) -> list[Evaluation | Computed]:
    """List what was given, be it one or several."""
    return list(given) if isinstance(given, Sequence) else [given]


def computed(given: Given[Computed], compute: Callable[[Evaluation], Computed]) -> list[Computed]:
    """Compute of every evaluation what is drawn; what is ready is kept.

    Args:
        given: One or several.
        compute: Raises where an evaluation lacks what it needs: whoever names a system wants to see it.
    """
    return [compute(one) if isinstance(one, Evaluation) else one for one in several(given)]
