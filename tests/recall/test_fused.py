"""Several sources, and several queries, against the fusion of their single answers."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import InMemoryVectorStore

from langchain_rerank_retriever import FaissStore
from langchain_rerank_retriever.errors import ScoringError
from langchain_rerank_retriever.recall import (
    Candidate,
    RecallRequest,
    RecallSource,
    embedding_store,
    recall_score_is_fitted,
    source_of,
    vectors_of,
    with_queries,
)
from langchain_rerank_retriever.recall.fused import FusedRecall
from langchain_rerank_retriever.testing import HashEmbeddings
from tests.recall.test_foreign import ListRetriever, PlainStore, ids, named, request
from tests.recall.test_store import CORPUS, bm25

QUERIES = ("word3 word7 word11", "word20 word21", "word5")
BOTH = frozenset({"dense", "lexical"})


@pytest.fixture(scope="module")
def embeddings() -> HashEmbeddings:
    return HashEmbeddings()


@pytest.fixture(scope="module")
def store(embeddings: HashEmbeddings) -> Iterator[FaissStore]:
    with FaissStore.from_texts(list(CORPUS.values()), embeddings, ids=list(CORPUS)) as made:
        yield made


def fused_by_hand(lists: Sequence[Sequence[str | None]]) -> dict[str | None, float]:
    scores: dict[str | None, float] = {}
    for names in lists:
        for place, name in enumerate(names):
            scores[name] = scores.get(name, 0.0) + 1 / (61 + place)
    return scores


def recalled(source: RecallSource, asked: RecallRequest) -> list[Candidate]:
    """Recall sync and async, see that they agree."""
    found = source.recall(asked)
    assert asyncio.run(source.arecall(asked)) == found
    return found


# ---------------------------------------------------------------- side by side


class Meeting(BaseRetriever):
    """A source that answers only when as many as expected ask at the same time."""

    barrier: Any
    names: str
    seen: Any  # a list, which pydantic would copy

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        self.barrier.wait()
        self.seen.append(TRACE.get())
        return named(*self.names)


TRACE: ContextVar[str] = ContextVar("trace", default="none")


def test_sources_are_asked_side_by_side() -> None:
    barrier, seen = threading.Barrier(3, timeout=20), list[str]()
    sources = [Meeting(barrier=barrier, names=names, seen=seen) for names in ("ab", "bc", "cb")]
    TRACE.set("caller")
    for _ in range(2):
        found = source_of(sources).recall(request(fetch_k=9))
        assert ids(found) == ["b", "c", "a"]
    assert ids(asyncio.run(source_of(sources).arecall(request(fetch_k=9)))) == ["b", "c", "a"]
    assert seen == ["caller"] * 9  # what tracers keep there goes along


def test_our_own_are_asked_meanwhile_in_the_callers_thread(
    store: FaissStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    barrier, seen = threading.Barrier(2, timeout=20), list[str]()
    remote = Meeting(barrier=barrier, names="ab", seen=seen)
    threads = []
    search = store.hits_by_side

    def meet(*args: Any, **kwargs: Any) -> Any:
        threads.append(threading.current_thread())
        if len(threads) == 1:
            barrier.wait()  # the foreign one is being asked at this moment
        return search(*args, **kwargs)

    monkeypatch.setattr(store, "hits_by_side", meet)
    assert {"a", "b"} <= set(ids(source_of([remote, store]).recall(request(fetch_k=9))))
    with_queries(source_of([store, store]), "word1", ["word2"]).recall(request(query="word1"))
    assert threads == [threading.current_thread()] * 5


def test_more_sources_than_threads() -> None:
    many = [PlainStore(named(f"n{number}")) for number in range(30)]
    assert len(recalled(source_of(many), request(fetch_k=50))) == 30


def test_queries_in_threads_of_their_own_meet_in_no_order() -> None:
    sources = [PlainStore(named("a", "b")), PlainStore(named("b", "c"))]
    expected = source_of(sources).recall(request())
    for _ in range(20):
        assert source_of(sources).recall(request()) == expected


async def test_the_others_are_cancelled_when_one_fails() -> None:
    cancelled = asyncio.Event()

    class Slow(PlainStore):
        async def asimilarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                cancelled.set()
                raise
            return []

    class Broken(PlainStore):
        async def asimilarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
            await asyncio.sleep(0)
            raise OSError("down")

    with pytest.raises(RuntimeError, match=r"Broken \(source 2 of 2\) failed: OSError: down"):
        await source_of([Slow([]), Broken([])]).arecall(request())
    await asyncio.wait_for(cancelled.wait(), 5)


# ---------------------------------------------------------------- several queries


def test_no_other_query_is_no_other_source(store: FaissStore) -> None:
    source = source_of(store)
    for others in ((), ["word1"], ["word1", "word1"]):
        assert with_queries(source, "word1", others) is source
    assert with_queries(source, "word1", ["word2", "word2", "word1"]).others == ("word2",)  # type: ignore[attr-defined]


@pytest.mark.parametrize("fetch_k", [1, 7, 40])
@pytest.mark.parametrize("mode", ["dense", "lexical", "hybrid"])
def test_lists_of_several_queries_are_fused(store: FaissStore, mode: Any, fetch_k: int) -> None:
    source = with_queries(source_of(store), QUERIES[0], QUERIES[1:])
    found = recalled(source, request(query=QUERIES[0], fetch_k=fetch_k, mode=mode))
    lists = [source_of(store).recall(request(query=one, fetch_k=fetch_k, mode=mode)) for one in QUERIES]
    expected = fused_by_hand([ids(one) for one in lists])
    order = sorted(expected, key=lambda name: -expected[name])[:fetch_k]
    assert ids(found) == order
    assert [one.recall_score for one in found] == pytest.approx([expected[name] for name in order])


@pytest.mark.parametrize("mode", ["dense", "lexical", "hybrid"])
def test_stage_scores_are_those_of_the_query_itself(
    store: FaissStore, embeddings: HashEmbeddings, mode: Any
) -> None:
    source = with_queries(source_of(store), QUERIES[0], QUERIES[1:])
    found = recalled(source, request(query=QUERIES[0], fetch_k=30, mode=mode, stage_scores=BOTH))
    vector, terms = np.array(embeddings.embed_query(QUERIES[0])), bm25(QUERIES[0])
    assert len(found) == 30
    for one in found:
        name = one.document.id or ""
        assert one.dense_score == pytest.approx(vector @ embeddings.embed_query(CORPUS[name]), abs=1e-5)
        assert one.lexical_score == pytest.approx(terms[name], rel=1e-4)


def test_scores_for_another_query_are_not_kept(store: FaissStore) -> None:
    source = with_queries(source_of(store), QUERIES[0], QUERIES[1:])
    alone = {
        one.document.id: one.dense_score
        for one in source_of(store).recall(request(query=QUERIES[0], fetch_k=25))
    }
    found = recalled(source, request(query=QUERIES[0], fetch_k=25))
    assert 0 < sum(one.dense_score is None for one in found) < 25
    assert {one.document.id: one.dense_score for one in found if one.dense_score is not None} == {
        one.document.id: alone[one.document.id] for one in found if one.document.id in alone
    }


def test_two_stores_and_several_queries(embeddings: HashEmbeddings) -> None:
    names = list(CORPUS)
    halves = [{name: CORPUS[name] for name in names[start::2]} for start in (0, 1)]
    with (
        FaissStore.from_texts(list(halves[0].values()), embeddings, ids=list(halves[0])) as one,
        FaissStore.from_texts(
            list(halves[1].values()), embeddings, ids=list(halves[1]), lexical=False
        ) as two,
    ):
        source = with_queries(source_of([one, two]), QUERIES[0], QUERIES[1:])
        dense = frozenset({"dense"})
        assert source.stage_scores == dense
        found = recalled(source, request(query=QUERIES[0], fetch_k=30, stage_scores=dense))
        vector = np.array(embeddings.embed_query(QUERIES[0]))
        for candidate in found:
            expected = vector @ embeddings.embed_query(CORPUS[candidate.document.id or ""])
            assert candidate.dense_score == pytest.approx(expected, abs=1e-5)
        some = [names[0], names[1], "unknown"]
        assert set(source.scores_of("word1", some, dense)["dense"]) == {names[0], names[1]}


def test_several_queries_to_foreign_sources() -> None:
    class Echo(PlainStore):
        def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
            self.asked.append({"query": query, "k": k, **kwargs})
            return named(*query)[:k]

    echo = Echo([])
    source = with_queries(source_of([echo, ListRetriever(documents=named("z"))]), "ab", ["bc"])
    found = recalled(source, request(query="ab", fetch_k=9))
    # Within a query the two sources are fused first: "ab" gives a, z, b and "bc" gives b, z, c.
    assert fused_by_hand([["a", "z", "b"], ["b", "z", "c"]]) == pytest.approx(
        {one.document.id: one.recall_score for one in found}
    )
    assert source.stage_scores == frozenset()
    assert {one["query"] for one in echo.asked} == {"ab", "bc"}


def test_a_document_deleted_between_the_queries_is_left_out(
    embeddings: HashEmbeddings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FaissStore.from_texts(["a", "b", "c d"], embeddings, ids=["1", "2", "3"]) as changing:
        fill = changing.scores_by_side

        def delete_first(*arguments: Any, **named: Any) -> Any:
            changing.delete(["3"])
            return fill(*arguments, **named)

        source = with_queries(source_of(changing), "a", ["d"])
        monkeypatch.setattr(changing, "scores_by_side", delete_first)
        asked = request(query="a", fetch_k=1, mode="lexical", stage_scores=frozenset({"lexical"}))
        assert ids(source.recall(asked)) == ["1"]
        found = source.recall(
            request(query="a", fetch_k=5, mode="lexical", stage_scores=frozenset({"lexical"}))
        )
        assert ids(found) == ["1"]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.sampled_from("abcdef"), unique=True, max_size=6), min_size=1, max_size=5))
def test_any_lists(lists: list[list[str]]) -> None:
    found = FusedRecall([source_of(PlainStore(named(*names))) for names in lists]).recall(request(fetch_k=6))
    expected = fused_by_hand(lists)
    assert {one.document.id: one.recall_score for one in found} == pytest.approx(expected)
    scores = [one.recall_score for one in found]
    assert scores == sorted(scores, reverse=True)  # type: ignore[type-var]


def test_only_one_faiss_store_gives_the_fitted_hybrid_score(
    store: FaissStore, embeddings: HashEmbeddings
) -> None:
    source = source_of(store)
    assert recall_score_is_fitted(source, "hybrid")
    assert not recall_score_is_fitted(source, "dense")
    assert not recall_score_is_fitted(source, None)
    assert not recall_score_is_fitted(source_of([store, store]), "hybrid")
    assert not recall_score_is_fitted(with_queries(source, "a", ["b"]), "hybrid")
    with FaissStore(embeddings, lexical=False) as plain:
        assert not recall_score_is_fitted(source_of(plain), "hybrid")


# ---------------------------------------------------------------- vectors


def unit(rows: Any) -> np.ndarray:
    table = np.asarray(rows, float)
    return table / np.linalg.norm(table, axis=1, keepdims=True)


def test_which_store_can_embed(store: FaissStore, embeddings: HashEmbeddings) -> None:
    foreign = InMemoryVectorStore(embeddings)
    without = PlainStore([])
    assert embedding_store(source_of(store)) is store
    assert embedding_store(source_of(foreign)) is foreign
    assert embedding_store(source_of(foreign.as_retriever())) is foreign
    assert embedding_store(source_of(without)) is None
    assert embedding_store(source_of(ListRetriever(documents=[]))) is None
    assert embedding_store(source_of([without, ListRetriever(documents=[]), foreign, store])) is foreign
    assert embedding_store(source_of([without])) is None
    assert embedding_store(with_queries(source_of(store), "a", ["b"])) is store


def test_vectors_that_a_store_keeps_are_not_made_again(store: FaissStore, embeddings: HashEmbeddings) -> None:
    names = ["d3", "d7", "d4"]
    documents = [Document(id=name, page_content="another text than the stored one") for name in names]
    calls = len(embeddings.calls)
    vectors = vectors_of(store, documents)
    assert len(embeddings.calls) == calls
    np.testing.assert_allclose(vectors, [embeddings.embed_query(CORPUS[name]) for name in names], atol=1e-6)
    stranger = Document(id="x", page_content="from elsewhere")
    nameless = Document(page_content="without a name")
    mixed = vectors_of(store, [stranger, documents[1], nameless])
    expected = [stranger.page_content, CORPUS["d7"], nameless.page_content]
    np.testing.assert_allclose(mixed, [embeddings.embed_query(text) for text in expected], atol=1e-6)
    assert embeddings.calls[-1] == ["from elsewhere", "without a name"]
    by_id = store.vectors_by_ids(["d3", "nobody", "d4", "d3"])
    assert list(by_id) == ["d3", "d4"]
    assert {row.dtype for row in by_id.values()} == {np.dtype(np.float32)}
    assert store.vectors_by_ids([]) == {}


def test_vectors_of_a_foreign_store_are_made(embeddings: HashEmbeddings) -> None:
    class Long(HashEmbeddings):
        def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
            return [[3 * value for value in row] for row in super().embed_documents(texts)]

    documents = [Document(page_content=text) for text in ("red apple", "blue sky", "red apple")]
    vectors = vectors_of(InMemoryVectorStore(Long()), documents)
    np.testing.assert_allclose(vectors, unit([embeddings.embed_query(one.page_content) for one in documents]))


@pytest.mark.parametrize(
    "answer", [[[1.0, 2.0]], [[1.0], [1.0, 2.0]], [1.0, 2.0], None, [[1.0], [float("nan")]], [["a"], ["b"]]]
)
def test_embeddings_that_give_no_vectors(answer: Any) -> None:
    class Bad(HashEmbeddings):
        def embed_documents(self, texts: Sequence[str]) -> Any:
            return answer

    with pytest.raises(ScoringError, match=r"Bad gave .* for 2 texts.*expected one"):
        vectors_of(InMemoryVectorStore(Bad()), named("a", "b"))
