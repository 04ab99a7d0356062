"""Dense search, scores, MMR, relevance and the async twins, against brute force."""

import asyncio
import threading
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_core.vectorstores.utils import maximal_marginal_relevance

from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.protocols import Encoder, FloatArray
from langchain_rerank_retriever.store import FaissStore
from tests.conftest import HashEmbeddings

from .helpers import FastEmbeddings, FixedEmbeddings, ranking, unit


def filled(count: int, dimension: int = 16, **settings: Any) -> tuple[FaissStore, dict[str, np.ndarray]]:
    store = FaissStore(FastEmbeddings(dimension), **settings)
    ids = [str(i) for i in range(count)]
    vectors = np.random.default_rng(5).standard_normal((count, dimension))
    store.add_embeddings([f"text {i}" for i in ids], vectors, [{"n": i} for i in range(count)], ids=ids)
    return store, dict(zip(ids, vectors))


@pytest.mark.parametrize("count", [1, 2, 100, 5000])
@pytest.mark.parametrize("k", [1, 7, 200, 10_000])
def test_the_k_nearest(count: int, k: int) -> None:
    store, vectors = filled(count)
    query = np.random.default_rng(6).standard_normal(16)
    expected = ranking(vectors, query)[:k]
    found = store.similarity_search_with_score_by_vector(query, k=k)
    assert [document.id for document, _ in found] == [name for name, _ in expected]
    assert np.allclose([score for _, score in found], [score for _, score in expected], atol=1e-6)
    assert store.dense_search(query, k) == found
    assert store.similarity_search_by_vector(query.tolist(), k=k) == [document for document, _ in found]


def test_search_by_text_embeds_the_query() -> None:
    embeddings = FastEmbeddings()
    with FaissStore(embeddings) as store:
        store.add_texts([f"t{i}" for i in range(30)], ids=[f"t{i}" for i in range(30)])
        vector = store.embed_query("t7")
        assert np.allclose(vector, unit(embeddings.vector("t7")), atol=1e-7)
        assert (vector.dtype, vector.shape) == (np.float32, (16,))
        found = store.similarity_search_with_score("t7", k=3)
        assert found == store.similarity_search_with_score_by_vector(vector, k=3)
        assert found[0][0].id == "t7"
        assert found[0][1] == pytest.approx(1.0, abs=1e-6)
        assert store.similarity_search("t7", k=3) == [document for document, _ in found]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.integers(-1, 1), min_size=3, max_size=3).filter(any), min_size=1, max_size=60),
    st.lists(st.integers(-2, 2), min_size=3, max_size=3).filter(any),
    st.integers(1, 20),
)
def test_ties_come_in_order_of_insertion(rows: list[list[int]], query: list[int], k: int) -> None:
    with FaissStore(FixedEmbeddings(dimension=3)) as store:
        half = len(rows) // 2
        ids = [str(i) for i in range(len(rows))]
        # Two calls, so that equal vectors lie in different indexes.
        store.add_embeddings(ids[half:], np.array(rows[half:], dtype=float), ids=ids[half:])
        if half:
            store.add_embeddings(ids[:half], np.array(rows[:half], dtype=float), ids=ids[:half])
        inserted = ids[half:] + ids[:half]
        # Exact cosines of small whole numbers, so a tie here is a tie.
        keys = {i: (np.dot(rows[int(i)], query) / np.linalg.norm(rows[int(i)])) for i in inserted}
        expected = sorted(inserted, key=lambda i: -round(float(keys[i]), 6))[:k]
        found = store.similarity_search_with_score_by_vector(query, k=k)
        assert [document.id for document, _ in found] == expected
        assert all(-1.0 <= score <= 1.0 for _, score in found)


def test_many_equal_vectors() -> None:
    with FaissStore(FixedEmbeddings(dimension=3)) as store:
        ids = [str(i) for i in range(3000)]
        store.add_embeddings(ids, np.ones((3000, 3)), ids=ids)
        assert [d.id for d in store.similarity_search_by_vector([1.0, 1.0, 1.0], k=5)] == ids[:5]
        store.delete(ids[:2])
        assert [d.id for d in store.similarity_search_by_vector([1.0, 1.0, 1.0], k=5)] == ids[2:7]


def test_dense_scores_are_those_of_a_search() -> None:
    store, _ = filled(300)
    query = np.random.default_rng(6).standard_normal(16)
    searched = {document.id: score for document, score in store.dense_search(query, 300)}
    wanted = ["7", "nope", "299", "7", "0"]
    assert store.dense_scores(query, wanted) == {name: searched[name] for name in ("7", "299", "0")}
    assert list(store.dense_scores(query, wanted)) == ["7", "299", "0"]
    assert store.dense_scores(query, []) == {}


def test_replaced_and_deleted_documents_do_not_come_back() -> None:
    store, vectors = filled(1000)
    query = np.random.default_rng(6).standard_normal(16)
    rng = np.random.default_rng(7)
    for round_number in range(40):
        names = [str(i) for i in rng.choice(1000, 20, replace=False)]
        if round_number % 2:
            store.delete(names)
            for name in names:
                vectors.pop(name, None)
        else:
            new = rng.standard_normal((20, 16))
            store.add_embeddings([f"new {round_number}"] * 20, new, ids=names)
            vectors.update(zip(names, new))
        expected = ranking(vectors, query)[:10]
        found = store.dense_search(query, 10)
        assert [document.id for document, _ in found] == [name for name, _ in expected]
    assert len(store._engine.views.current.segments) < 8
    assert store.verify(deep=True).ok


def test_maximal_marginal_relevance() -> None:
    store, vectors = filled(200)
    query = np.random.default_rng(6).standard_normal(16)
    nearest = [name for name, _ in ranking({n: v for n, v in vectors.items() if int(n) < 100}, query)[:30]]
    for weight in (0.0, 0.3, 1.0):
        order = maximal_marginal_relevance(
            unit(query), [unit(vectors[n]).tolist() for n in nearest], weight, 8
        )
        found = store.max_marginal_relevance_search_by_vector(
            query, k=8, fetch_k=30, lambda_mult=weight, filter={"n": {"$lt": 100}}
        )
        assert [document.id for document in found] == [nearest[place] for place in order]
    assert len(store.max_marginal_relevance_search_by_vector(query, k=50, fetch_k=5)) == 50
    assert len(store.max_marginal_relevance_search("text", k=3)) == 3


def test_relevance_scores_stay_between_0_and_1() -> None:
    with FaissStore(FixedEmbeddings(dimension=2)) as store:
        store.add_embeddings(["same", "across", "opposite"], [[3.0, 0.0], [0.0, 2.0], [-1.0, 0.0]])
        score = store._select_relevance_score_fn()
        scores = [score(cosine) for _, cosine in store.dense_search([0.1, 0.0], 3)]
        assert scores == [1.0, 0.5, 0.0]
    with FaissStore(HashEmbeddings()) as store:
        store.add_texts(["red fox", "blue whale"])
        found = store.similarity_search_with_relevance_scores("red fox", k=2, score_threshold=0.9)
        assert [document.page_content for document, _ in found] == ["red fox"]


def test_as_retriever() -> None:
    with FaissStore(HashEmbeddings()) as store:
        store.add_documents(
            [Document("red fox", metadata={"n": 1}), Document("red whale", metadata={"n": 2})]
        )
        for kind, arguments in (
            ("similarity", {"k": 1, "filter": {"n": 2}}),
            ("mmr", {"k": 1, "fetch_k": 5, "lambda_mult": 0.9, "filter": {"n": 2}}),
            ("similarity_score_threshold", {"score_threshold": 0.1, "filter": {"n": 2}}),
        ):
            retriever = store.as_retriever(search_type=kind, search_kwargs=arguments)
            assert [document.metadata["n"] for document in retriever.invoke("red fox")] == [2]
            assert [document.metadata["n"] for document in asyncio.run(retriever.ainvoke("red fox"))] == [2]


class NumpyEncoder(HashEmbeddings):
    """A model that offers numpy and tells queries from documents."""

    fingerprint = "abc123"

    def __init__(self, seed: int = 0, fingerprint: str = "abc123") -> None:
        super().__init__(seed=seed)
        self.fingerprint = fingerprint
        self.kinds: list[str] = []

    def encode(self, texts: Any, *, kind: str = "document") -> FloatArray:
        self.kinds.append(kind)
        return np.array([self._vector(text) for text in texts], dtype=np.float32)

    def embed_documents(self, texts: Any) -> list[list[float]]:
        raise NotImplementedError


def test_an_encoder_gives_numpy() -> None:
    encoder = NumpyEncoder()
    assert isinstance(encoder, Encoder)
    with FaissStore(encoder) as store:
        store.add_texts(["red fox"])
        assert encoder.kinds == ["document", "document"]
        store.similarity_search("red fox")
        assert encoder.kinds[2:] == ["query"]
        assert store.settings["fingerprint"] == "abc123"


async def test_async_twins() -> None:
    store = await FaissStore.afrom_texts(
        ["red fox", "blue whale"], HashEmbeddings(), [{"n": 1}, {"n": 2}], ids=["1", "2"]
    )
    vector = store.embed_query("red fox")
    assert [d.id for d in await store.asimilarity_search("red fox", k=1)] == ["1"]
    assert await store.asimilarity_search_with_score("red fox") == store.similarity_search_with_score(
        "red fox"
    )
    assert (await store.asimilarity_search_by_vector(vector.tolist(), k=1))[0].id == "1"
    assert len(await store.asimilarity_search_with_relevance_scores("red fox", filter={"n": 1})) == 1
    assert len(await store.amax_marginal_relevance_search("red", k=2)) == 2
    assert (
        len(await store.amax_marginal_relevance_search_by_vector(vector.tolist(), k=2, filter={"n": 1})) == 1
    )
    assert [d.id for d in await store.alexical_search("whales", filter={"n": 2})] == ["2"]
    assert await store.alexical_search_with_score("whales") == store.lexical_search_with_score("whales")
    assert await store.aadd_texts(["third"], [{"n": 3}], ids=["3"]) == ["3"]
    assert await store.aadd_documents([Document("fourth", id="4")]) == ["4"]
    assert await store.aadd_embeddings(["fifth"], [vector], ids=["5"]) == ["5"]
    assert await store.adelete(["5"]) is True
    assert [d.id for d in await store.aget_by_ids(["4", "3"])] == ["4", "3"]
    assert [d.id for d in await store.asearch("red fox", "mmr", k=1)] == ["1"]
    with pytest.raises(InvalidArgumentError):
        await store.adelete()
    with pytest.raises(TypeError):
        await store.asimilarity_search("red", filters={})
    copied = await FaissStore.afrom_documents([Document("x", id="x")], HashEmbeddings())
    assert len(copied) == 1


async def test_async_calls_leave_the_loop_free() -> None:
    loop_thread = threading.get_ident()

    class Slow(HashEmbeddings):
        def embed_documents(self, texts: Any) -> list[list[float]]:
            assert threading.get_ident() != loop_thread
            time.sleep(0.2)
            return super().embed_documents(texts)

        def embed_query(self, text: str) -> list[float]:
            assert threading.get_ident() != loop_thread
            time.sleep(0.2)
            return super().embed_query(text)

    store = FaissStore(Slow())
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    await store.aadd_texts(["a", "b"])
    await store.asimilarity_search("a")
    await store.amax_marginal_relevance_search("a")
    await store.asimilarity_search_with_score("a")
    ticking.cancel()
    assert ticks > 40
