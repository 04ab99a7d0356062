"""The fakes do what they say."""

import asyncio

import numpy as np
import pytest
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_tests.unit_tests import EmbeddingsUnitTests

from langchain_rerank_retriever import RerankRetriever
from langchain_rerank_retriever.errors import RecallError
from langchain_rerank_retriever.testing import CORPUS, FaultyStore, HashEmbeddings, ScriptedCrossEncoder


class TestHashEmbeddingsAsLangChainTestsThem(EmbeddingsUnitTests):
    @property
    def embeddings_class(self) -> type[HashEmbeddings]:
        return HashEmbeddings


def test_hash_embeddings() -> None:
    model = HashEmbeddings(dimension=48, seed=3)
    red_apple, apple_red, sky = np.array(model.embed_documents(["red apple", "Apple red", "blue sky"]))
    np.testing.assert_allclose(np.linalg.norm([red_apple, sky], axis=1), 1)
    np.testing.assert_allclose(red_apple, apple_red)
    assert red_apple @ model.embed_query("green apple") > sky @ model.embed_query("green apple")
    assert model.embed_query("red apple") == HashEmbeddings(dimension=48, seed=3).embed_query("red apple")
    assert model.embed_query("red apple") != HashEmbeddings(dimension=48, seed=4).embed_query("red apple")
    assert len(model.embed_query("")) == 48
    assert model.calls == [["red apple", "Apple red", "blue sky"]]


def test_a_scripted_cross_encoder() -> None:
    model = ScriptedCrossEncoder(lambda query, passage: float(len(query) - len(passage)))
    assert model.score([("abc", "a"), ("abc", "abcd")]) == [2.0, -1.0]
    assert model.score([]) == []
    assert model.asked == [[("abc", "a"), ("abc", "abcd")], []]

    def fail(query: str, passage: str) -> float:
        raise MemoryError(passage)

    with pytest.raises(MemoryError):
        ScriptedCrossEncoder(fail).score([("a", "b")])


def test_a_faulty_store_fails_as_scripted_and_then_works() -> None:
    store = InMemoryVectorStore(HashEmbeddings())
    faulty = FaultyStore(store, [ConnectionError("gone"), None, TimeoutError("slow")])
    assert faulty.embeddings is store.embeddings
    faulty.add_documents(list(CORPUS))
    with pytest.raises(ConnectionError, match="gone"):
        faulty.similarity_search("dough")
    assert faulty.similarity_search_with_score("dough", k=2) == store.similarity_search_with_score(
        "dough", k=2
    )
    with pytest.raises(TimeoutError, match="slow"):
        asyncio.run(faulty.asimilarity_search_with_score("dough"))
    assert faulty.similarity_search("dough", k=3) == store.similarity_search("dough", k=3)
    faulty.delete([CORPUS[0].id or ""])
    assert len(store.store) == len(CORPUS) - 1
    with pytest.raises(NotImplementedError, match="Make the store first"):
        FaultyStore.from_texts([], HashEmbeddings())


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_server_that_goes_away_and_comes_back(asynchronous: bool) -> None:
    store = InMemoryVectorStore(HashEmbeddings())
    store.add_documents(list(CORPUS))
    retriever = RerankRetriever(FaultyStore(store, [None, ConnectionError("connection reset by peer")]))

    def ask() -> list[str]:
        found = asyncio.run(retriever.ainvoke("dough")) if asynchronous else retriever.invoke("dough")
        return [document.page_content for document in found]

    before = ask()
    with pytest.raises(
        RecallError, match="Recall from FaultyStore failed: ConnectionError: connection reset by peer"
    ) as caught:
        ask()
    assert isinstance(caught.value.__cause__, ConnectionError)
    assert caught.value.source == "FaultyStore"
    assert ask() == before
