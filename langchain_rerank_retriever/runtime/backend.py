"""The shape of a backend, and what it hands to the worker that drives it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from langchain_rerank_retriever.errors import ScoringError
from langchain_rerank_retriever.protocols import FloatArray


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a batch, tokenised.

    Attributes:
        item: Place of its input in the list that was tokenised, 0-based. Several rows may have one item
            (windows of a long passage); the largest value of them is the item's.
        length: Tokens, which is what padding is counted by; at least 1.
        payload: What ``run`` of the same backend needs.
        group: Kind of input, and tokens of its prompt where pooling leaves those out. Rows of different
            groups never share a batch.
        truncated: Whether the input was longer than the model reads.
    """

    item: int
    length: int
    payload: Any
    group: tuple[str, int | None] = ("", None)
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Output:
    """What a request gives back.

    Attributes:
        values: One entry an input, float32, shape ``(n,)`` or ``(n, dimension)``; NaN where it is not done.
            With nothing done at all the shape is ``(n,)``, because no dimension is known.
        truncated: Whether the input was longer than the model reads, shape ``(n,)``, bool; False where it is
            not done.
        done: Whether all rows of the input have run, shape ``(n,)``, bool. False only after a deadline.
    """

    values: FloatArray
    truncated: NDArray[np.bool_]
    done: NDArray[np.bool_]


class BatchTooLargeError(ScoringError):
    """A batch did not fit the device's memory. A smaller one may; the backend is as it was before."""


class Backend(Protocol):
    """A loaded model. Only its worker's thread calls it, one call at a time."""

    def start(self) -> None:
        """Prepare the calling thread; called once in each thread that drives the model."""
        ...

    def tokenise(self, items: Sequence[Any], kind: str) -> list[Row]:
        """Turn inputs into rows, at least one an input.

        Args:
            items: A bounded number of inputs.
            kind: What the inputs are, for instance ``"query"``.
        """
        ...

    def run(self, rows: Sequence[Row]) -> FloatArray:
        """Run one batch of rows of one group; one value a row, in their order.

        Raises:
            BatchTooLargeError: It needs more memory than there is.
        """
        ...
