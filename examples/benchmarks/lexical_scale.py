"""How lexical search of a FaissStore grows: query times, agreement with exhaustive search, size, build time.

    python examples/benchmarks/lexical_scale.py 100000
    python examples/benchmarks/lexical_scale.py 1000000 --keep million

Documents are generated: words by Zipf's law with Mandelbrot's shift, 1 / (rank + 2.7), over 300,000 words, so that the
commonest is in nearly every document and most are in a few; a quarter of a document's words are of its topic, one of
1,000. There are no stop words among them. Lengths are log-normal with a median of 80 words. A query is a number of
distinct words of one document, drawn as often as they stand there, so that most queries hold very common ones.

The exhaustive search is SQLite's own: every document that has a word of the query, scored by FTS5's bm25().

A store counts in how many documents a word is when it is first asked for it, and keeps that. So there are rows for
every length of query: asked one after the other; with a document added before each, whose words are all that is
counted anew; and each by a store that was just opened, which counts all words of the query. Only the queries are timed.
"""

import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import typer
from langchain_core.embeddings import Embeddings

from langchain_rerank_retriever import FaissStore

VOCABULARY, TOPICS, TOPIC_WORDS = 300_000, 1_000, 300
SHIFT = 2.7
CHUNK = 10_000
LENGTHS = (3, 8, 20)
K = 10
DEPTHS = (10, 100)

# Syllables of which no suffix is made that the Porter stemmer knows, so that no two words become one.
_SYLLABLES = [consonant + vowel for consonant in "bdfgkmnprvz" for vowel in "aiou"]


def word(number: int) -> str:
    """Spell a number; the commonest words are the shortest."""
    letters = ""
    while number or len(letters) < 4:
        number, digit = divmod(number, len(_SYLLABLES))
        letters += _SYLLABLES[digit]
    return letters


class Texts:
    """Documents and queries, always the same ones for the same seed."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self._words = np.array([word(number) for number in range(VOCABULARY)], dtype=object)
        self._general = _cumulated(VOCABULARY)
        self._topical = _cumulated(TOPIC_WORDS)
        # Of any frequency but the highest: as many from 100 to 1,000 as from 1,000 to 10,000.
        span = rng.random((TOPICS, TOPIC_WORDS))
        self._topics = (100 * (VOCABULARY / 100) ** span).astype(np.int64)

    def chunks(self, count: int, seed: int = 1) -> Iterator[list[str]]:
        """So many documents, in parts."""
        rng = np.random.default_rng(seed)
        for start in range(0, count, CHUNK):
            size = min(CHUNK, count - start)
            lengths = np.maximum(5, rng.lognormal(np.log(80), 0.6, size)).astype(np.int64)
            topics = np.repeat(rng.integers(0, TOPICS, size), lengths)
            tokens = np.searchsorted(self._general, rng.random(topics.size))
            topical = self._topics[topics, np.searchsorted(self._topical, rng.random(topics.size))]
            words = self._words[np.where(rng.random(topics.size) < 0.25, topical, tokens)]
            yield [" ".join(part) for part in np.split(words, np.cumsum(lengths)[:-1])]

    def queries(self, length: int, count: int) -> list[str]:
        """So many queries of so many distinct words, each from a document of its own."""
        rng = np.random.default_rng(length)
        found: list[str] = []
        for text in next(self.chunks(CHUNK, seed=2)):
            words = list(dict.fromkeys(rng.permutation(text.split()).tolist()))[:length]
            if len(words) == length:
                found.append(" ".join(words))
            if len(found) == count:
                break
        return found


def _cumulated(count: int) -> np.ndarray:
    weights = 1 / (np.arange(1, count + 1) + SHIFT)
    return np.cumsum(weights) / weights.sum()


class Tiny(Embeddings):
    """Stands for a model: vectors are no part of what is measured here, so they are as small as can be."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """The same vector for every text that is not empty."""
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        """The same vector for every text that is not empty."""
        return [1.0, float(not text)]


def build(folder: Path, texts: Texts, count: int) -> float:
    """Fill a store; seconds within its calls."""
    seconds = 0.0
    with FaissStore(Tiny(), path=folder) as store:
        for place, chunk in enumerate(texts.chunks(count)):
            ids = [str(place * CHUNK + number) for number in range(len(chunk))]
            vectors = np.tile(np.array([1, 0], np.float32), (len(chunk), 1))
            started = time.perf_counter()
            store.add_embeddings(chunk, vectors, ids=ids)
            seconds += time.perf_counter() - started
    return seconds


def exhaustive(connection: sqlite3.Connection, query: str) -> list[str]:
    """The ids of the best K by FTS5 alone; equal scores in order of insertion."""
    rows = connection.execute(
        "SELECT id FROM (SELECT rowid AS pk, bm25(lexical) AS score FROM lexical WHERE lexical MATCH ? "
        "ORDER BY score, rowid LIMIT ?) JOIN document USING (pk) ORDER BY score, pk",
        (" OR ".join(f'"{one}"' for one in query.split()), K),
    )
    return [row[0] for row in rows]


def milliseconds(store: FaissStore, queries: Iterable[str], depth: int) -> tuple[np.ndarray, list[list[str]]]:
    """Wall and processor time of each query, shape ``(queries, 2)``, and the ids of its best K."""
    taken, found = [], []
    for query in queries:
        started, used = time.perf_counter(), time.thread_time()
        documents = store.lexical_search(query, k=depth)
        taken.append((time.perf_counter() - started, time.thread_time() - used))
        found.append([str(document.id) for document in documents[:K]])
    return 1e3 * np.array(taken), found


def live(store: FaissStore, queries: list[str], added: list[str]) -> Iterator[str]:
    """The queries, with a document added before each; ``added`` gets the ids."""
    texts = next(Texts().chunks(CHUNK, seed=3))
    for query, text in zip(queries, texts):
        added += store.add_embeddings([text], np.array([[1, 0]], np.float32))
        yield query


def cold(folder: Path, queries: list[str], depth: int) -> tuple[np.ndarray, list[list[str]]]:
    """As `milliseconds`, each query by a store that was just opened."""
    taken, found = [], []
    for query in queries:
        with FaissStore(Tiny(), path=folder, read_only=True) as store:
            one, ids = milliseconds(store, [query], depth)
        taken.append(one)
        found += ids
    return np.concatenate(taken), found


Measured = tuple[int, int, str, np.ndarray, list[list[str]]]


def measured(folder: Path, queries: dict[int, list[str]]) -> Iterator[Measured]:
    """Words of a query, k, what happens between the queries, their times and what they found."""
    with FaissStore(Tiny(), path=folder, read_only=True) as store:
        store.lexical_search("warm up")
        for length, asked in queries.items():
            for depth in DEPTHS:
                yield length, depth, "nothing", *milliseconds(store, asked, depth)
    for length, asked in queries.items():
        yield length, DEPTHS[-1], "opened anew", *cold(folder, asked, DEPTHS[-1])
    added: list[str] = []
    with FaissStore(Tiny(), path=folder) as store:
        for length, asked in queries.items():
            # What was counted of these words is the state of a store that has been asked for a while.
            milliseconds(store, asked, DEPTHS[-1])
            yield length, DEPTHS[-1], "a write", *milliseconds(store, live(store, asked, added), DEPTHS[-1])
        store.delete(added)


def rows(folder: Path, texts: Texts, count: int, compared: int) -> Iterator[str]:
    """Measure each length of query; what is found beside writes, which change it, is not compared."""
    queries = {length: texts.queries(length, count) for length in LENGTHS}
    with closing(sqlite3.connect(folder / "store.db")) as connection:
        right = {
            length: [exhaustive(connection, one) for one in asked[:compared]]
            for length, asked in queries.items()
        }
    for length, depth, between, taken, found in measured(folder, queries):
        same = np.mean([set(ours) == set(theirs) for ours, theirs in zip(found, right[length])])
        shared = np.mean([len({*ours} & {*theirs}) / K for ours, theirs in zip(found, right[length])])
        (p50, used), (p95, used95) = np.percentile(taken, (50, 95), axis=0)
        agreement = "| |" if between == "a write" else f"| {same:.0%} | {shared:.1%} |"
        yield (
            f"| {length} | {depth} | {between} | {p50:.1f} ms | {p95:.1f} ms "
            f"| {used:.1f} ms | {used95:.1f} ms {agreement}"
        )


def index_megabytes(folder: Path) -> float:
    """Size of the lexical index: the tables that FTS5 keeps it in."""
    connection = sqlite3.connect(folder / "store.db")
    data = connection.execute("SELECT sum(length(block)) FROM lexical_data").fetchone()[0]
    sizes = connection.execute("SELECT sum(length(sz)) + 9 * count(*) FROM lexical_docsize").fetchone()[0]
    connection.close()
    return float(data + sizes) / 1e6


def main(
    count: Annotated[int, typer.Argument(help="Number of documents.")] = 100_000,
    queries: Annotated[int, typer.Option(help="Queries of each length.")] = 100,
    compared: Annotated[int, typer.Option(help="Of which so many are also searched exhaustively.")] = 30,
    keep: Annotated[
        Path | None, typer.Option(help="Where the store is made, or already is; else it is removed.")
    ] = None,
) -> None:
    texts = Texts()
    with TemporaryDirectory() as scratch:
        folder = keep or Path(scratch) / "store"
        made = "as it lies there" if folder.exists() else f"build time {build(folder, texts, count):,.0f} s"
        with FaissStore(Tiny(), path=folder, read_only=True) as store:
            documents = len(store)
        print(f"{documents:,} documents, {made}, lexical index {index_megabytes(folder):,.0f} MB\n")
        print(
            "| words | k | before each query | p50 | p95 | p50, processor | p95, processor "
            "| same top 10 | shared of the top 10 |"
        )
        print("|---|---|---|---|---|---|---|---|---|")
        for row in rows(folder, texts, queries, compared):
            print(row, flush=True)


if __name__ == "__main__":
    typer.run(main)
