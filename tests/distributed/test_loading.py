import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.vectorstores import InMemoryVectorStore, VectorStore

from langchain_rerank_retriever import FaissStore
from langchain_rerank_retriever.distributed import encode_corpus, encoded_shards, load_shards
from langchain_rerank_retriever.distributed import encoded as encoded_module
from langchain_rerank_retriever.distributed.shards import ShardFolder
from langchain_rerank_retriever.errors import (
    FormatError,
    InvalidArgumentError,
    ModelMismatchError,
    StorageError,
)
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

    def __init__(self, fails_at: int | None = None, model: HashEmbeddings | None = None) -> None:
        self.model = model or HashEmbeddings()
        self.rows: list[tuple[str, str, dict[str, Any], list[float]]] = []
        self.deleted: list[str] = []
        self.calls = 0
        self.fails_at = fails_at

    @property
    def embeddings(self) -> HashEmbeddings:
        return self.model

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


class Named(HashEmbeddings):
    """A model with a fingerprint, as a tuned one has."""

    @property
    def fingerprint(self) -> str:
        return f"seed {self.seed}"


@pytest.mark.parametrize("kind", [HashEmbeddings, Named])
def test_a_ledger_of_another_models_vectors_of_the_same_texts_is_refused(
    tmp_path: Path, kind: type[HashEmbeddings]
) -> None:
    for seed in (0, 1):
        encode_corpus(corpus(25), kind(seed=seed), tmp_path / f"of {seed}", rows_per_shard=10)
    ledger, store = tmp_path / "ledger.json", KeepsDuplicates(model=kind(seed=0))
    load_shards(tmp_path / "of 0", store, ledger=ledger)
    before, text = list(store.rows), ledger.read_text()
    store.model = kind(seed=1)
    with pytest.raises(ModelMismatchError, match=r"ledger of a store with vectors of .* an empty store"):
        load_shards(tmp_path / "of 1", store, ledger=ledger)
    assert (store.rows, ledger.read_text()) == (before, text)
    empty = KeepsDuplicates(model=kind(seed=1))
    assert load_shards(tmp_path / "of 1", empty, ledger=tmp_path / "another.json").added == 25


def test_queries_of_a_model_of_the_same_name_are_refused(tmp_path: Path) -> None:
    encode_corpus(corpus(5), HashEmbeddings(seed=0), tmp_path / "encoded")
    store = KeepsDuplicates(model=HashEmbeddings(seed=1))
    with pytest.raises(ModelMismatchError, match=r"embeds queries with .*agree with a cosine of -?0\."):
        load_shards(tmp_path / "encoded", store, ledger=tmp_path / "ledger.json")
    assert store.rows == []


def test_a_ledger_of_an_earlier_version_is_refused(encoded: Path, tmp_path: Path) -> None:
    """It did not keep the model, so that nobody knows whose vectors are there."""
    digest = json.loads((encoded / "manifest.json").read_text())["complete"]["sha256"]
    earlier = json.dumps({"shards_of": digest, "done": [0, 1, 2, 3, 4], "begun": None})
    (tmp_path / "ledger.json").write_text(earlier)
    with pytest.raises(InvalidArgumentError, match=r"of an earlier version.*empty the store, remove this"):
        load_shards(encoded, KeepsDuplicates(), ledger=tmp_path / "ledger.json")
    assert (tmp_path / "ledger.json").read_text() == earlier
    (tmp_path / "ledger.json").write_text(json.dumps({**json.loads(earlier), "format": 3}))
    with pytest.raises(FormatError, match="newer version"):
        load_shards(encoded, KeepsDuplicates(), ledger=tmp_path / "ledger.json")


def test_a_store_of_faiss_with_other_vectors_gets_them(encoded: Path) -> None:
    """One document of a shard is there with its text and another vector."""
    expected = next(iter(encoded_shards(encoded))).vectors[0]
    with FaissStore(HashEmbeddings()) as store:
        load_shards(encoded, store)
        turned = np.roll(expected, 1)
        store.add_embeddings(["passage number 0 of the river"], [turned], [{"year": 1900}], ids=["d0"])
        assert load_shards(encoded, store).added == 10
        np.testing.assert_allclose(store.vectors_by_ids(["d0"])["d0"], expected, atol=1e-6)


class TakesSoMany(FaissStore):
    """A store like PostgreSQL, whose drivers refuse a statement with too many values."""

    asked: tuple[int, ...] = ()

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        if len(ids) > 32_767:
            raise ValueError("too many values")
        self.asked += (len(ids),)
        return super().get_by_ids(ids)


class Cheap(HashEmbeddings):
    def _vector(self, text: str) -> list[float]:
        return [1.0] * 4


def test_ids_are_asked_for_as_many_at_a_time_as_drivers_take(tmp_path: Path) -> None:
    encode_corpus(corpus(33_000), Cheap(), tmp_path / "encoded", rows_per_shard=33_000)
    with TakesSoMany(Cheap(), lexical=False) as store:
        assert load_shards(tmp_path / "encoded", store).added == 33_000
        assert store.asked == (10_000, 10_000, 10_000, 3_000)
        assert load_shards(tmp_path / "encoded", store).added == 0


def test_parts_share_the_shards(encoded: Path, tmp_path: Path) -> None:
    store, loaded = KeepsDuplicates(), list[list[str]]()
    for place in range(3):
        before = len(store.rows)
        result = load_shards(encoded, store, ledger=tmp_path / f"{place}.json", part=(place, 3))
        loaded.append([row[0] for row in store.rows[before:]])
        assert (result.documents, result.added) == (len(loaded[-1]), len(loaded[-1]))
        again = load_shards(encoded, store, ledger=tmp_path / f"{place}.json", part=(place, 3))
        assert (again.documents, again.added) == (len(loaded[-1]), 0)
    shards = [[f"d{one}" for one in range(start, min(start + 10, 45))] for start in range(0, 45, 10)]
    assert loaded == [shards[0] + shards[3], shards[1] + shards[4], shards[2]]
    with pytest.raises(InvalidArgumentError, match=r"ledger of part=\(1, 3\), got part=\(2, 3\)"):
        load_shards(encoded, store, ledger=tmp_path / "1.json", part=(2, 3))
    with pytest.raises(InvalidArgumentError, match=r"ledger of part=\(0, 3\), got part=\(0, 1\)"):
        load_shards(encoded, store, ledger=tmp_path / "0.json")
    assert load_shards(encoded, store, ledger=tmp_path / "6.json", part=(6, 7)).documents == 0
    with FaissStore(HashEmbeddings()) as asked:
        assert load_shards(encoded, asked, part=(1, 2)).added == 20
        assert sorted(one.id or "" for one in asked.documents()) == sorted(shards[1] + shards[3])


@pytest.mark.parametrize("part", [(1, 1), (-1, 2), (0, 0), (0,), (0.0, 1), (True, 2), "01", None])
def test_what_is_no_part_is_refused(encoded: Path, tmp_path: Path, part: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"part must be \(i, n\)"):
        load_shards(encoded, KeepsDuplicates(), ledger=tmp_path / "ledger.json", part=part)


def test_shards_that_are_done_are_not_read(
    encoded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, ledger = KeepsDuplicates(fails_at=4), tmp_path / "ledger.json"
    with pytest.raises(Interrupted):
        load_shards(encoded, store, ledger=ledger)
    read, numbers = encoded_module.read_shard, list[str]()

    def noted(path: Path) -> Any:
        numbers.append(path.name)
        return read(path)

    monkeypatch.setattr(encoded_module, "read_shard", noted)
    assert load_shards(encoded, store, ledger=ledger).added == 15
    assert numbers == ["000003.parquet", "000004.parquet"]


class FailsToDelete(KeepsDuplicates):
    """A store like Milvus, whose client logs what goes wrong with a delete and says False."""

    def delete(self, ids: list[str] | None = None, **kwargs: Any) -> bool:
        return False


def test_a_delete_that_fails_makes_no_duplicates(encoded: Path, tmp_path: Path) -> None:
    store, ledger = FailsToDelete(fails_at=2), tmp_path / "ledger.json"
    with pytest.raises(Interrupted):
        load_shards(encoded, store, ledger=ledger)
    before = list(store.rows)
    with pytest.raises(StorageError, match=r"could not delete the 10 documents .* duplicates"):
        load_shards(encoded, store, ledger=ledger)
    assert store.rows == before
    # It is still known to have been begun.
    store.__class__ = KeepsDuplicates
    assert load_shards(encoded, store, ledger=ledger).added == 35
    assert sorted(row[0] for row in store.rows) == sorted(row["id"] for row in corpus(45))


class Milvus(FailsToDelete):
    """Milvus as LangChain has it: its collection is made with the first rows, and no delete is possible before."""

    collection_name = "passages"

    def __init__(self, fails_at: int | None = None) -> None:
        super().__init__(fails_at)
        self.client, self.flushed = self, list[int]()

    def has_collection(self, name: str) -> bool:
        return bool(self.rows)

    def flush(self, name: str) -> None:
        assert name == self.collection_name
        self.flushed.append(len(self.rows))


@pytest.fixture
def milvus(monkeypatch: pytest.MonkeyPatch) -> type[Milvus]:
    module = ModuleType("langchain_milvus")
    module.__dict__["Milvus"] = Milvus
    monkeypatch.setitem(sys.modules, "langchain_milvus", module)
    return Milvus


def test_milvus_without_a_collection_has_nothing_to_delete(
    encoded: Path, tmp_path: Path, milvus: type[Milvus]
) -> None:
    store, ledger = milvus(), tmp_path / "ledger.json"
    load_shards(encoded, milvus(), ledger=ledger)
    told = json.loads(ledger.read_text())
    ledger.write_text(json.dumps({**told, "done": [], "begun": 0}))
    assert load_shards(encoded, store, ledger=ledger).added == 45
    ledger.write_text(json.dumps({**told, "done": [1, 2, 3, 4], "begun": 0}))
    with pytest.raises(StorageError, match="Milvus could not delete"):
        load_shards(encoded, store, ledger=ledger)
    assert len(store.rows) == 45


def test_milvus_is_flushed_once_at_the_end(encoded: Path, tmp_path: Path, milvus: type[Milvus]) -> None:
    store = milvus()
    load_shards(encoded, store, ledger=tmp_path / "ledger.json")
    assert store.flushed == [45]
    encode_corpus([], HashEmbeddings(), tmp_path / "empty")
    nothing = milvus()
    assert load_shards(tmp_path / "empty", nothing, ledger=tmp_path / "other.json").documents == 0
    assert nothing.flushed == []


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
