"""Sources that misbehave: what is refused, what is borne, and that the error names the source."""

import asyncio
import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import InMemoryVectorStore, VectorStore, VectorStoreRetriever

from langchain_rerank_retriever import FaissStore, RerankRetriever
from langchain_rerank_retriever.errors import InvalidArgumentError, RecallError, RerankError
from langchain_rerank_retriever.recall import Candidate, RecallRequest, source_of
from langchain_rerank_retriever.testing import FaultyStore, HashEmbeddings
from tests.recall.test_foreign import ListRetriever, PlainStore, ScoringStore, both, ids, named, request

Search = Callable[[Any, RecallRequest], list[Candidate]]


def sync(recall: Any, asked: RecallRequest) -> list[Candidate]:
    return source_of(recall).recall(asked)


def asynchronous(recall: Any, asked: RecallRequest) -> list[Candidate]:
    return asyncio.run(source_of(recall).arecall(asked))


both_ways = pytest.mark.parametrize("search", [sync, asynchronous])


class Answering(PlainStore):
    """A store that answers what it is told, with scores or without."""

    def __init__(self, answer: Any) -> None:
        super().__init__([])
        self.answer = answer

    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> Any:
        return self.answer


class AnsweringWithScores(Answering):
    def similarity_search_with_score(self, query: str, k: int = 4, **kwargs: Any) -> Any:
        return self.answer


class AnsweringRetriever(BaseRetriever):
    answer: Any

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> Any:
        return self.answer


# ---------------------------------------------------------------- documents


async def test_ids_that_are_empty_are_none() -> None:
    documents = [Document(id="", page_content="x"), Document(id="", page_content="y")]
    assert [one.document.page_content for one in await both(PlainStore(documents))] == ["x", "y"]


async def test_documents_without_ids_in_a_list_meet_by_their_texts() -> None:
    one, two = ([Document(page_content=text) for text in texts] for texts in ("xyz", "zq"))
    found = await both([PlainStore(one), ListRetriever(documents=two)], fetch_k=9)
    assert [one.document.page_content for one in found] == ["z", "x", "y", "q"]
    assert [one.recall_score for one in found] == pytest.approx([1 / 63 + 1 / 61, 1 / 61, 1 / 62, 1 / 62])


async def test_duplicates_leave_room_for_none_but_do_not_count() -> None:
    """A Milvus collection into which an id was inserted twice; its ids are in the metadata."""
    documents = [
        Document(page_content=text, metadata={"pk": text[0]}) for text in ("a1", "a2", "b1", "a3", "c1")
    ]
    assert [one.document.page_content for one in await both(PlainStore(documents), fetch_k=5)] == [
        "a1",
        "b1",
        "c1",
    ]


async def test_one_that_gives_more_than_it_was_asked_for() -> None:
    assert ids(await both(AnsweringRetriever(answer=named(*"abcdef")))) == ["a", "b", "c"]
    assert ids(await both(Answering(named(*"abcdef")))) == ["a", "b", "c"]


@pytest.mark.parametrize("nothing", [[], (), iter([])])
async def test_nothing_is_an_answer(nothing: Any) -> None:
    for recall in (Answering(nothing), AnsweringWithScores(nothing), AnsweringRetriever(answer=nothing)):
        assert await both(recall) == []
        assert await both([recall, PlainStore(named("a"))]) != []


@both_ways
@pytest.mark.parametrize("kind", [Answering, lambda answer: AnsweringRetriever(answer=answer)])
@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "gave a NoneType; expected a list of LangChain Documents"),
        ("text", "gave a str; expected a list"),
        ({"documents": []}, "gave a dict; expected a list"),
        (["text"], "gave a str at place 0; expected a LangChain Document"),
        ([*named("a"), None], "gave a NoneType at place 1; expected"),
        ([(named("a")[0], 0.5)], "gave a tuple at place 0; expected a LangChain Document"),
        ([{"page_content": "a"}], "gave a dict at place 0; expected"),
    ],
)
def test_what_is_no_document(search: Search, kind: Any, answer: Any, message: str) -> None:
    with pytest.raises(RecallError, match=f"Answering.* {message}") as caught:
        search(kind(answer), request())
    assert isinstance(caught.value, RuntimeError)
    assert caught.value.source.startswith("Answering")


@both_ways
@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "gave a NoneType; expected a list"),
        (named("a"), "gave a Document at place 0; expected a pair of a LangChain Document and a score"),
        ([(named("a")[0],)], "gave a tuple at place 0; expected a pair"),
        ([("text", 0.5)], "gave a str at place 0; expected a LangChain Document"),
        ([(named("a")[0], "high")], "gave the score 'high' at place 0; expected a number or None"),
        ([(named("a")[0], [0.5, 0.6])], r"gave the score \[0.5, 0.6\] at place 0"),
    ],
)
def test_what_is_no_scored_document(search: Search, answer: Any, message: str) -> None:
    with pytest.raises(RecallError, match=f"AnsweringWithScores {message}"):
        search(AnsweringWithScores(answer), request())


async def test_scores_are_reported_and_decide_nothing() -> None:
    scores = [None, float("nan"), 3, np.float32(0.25), Decimal("0.5"), -math.inf]
    found = await both(ScoringStore(named(*"abcdef"), scores), fetch_k=9)  # type: ignore[arg-type]
    assert ids(found) == list("abcdef")
    assert [one.recall_score for one in found] == [None, None, 3.0, 0.25, 0.5, -math.inf]
    assert {type(one.recall_score) for one in found} == {type(None), float}


@both_ways
def test_input_is_not_changed(search: Search) -> None:
    documents = named("a", "b", tags=["x"])
    before = [document.model_copy(deep=True) for document in documents]
    arguments = {"expr": "x > 1", "params": {"ef": 50}}
    store = PlainStore(documents)
    search(store.as_retriever(search_kwargs=arguments), request(search_kwargs={"timeout": 3}))
    assert documents == before
    assert arguments == {"expr": "x > 1", "params": {"ef": 50}}
    assert store.asked == [{"k": 3, "expr": "x > 1", "params": {"ef": 50}, "timeout": 3}]
    assert store.asked[0]["params"] is arguments["params"]


# ---------------------------------------------------------------- errors


class Failing(PlainStore):
    """Raises what it is told."""

    def __init__(self, error: BaseException) -> None:
        super().__init__([])
        self.error = error

    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> Any:
        raise self.error


@both_ways
@pytest.mark.parametrize(
    "error", [KeyError("k"), TypeError("filter"), AssertionError("_async_engine not found")]
)
def test_an_error_names_the_source(search: Search, error: Exception) -> None:
    with pytest.raises(RecallError, match=f"Recall from Failing failed: {type(error).__name__}: ") as caught:
        search(Failing(error), request())
    assert caught.value.__cause__ is error
    with pytest.raises(RecallError, match=r"Recall from Failing \(source 2 of 3\) failed") as caught:
        search([PlainStore([]), Failing(error).as_retriever(), PlainStore([])], request())
    assert caught.value.source == "Failing (source 2 of 3)"


@both_ways
def test_an_error_in_the_middle_of_an_answer(search: Search) -> None:
    def broken() -> Any:
        yield named("a")[0]
        raise ConnectionResetError("by peer")

    with pytest.raises(RecallError, match="Recall from Answering failed: ConnectionResetError: by peer"):
        search(Answering(broken()), request())


@both_ways
def test_our_own_errors_and_what_is_no_error_come_through(search: Search) -> None:
    class Ours(RerankError):
        pass

    for error in (Ours("ours"), KeyboardInterrupt(), SystemExit(3)):
        with pytest.raises(type(error)):
            search(Failing(error), request())


@both_ways
def test_a_server_that_goes_away_and_comes_back(search: Search, hash_embeddings: HashEmbeddings) -> None:
    store = InMemoryVectorStore(hash_embeddings)
    store.add_texts(["red apple", "blue sky"], ids=["a", "b"])
    faulty = FaultyStore(store, [None, ConnectionError("refused")] * 2)
    other = ListRetriever(documents=named("x"))
    assert ids(search(faulty, request())) == ["a", "b"]
    with pytest.raises(RecallError, match="FaultyStore failed: ConnectionError: refused"):
        search(faulty, request())
    assert set(ids(search([other, faulty], request()))) == {"a", "b", "x"}
    with pytest.raises(RecallError, match=r"FaultyStore \(source 2 of 2\) failed: ConnectionError: refused"):
        search([other, faulty], request())  # one of two is enough to fail: nothing is left out in silence
    assert set(ids(search([other, faulty], request()))) == {"a", "b", "x"}


@both_ways
def test_filled_with_another_model(search: Search) -> None:
    """Another dimension is noticed by the store; the same dimension cannot be known."""
    store = InMemoryVectorStore(HashEmbeddings(16))
    store.add_texts(["red apple", "blue sky"])
    store.embedding = HashEmbeddings(24)
    with pytest.raises(
        RecallError, match=r"InMemoryVectorStore failed: .*16.*another model than it is asked with"
    ):
        search(store, request())
    store.embedding = HashEmbeddings(16, seed=1)
    assert len(search(store, request())) == 2


# ---------------------------------------------------------------- interfaces with gaps


class SyncOnly(PlainStore):
    """Says of its async side that it has none."""

    async def asimilarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        raise NotImplementedError("use the sync methods")

    async def asimilarity_search_with_score(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("use the sync methods")


class SyncOnlyWithScores(SyncOnly, ScoringStore):
    pass


class Unsearchable(PlainStore):
    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        raise NotImplementedError("only search by vector")


async def test_without_an_async_side_a_thread_is_used() -> None:
    assert ids(await both(SyncOnly(named("a", "b")))) == ["a", "b"]
    found = await both(SyncOnlyWithScores(named("a", "b"), [0.1, 0.2]))
    assert [one.recall_score for one in found] == [0.1, 0.2]


class SyncOnlyRetriever(ListRetriever):
    """Says of its async side that it has none."""

    async def _aget_relevant_documents(self, query: str, **_: Any) -> list[Document]:
        raise NotImplementedError


class SearchlessRetriever(SyncOnlyRetriever):
    def _get_relevant_documents(self, query: str, **_: Any) -> list[Document]:
        raise NotImplementedError("nor a sync one")


async def test_a_retriever_without_an_async_side_is_asked_in_a_thread() -> None:
    retriever = SyncOnlyRetriever(documents=named("a", "b"))
    assert ids(await both(retriever)) == ["a", "b"]
    assert ids(await both([retriever, PlainStore(named("b", "c"))])) == ["b", "a", "c"]
    assert [one.id for one in await RerankRetriever(retriever).ainvoke("q")] == ["a", "b"]
    with pytest.raises(RecallError, match="SearchlessRetriever failed: NotImplementedError: nor a sync one"):
        await source_of(SearchlessRetriever(documents=[])).arecall(request())


@both_ways
def test_without_any_search_that_is_said(search: Search) -> None:
    with pytest.raises(RecallError, match="Unsearchable failed: NotImplementedError: only search by vector"):
        search(Unsearchable([]), request())


@both_ways
def test_only_plain_store_retrievers_are_taken_apart(search: Search) -> None:
    class Choosy(VectorStoreRetriever):
        def _get_relevant_documents(
            self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **kwargs: Any
        ) -> list[Document]:
            return named("chosen")

        async def _aget_relevant_documents(self, query: str, **_: Any) -> list[Document]:
            return named("chosen")

    store = PlainStore(named(*"abcd"))
    assert ids(search(Choosy(vectorstore=store), request())) == ["chosen"]
    assert ids(search(VectorStoreRetriever(vectorstore=store), request())) == ["a", "b", "c"]


# ---------------------------------------------------------------- arguments of a call


@both_ways
def test_arguments_of_a_call_go_through(search: Search) -> None:
    store = PlainStore(named("a"))
    retriever = store.as_retriever(search_kwargs={"expr": "year > 1990", "k": 7})
    search(retriever, request(search_kwargs={"expr": "year > 2020", "param": {"ef": 200}}))
    search([store, retriever], request(search_kwargs={"timeout": 1}))
    assert store.asked[0] == {"k": 3, "expr": "year > 2020", "param": {"ef": 200}}
    assert sorted(store.asked[1:], key=len) == [
        {"k": 3, "timeout": 1},
        {"k": 3, "timeout": 1, "expr": "year > 1990"},
    ]


@both_ways
def test_arguments_that_cannot_be_passed_on(search: Search, hash_embeddings: HashEmbeddings) -> None:
    asked = request(search_kwargs={"expr": "x"})
    with pytest.raises(InvalidArgumentError, match="search_kwargs= cannot be passed on to ListRetriever"):
        search(ListRetriever(documents=[]), asked)
    with pytest.raises(InvalidArgumentError, match="search_kwargs cannot hold k: fetch_k says how many"):
        search(PlainStore([]), request(search_kwargs={"k": 9}))
    with (
        FaissStore.from_texts(["a"], hash_embeddings) as store,
        pytest.raises(
            InvalidArgumentError, match=r"search_kwargs are for foreign stores, got \{'expr': 'x'\}.*filter="
        ),
    ):
        search(store, asked)


def test_who_says_which_way_is_better(hash_embeddings: HashEmbeddings) -> None:
    plain: VectorStore = PlainStore([])
    with FaissStore(hash_embeddings) as store:
        assert not source_of(store).score_is_opaque
        assert not source_of([plain, store]).score_is_opaque  # fused by rank, by us
    assert source_of(plain).score_is_opaque
    assert source_of(ListRetriever(documents=[])).score_is_opaque
    assert source_of(plain.as_retriever()).score_is_opaque
    assert source_of(plain).scores_of("q", ["a"], frozenset({"dense"})) == {}


class Exhausted(HashEmbeddings):
    """Embeds documents; of queries it says what an empty iterator says."""

    gone = False

    def embed_query(self, text: str) -> list[float]:
        if self.gone:
            raise StopIteration
        return super().embed_query(text)


@pytest.mark.parametrize("kind", ["ours", "foreign", "fused"])
async def test_an_iterator_that_ends_leaves_no_query_waiting(kind: str) -> None:
    """A future cannot hold StopIteration: who awaits it would wait for ever."""
    embeddings = Exhausted()
    ours = FaissStore.from_texts(["red fox"], embeddings)
    foreign = InMemoryVectorStore.from_texts(["red fox"], embeddings)
    embeddings.gone = True
    source = source_of({"ours": ours, "foreign": foreign, "fused": [ours, foreign]}[kind])
    with pytest.raises((RuntimeError, RecallError)):
        await asyncio.wait_for(source.arecall(request()), timeout=20)
