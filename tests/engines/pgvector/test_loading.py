import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.vectorstores import VectorStore

from langchain_rerank_retriever import PooledEmbeddings
from langchain_rerank_retriever.distributed import copy_embeddings, encode_corpus, load_shards, postgres
from langchain_rerank_retriever.errors import InvalidArgumentError
from tests.conftest import HashEmbeddings
from tests.distributed.helpers import corpus
from tests.engines.loading import Interrupted, LoadContract

pytestmark = pytest.mark.engine


class TestLoadingIntoPgvector(LoadContract):
    def new_store(self, engine: Any, embeddings: PooledEmbeddings) -> VectorStore:
        return engine.fill("shards", embeddings, [], np.zeros((0, embeddings.dimension), np.float32))

    def interrupt(self, monkeypatch: pytest.MonkeyPatch, store: VectorStore, call: int) -> None:
        """After the rows have arrived, before they are taken over."""
        send, calls = postgres._send, list[int]()

        async def ends(connection: Any, rows: Any) -> None:
            await send(connection, rows)
            calls.append(1)
            if len(calls) == call:
                raise Interrupted

        monkeypatch.setattr(postgres, "_send", ends)


def dump(engine: Any, table: str) -> list[tuple[Any, ...]]:
    """Every row of a table, as text."""
    return engine.query(f'SELECT ROW(t.*)::text FROM "{table}" AS t ORDER BY 1')


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
@pytest.mark.parametrize("layout", ["plain", "uuid", "columns"])
def test_a_copy_stores_what_the_stores_own_insert_does(engine: Any, driver: str, layout: str) -> None:
    # Not at the top, since tests are collected where the engines are not installed.
    from langchain_postgres import Column, PGEngine, PGVectorStore
    from langchain_postgres.v2.hybrid_search_config import HybridSearchConfig

    rng = np.random.default_rng(3)
    made: list[PGVectorStore] = []
    settings: dict[str, Any] = {}
    table: dict[str, Any] = {"id_column": Column("langchain_id", "TEXT", nullable=False)}
    ids = [f"d'{place}\" \\N" for place in range(600)]
    if layout == "uuid":
        table, ids = {}, [str(uuid.UUID(int=place)) for place in range(600)]
    if layout == "columns":
        hybrid = HybridSearchConfig(tsv_column="content_tsv", tsv_lang="pg_catalog.english")
        columns = [Column("year", "INTEGER"), Column("lang", "TEXT"), Column("seen", "BOOLEAN")]
        settings = {"metadata_columns": [one.name for one in columns], "hybrid_search_config": hybrid}
        table = {**table, "metadata_columns": columns, "hybrid_search_config": hybrid}
    texts = [f"Zeile {place}\n\tmit \\ und '한국어' \"q\"" for place in range(600)]
    metadatas = [
        {"year": place, "lang": "ko", "seen": place % 2 == 0, "deep": {"a": [1, None, "é"]}}
        if place % 3
        else {}
        for place in range(600)
    ]
    vectors = rng.standard_normal((600, 32)).astype(np.float32)
    pool = PGEngine.from_connection_string(engine.url_of(driver))
    for way in ("copied", "inserted"):
        name = f"{way} {driver} {layout}"
        pool.init_vectorstore_table(name, 32, **table)
        made.append(PGVectorStore.create_sync(pool, HashEmbeddings(), name, **settings))
    copied, inserted = made
    # Rows that are there already are replaced.
    for store in made:
        store.add_embeddings(["old"], [[1.0] * 32], [{"old": 1}], ids=ids[:1])
    assert copy_embeddings(copied, texts, vectors, metadatas, ids=ids) == ids
    inserted.add_embeddings(texts, vectors.tolist(), metadatas, ids=ids)
    found = dump(engine, f"copied {driver} {layout}")
    assert len(found) == 600
    assert found == dump(engine, f"inserted {driver} {layout}")
    kept = postgres.stored_vectors(copied, [ids[7], ids[0]])
    np.testing.assert_array_equal(np.stack([kept[ids[7]], kept[ids[0]]]), vectors[[7, 0]])


def test_a_copy_needs_one_of_each(engine: Any) -> None:
    store = engine.fill("each", HashEmbeddings(), [], np.zeros((0, 32), np.float32))
    with pytest.raises(InvalidArgumentError, match="for each of 2 ids, got 1, 2 and 2"):
        copy_embeddings(store, ["a"], np.ones((2, 32)), ids=["a", "b"])
    with pytest.raises(InvalidArgumentError, match="must be a PGVectorStore"):
        copy_embeddings(HashEmbeddings(), [], np.ones((0, 32)), ids=[])
    with pytest.raises(Exception, match="expected 32 dimensions, not 16"):
        copy_embeddings(store, ["a"], np.ones((1, 16)), ids=["a"])
    assert dump(engine, "each") == []


def test_vectors_of_another_model_replace_those_of_the_same_texts(engine: Any, tmp_path: Path) -> None:
    first, second = HashEmbeddings(seed=0), HashEmbeddings(seed=1)
    for name, model in (("first", first), ("second", second)):
        encode_corpus(corpus(25), model, tmp_path / name, rows_per_shard=10)
    store = engine.fill("tuned", first, [], np.zeros((0, 32), np.float32))
    assert load_shards(tmp_path / "first", store).added == 25
    assert load_shards(tmp_path / "first", store).added == 0
    reopened = engine.open("tuned", second)
    assert load_shards(tmp_path / "second", reopened, part=(1, 2)).added == 10
    assert load_shards(tmp_path / "second", reopened).added == 15
    expected = second.embed_documents([row["text"] for row in corpus(25)])
    found = postgres.stored_vectors(reopened, [row["id"] for row in corpus(25)])
    np.testing.assert_allclose([found[f"d{place}"] for place in range(25)], expected, atol=1e-6)


def test_a_copy_is_many_times_faster_than_inserting_row_by_row(engine: Any) -> None:
    texts, vectors = ["a text of a passage " * 20] * 2000, np.ones((2000, 32), np.float32)
    seconds = {}
    for way in ("copied", "inserted"):
        store = engine.fill(f"timed {way}", HashEmbeddings(), [], np.zeros((0, 32), np.float32))
        ids = [f"d{place}" for place in range(2000)]
        started = time.perf_counter()
        if way == "copied":
            copy_embeddings(store, texts, vectors, ids=ids)
        else:
            store.add_embeddings(texts, vectors.tolist(), ids=ids)
        seconds[way] = time.perf_counter() - started
    assert seconds["copied"] < seconds["inserted"] / 4
