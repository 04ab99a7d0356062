from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.vectorstores import InMemoryVectorStore, VectorStore

from langchain_rerank_retriever import FaissStore
from langchain_rerank_retriever.distributed import encode_corpus, encoded_shards, load_shards
from langchain_rerank_retriever.distributed.shards import ShardFolder
from langchain_rerank_retriever.errors import FormatError, InvalidArgumentError, ModelMismatchError
from tests.conftest import HashEmbeddings

from .helpers import corpus


@pytest.fixture
def encoded(tmp_path: Path) -> Path:
    encode_corpus(corpus(45), HashEmbeddings(), tmp_path / "encoded", rows_per_shard=10)
    return tmp_path / "encoded"


class Interrupted(Exception):
    """Stands for a process that ends."""


class KeepsDuplicates(VectorStore):
    """A store like Milvus: it cannot be asked by id, and adds an id that it has once more."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.rows: list[tuple[str, str, dict[str, Any], list[float]]] = []
        self.deleted: list[str] = []
        self.calls = 0
        self.fails_at = fails_at

    @property
    def embeddings(self) -> HashEmbeddings:
        return HashEmbeddings()

    def add_embeddings(
        self, texts: list[str], embeddings: list[list[float]], metadatas: Any = None, *, ids: Any = None
    ) -> list[str]:
        self.calls += 1
        half = len(texts) // 2 if self.calls == self.fails_at else None
        assert type(embeddings[0][0]) is float
        self.rows.extend(list(zip(ids, texts, metadatas, embeddings, strict=True))[:half])
        if half is not None:
            raise Interrupted
        return list(ids)

    def delete(self, ids: list[str] | None = None, **kwargs: Any) -> bool:
        self.deleted += ids or []
        self.rows = [row for row in self.rows if row[0] not in set(ids or ())]
        return True

    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        raise NotImplementedError

    @classmethod
    def from_texts(cls, *args: Any, **kwargs: Any) -> "KeepsDuplicates":
        raise NotImplementedError


def test_a_loaded_store_answers_as_one_that_embedded_the_texts_itself(encoded: Path, tmp_path: Path) -> None:
    rows = corpus(45)
    with (
        FaissStore(HashEmbeddings(), path=tmp_path / "store") as store,
        FaissStore(HashEmbeddings()) as direct,
    ):
        assert load_shards(encoded, store).added == 45
        direct.add_texts(
            [row["text"] for row in rows],
            [{"year": row["year"]} for row in rows],
            ids=[row["id"] for row in rows],
        )
        assert list(store.documents()) == list(direct.documents())
        for query in ("passage 7", "river number 44"):
            ours, theirs = (one.similarity_search_with_score(query, k=45) for one in (store, direct))
            assert [document for document, _ in ours] == [document for document, _ in theirs]
            np.testing.assert_allclose([s for _, s in ours], [s for _, s in theirs], atol=1e-5)
            assert store.lexical_search(query) == direct.lexical_search(query)


def test_each_shard_is_loaded_once_whatever_is_interrupted(
    encoded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FaissStore(HashEmbeddings(), path=tmp_path / "store") as store:
        add, sizes = FaissStore.add_embeddings, list[int]()

        def third_fails(
            self: FaissStore, texts: Any, embeddings: Any, metadatas: Any, *, ids: Any
        ) -> list[str]:
            if len(sizes) == 2:
                raise Interrupted
            sizes.append(len(ids))
            return add(self, texts, embeddings, metadatas, ids=ids)

        monkeypatch.setattr(FaissStore, "add_embeddings", third_fails)
        with pytest.raises(Interrupted):
            load_shards(encoded, store)
        monkeypatch.setattr(FaissStore, "add_embeddings", add)
        result = load_shards(encoded, store)
        assert (result.documents, result.added, len(store)) == (45, 25, 45)
        assert load_shards(encoded, store).added == 0


def test_a_store_that_lost_a_document_gets_its_shard_again(encoded: Path) -> None:
    with FaissStore(HashEmbeddings()) as store:
        load_shards(encoded, store)
        store.delete(["d13"])
        assert load_shards(encoded, store).added == 10
        assert len(store) == 45


def test_a_store_that_keeps_duplicates_has_none(encoded: Path, tmp_path: Path) -> None:
    store, ledger = KeepsDuplicates(fails_at=3), tmp_path / "ledger.json"
    with pytest.raises(Interrupted):
        load_shards(encoded, store, ledger=ledger)
    assert len(store.rows) == 25
    assert load_shards(encoded, store, ledger=ledger).added == 25
    assert sorted(row[0] for row in store.rows) == sorted(row["id"] for row in corpus(45))
    assert store.deleted == [f"d{place}" for place in range(20, 30)]
    assert load_shards(encoded, store, ledger=ledger).added == 0
    expected = {
        key: vector
        for shard in encoded_shards(encoded)
        for key, vector in zip(shard.ids, shard.vectors, strict=True)
    }
    for key, _, _, vector in store.rows:
        np.testing.assert_array_equal(np.float32(vector), expected[key])


def test_a_store_that_cannot_be_asked_needs_a_ledger(encoded: Path) -> None:
    with pytest.raises(InvalidArgumentError, match=r"KeepsDuplicates cannot be asked .* ledger="):
        load_shards(encoded, KeepsDuplicates())


def test_a_ledger_of_other_shards_is_refused(encoded: Path, tmp_path: Path) -> None:
    load_shards(encoded, KeepsDuplicates(), ledger=tmp_path / "ledger.json")
    encode_corpus(corpus(5), HashEmbeddings(), tmp_path / "others")
    with pytest.raises(InvalidArgumentError, match="ledger of other shards"):
        load_shards(tmp_path / "others", KeepsDuplicates(), ledger=tmp_path / "ledger.json")
    (tmp_path / "ledger.json").write_text("{}")
    with pytest.raises(FormatError, match="no ledger"):
        load_shards(encoded, KeepsDuplicates(), ledger=tmp_path / "ledger.json")


def test_a_store_of_another_model_is_refused(encoded: Path) -> None:
    with FaissStore(HashEmbeddings(16)) as store:
        with pytest.raises(ModelMismatchError, match=r"32 dimensions.*16 dimensions"):
            load_shards(encoded, store)
        assert len(store) == 0


def test_a_store_without_a_way_for_vectors_is_refused(encoded: Path) -> None:
    with pytest.raises(InvalidArgumentError, match=r"InMemoryVectorStore has no add_embeddings\(texts"):
        load_shards(encoded, InMemoryVectorStore(HashEmbeddings()))


def test_damage_and_other_jobs_are_told(encoded: Path, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no folder of shards"):
        load_shards(tmp_path, KeepsDuplicates(), ledger=tmp_path / "ledger.json")
    path = ShardFolder(encoded).shard(2)
    path.write_bytes(path.read_bytes()[:-100])
    store = KeepsDuplicates()
    with pytest.raises(FormatError, match=r"000002\.parquet is damaged"):
        load_shards(encoded, store, ledger=tmp_path / "ledger.json")
    assert len(store.rows) == 20
