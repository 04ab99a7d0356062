"""What a search reads: immutable segments, replaced as a whole, never changed.

FAISS crashes when one thread adds to an index that another searches. Here nobody adds to what has been
published: a change makes a new small segment, and the view that holds it takes the place of the old one
by a single assignment. Readers take no lock, and every answer belongs to exactly one sequence number.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from langchain_rerank_retriever.protocols import FloatArray

from .segment import IntArray, Segment, merged

ScoreArray = NDArray[np.float64]

#: Two sums of up to some thousand float32 products of unit vectors differ by less than this.
_ROUNDING = 1e-5
#: How many hits beyond k are asked for, so that a tie at the end is usually seen at once.
_SPARE = 8


@dataclass(frozen=True, slots=True)
class View:
    """The whole store as one search sees it.

    Attributes:
        seq: The change of the database that it shows.
        generation: Which line of changes ``seq`` counts; another generation means starting over.
        dimension: Length of a vector, None while the store has none.
        segments: A document lives in one of them.
        drift: How many changes of documents the view has seen since it was last read from, or written to, a snapshot.
    """

    seq: int
    generation: int
    dimension: int | None = None
    segments: tuple[Segment, ...] = ()
    drift: int = 0

    def __len__(self) -> int:
        return sum(segment.count for segment in self.segments)

    def search(
        self, query: FloatArray, k: int, allowed: IntArray | None = None
    ) -> tuple[IntArray, ScoreArray]:
        """The nearest documents: exactly, but for those that a segment's graph misses; scores are exact always.

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
        # Only what can still be among the k best is scored exactly.
        near = [rows[scores >= limit] for rows, scores, _ in found]
        pks = [segment.pks[rows] for segment, rows in zip(self.segments, near)]
        exact = [
            _cosines(segment.vectors[rows], query) for segment, rows in zip(self.segments, near) if len(rows)
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
            segments.append(Segment(pks, vectors))
        return replace(
            self,
            seq=seq,
            dimension=vectors.shape[1] if len(pks) else self.dimension,
            segments=tuple(merged(segments)),
            drift=self.drift + len(gone),
        )


def _cosines(vectors: FloatArray, query: FloatArray) -> ScoreArray:
    # Products summed row by row in float64: unlike in a matrix product, a row's sum does not depend on the
    # rows around it, so a score is the same to the last bit whichever segment the document stands in.
    sums = (vectors.astype(np.float64) * query.astype(np.float64)).sum(axis=1)
    clipped: ScoreArray = np.clip(sums, -1.0, 1.0)
    return clipped
