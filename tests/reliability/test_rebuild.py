"""What is served after many changes is what an index shows that is made anew from the database."""

import json
import random
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from langchain_rerank_retriever.store import FaissStore, indexing, schema, upkeep
from langchain_rerank_retriever.store.vectors import unit_query
from tests.store.helpers import FastEmbeddings

from .operations import Twin
from .operations_loop import CHANGES, FOLDERS, Drawing, Kind, performed
from .operations_oracle import FILTERS, WORDS, matching
from .scale import at_scale

#: Operations between two comparisons.
STRIDE = 100
DEPTH = 20


class Rebuilt:
    """The database of a store, read with nothing of the package."""

    def __init__(self, folder: Path) -> None:
        with closing(sqlite3.connect(folder / schema.FILE_NAME)) as connection:
            rows = connection.execute(
                "SELECT id, text, metadata, value FROM document JOIN vector USING (pk) ORDER BY pk"
            ).fetchall()
        self.documents = {name: (text, json.loads(data)) for name, text, data, _ in rows}
        self.vectors = np.array([np.frombuffer(value, dtype="<f4") for *_, value in rows], dtype=np.float64)

    def nearest(self, query: np.ndarray, condition: int) -> list[tuple[str, float]]:
        """The nearest documents by one flat index over all, equals in order."""
        kept = set(matching(self.documents, condition))
        scores = np.clip((self.vectors * query).sum(axis=1), -1, 1).tolist()
        pairs = [(name, score) for name, score in zip(self.documents, scores) if name in kept]
        return sorted(pairs, key=lambda pair: -pair[1])[:DEPTH]

    def store(self) -> FaissStore:
        """A new store of the same documents; its vectors are others."""
        store = FaissStore(FastEmbeddings())
        texts, metadatas = zip(*self.documents.values())
        store.add_texts(texts, list(metadatas), ids=list(self.documents))
        return store


def compare(twin: Twin, rng: random.Random) -> None:
    """Dense and lexical answers, with and without a filter, are equal to the last bit."""
    rebuilt = Rebuilt(twin.store.path)
    with rebuilt.store() as fresh:
        for _ in range(3):
            text, condition = " ".join(rng.choices(WORDS, k=3)), rng.randrange(len(FILTERS))
            query = twin.store.embed_query(text)
            for each in (0, condition):
                served = twin.store.similarity_search_with_score_by_vector(
                    query, k=DEPTH, filter=FILTERS[each][0]
                )
                # The store scales every query to length one, and one that has it can change in its last bit.
                assert pairs(served) == rebuilt.nearest(unit_query(query), each)
                found, made = (
                    store.lexical_search_with_score(text, k=DEPTH, filter=FILTERS[each][0])
                    for store in (twin.store, fresh)
                )
                assert pairs(found) == pairs(made)


def pairs(scored: Any) -> list[tuple[str, float]]:
    return [(document.id, score) for document, score in scored]


@pytest.mark.parametrize("kind", [Kind(names=60), Kind(names=1000), Kind(names=200, handles=2)])
def test_the_view_is_what_a_rebuild_gives(goal: Any, seed: int, kind: Kind) -> None:
    moments, series = at_scale(2, 20, 667), at_scale(2, 20, 50)
    with goal("G7") as count:
        for start in range(0, moments, series):
            rng = random.Random(seed + start)
            drawing = Drawing(rng, kind, CHANGES | FOLDERS)
            operations = [drawing.next() for _ in range(STRIDE * min(series, moments - start))]

            def after(number: int, twin: Twin, rng: random.Random = rng) -> None:
                if number % STRIDE == STRIDE - 1 and twin.documents:
                    compare(twin, rng)
                    count.done += 1

            failure = performed(operations, kind, after)
            if failure is not None:
                raise AssertionError(f"seed {seed + start}: operation {failure.number}") from failure.error


def recall(store: FaissStore, queries: np.ndarray) -> float:
    """Share of the ten nearest documents that searches find."""
    rebuilt = Rebuilt(store.path)
    names = list(rebuilt.documents)
    found = 0
    for query in queries:
        best = np.argsort(-(rebuilt.vectors @ query), kind="stable")[:10]
        answer = store.similarity_search_by_vector(query, k=10)
        found += len({document.id for document in answer} & {names[place] for place in best})
    return found / (10 * len(queries))


def test_a_graph_finds_the_nearest_after_churn(goal: Any, seed: int, tmp_path: Path) -> None:
    """30 % of the rows are deleted, replaced or new, first beside the graph, then in one that is made anew."""
    rows, dimension = at_scale((2_000, 16), (10_000, 32), (50_000, 64))
    rng = np.random.default_rng(seed)

    def add(names: range) -> None:
        vectors = rng.standard_normal((len(names), dimension)) + rng.integers(0, 2, (len(names), 1)) * 2
        store.add_embeddings([f"text {name}" for name in names], vectors, ids=[str(name) for name in names])

    with (
        goal("G7") as count,
        patch.object(indexing, "GRAPH_ROWS", 1_000),
        patch.object(upkeep, "QUIET", 3600.0),
        FaissStore(FastEmbeddings(dimension), path=tmp_path / "s", index="hnsw") as store,
    ):
        add(range(rows))
        assert store.wait_until_ready(600).kind == "hnsw"
        tenth = rows // 10
        for start in range(0, tenth, 100):
            store.delete([str(name) for name in range(start, start + 100)])
            add(range(2 * tenth + start, 2 * tenth + start + 100))
            add(range(rows + start, rows + start + 100))
        queries = rng.standard_normal((200, dimension)) + rng.integers(0, 2, (200, 1)) * 2
        beside = recall(store, queries)
        assert store.index_info.kind == "hnsw"
        assert store.index_info.graph_rows < store.index_info.rows
        store.delete([str(name) for name in range(4 * tenth, 5 * tenth)])
        anew = store.wait_until_ready(600)
        assert anew.kind == "hnsw"
        assert anew.graph_rows == anew.rows
        inside = recall(store, queries)
        count.done += 2
        count.note = f"recall@10 after 30 % churn of {rows:,} rows: {beside:.3f}, in a new graph {inside:.3f}"
        assert min(beside, inside) >= 0.95
