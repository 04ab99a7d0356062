"""What a store's calls take, and the same work done with SQLite and FAISS alone, as a yardstick of this machine."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import faiss
import numpy as np

from examples.benchmarks.lexical_scale import LENGTHS, Texts, Tiny, milliseconds
from examples.benchmarks.lexical_scale import build as build_lexical
from examples.benchmarks.store_scale import CHUNK, DIMENSION, Ready, mixture, queries
from langchain_rerank_retriever import FaissStore

FETCHED, CALLS = 50, 60

Rows = tuple[list[str], list[str], np.ndarray]


def chunks(count: int) -> Iterator[Rows]:
    """Ids, texts and vectors, CHUNK at a time."""
    for place, vectors in enumerate(mixture(count, seed=1)):
        ids = [str(place * CHUNK + number) for number in range(len(vectors))]
        yield ids, [f"Passage {name} of the collection, in a few words" for name in ids], vectors


def taken(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def seconds_of(calls: int, *sides: Callable[[], object], middle: float = 0.0) -> list[float]:
    """Seconds of a call of each side; they take turns, so that what else the machine does meets all of them.

    Args:
        calls: Of each.
        sides: What is called.
        middle: Which of the times: 0.5 is the median; 0.0 the shortest, which a busy machine lengthens least.
    """
    times = [[taken(side) for side in sides] for _ in range(calls)]
    return [float(one) for one in np.quantile(np.array(times), middle, axis=0)]


class Raw:
    """Texts and vectors in one SQLite table, committed as durably as the store does, and a flat index of FAISS."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "raw.db"
        self._connection = sqlite3.connect(self._path, isolation_level=None)
        self._connection.executescript(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; "
            "CREATE TABLE document (pk INTEGER PRIMARY KEY, id TEXT UNIQUE, text TEXT, value BLOB)"
        )
        self._index = faiss.IndexFlatIP(DIMENSION)

    def add(self, rows: Rows) -> None:
        ids, texts, vectors = rows
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany(
            "INSERT INTO document (id, text, value) VALUES (?, ?, ?)",
            zip(ids, texts, (vector.tobytes() for vector in vectors)),
        )
        self._connection.execute("COMMIT")
        self._index.add(vectors)

    def search(self, vector: np.ndarray, k: int) -> None:
        """With one thread, as the store does; several wait for each other on a busy machine."""
        before = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(1)
        self._index.search(vector[None], k)
        faiss.omp_set_num_threads(before)

    def fetch(self, ids: list[str]) -> list[tuple[str, str]]:
        marks = ",".join("?" * len(ids))
        return self._connection.execute(
            f"SELECT id, text FROM document WHERE id IN ({marks})", ids
        ).fetchall()

    def open(self) -> None:
        """Read every vector into a new index, and search it once."""
        connection = sqlite3.connect(self._path)
        index = faiss.IndexFlatIP(DIMENSION)
        rows = connection.execute("SELECT value FROM document ORDER BY pk")
        while part := rows.fetchmany(CHUNK):
            index.add(np.frombuffer(b"".join(value for (value,) in part), np.float32).reshape(-1, DIMENSION))
        index.search(queries()[:1], 10)
        connection.close()

    def close(self) -> None:
        self._connection.close()


def one_by_one(start: int) -> Iterator[Rows]:
    """Single documents that are not there yet."""
    vectors = next(mixture(CALLS, seed=3))
    for number, vector in enumerate(vectors, start=start):
        yield [f"new-{number}"], [f"The new passage {number}"], vector[None]


def add_to(store: FaissStore, rows: Rows) -> None:
    ids, texts, vectors = rows
    store.add_embeddings(texts, vectors, ids=ids)


def drawn(count: int) -> list[str]:
    """The ids of some documents that are there."""
    return [str(one) for one in np.random.default_rng(4).choice(count, FETCHED, replace=False)]


def calls_of(folder: Path, count: int) -> dict[str, float]:
    """Medians of adding one document and of fetching some, in a store that is there."""
    with FaissStore(Ready(), path=folder) as store:
        store.similarity_search_by_vector(queries()[0])
        new, ids = one_by_one(count), drawn(count)
        (adding,) = seconds_of(CALLS, lambda: add_to(store, next(new)), middle=0.5)
        (fetching,) = seconds_of(CALLS, lambda: store.get_by_ids(ids), middle=0.5)
    return {"add": adding, "fetch": fetching}


def lexical(folder: Path, count: int, asked: int) -> dict[str, float]:
    """The 95th percentile of lexical searches, in seconds, for the slowest length of a query."""
    texts = Texts()
    build_lexical(folder, texts, count)
    with FaissStore(Tiny(), path=folder, read_only=True) as store:
        store.lexical_search("warm up")
        slowest = max(
            float(np.percentile(milliseconds(store, texts.queries(length, asked), 100)[0][:, 0], 95))
            for length in LENGTHS
        )
    return {"p95": slowest / 1e3}
