"""Queries embedded ahead: the store's own vectors, and the same in every run."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
from langchain_core.documents import Document

from langchain_rerank_retriever import FaissStore
from langchain_rerank_retriever.protocols import TextKind
from langchain_rerank_retriever.recall import RecallRequest
from langchain_rerank_retriever.recall.store import StoreRecall
from langchain_rerank_retriever.training.data.reading import TrainingData
from langchain_rerank_retriever.training.fit import queries
from langchain_rerank_retriever.training.fit.mining import mine_lists
from langchain_rerank_retriever.training.fit.queries import AskedStore
from tests.conftest import HashEmbeddings


class Batched(HashEmbeddings):
    """An encoder of long vectors which, as in half precision, depend a little on what else is in the batch."""

    fingerprint = "batched"

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []

    def encode(self, texts: Sequence[str], *, kind: TextKind = "document") -> np.ndarray:
        self.batches.append(len(texts))
        noise = np.random.default_rng(len(self.batches)).standard_normal((len(texts), 32))
        return np.array([3 * np.array(self._vector(text)) for text in texts], np.float32) + 1e-3 * noise

    def embed_query(self, text: str) -> list[float]:
        return self.encode([text], kind="query")[0].tolist()


def filled(embeddings: Any) -> FaissStore:
    store = FaissStore(embeddings)
    store.add_documents(
        [Document(id=f"d{number}", page_content=f"text number {number}") for number in range(50)]
    )
    return store


def test_vectors_are_the_stores_own(hash_embeddings: HashEmbeddings) -> None:
    store = filled(hash_embeddings)
    asked = AskedStore(store, ["one text", "two"])
    for text in ("one text", "two", "three"):
        np.testing.assert_allclose(asked.embed_query(text), store.embed_query(text), atol=1e-6)
    assert asked.settings == store.settings
    assert len(list(asked.documents())) == 50


def test_batches_and_lengths(monkeypatch: Any) -> None:
    monkeypatch.setattr(queries, "AT_ONCE", 4)
    model = Batched()
    store = filled(model)
    model.batches.clear()
    texts = [f"query {number % 9}" for number in range(20)]
    asked = AskedStore(store, texts)
    assert model.batches == [4, 4, 1]
    for text in texts:
        vector = asked.embed_query(text)
        assert abs(np.linalg.norm(vector) - 1) < 1e-6
        assert vector @ np.array(model._vector(text)) > 0.999
    assert model.batches == [4, 4, 1]


def test_recall_takes_the_vectors_that_are_known() -> None:
    model = Batched()
    store = filled(model)
    asked = AskedStore(store, ["text number 7"])
    model.batches.clear()
    source = StoreRecall(asked)  # type: ignore[arg-type]
    request = RecallRequest("text number 7", 5, "hybrid")
    found = source.recall(request)
    assert [one.dense_score for one in found] == list(
        store.dense_scores(
            asked.embed_query("text number 7"), [one.document.id or "" for one in found]
        ).values()
    )
    scores = source.scores_of("text number 7", ["d7"], frozenset({"dense"}))
    assert scores == {"dense": {"d7": next(one.dense_score for one in found if one.document.id == "d7")}}
    assert model.batches == []
    source.recall(replace(request, query="unknown"))
    assert model.batches == [1]


def test_mining_does_not_ask_the_model_by_chance() -> None:
    """Vectors that differ at each asking, and many threads: the same lists all the same."""
    keys = {f"q{number}": f"number {number}" for number in range(40)}
    data = TrainingData(
        keys, {key: {f"d{number}": 1} for number, key in enumerate(keys)}, dict.fromkeys(keys, "")
    )
    texts = {f"d{number}": f"text number {number}" for number in range(50)}
    runs = []
    for _ in range(3):
        model = Batched()
        runs.append(
            mine_lists(filled(model), data, texts, count=80, fusion={"dense": 1, "lexical": 0}, seed=0)
        )
    assert runs[0] == runs[1] == runs[2]


def test_threads_share_it(hash_embeddings: HashEmbeddings) -> None:
    asked = AskedStore(filled(hash_embeddings), ["a"])
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: asked.embed_query("a").tolist(), range(20)))
    assert all(one == found[0] for one in found)
