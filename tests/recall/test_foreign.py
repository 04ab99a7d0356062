"""Recall from what others wrote: stores with gaps in their interface, retrievers, and lists."""

from collections.abc import Sequence
from typing import Any

import pytest
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import InMemoryVectorStore, VectorStore

from langchain_rerank_retriever import FaissStore, RerankRetriever
from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.recall import Candidate, RecallRequest, source_of
from langchain_rerank_retriever.recall.candidate import document_key
from tests.conftest import HashEmbeddings

TEXTS = ["red apple", "green apple", "blue sky", "red sky at night", "yellow sun"]


class PlainStore(VectorStore):
    """The least a VectorStore may be: a fixed order, no scores."""

    def __init__(self, documents: Sequence[Document]) -> None:
        self.documents = list(documents)
        self.asked: list[dict[str, Any]] = []

    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        self.asked.append({"k": k, **kwargs})
        return self.documents[:k]

    @classmethod
    def from_texts(cls, texts: list[str], embedding: Embeddings, metadatas: Any = None, **kwargs: Any) -> Any:
        return cls([Document(page_content=text) for text in texts])


class RefusingStore(PlainStore):
    """Overrides the search with scores only to say that it lacks it."""

    def similarity_search_with_score(self, *args: Any, **kwargs: Any) -> list[tuple[Document, float]]:
        raise NotImplementedError


class ScoringStore(PlainStore):
    """Scores are what it is told, a distance for instance, or None."""

    def __init__(self, documents: Sequence[Document], scores: Sequence[float | None]) -> None:
        super().__init__(documents)
        self.scores = list(scores)

    def similarity_search_with_score(self, query: str, k: int = 4, **kwargs: Any) -> list[Any]:
        self.asked.append({"k": k, **kwargs})
        return list(zip(self.documents, self.scores))[:k]


class AsyncStore(PlainStore):
    """Has a search with scores on its async side only."""

    async def asimilarity_search_with_score(self, query: str, k: int = 4, **kwargs: Any) -> list[Any]:
        return [(document, 0.5) for document in self.documents[:k]]


class ListRetriever(BaseRetriever):
    """Somebody else's retriever."""

    documents: list[Document]

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        return self.documents


def named(*names: str, **metadata: Any) -> list[Document]:
    return [Document(id=name, page_content=f"text {name}", metadata=dict(metadata)) for name in names]


def request(**fields: Any) -> RecallRequest:
    return RecallRequest(**{"query": "red apple", "fetch_k": 3, **fields})


def ids(candidates: Sequence[Candidate]) -> list[str | None]:
    return [candidate.document.id for candidate in candidates]


async def both(recall: Any, **fields: Any) -> list[Candidate]:
    """Recall sync and async, see that they agree."""
    found = source_of(recall).recall(request(**fields))
    assert await source_of(recall).arecall(request(**fields)) == found
    return found


# ---------------------------------------------------------------- vector stores


async def test_in_memory_store(hash_embeddings: HashEmbeddings) -> None:
    store = InMemoryVectorStore(hash_embeddings)
    store.add_texts(TEXTS, ids=[str(number) for number in range(5)])
    found = await both(store, fetch_k=4)
    expected = store.similarity_search_with_score("red apple", k=4)
    assert [(one.document.page_content, one.recall_score) for one in found] == [
        (document.page_content, score) for document, score in expected
    ]
    assert all(one.dense_score is None and one.lexical_score is None for one in found)
    assert source_of(store).stage_scores == frozenset()


async def test_a_filter_is_passed_on_as_it_is(hash_embeddings: HashEmbeddings) -> None:
    store = InMemoryVectorStore(hash_embeddings)
    store.add_texts(TEXTS, [{"place": place} for place in range(5)])
    found = await both(store, filter=lambda document: document.metadata["place"] > 2)
    assert {one.document.metadata["place"] for one in found} == {3, 4}


@pytest.mark.parametrize("kind", [PlainStore, RefusingStore])
async def test_a_store_without_scores(kind: type[PlainStore]) -> None:
    store = kind(named("a", "b", "c", "d"))
    found = await both(store, filter={"x": 1})
    assert ids(found) == ["a", "b", "c"]
    assert {one.recall_score for one in found} == {None}
    assert store.asked == [{"k": 3, "filter": {"x": 1}}] * 2


async def test_no_filter_argument_where_none_is_given() -> None:
    store = PlainStore(named("a"))
    await both(store)
    assert store.asked == [{"k": 3}] * 2


async def test_the_order_is_the_stores_whatever_its_scores() -> None:
    found = await both(ScoringStore(named("a", "b", "c"), [0.1, 0.9, None]))
    assert [(one.document.id, one.recall_score) for one in found] == [("a", 0.1), ("b", 0.9), ("c", None)]


async def test_scores_on_the_async_side_only() -> None:
    source = source_of(AsyncStore(named("a", "b")))
    assert [one.recall_score for one in source.recall(request())] == [None, None]
    assert [one.recall_score for one in await source.arecall(request())] == [0.5, 0.5]


async def test_duplicates_count_once_and_the_first_stays() -> None:
    first, second = Document(id="a", page_content="one"), Document(id="a", page_content="two")
    found = await both(PlainStore([first, second, *named("b")]))
    assert [one.document.page_content for one in found] == ["one", "text b"]


async def test_documents_without_ids_are_told_apart_by_their_texts() -> None:
    documents = [Document(page_content=text) for text in ("x", "y", "x")]
    assert [one.document.page_content for one in await both(PlainStore(documents))] == ["x", "y"]


@pytest.mark.parametrize(
    ("id_", "metadata", "expected"),
    [
        (None, {"pk": 7}, "7"),
        (None, {"pk": 0}, "0"),
        (None, {"_id": "q"}, "q"),
        ("", {"pk": "m"}, "m"),
        ("own", {"pk": "m"}, "own"),
        (None, {"pk": None}, None),
        (None, {}, None),
    ],
)
async def test_an_id_in_the_metadata_becomes_the_documents_id(
    id_: str | None, metadata: dict[str, Any], expected: str | None
) -> None:
    given = Document(id=id_, page_content="x", metadata=metadata)
    found = await both(PlainStore([given]))
    assert ids(found) == [expected]
    assert found[0].document.metadata == metadata
    assert given.id == id_


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (Document(id="a", page_content="x"), Document(id="a", page_content="y"), True),
        (Document(id="a", page_content="x"), Document(id="b", page_content="x"), False),
        (
            Document(page_content="x", metadata={"pk": 1}),
            Document(page_content="y", metadata={"pk": 1}),
            True,
        ),
        (
            Document(page_content="x", metadata={"_id": 1}),
            Document(page_content="x", metadata={"_id": 2}),
            False,
        ),
        (
            Document(page_content="x", metadata={"pk": 0}),
            Document(page_content="x", metadata={"pk": 1}),
            False,
        ),
        (Document(page_content="x", metadata={"a": 1}), Document(page_content="x"), True),
        (Document(page_content="\ud800"), Document(page_content="\ud801"), False),
        (Document(id="text:x", page_content="x"), Document(page_content="x"), False),
    ],
)
def test_which_documents_are_the_same(one: Document, other: Document, same: bool) -> None:
    assert (document_key(one) == document_key(other)) is same


# ---------------------------------------------------------------- retrievers


async def test_a_retriever_keeps_its_order_and_is_cut() -> None:
    found = await both(ListRetriever(documents=named("c", "a", "b", "d")))
    assert ids(found) == ["c", "a", "b"]
    assert {one.recall_score for one in found} == {None}


async def test_a_store_retriever_is_taken_apart() -> None:
    store = PlainStore(named(*"abcdefgh"))
    retriever = store.as_retriever(search_kwargs={"k": 2, "partition": "p", "filter": {"t": 1}})
    assert len(await both(retriever, fetch_k=6)) == 6
    await both(retriever, fetch_k=6, filter={"t": 2})
    own = {"k": 6, "partition": "p", "filter": {"t": 1}}
    assert store.asked == [own, own, {**own, "filter": {"t": 2}}, {**own, "filter": {"t": 2}}]


async def test_a_faiss_store_retriever_keeps_its_filter_and_gains_the_modes(
    hash_embeddings: HashEmbeddings,
) -> None:
    metadatas = [{"even": place % 2 == 0} for place in range(5)]
    with FaissStore.from_texts(TEXTS, hash_embeddings, metadatas, ids=list("01234")) as store:
        retriever = store.as_retriever(search_kwargs={"k": 1, "filter": {"even": True}})
        assert sorted(map(str, ids(await both(retriever, fetch_k=9, mode="hybrid")))) == ["0", "2", "4"]
        assert sorted(map(str, ids(await both(retriever, fetch_k=9, filter={"even": False})))) == ["1", "3"]
        assert source_of(retriever).stage_scores == {"dense", "lexical"}


async def test_an_mmr_retriever_is_asked_as_it_is(hash_embeddings: HashEmbeddings) -> None:
    with FaissStore.from_texts(TEXTS, hash_embeddings) as store:
        retriever = store.as_retriever(search_type="mmr", search_kwargs={"k": 2})
        found = await both(retriever)
        assert [one.document.page_content for one in found] == [
            document.page_content for document in retriever.invoke("red apple")
        ]


# ---------------------------------------------------------------- lists


async def test_lists_are_fused_by_rank() -> None:
    first, second = PlainStore(named("a", "b", "c")), ListRetriever(documents=named("c", "d"))
    found = await both([first, second], fetch_k=10)
    assert ids(found) == ["c", "a", "b", "d"]
    expected = [1 / 61 + 1 / 63, 1 / 61, 1 / 62, 1 / 62]
    assert [one.recall_score for one in found] == pytest.approx(expected)
    assert ids(await both((first, second), fetch_k=2)) == ["a", "c"]


async def test_fused_lists_keep_the_scores_that_any_of_them_has(hash_embeddings: HashEmbeddings) -> None:
    with FaissStore.from_texts(TEXTS, hash_embeddings, ids=list("abcde")) as store:
        found = await both([PlainStore(named("e", "d")), store], fetch_k=5)
        cosine = dict(
            zip("abcde", store.dense_scores(store.embed_query("red apple"), list("abcde")).values())
        )
        scores = {one.document.id: one.dense_score for one in found}
        assert scores["a"] == pytest.approx(cosine["a"])
        assert [one.document.page_content for one in found if one.document.id == "e"] == ["text e"]
        assert source_of([store, store]).stage_scores == {"dense", "lexical"}
        assert source_of([PlainStore([]), store]).stage_scores == frozenset()


async def test_two_faiss_stores(hash_embeddings: HashEmbeddings) -> None:
    with (
        FaissStore.from_texts(TEXTS[:3], hash_embeddings, ids=list("abc")) as one,
        FaissStore.from_texts(TEXTS[3:], hash_embeddings, ids=list("de"), lexical=False) as two,
    ):
        found = await both(
            [one, two], fetch_k=9, filter={"$not": {"x": 1}}, stage_scores=frozenset({"dense"})
        )
        assert sorted(map(str, ids(found))) == list("abcde")
        assert all(candidate.dense_score is not None for candidate in found)


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize("mode", ["lexical", "hybrid"])
@pytest.mark.parametrize(
    ("recall", "name"),
    [
        (PlainStore([]), "PlainStore"),
        (ListRetriever(documents=[]), "ListRetriever"),
        ([PlainStore([])], "Plain"),
    ],
    ids=["store", "retriever", "list"],
)
async def test_a_foreign_source_has_one_order(recall: Any, name: str, mode: Any) -> None:
    message = f"recall_mode='{mode}' needs a FaissStore; {name}.* Leave recall_mode out"
    with pytest.raises(InvalidArgumentError, match=message):
        source_of(recall).recall(request(mode=mode))
    with pytest.raises(InvalidArgumentError, match=message):
        await source_of(recall).arecall(request(mode=mode))
    assert await both(recall, mode="dense") == []


async def test_a_retriever_takes_no_filter() -> None:
    source = source_of(ListRetriever(documents=[]))
    with pytest.raises(
        InvalidArgumentError, match=r"filter= cannot be passed on to ListRetriever.* vector store"
    ):
        source.recall(request(filter={"a": 1}))
    with pytest.raises(InvalidArgumentError, match="filter= cannot be passed on"):
        await source.arecall(request(filter={"a": 1}))


@pytest.mark.parametrize("recall", [None, "a store", [], (), [None], [[], []], {}, FaissStore, 5])
def test_what_is_no_source(recall: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"recall must be a FaissStore, .*; got"):
        source_of(recall)


# ---------------------------------------------------------------- what only some of a list can use


async def test_a_recall_mode_goes_to_those_of_a_list_that_have_it(hash_embeddings: HashEmbeddings) -> None:
    """Ours by words alone, in order a, d (two of two words; one of four); theirs as they are: d, e."""
    foreign = PlainStore(named("d", "e"))
    retriever = ListRetriever(documents=named("e"))
    with (
        FaissStore.from_texts(TEXTS, hash_embeddings, ids=list("abcde")) as ours,
        FaissStore.from_texts(["blue sky"], hash_embeddings, ids=["f"], lexical=False) as plain,
    ):
        assert ids(await both(ours, query="red night", mode="lexical")) == ["d", "a"]
        found = await both([foreign, ours, retriever], query="red night", mode="lexical", fetch_k=9)
        expected = {"d": 2 / 61, "e": 1 / 62 + 1 / 61, "a": 1 / 62}
        assert {one.document.id: one.recall_score for one in found} == pytest.approx(expected, rel=1e-12)
        scores = {one.document.id: one.lexical_score for one in found}
        assert scores["e"] is None
        assert scores["d"] == ours.lexical_scores("red night", ["d"])["d"]
        assert foreign.asked == [{"k": 9}] * 2

        # A list within a list, and a store of ours that has no lexical index.
        nested = await both([[foreign, ours], plain], query="red night", mode="lexical", fetch_k=9)
        assert set(ids(nested)) == {"a", "d", "e", "f"}
        hybrid = await both([plain, ours, foreign], fetch_k=9, mode="hybrid")
        alone = {one.document.id: one for one in await both(ours, fetch_k=9, mode="hybrid")}
        assert {one.document.id: one.lexical_score for one in hybrid if one.document.id in "abc"} == {
            name: alone[name].lexical_score for name in "abc"
        }
        for none_has_it in ([foreign, retriever], [foreign, [plain, retriever]]):
            with pytest.raises(
                InvalidArgumentError, match="recall_mode='hybrid' needs a FaissStore; PlainStore"
            ):
                source_of(none_has_it).recall(request(mode="hybrid"))
            with pytest.raises(
                InvalidArgumentError, match="recall_mode='hybrid' needs a FaissStore; PlainStore"
            ):
                await source_of(none_has_it).arecall(request(mode="hybrid"))


async def test_search_kwargs_bind_all_sources_of_a_list_or_none(hash_embeddings: HashEmbeddings) -> None:
    """An `expr` that bound some of them only would let through what it is to keep out."""
    one, other = PlainStore(named("a")), PlainStore(named("b"))
    asked = {"search_kwargs": {"expr": "year > 2020"}}
    with FaissStore.from_texts(TEXTS[:1], hash_embeddings, ids=["d"]) as ours:
        found = await both([one, other.as_retriever()], fetch_k=9, **asked)
        assert sorted(map(str, ids(found))) == ["a", "b"]
        assert one.asked == other.asked == [{"k": 9, "expr": "year > 2020"}] * 2
        with pytest.raises(InvalidArgumentError, match="search_kwargs are for foreign stores"):
            source_of([one, ours]).recall(request(**asked))
        with pytest.raises(InvalidArgumentError, match="search_kwargs= cannot be passed on to ListRetriever"):
            await source_of([one, ListRetriever(documents=named("c"))]).arecall(request(**asked))


async def test_a_source_of_a_list_with_settings_of_its_own(hash_embeddings: HashEmbeddings) -> None:
    """A retriever over ours is a source like others: hybrid, while the list as a whole is asked for no mode."""
    theirs = PlainStore(named("x"))
    with FaissStore.from_texts(TEXTS, hash_embeddings, ids=list("abcde")) as ours:
        inner = RerankRetriever(ours, recall_mode="hybrid", k=100)
        expected = ids(source_of(ours).recall(request(query="apple sun", mode="hybrid", fetch_k=9)))
        assert expected != ids(source_of(ours).recall(request(query="apple sun", fetch_k=9)))
        outer = RerankRetriever([inner, theirs], k=9)
        for found in (outer.invoke("apple sun"), await outer.ainvoke("apple sun")):
            assert [one.id for one in found if one.id != "x"] == expected
            sums = {name: 1 / (61 + place) for place, name in enumerate(expected)} | {"x": 1 / 61}
            assert {one.id: one.metadata["recall_score"] for one in found} == pytest.approx(sums)
