"""Vectors as the store keeps them: checked, float32, of length one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from langchain_rerank_retriever.errors import InvalidArgumentError, InvalidDocumentError
from langchain_rerank_retriever.protocols import FloatArray

from .segment import IntArray

#: Rows that are checked at a time: the copies of a part stay in the cache of a processor.
_PART = 256


@dataclass(frozen=True, slots=True)
class Embedded:
    """Those of a call's documents that have a vector.

    Attributes:
        places: Where in the call each document stands, ascending, shape ``(n,)``.
        vectors: Their unit vectors, shape ``(n, d)``, float32.
    """

    places: IntArray
    vectors: FloatArray

    @classmethod
    def nothing(cls, dimension: int) -> "Embedded":
        """No document yet."""
        return cls(np.empty(0, dtype=np.int64), np.empty((0, dimension), dtype=np.float32))

    def extended(self, places: Sequence[int], vectors: Sequence[FloatArray]) -> "Embedded":
        """With more documents, none of which had a vector; their vectors come in tables one after the other."""
        if not places:
            return self
        joined = np.concatenate([self.places, np.array(places, dtype=np.int64)])
        order = np.argsort(joined, kind="stable")
        return Embedded(joined[order], np.concatenate([self.vectors, *vectors])[order])


def unit_vectors(vectors: Any, positions: Sequence[int]) -> FloatArray:
    """Check document vectors and scale them to length one.

    Args:
        vectors: Shape ``(n, d)``: nested lists or an array of any real type; not changed.
        positions: Where in the call each belongs, for the messages; as many as there must be vectors.

    Returns:
        Shape ``(n, d)``, float32, C-contiguous.

    Raises:
        InvalidDocumentError: Not one vector per text, rows of different lengths, or a row that is
            not finite or is all zero.
    """
    try:
        array = _numbers(vectors)
    except (TypeError, ValueError) as error:
        raise InvalidDocumentError(
            f"The vectors are no table of numbers with rows of one length: {error}"
        ) from error
    if array.ndim != 2 or len(array) != len(positions) or array.shape[1] == 0:
        raise InvalidDocumentError(
            f"Expected one vector per text, shape ({len(positions)}, dimension), got an array of shape {array.shape}"
        )
    bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if bad.size:
        raise InvalidDocumentError(
            f"The vector at position {positions[bad[0]]} holds NaN or infinite numbers"
        )
    # Scaling by the largest entry first keeps the squares within the range of a float.
    largest = np.abs(array).max(axis=1, keepdims=True)
    zero = np.flatnonzero(largest[:, 0] == 0)
    if zero.size:
        raise InvalidDocumentError(
            f"The vector at position {positions[zero[0]]} is all zero, so it has no direction"
        )
    scaled = array / largest
    unit: FloatArray = np.ascontiguousarray(
        scaled / np.linalg.norm(scaled, axis=1, keepdims=True), dtype=np.float32
    )
    return unit


def unit_table(vectors: Any, *, count: int) -> FloatArray:
    """As unit_vectors for a whole call, a part at a time, so that no large copy is made."""
    if not isinstance(vectors, np.ndarray) or vectors.ndim != 2 or len(vectors) != count or not count:
        return unit_vectors(vectors, range(count))
    table = np.empty(vectors.shape, dtype=np.float32)
    for start in range(0, count, _PART):
        stop = min(start + _PART, count)
        table[start:stop] = unit_vectors(vectors[start:stop], range(start, stop))
    return table


def _numbers(given: Any) -> NDArray[np.float64]:
    if isinstance(given, np.ndarray) and np.iscomplexobj(given):
        # Numpy would only warn, and leave their imaginary parts out.
        raise TypeError(f"{given.dtype} is no type of real numbers")
    return np.asarray(given, dtype=np.float64)


def unit_query(vector: Any) -> FloatArray:
    """Check a query vector and scale it to length one: shape ``(d,)``, float32.

    Raises:
        InvalidArgumentError: Not one row of finite numbers, or all zero.
    """
    try:
        array = _numbers(vector)
        if array.ndim != 1:
            raise InvalidArgumentError(f"A query vector has the shape (dimension,), got {array.shape}")
        unit: FloatArray = unit_vectors(array[None], [0])[0]
    except (TypeError, ValueError) as error:
        if isinstance(error, InvalidArgumentError):
            raise
        reason = str(error).replace("The vector at position 0", "it")
        raise InvalidArgumentError(f"The query vector cannot be used: {reason}") from error
    return unit
