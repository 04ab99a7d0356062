"""Rows that are searched together: arrays that nobody changes, so any number of threads may read them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import faiss
import numpy as np
from numpy.typing import NDArray

from langchain_rerank_retriever.protocols import FloatArray

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


if TYPE_CHECKING:
    from .graph import Graph

#: A filter that lets fewer of the rows through has all those looked at: the graph must be searched so much wider to
#: meet enough of them that it is hardly quicker (at a million rows: 21 ms against 53 at this share, 41 against 31 at
#: half of it). The same holds where more of the rows than this are asked for.
GRAPH_SHARE = 0.1

#: Segments of fewer rows are merged with their like at once; a copy of them takes milliseconds.
_SMALL = 8192
#: Larger ones are left until there are so many, each of which costs a search some 30 microseconds. Then those that hold
#: less than this share of all rows become one. So a bulk load copies a row once at most.
_MANY, _MINOR = 64, 1 / 8


@dataclass(frozen=True, slots=True)
class Segment:
    """Unit vectors with the numbers of their documents.

    Attributes:
        pks: Document numbers of the rows, ascending, shape ``(n,)``.
        vectors: Shape ``(n, d)``, float32, C-contiguous; may be a mapped file.
        alive: Which rows still count, shape ``(n,)``, or None for all.
        graph: Leads searches to the nearest rows approximately; without one they look at every row.
    """

    pks: IntArray
    vectors: FloatArray
    alive: BoolArray | None = None
    graph: "Graph | None" = None

    @classmethod
    def build(
        cls, dimension: int, batches: Iterable[tuple[IntArray, FloatArray]], *, expected: int
    ) -> "Segment":
        """Make a segment from batches of rows whose numbers ascend over all batches.

        Args:
            dimension: Length of a vector.
            batches: Numbers and vectors.
            expected: How many rows there will be, so that memory is taken once; a wrong number costs a copy.
        """
        pks = np.empty(expected, dtype=np.int64)
        vectors = np.empty((expected, dimension), dtype=np.float32)
        count = 0
        for numbers, values in batches:
            end = count + len(numbers)
            if end > len(pks):
                pks.resize(max(end, 2 * count), refcheck=False)
                vectors.resize((len(pks), dimension), refcheck=False)
            pks[count:end], vectors[count:end] = numbers, values
            count = end
        return cls(pks[:count], vectors[:count])

    @property
    def count(self) -> int:
        """Number of rows that still count."""
        return len(self.pks) if self.alive is None else int(self.alive.sum())

    def rows_of(self, pks: IntArray) -> tuple[IntArray, IntArray]:
        """Find living rows: places in ``pks``, and the row of each of those."""
        if not len(self.pks) or not len(pks):
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
        rows = np.minimum(np.searchsorted(self.pks, pks), len(self.pks) - 1)
        found = self.pks[rows] == pks
        if self.alive is not None:
            found &= self.alive[rows]
        places = np.flatnonzero(found)
        return places, rows[places].astype(np.int64)

    def without(self, pks: IntArray) -> "Segment":
        """The same rows, of which some no longer count."""
        _, rows = self.rows_of(pks)
        if not len(rows):
            return self
        alive = np.ones(len(self.pks), dtype=np.bool_) if self.alive is None else self.alive.copy()
        alive[rows] = False
        return replace(self, alive=alive)

    def living(self) -> tuple[IntArray, FloatArray]:
        """Numbers and vectors of the rows that still count."""
        if self.alive is None:
            return self.pks, self.vectors
        return self.pks[self.alive], self.vectors[self.alive]

    def nearest(
        self, query: FloatArray, k: int, allowed: IntArray | None
    ) -> tuple[IntArray, FloatArray, bool]:
        """The best rows by FAISS's own arithmetic.

        Returns:
            Rows, their scores best first, and whether there is no sense in asking for more.
        """
        mask = self.alive
        if allowed is not None:
            mask = np.zeros(len(self.pks), dtype=np.bool_)
            mask[self.rows_of(allowed)[1]] = True
        available = len(self.pks) if mask is None else int(mask.sum())
        wanted = min(k, available)
        if not wanted:
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32), True
        share = available / len(self.pks)
        if self.graph is not None and share >= GRAPH_SHARE and wanted <= GRAPH_SHARE * available:
            rows, scores = self.graph.search(query, wanted, mask, share)
            if len(rows) == wanted:
                return rows, scores, True
        rows, scores = scan(self.vectors, query, wanted, mask)
        return rows, scores, wanted == available


def scan(
    vectors: FloatArray, query: FloatArray, k: int, mask: BoolArray | None
) -> tuple[IntArray, FloatArray]:
    """FAISS's exact search over an array where it lies, a mapped file for example, without an index.

    Args:
        vectors: Shape ``(n, d)``, float32, C-contiguous.
        query: Shape ``(d,)``, float32.
        k: At most the number of rows that the mask lets through.
        mask: Which rows to consider, shape ``(n,)``; None for all.

    Returns:
        Rows and inner products, best first, shape ``(k,)`` each.
    """
    rows, scores = np.empty(k, dtype=np.int64), np.empty(k, dtype=np.float32)
    bits = None if mask is None else np.packbits(mask, bitorder="little")
    # With a selector, even one that lets everything through, FAISS takes a loop that is about twice as fast.
    # faiss annotates the C++ constructor of the bitmap; this is the Python one around it.
    selector = faiss.IDSelectorAll() if bits is None else faiss.IDSelectorBitmap(bits)  # type: ignore[call-arg, arg-type]
    faiss.knn_inner_product(
        faiss.swig_ptr(np.ascontiguousarray(query)),
        faiss.swig_ptr(vectors),
        vectors.shape[1],
        1,
        len(vectors),
        k,
        faiss.swig_ptr(scores),
        faiss.swig_ptr(rows),
        selector,
    )
    return rows, scores


def scan_batch(vectors: FloatArray, queries: FloatArray, k: int) -> IntArray:
    """Rows of the k largest inner products of each of many queries, shape ``(len(queries), k)``."""
    return faiss.knn(queries, vectors, k, metric=faiss.METRIC_INNER_PRODUCT)[1]


def merged(segments: list[Segment]) -> list[Segment]:
    """Keep segments few, none mostly dead, and copy each row only a few times for that.

    One with a graph is left as it is until it is mostly dead.
    """
    kept: list[Segment] = []
    for segment in segments:
        current = segment
        if 2 * current.count <= len(current.pks):
            current = joined([current])
        while (
            current.count < _SMALL and kept and kept[-1].graph is None and kept[-1].count < 2 * current.count
        ):
            current = joined([kept.pop(), current])
        if current.count:
            kept.append(current)
    return kept if len(kept) <= _MANY else _minor_ones_joined(kept)


def _minor_ones_joined(segments: list[Segment]) -> list[Segment]:
    limit = _MINOR * sum(segment.count for segment in segments)
    minor = [segment.graph is None and segment.count < limit for segment in segments]
    major = [segment for segment, is_minor in zip(segments, minor) if not is_minor]
    return [*major, joined([segment for segment, is_minor in zip(segments, minor) if is_minor])]


def joined(segments: Sequence[Segment]) -> Segment:
    """The living rows of some segments as one without a graph; no copy of a single one that is all alive."""
    if len(segments) == 1 and segments[0].alive is None:
        return replace(segments[0], graph=None)
    parts = [segment.living() for segment in segments]
    pks = np.concatenate([numbers for numbers, _ in parts])
    vectors = np.concatenate([rows for _, rows in parts])
    if (pks[1:] > pks[:-1]).all():
        # New documents only: the usual case, in which one copy is enough.
        return Segment(pks, vectors)
    order = np.argsort(pks, kind="stable")
    return Segment(pks[order], vectors[order])
