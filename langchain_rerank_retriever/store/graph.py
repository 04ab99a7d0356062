"""HNSW: a graph over a segment's rows that leads a search to the nearest ones, approximately.

FAISS builds it and walks it. It is kept as plain arrays beside the vectors and put together from them again, so that
no file is parsed by FAISS, a graph from a mapped file needs no memory, and its scores are those of the vectors.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from langchain_rerank_retriever.protocols import FloatArray

from .segment import BoolArray, IntArray, scan_batch

logger = logging.getLogger(__name__)

Int32Array = NDArray[np.int32]

#: Links a node: FAISS's own choice. Half as many save 130 MB for a million rows and lose recall where rows are alike.
LINKS = 32
#: Rows are added so many at a time, so that a build can be stopped within seconds.
_BATCH = 2000
#: Recall is measured with this many queries at this depth. Half of them are rows, half are rows moved off the rows' own
#: distribution, as real queries are: by noise of half their length.
_QUERIES, _DEPTH, _NOISE = 200, 100, 0.5
#: Widths of the search that are tried, until the measured recall reaches the first bound, which leaves room for harder
#: queries. A graph that stays below the second is not used.
_WIDTHS = (100, 150, 200, 300, 400, 600, 800, 1200)
AIM, FLOOR = 0.97, 0.95
#: A search that may only return some rows is widened by what it passes over, and by this much: the rows that it may
#: return are then at least as likely to be found as without (measured for shares of 0.02 to 0.7 of a million).
_MASKED = 2.0

#: Its annotations are those of C++ and lack half of what is used here.
_faiss: Any = faiss
#: How many threads FAISS takes by itself: one a core, or what OMP_NUM_THREADS says.
THREADS: int = _faiss.omp_get_max_threads()


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """A graph over rows, and how wide a search in it must be.

    Attributes:
        levels: On how many levels each row stands, shape ``(n,)``.
        neighbors: Rows that each row is linked to, level by level, -1 where there is none; one after the other.
        entry: The row that searches begin at.
        links: Links of a row on each level above the lowest, which has twice as many.
        ef: Width of a search at depth 100 or less.
        recall: Share of the 100 nearest rows that searches of this width found when it was measured.
        vectors: The rows themselves, shape ``(n, d)``.
        index: FAISS's index, which borrows these arrays.
        storage: What the index reads the vectors from; borrows them too.
    """

    levels: Int32Array
    neighbors: Int32Array
    entry: int
    links: int
    ef: int
    recall: float
    vectors: FloatArray
    index: faiss.IndexHNSW
    storage: faiss.IndexFlatIP

    def search(
        self, query: FloatArray, k: int, mask: BoolArray | None, share: float
    ) -> tuple[IntArray, FloatArray]:
        """Rows that are near to a query, best first.

        Args:
            query: Unit vector, shape ``(d,)``.
            k: How many; fewer come back where the search found no more.
            mask: Which rows to consider; None for all.
            share: How many of the rows the mask lets through, above 0 to 1. The search is widened accordingly.

        Returns:
            Rows and their inner products.
        """
        width = self.ef * max(1.0, k / _DEPTH)
        selector = None
        if mask is not None:
            width *= _MASKED / share
            selector = _faiss.IDSelectorBitmap(np.packbits(mask, bitorder="little"))
        parameters = _faiss.SearchParametersHNSW(efSearch=int(width), sel=selector)
        scores, rows = self.index.search(query[None], k, params=parameters)
        found = rows[0] >= 0
        return rows[0][found], scores[0][found]


def assembled(
    vectors: FloatArray,
    levels: Int32Array,
    neighbors: Int32Array,
    *,
    entry: int,
    links: int,
    ef: int,
    recall: float,
) -> Graph:
    """A graph from its arrays, which may lie in a mapped file.

    Raises:
        ValueError: The arrays are no graph over these vectors. FAISS would follow them anywhere.
    """
    # Made over a storage that borrows the vectors; neither FAISS object owns or changes an array.
    storage = _faiss.IndexFlatIP(vectors.shape[1])
    nobody = storage.codes.owner
    index = _faiss.IndexHNSW(storage, links)
    widths = _faiss.vector_to_array(index.hnsw.cum_nneighbor_per_level).astype(np.int64)
    offsets = _checked_offsets(len(vectors), levels, neighbors, entry, widths)
    storage.codes = _faiss.MaybeOwnedVectorUInt8.create_view(_faiss.swig_ptr(vectors), vectors.nbytes, nobody)
    storage.ntotal = index.ntotal = len(vectors)
    hnsw = index.hnsw
    _faiss.copy_array_to_vector(offsets.astype(np.uint64), hnsw.offsets)
    _faiss.copy_array_to_vector(levels, hnsw.levels)
    hnsw.neighbors = _faiss.MaybeOwnedVectorInt32.create_view(
        _faiss.swig_ptr(neighbors), len(neighbors), nobody
    )
    hnsw.entry_point, hnsw.max_level = entry, int(levels[entry]) - 1
    return Graph(levels, neighbors, entry, links, ef, recall, vectors, index, storage)


def _checked_offsets(
    count: int, levels: Int32Array, neighbors: Int32Array, entry: int, widths: IntArray
) -> IntArray:
    """Where each row's links begin, shape ``(n + 1,)``, once it is sure that no link leads outside."""
    if levels.shape != (count,) or not count or not 0 <= entry < count:
        raise ValueError("levels or entry")
    if levels.min() < 1 or levels.max() >= len(widths) or levels[entry] != levels.max():
        raise ValueError("levels")
    offsets = np.concatenate([[0], np.cumsum(widths[levels])])
    if neighbors.shape != (offsets[-1],) or neighbors.min() < -1 or neighbors.max() >= count:
        raise ValueError("neighbors")
    for level in range(1, int(levels.max())):
        rows = np.flatnonzero(levels > level)
        places = offsets[rows][:, None] + np.arange(widths[level], widths[level + 1])
        linked = neighbors[places]
        if (levels[linked[linked >= 0]] <= level).any():
            raise ValueError("neighbors on a higher level")
    return offsets


def build(
    vectors: FloatArray, go_on: Callable[[], bool], *, threads: Callable[[], int] | None = None
) -> Graph | None:
    """Make a graph with FAISS, and find how wide a search must be.

    Args:
        vectors: Unit vectors, shape ``(n, d)``, float32, C-contiguous; may be a mapped file.
        go_on: Asked every few seconds; False ends the build.
        threads: How many to use from now on, asked as often; None for as many as FAISS takes.

    Returns:
        None where it was ended, or where no width reached the recall that is asked for, which is logged.
    """

    def going_on() -> bool:
        if threads is not None:
            # Holds for parallel regions that this very thread begins, and for no other thread of the process.
            _faiss.omp_set_num_threads(threads())
        return go_on()

    arrays = _linked(vectors, going_on) if going_on() else None
    if arrays is None:
        return None
    levels, neighbors, entry = arrays
    queries = _sample(vectors)
    expected = scan_batch(vectors, queries, min(_DEPTH, len(vectors)))
    graph = assembled(vectors, levels, neighbors, entry=entry, links=LINKS, ef=_WIDTHS[0], recall=0.0)
    for ef in _WIDTHS:
        if not going_on():
            return None
        graph = replace(graph, ef=ef)
        graph = replace(graph, recall=_recall(graph, queries, expected))
        if graph.recall >= AIM:
            break
    if graph.recall < FLOOR:
        logger.warning("No HNSW index: its recall is %.3f, and %.2f is asked for", graph.recall, FLOOR)
        return None
    return graph


def _linked(vectors: FloatArray, go_on: Callable[[], bool]) -> tuple[Int32Array, Int32Array, int] | None:
    # Built over vectors of one byte a number, which take a quarter of the memory beside the ones that are searched.
    # The graph is as good: what is linked to what hardly depends on the last digits.
    index = _faiss.IndexHNSWSQ(
        vectors.shape[1], _faiss.ScalarQuantizer.QT_8bit, LINKS, _faiss.METRIC_INNER_PRODUCT
    )
    index.train(vectors[:: max(1, len(vectors) // 100_000)])
    for start in range(0, len(vectors), _BATCH):
        if not go_on():
            return None
        index.add(vectors[start : start + _BATCH])
    levels = _faiss.vector_to_array(index.hnsw.levels).astype(np.int32)
    links = index.hnsw.neighbors
    neighbors = _faiss.rev_swig_ptr(links.data(), links.size()).copy()
    return levels, neighbors, int(index.hnsw.entry_point)


def _sample(vectors: FloatArray) -> FloatArray:
    rng = np.random.default_rng(0)
    rows = vectors[np.sort(rng.choice(len(vectors), min(_QUERIES, len(vectors)), replace=False))]
    noise = rng.standard_normal(rows.shape)
    noise *= _NOISE / np.linalg.norm(noise, axis=1, keepdims=True)
    noise[::2] = 0
    moved = rows + noise
    queries: FloatArray = (moved / np.linalg.norm(moved, axis=1, keepdims=True)).astype(np.float32)
    return queries


def _recall(graph: Graph, queries: FloatArray, expected: IntArray) -> float:
    k = expected.shape[1]
    hits = [
        len(np.intersect1d(graph.search(query, k, None, 1.0)[0], right))
        for query, right in zip(queries, expected)
    ]
    return float(np.mean(hits) / k)
