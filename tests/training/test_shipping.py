"""The retrievers that compete are set up as their systems say, and timed as a user would."""

from langchain_core.documents import Document

from langchain_rerank_retriever import FaissStore, RerankRetriever
from langchain_rerank_retriever.training.proof.stages import System
from langchain_rerank_retriever.training.shipping import TIMED_QUERIES, Parts, latency
from tests.conftest import HashEmbeddings


def store(text: str) -> FaissStore:
    return FaissStore.from_documents([Document(id="a", page_content=text)], HashEmbeddings())


def test_each_system_has_its_store_mode_and_depth() -> None:
    base, tuned = store("base"), store("tuned")
    parts = Parts(base, tuned, tuned, None)
    found = parts.retrievers(
        {
            "base": System("base"),
            "bm25": System("bm25", mode="lexical", depth=7),
            "tuned": System("tuned", "tuned", depth=9),
            "hybrid": System("hybrid", "serving", mode="hybrid"),
        },
        None,
    )
    assert [one.recall for one in found.values()] == [base, base, tuned, tuned]
    assert [one.recall_mode for one in found.values()] == ["dense", "lexical", "dense", "hybrid"]
    assert [one.fetch_k for one in found.values()] == [100, 7, 9, 100]
    assert all(one.reranker is None and one.blend is None for one in found.values())


def test_latency_is_of_the_last_queries_one_at_a_time(monkeypatch) -> None:
    asked: list[str] = []

    class Timed:
        def __init__(self, query: str) -> None:
            self.seconds = {"total": int(query) / 1000}

    retriever = RerankRetriever(store("text"))
    monkeypatch.setattr(RerankRetriever, "invoke", lambda self, query: asked.append(f"first {query}"))
    monkeypatch.setattr(RerankRetriever, "explain", lambda self, query: asked.append(query) or Timed(query))
    measured = latency(retriever, [str(number) for number in range(100, 151)])
    assert asked == ["first 131", *(str(number) for number in range(131, 151))]
    assert len(asked) == 1 + TIMED_QUERIES
    assert measured == {"p50": 140.5, "p95": 149.05}
