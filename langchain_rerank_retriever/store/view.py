"""What a search reads: immutable FAISS indexes, replaced as a whole, never changed.

FAISS crashes when one thread adds to an index that another searches. Here nobody adds to an index that has
been published: a change makes a new small segment, and the view that holds it takes the place of the old one
by a single assignment. Readers take no lock, and every answer belongs to exactly one sequence number.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import faiss
import numpy as np
from numpy.typing import NDArray

from langchain_rerank_retriever.protocols import FloatArray

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
ScoreArray = NDArray[np.float64]

#: Two sums of up to some thousand float32 products of unit vectors differ by less than this.
_ROUNDING = 1e-5
#: How many hits beyond k are asked for, so that a tie at the end is usually seen at once.
_SPARE = 8


@dataclass(frozen=True, slots=True)
class Segment:
    """One FAISS index that is never changed.

    Attributes:
        index: An exact inner-product index over unit vectors, so its scores are cosines.
        pks: Document numbers of the rows, ascending, shape ``(n,)``.
        vectors: The index's own rows, shape ``(n, d)``, float32; not a copy.
        alive: Which rows still count, shape ``(n,)``, or None for all.
    """

    index: faiss.IndexFlatIP
    pks: IntArray
    vectors: FloatArray
    alive: BoolArray | None = None

    @classmethod
    def build(cls, dimension: int, batches: Iterable[tuple[IntArray, FloatArray]]) -> "Segment":
        """Make a segment from batches of rows whose numbers ascend over all batches."""
        index = faiss.IndexFlatIP(dimension)
        numbers: list[IntArray] = [np.empty(0, dtype=np.int64)]
        for pks, vectors in batches:
            index.add(vectors)
            numbers.append(pks)
        size = index.ntotal * dimension
        rows: FloatArray = (
            faiss.rev_swig_ptr(index.get_xb(), size).reshape(-1, dimension)
            if size
            else np.empty((0, dimension), dtype=np.float32)
        )
        return cls(index, np.concatenate(numbers), rows)

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
            Rows, their scores best first, and whether these are all that could be returned.
        """
        mask = self.alive
        if allowed is not None:
            mask = np.zeros(len(self.pks), dtype=np.bool_)
            mask[self.rows_of(allowed)[1]] = True
        available = len(self.pks) if mask is None else int(mask.sum())
        wanted = min(k, available)
        if not wanted:
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32), True
        parameters = None
        if mask is not None:
            bits = np.packbits(mask, bitorder="little")
            # faiss annotates the C++ constructors; these are the Python ones around them.
            selector = faiss.IDSelectorBitmap(bits)  # type: ignore[call-arg, arg-type]
            parameters = faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]
        scores, rows = self.index.search(query[None], wanted, params=parameters)
        return rows[0], scores[0], wanted == available


@dataclass(frozen=True, slots=True)
class View:
    """The whole store as one search sees it.

    Attributes:
        seq: The change of the database that it shows.
        generation: Which line of changes ``seq`` counts; another generation means starting over.
        dimension: Length of a vector, None while the store has none.
        segments: Large to small; a document lives in one of them.
    """

    seq: int
    generation: int
    dimension: int | None = None
    segments: tuple[Segment, ...] = ()

    def __len__(self) -> int:
        return sum(segment.count for segment in self.segments)

    def search(
        self, query: FloatArray, k: int, allowed: IntArray | None = None
    ) -> tuple[IntArray, ScoreArray]:
        """The nearest documents, exactly.

        Args:
            query: Unit vector, shape ``(d,)``.
            k: How many; fewer come back only where fewer exist.
            allowed: Numbers of the only documents to consider, any order, each once.

        Returns:
            Numbers and cosines in [-1, 1], best first, ties in order of the numbers.
        """
        pks, scores = self._candidates(query, k, allowed)
        best = np.lexsort((pks, -scores))[:k]
        return pks[best], scores[best]

    def _candidates(self, query: FloatArray, k: int, allowed: IntArray | None) -> tuple[IntArray, ScoreArray]:
        """A superset of the k best: all that rounding could have pushed behind the k-th place."""
        asked = k + _SPARE
        while True:
            found = [segment.nearest(query, asked, allowed) for segment in self.segments]
            merged = np.sort(np.concatenate([scores for _, scores, _ in found] or [np.empty(0, np.float32)]))[
                ::-1
            ]
            limit = (merged[k - 1] if len(merged) >= k else -np.inf) - _ROUNDING
            if all(complete or scores[-1] < limit for _, scores, complete in found):
                break
            asked *= 2
        pks = [segment.pks[rows] for segment, (rows, _, _) in zip(self.segments, found)]
        exact = [
            _cosines(segment.vectors[rows], query) for segment, (rows, _, _) in zip(self.segments, found)
        ]
        return np.concatenate([np.empty(0, np.int64), *pks]), np.concatenate([np.empty(0), *exact])

    def vectors(self, pks: IntArray) -> FloatArray:
        """Unit vectors of documents that the view holds, shape ``(len(pks), d)``."""
        rows = np.empty((len(pks), self.dimension or 0), dtype=np.float32)
        for segment in self.segments:
            places, found = segment.rows_of(pks)
            rows[places] = segment.vectors[found]
        return rows

    def scores(self, query: FloatArray, pks: IntArray) -> ScoreArray:
        """Cosines of documents that the view holds: the very numbers that a search gives them."""
        # A view without vectors has no dimension either.
        return _cosines(self.vectors(pks), query) if len(pks) else np.empty(0)

    def changed(self, seq: int, removed: IntArray, pks: IntArray, vectors: FloatArray) -> "View":
        """The view after a change.

        Args:
            seq: The change's sequence number.
            removed: Documents that are gone.
            pks: Documents that are new or have a new vector, ascending.
            vectors: Their unit vectors, shape ``(len(pks), d)``.
        """
        gone = np.concatenate([removed, pks])
        segments = [segment.without(gone) for segment in self.segments] if len(gone) else list(self.segments)
        if len(pks):
            segments.append(Segment.build(vectors.shape[1], [(pks, vectors)]))
        dimension = vectors.shape[1] if len(pks) else self.dimension
        return replace(self, seq=seq, dimension=dimension, segments=tuple(_merged(segments)))


def _cosines(vectors: FloatArray, query: FloatArray) -> ScoreArray:
    # Products summed row by row in float64: unlike in a matrix product, a row's sum does not depend on the
    # rows around it, so a score is the same to the last bit whichever segment the document stands in.
    sums = (vectors.astype(np.float64) * query.astype(np.float64)).sum(axis=1)
    clipped: ScoreArray = np.clip(sums, -1.0, 1.0)
    return clipped


def _merged(segments: list[Segment]) -> list[Segment]:
    """Keep segments few: each at least twice the next, none mostly dead. So a row is copied log(n) times."""
    kept: list[Segment] = []
    for segment in segments:
        current = segment
        if 2 * current.count <= len(current.pks):
            current = _joined([current])
        while kept and kept[-1].count < 2 * current.count:
            current = _joined([kept.pop(), current])
        if current.count:
            kept.append(current)
    return kept


def _joined(segments: list[Segment]) -> Segment:
    parts = [segment.living() for segment in segments]
    pks = np.concatenate([numbers for numbers, _ in parts])
    vectors = np.concatenate([rows for _, rows in parts])
    order = np.argsort(pks, kind="stable")
    return Segment.build(vectors.shape[1], [(pks[order], np.ascontiguousarray(vectors[order]))])
