"""A query to a FaissStore sees it at one moment: one model, one version of each document."""

import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from langchain_rerank_retriever import FaissStore, RerankRetriever
from langchain_rerank_retriever.protocols import ExplainedCandidate
from langchain_rerank_retriever.recall import RecallRequest, source_of, with_queries
from langchain_rerank_retriever.store.view import View
from tests.conftest import HashEmbeddings
from tests.recall.test_store import CORPUS, QUERY, bm25, top

BOTH = frozenset({"dense", "lexical"})


class Interrupted(HashEmbeddings):
    """Embeds a query, and has something happen before the vector is searched with."""

    happens: Callable[[], object] | None = None

    def embed_query(self, text: str) -> list[float]:
        vector = super().embed_query(text)
        if self.happens is not None:
            happens, self.happens = self.happens, None
            happens()
        return vector


OLD, NEW = HashEmbeddings(), HashEmbeddings(seed=1)


def cosines(model: HashEmbeddings, query: str = QUERY) -> dict[str, float]:
    vector = np.array(model.embed_query(query))
    return {name: float(np.array(model.embed_query(text)) @ vector) for name, text in CORPUS.items()}


@pytest.fixture
def filled(tmp_path: Path) -> Iterator[FaissStore]:
    with FaissStore.from_texts(
        list(CORPUS.values()), Interrupted(), ids=list(CORPUS), path=tmp_path
    ) as store:
        yield store


async def found(recall: Any, how: str, **arguments: Any) -> Mapping[str, ExplainedCandidate]:
    """The candidates of `RerankRetriever`, by id."""
    retriever = RerankRetriever(recall)
    explained = (
        retriever.explain(QUERY, **arguments)
        if how == "sync"
        else await retriever.aexplain(QUERY, **arguments)
    )
    return {str(one.document.id): one for one in explained.candidates}


# ---------------------------------------------------------------- one model


@pytest.mark.parametrize("how", ["sync", "async"])
@pytest.mark.parametrize("mode", ["dense", "hybrid"])
async def test_a_query_whose_model_is_replaced_is_asked_anew(filled: FaissStore, mode: Any, how: str) -> None:
    """The vector is of one model, and when it is searched with, the documents' are of another."""
    model: Any = filled.embeddings
    model.happens = lambda: filled.reembed(NEW)
    candidates = await found(filled, how, recall_mode=mode, fetch_k=10)
    assert model.happens is None
    true = cosines(NEW)
    if mode == "dense":
        assert list(candidates) == top(true, 10)
    for name, one in candidates.items():
        assert one.dense_score == pytest.approx(true[name], abs=1e-5)


def test_scores_for_given_documents_are_of_one_model(filled: FaissStore) -> None:
    """What another wording found is scored for the query itself, and the model is replaced before that."""
    model: Any = filled.embeddings
    model.happens = lambda: filled.reembed(NEW)
    scores = source_of(filled).scores_of(QUERY, ["d1", "d2", "nobody"], BOTH)
    true, terms = cosines(NEW), bm25()
    assert scores["dense"] == pytest.approx({name: true[name] for name in ("d1", "d2")}, abs=1e-5)
    assert scores["lexical"] == pytest.approx({name: terms[name] for name in ("d1", "d2")}, rel=1e-4)


@pytest.mark.parametrize("mode", ["dense", "hybrid"])
def test_queries_during_reembed_use_one_space(mode: Any) -> None:
    """Threads ask while the model is replaced again and again: every answer is one that a single model gives."""
    store = FaissStore.from_texts(list(CORPUS.values()), OLD, ids=list(CORPUS))
    retriever = RerankRetriever(store, recall_mode=mode, fetch_k=20, k=20)
    possible = []
    for model in (NEW, OLD):
        store.reembed(model)
        possible.append([one.id for one in retriever.invoke(QUERY)])
    if mode == "dense":
        assert possible == [top(cosines(model), 20) for model in (NEW, OLD)]
    assert possible[0] != possible[1]
    wrong: list[object] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            try:
                answer = [one.id for one in retriever.invoke(QUERY)]
            except Exception as error:
                wrong.append(error)
            else:
                if answer not in possible:
                    wrong.append(answer)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for turn in range(12):
        store.reembed(OLD if turn % 2 else NEW)
    stop.set()
    for thread in threads:
        thread.join()
    store.close()
    assert wrong == []


# ---------------------------------------------------------------- one version of each document


def after_the_dense_search(monkeypatch: pytest.MonkeyPatch, change: Callable[[], object]) -> None:
    """Have something happen once, when the vectors have been searched and nothing else has been read."""
    search = View.search

    def searched(self: View, *arguments: Any) -> Any:
        answer = search(self, *arguments)
        monkeypatch.setattr(View, "search", search)
        change()
        return answer

    monkeypatch.setattr(View, "search", searched)


def facts(candidates: Mapping[str, ExplainedCandidate]) -> dict[str, tuple[str, float | None, float | None]]:
    return {
        name: (one.document.page_content, one.dense_score, one.lexical_score)
        for name, one in candidates.items()
    }


@pytest.mark.parametrize("how", ["sync", "async"])
async def test_a_document_that_changes_in_the_middle_is_all_old(
    filled: FaissStore, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Its text, its cosine and its BM25 are those of before, though BM25 is read after the change."""
    before = facts(await found(filled, how, recall_mode="hybrid"))
    best = next(iter(before))
    assert before[best][2]
    after_the_dense_search(monkeypatch, lambda: filled.add_texts(["nothing in common"], ids=[best]))
    assert facts(await found(filled, how, recall_mode="hybrid")) == before
    assert filled.get_by_ids([best])[0].page_content == "nothing in common"
    after = facts(await found(filled, how, recall_mode="hybrid", fetch_k=len(CORPUS)))
    assert best not in after or after[best][2] == 0.0


def test_scores_that_a_blend_asks_for_are_of_the_same_moment(
    filled: FaissStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = source_of(filled)
    asked = RecallRequest(QUERY, fetch_k=10, mode="dense", stage_scores=BOTH)
    before = source.recall(asked)
    new = {str(one.document.id): f"{QUERY} {one.document.page_content}" for one in before}
    after_the_dense_search(monkeypatch, lambda: filled.add_texts(list(new.values()), ids=list(new)))
    assert source.recall(asked) == before
    assert {one.document.page_content for one in source.recall(asked)} == set(new.values())


@pytest.mark.parametrize("mode", ["dense", "hybrid"])
def test_a_document_that_is_deleted_in_the_middle_is_still_there(
    filled: FaissStore, monkeypatch: pytest.MonkeyPatch, mode: Any
) -> None:
    """The answer is that of the moment before; the next one is without it."""
    source = source_of(filled)
    asked = RecallRequest(QUERY, fetch_k=10, mode=mode, stage_scores=BOTH)
    before = source.recall(asked)
    gone = str(before[0].document.id)
    after_the_dense_search(monkeypatch, lambda: filled.delete([gone]))
    assert source.recall(asked) == before
    assert gone not in {one.document.id for one in source.recall(asked)}


# ---------------------------------------------------------------- what a query costs


@pytest.mark.parametrize(
    ("mode", "others", "transactions"),
    [
        ("dense", [], 3),  # is there anything, is the model the right one, search
        ("lexical", [], 2),  # is there a lexical index, search
        ("hybrid", [], 4),
        ("dense", ["word1"], 6),
    ],
)
def test_how_many_transactions_a_query_takes(
    filled: FaissStore, mode: Any, others: list[str], transactions: int
) -> None:
    filled.similarity_search(QUERY)
    begun: list[str] = []
    for connection in filled._engine.connections._open:
        connection.set_trace_callback(lambda sql: begun.append(sql) if sql.startswith("BEGIN") else None)
    source = with_queries(source_of(filled), QUERY, others)
    assert source.recall(RecallRequest(QUERY, fetch_k=10, mode=mode))
    assert len(begun) == transactions
