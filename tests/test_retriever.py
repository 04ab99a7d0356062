"""RerankRetriever: what it answers, what it says about it, and what it refuses."""

import asyncio
import copy
import dataclasses
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.cross_encoders import BaseCrossEncoder
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.embeddings import Embeddings
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import ConfigurableField
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_tests.integration_tests import RetrieversIntegrationTests
from scipy.special import expit
from scipy.stats import zscore

from langchain_rerank_retriever import CrossEncoderReranker, FaissStore, RerankRetriever
from langchain_rerank_retriever.blend import Blend, BlendVariant
from langchain_rerank_retriever.early_stop import EarlyStop
from langchain_rerank_retriever.errors import InvalidArgumentError, RerankError, ScoringError
from langchain_rerank_retriever.protocols import SCORE_KEYS, PairScores
from tests.conftest import HashEmbeddings

TEXTS = [
    "red apple pie",
    "green apple",
    "a very red sky at night",
    "blue sky",
    "yellow sun over the red hill",
    "night train to the green town",
]
IDS = list("abcdef")
DOCUMENTS = [
    Document(id=name, page_content=text, metadata={"place": place, "nested": {"tags": [name]}})
    for place, (name, text) in enumerate(zip(IDS, TEXTS, strict=True))
]
QUERY = "red sky"
BLEND = Blend(
    (
        BlendVariant({"rerank": 1.0}, 1.0, 0.0),
        BlendVariant({"rerank": 0.6, "dense": 0.4}, 1.5, -0.5),
        BlendVariant({"rerank": 0.5, "dense": 0.2, "lexical": 0.3}, 2.0, -1.0),
    ),
    {"dense": 0.5, "lexical": 0.5},
)


class Longest(BaseCrossEncoder):
    """A cross-encoder that likes long passages."""

    def score(self, text_pairs: Sequence[tuple[str, str]]) -> list[float]:  # type: ignore[override]
        return [len(passage) / 4 - 3 for _, passage in text_pairs]


class Slow(Longest):
    """One that takes its time and blocks its thread."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.threads: set[int] = set()

    def score(self, text_pairs: Sequence[tuple[str, str]]) -> list[float]:  # type: ignore[override]
        self.threads.add(threading.get_ident())
        time.sleep(self.seconds)
        return super().score(text_pairs)


class Telling(Longest):
    """One that tells which pairs it cut."""

    def score_pairs(
        self, text_pairs: Sequence[tuple[str, str]], *, deadline: float | None = None
    ) -> PairScores:
        cut = [len(passage) > 12 for _, passage in text_pairs]
        return PairScores(np.array(self.score(text_pairs), np.float32), np.array(cut))


class Broken(BaseCrossEncoder):
    """One that gives what it is told."""

    def __init__(self, scores: Any) -> None:
        self.scores = scores

    def score(self, text_pairs: Sequence[tuple[str, str]]) -> Any:  # type: ignore[override]
        return self.scores


class Reversing(BaseDocumentCompressor):
    """A compressor that reverses, keeps three, and rewrites one of them."""

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Any = None
    ) -> list[Document]:
        kept = list(documents)[::-1][:3]
        kept[0] = kept[0].model_copy(update={"page_content": kept[0].page_content.upper()})
        return kept


class Forgetful(BaseDocumentCompressor):
    """A compressor that makes documents of its own."""

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Any = None
    ) -> list[Document]:
        return [Document(page_content=document.page_content) for document in documents]


class Fixed(BaseRetriever):
    """Somebody else's retriever, which hands out its own objects."""

    documents: list[Document]

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        return self.documents


@pytest.fixture(scope="module")
def embeddings() -> HashEmbeddings:
    return HashEmbeddings()


@pytest.fixture(scope="module")
def store(embeddings: HashEmbeddings) -> Iterator[FaissStore]:
    with FaissStore.from_documents(DOCUMENTS, embeddings) as made:
        yield made


@pytest.fixture
def retriever(store: FaissStore) -> RerankRetriever:
    return RerankRetriever(store, reranker=Longest())


def ids(documents: Sequence[Document]) -> list[str | None]:
    return [document.id for document in documents]


def recall_order(embeddings: Embeddings, query: str = QUERY) -> list[str]:
    vector = np.array(embeddings.embed_query(query))
    cosine = {
        name: np.array(embeddings.embed_query(text)) @ vector for name, text in zip(IDS, TEXTS, strict=True)
    }
    return sorted(cosine, key=lambda name: -cosine[name])


LONGEST_FIRST = sorted(IDS, key=lambda name: -len(TEXTS[IDS.index(name)]))


# ---------------------------------------------------------------- LangChain's own tests


class TestStandardRecallOnly(RetrieversIntegrationTests):
    @property
    def retriever_constructor(self) -> type[RerankRetriever]:
        return RerankRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"recall": FaissStore.from_texts(TEXTS, HashEmbeddings())}

    @property
    def retriever_query_example(self) -> str:
        return QUERY


class TestStandardReranked(TestStandardRecallOnly):
    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {**super().retriever_constructor_params, "reranker": Longest()}


# ---------------------------------------------------------------- order and metadata


def test_recall_only(store: FaissStore, embeddings: HashEmbeddings) -> None:
    found = RerankRetriever(store).invoke(QUERY)
    assert ids(found) == recall_order(embeddings)[:4]
    for place, document in enumerate(found, start=1):
        metadata = document.metadata
        assert metadata["relevance_kind"] == "recall_score"
        assert metadata["relevance_score"] == metadata["recall_score"] == metadata["dense_score"]
        assert metadata["recall_rank"] == place
        assert not {"rerank_score", "lexical_score"} & set(metadata)


def test_reranked(retriever: RerankRetriever, embeddings: HashEmbeddings) -> None:
    found = retriever.invoke(QUERY, k=6)
    assert ids(found) == LONGEST_FIRST
    for document in found:
        metadata = document.metadata
        assert metadata["relevance_kind"] == "rerank_score"
        assert metadata["relevance_score"] == metadata["rerank_score"] == len(document.page_content) / 4 - 3
        assert metadata["recall_rank"] == recall_order(embeddings).index(document.id or "") + 1
        assert metadata["nested"] == {"tags": [document.id]}
        assert {key for key in SCORE_KEYS if isinstance(metadata.get(key), float)} == {
            "relevance_score",
            "recall_score",
            "dense_score",
            "rerank_score",
        }


@pytest.mark.parametrize("mode", ["dense", "lexical", "hybrid"])
def test_blended(store: FaissStore, mode: Any) -> None:
    retriever = RerankRetriever(store, reranker=Longest(), blend=BLEND, k=6, recall_mode=mode)
    found = retriever.invoke(QUERY)
    columns = {
        name: np.array([document.metadata[name] for document in found])
        for name in ("rerank_score", "dense_score", "lexical_score", "relevance_score")
    }
    blended = (
        0.5 * zscore(columns["rerank_score"])
        + 0.2 * zscore(columns["dense_score"])
        + 0.3 * zscore(columns["lexical_score"])
    )
    assert len(found) == (4 if mode == "lexical" else 6)
    assert {document.metadata["relevance_kind"] for document in found} == {"probability"}
    np.testing.assert_allclose(columns["relevance_score"], expit(2 * blended - 1), rtol=1e-6)
    assert (np.diff(blended) <= 0).all()
    rows = retriever.explain(QUERY).candidates
    np.testing.assert_allclose([row.blended_score for row in rows], blended, rtol=1e-6, atol=1e-9)


def test_the_blend_uses_what_the_store_has(embeddings: HashEmbeddings) -> None:
    with FaissStore.from_documents(DOCUMENTS, embeddings, lexical=False) as plain:
        found = RerankRetriever(plain, reranker=Longest(), blend=BLEND, k=6).invoke(QUERY)
    rerank = np.array([document.metadata["rerank_score"] for document in found])
    dense = np.array([document.metadata["dense_score"] for document in found])
    probability = [document.metadata["relevance_score"] for document in found]
    expected = expit(1.5 * (0.6 * zscore(rerank) + 0.4 * zscore(dense)) - 0.5)
    np.testing.assert_allclose(probability, expected, rtol=1e-6)


def test_a_blend_that_does_not_fit_is_left_out(store: FaissStore) -> None:
    only_rerank = Blend((BLEND.variants[0],))
    assert RerankRetriever(store, blend=only_rerank).explain(QUERY).relevance_kind == "recall_score"
    compressed = RerankRetriever(store, reranker=Reversing(), blend=BLEND)
    assert compressed.explain(QUERY).relevance_kind == "recall_score"


def test_fitted_fusion_orders_hybrid_recall(store: FaissStore) -> None:
    def order(dense: float) -> list[str | None]:
        blend = Blend((), {"dense": dense, "lexical": 1 - dense})
        return ids(RerankRetriever(store, blend=blend, recall_mode="hybrid", k=3).invoke(QUERY))

    assert order(1.0) == ids(RerankRetriever(store, k=3).invoke(QUERY))
    assert order(0.0) == ids(RerankRetriever(store, k=3, recall_mode="lexical").invoke(QUERY))


@pytest.mark.parametrize("lexical", [True, False])
def test_ties_keep_the_recall_order(embeddings: HashEmbeddings, lexical: bool) -> None:
    with FaissStore.from_documents(DOCUMENTS, embeddings, lexical=lexical) as store:
        constant = RerankRetriever(store, reranker=Broken([1.0] * 6), k=6)
        assert ids(constant.invoke(QUERY)) == recall_order(embeddings)


# ---------------------------------------------------------------- arguments of a call


def test_arguments_of_a_call(retriever: RerankRetriever, embeddings: HashEmbeddings) -> None:
    assert len(retriever.invoke(QUERY)) == 4
    assert len(retriever.invoke(QUERY, k=2)) == 2
    assert len(retriever.invoke(QUERY, k=np.int64(2))) == 2
    assert len(retriever.invoke(QUERY, k=100)) == 6
    expected = sorted(recall_order(embeddings)[:3], key=LONGEST_FIRST.index)
    assert ids(retriever.invoke(QUERY, k=2, fetch_k=3)) == expected[:2]
    assert len(retriever.explain(QUERY, k=2, fetch_k=3).candidates) == 3
    assert len(retriever.explain(QUERY, k=5, fetch_k=3).candidates) == 5
    assert {one.metadata["place"] for one in retriever.invoke(QUERY, filter={"place": {"$gte": 4}})} == {4, 5}
    assert set(ids(retriever.invoke(QUERY, recall_mode="lexical"))) == {"a", "c", "d", "e"}
    with pytest.warns(UserWarning, match="score_threshold"):
        high = retriever.invoke(QUERY, k=6, score_threshold=1.0)
    assert ids(high) == [name for name in LONGEST_FIRST if len(TEXTS[IDS.index(name)]) / 4 - 3 >= 1.0]


def test_settings_of_the_retriever_are_those_of_a_call(store: FaissStore) -> None:
    fields = {"k": 2, "fetch_k": 3, "recall_mode": "hybrid"}
    made = RerankRetriever(store, reranker=Longest(), **fields)
    called = RerankRetriever(store, reranker=Longest())
    assert made.explain(QUERY).candidates == called.explain(QUERY, **fields).candidates  # type: ignore[arg-type]
    assert made.explain(QUERY, k=1).documents == made.explain(QUERY).documents[:1]


def test_langchains_own_arguments(retriever: RerankRetriever) -> None:
    expected = retriever.invoke(QUERY)
    assert retriever.invoke(QUERY, verbose=True) == expected
    assert retriever.invoke(QUERY, {"tags": ["t"], "metadata": {"m": 1}, "run_name": "r"}) == expected
    assert retriever.invoke(QUERY, config={"callbacks": []}, k=2, verbose=False) == expected[:2]
    assert asyncio.run(retriever.ainvoke(QUERY, verbose=True)) == expected


@pytest.mark.parametrize("name", ["top_k", "fetchk", "filters", "score_treshold", "reranker"])
def test_a_mistyped_argument(retriever: RerankRetriever, name: str) -> None:
    for call in (retriever.invoke, retriever.explain):
        with pytest.raises(TypeError, match=name):
            call(QUERY, **{name: 1})
    for acall in (retriever.ainvoke, retriever.aexplain):
        with pytest.raises(TypeError, match=name):
            asyncio.run(acall(QUERY, **{name: 1}))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 0}, "k must be a whole number of at least 1, got 0"),
        ({"k": -1}, "got -1"),
        ({"k": True}, "got True"),
        ({"k": 2.0}, r"got 2\.0"),
        ({"k": "2"}, "got '2'"),
        ({"fetch_k": 0}, "fetch_k must be a whole number of at least 1, got 0"),
        (
            {"recall_mode": "sparse"},
            r"recall_mode must be one of 'dense', 'lexical', 'hybrid', or None, got",
        ),
        ({"recall_mode": ["dense"]}, "recall_mode must be one of"),
        ({"score_threshold": "0.5"}, "score_threshold must be a number or None, got '0.5'"),
        ({"score_threshold": float("nan")}, "got nan"),
        ({"score_threshold": True}, "got True"),
        ({"early_stop": "yes"}, "early_stop must be True or False, got 'yes'"),
        ({"collapse": ""}, "collapse must be the name of a metadata key, such as 'source', or None; got ''"),
        ({"collapse": 5}, "collapse must be .*got 5"),
        ({"filter": {"place": {"$near": 3}}}, r"\$near"),
    ],
)
def test_wrong_arguments(retriever: RerankRetriever, arguments: dict[str, Any], message: str) -> None:
    for call in (retriever.invoke, retriever.explain):
        with pytest.raises(InvalidArgumentError, match=message):
            call(QUERY, **arguments)
    with pytest.raises(InvalidArgumentError, match=message):
        asyncio.run(retriever.ainvoke(QUERY, **arguments))


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", "The query is blank; expected some text"),
        (" \n\t\u3000", "The query is blank"),
        (None, "A query must be a str, got NoneType"),
        (5, "A query must be a str, got int"),
        (["red"], "A query must be a str, got list"),
        (b"red", "A query must be a str, got bytes"),
        ("red \ud800", "lone surrogate at position 4. Decode the text with errors='replace'"),
    ],
)
def test_what_is_no_query(retriever: RerankRetriever, query: Any, message: str) -> None:
    for call in (retriever.invoke, retriever.explain):
        with pytest.raises(InvalidArgumentError, match=message):
            call(query)
    with pytest.raises(InvalidArgumentError, match=message):
        asyncio.run(retriever.ainvoke(query))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    query=st.text(st.characters(codec="utf-8"), min_size=1, max_size=40).filter(str.strip),
    k=st.integers(1, 9),
    fetch_k=st.integers(1, 9),
    mode=st.sampled_from([None, "dense", "lexical", "hybrid"]),
)
def test_any_text_may_be_asked(
    retriever: RerankRetriever, query: str, k: int, fetch_k: int, mode: Any
) -> None:
    explanation = retriever.explain(query, k=k, fetch_k=fetch_k, recall_mode=mode)
    assert len(explanation.candidates) <= max(k, fetch_k)
    assert len(explanation.documents) == min(k, len(explanation.candidates))
    scores = [document.metadata["relevance_score"] for document in explanation.documents]
    assert scores == sorted(scores, reverse=True)
    assert [row.rank for row in explanation.candidates] == list(range(1, len(explanation.candidates) + 1))
    assert sorted(row.recall_rank for row in explanation.candidates) == [
        row.rank for row in explanation.candidates
    ]


# ---------------------------------------------------------------- construction


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"recall": "a store"}, "recall: .*must be a FaissStore"),
        ({"recall": None}, "recall: .*must be a FaissStore"),
        ({"recall": []}, "recall: .*non-empty list"),
        ({"reranker": "a model"}, "reranker: .*BaseCrossEncoder"),
        ({"reranker": Longest}, "reranker: .*BaseCrossEncoder"),
        ({"k": 0}, "k: .*whole number of at least 1, got 0"),
        ({"k": True}, "k: .*got True"),
        ({"k": 1.5}, r"k: .*got 1\.5"),
        ({"fetch_k": -1}, "fetch_k: .*got -1"),
        ({"recall_mode": "sparse"}, "recall_mode: "),
        ({"score_threshold": "high"}, "score_threshold: .*number or None, got 'high'"),
        ({"score_threshold": float("nan")}, "score_threshold: .*got nan"),
        ({"blend": "a blend"}, "blend"),
        ({"early_stop": 1}, "early_stop: .*True or False, got 1"),
        ({"early_stop": None}, "early_stop: .*True or False, got None"),
        ({"collapse": 3}, "collapse: .*the name of a metadata key.*got 3"),
        ({"timeout": 0}, "timeout: .*seconds above 0"),
        ({"timeout": -1.0}, "timeout: "),
        ({"timeout": float("nan")}, "timeout: "),
        ({"timeout": float("inf")}, "timeout: .*up to [0-9]+, or None for no limit, got inf"),
        ({"timeout": 2 * threading.TIMEOUT_MAX}, r"timeout: .*None for no limit, got [0-9.e+]+"),
        ({"top_k": 3}, "top_k: Extra inputs are not permitted"),
        ({"k": 0, "fetch_k": 0}, "k: .*; fetch_k: "),
    ],
)
def test_wrong_fields(store: FaissStore, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"RerankRetriever cannot be made: .*{message}") as caught:
        RerankRetriever(**{"recall": store, **fields})
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, RerankError)


def test_positional_or_by_name(store: FaissStore) -> None:
    assert RerankRetriever(store).recall is RerankRetriever(recall=store).recall is store
    with pytest.raises(TypeError):
        RerankRetriever(store, Longest())  # type: ignore[call-arg]


def test_a_field_set_later_is_checked_when_it_is_used(store: FaissStore) -> None:
    retriever = RerankRetriever(store)
    retriever.k = 0
    with pytest.raises(InvalidArgumentError, match="k must be a whole number"):
        retriever.invoke(QUERY)


def test_the_constructor_opens_nothing_and_copies_share_the_parts(store: FaissStore) -> None:
    reranker, blend = Longest(), BLEND
    retriever = RerankRetriever(store, reranker=reranker, blend=blend)
    for other in (
        retriever.model_copy(),
        retriever.model_copy(update={"k": 1}),
        copy.copy(retriever),
        retriever.with_report({"a": 1}),
        RerankRetriever(**{name: getattr(retriever, name) for name in type(retriever).model_fields}),
    ):
        assert other.recall is store
        assert other.reranker is reranker
        assert other.blend is blend
    pair = [store, store]
    assert RerankRetriever(pair).recall is pair


def test_configurable_fields(store: FaissStore) -> None:
    retriever = RerankRetriever(store, reranker=Longest(), blend=BLEND)
    configurable = retriever.configurable_fields(
        k=ConfigurableField(id="k"), recall_mode=ConfigurableField(id="mode")
    )
    assert len(configurable.invoke(QUERY)) == 4
    assert configurable.invoke(QUERY, {"configurable": {"k": 2}}) == retriever.invoke(QUERY, k=2)
    lexical = configurable.invoke(QUERY, {"configurable": {"mode": "lexical"}})
    assert lexical == retriever.invoke(QUERY, recall_mode="lexical")
    assert asyncio.run(configurable.ainvoke(QUERY, {"configurable": {"k": 1}})) == retriever.invoke(
        QUERY, k=1
    )
    with pytest.raises(InvalidArgumentError, match="k: "):
        configurable.invoke(QUERY, {"configurable": {"k": 0}})
    alternatives = retriever.configurable_alternatives(
        ConfigurableField(id="way"), default_key="both", recall=RerankRetriever(store)
    )
    assert alternatives.invoke(QUERY, {"configurable": {"way": "recall"}}) == RerankRetriever(store).invoke(
        QUERY
    )


# ---------------------------------------------------------------- ways to call


def test_every_way_to_call_gives_the_same(retriever: RerankRetriever) -> None:
    queries = [QUERY, "green train", "apple"]
    expected = [retriever.invoke(query) for query in queries]

    async def asynchronously() -> list[Any]:
        return [
            [await retriever.ainvoke(query) for query in queries],
            await retriever.abatch(queries),
            [list((await retriever.aexplain(query)).documents) for query in queries],
        ]

    assert retriever.batch(queries) == expected
    assert retriever.batch(queries, config={"max_concurrency": 1}) == expected
    assert [list(retriever.explain(query).documents) for query in queries] == expected
    assert list(retriever.stream(QUERY)) == expected[:1]
    assert asyncio.run(asynchronously()) == [expected] * 3
    assert retriever.batch(queries, k=1) == [found[:1] for found in expected]


def test_a_failed_query_of_a_batch(retriever: RerankRetriever) -> None:
    found, failed = retriever.batch([QUERY, ""], return_exceptions=True)
    assert found == retriever.invoke(QUERY)
    assert isinstance(failed, InvalidArgumentError)


def test_in_a_chain(retriever: RerankRetriever) -> None:
    chain = retriever | (lambda documents: [document.id for document in documents])
    assert chain.invoke(QUERY) == LONGEST_FIRST[:4]
    assert asyncio.run(chain.ainvoke(QUERY)) == LONGEST_FIRST[:4]
    assert chain.batch([QUERY] * 2) == [LONGEST_FIRST[:4]] * 2
    bound = retriever.bind(k=1) | len
    assert bound.invoke(QUERY) == 1


def test_sixteen_concurrent_queries_do_not_block_the_loop(store: FaissStore) -> None:
    slow = Slow(0.15)
    retriever = RerankRetriever(store, reranker=slow)
    gaps: list[float] = []

    async def heartbeat() -> None:
        while True:
            started = time.perf_counter()
            await asyncio.sleep(0.005)
            gaps.append(time.perf_counter() - started - 0.005)

    async def main() -> list[list[Document]]:
        await retriever.ainvoke(QUERY)
        beating = asyncio.create_task(heartbeat())
        answers = await asyncio.gather(*(retriever.ainvoke(QUERY) for _ in range(16)))
        beating.cancel()
        return answers

    answers = asyncio.run(main())
    assert all(answer == answers[0] for answer in answers)
    assert ids(answers[0]) == LONGEST_FIRST[:4]
    assert threading.get_ident() not in slow.threads
    # The machine of a test may be busy; a loop that was blocked would show gaps of 0.15 s again and again.
    assert sorted(gaps)[-3] < 0.05


def test_many_threads_at_once(retriever: RerankRetriever) -> None:
    expected = retriever.invoke(QUERY)
    assert retriever.batch([QUERY] * 40, config={"max_concurrency": 8}) == [expected] * 40


# ---------------------------------------------------------------- explain


def test_explanation(store: FaissStore, embeddings: HashEmbeddings) -> None:
    explanation = RerankRetriever(store, reranker=Telling(), k=2).explain(QUERY, fetch_k=5)
    rows = explanation.candidates
    assert explanation.query == QUERY
    assert explanation.relevance_kind == "rerank_score"
    assert [row.document.id for row in rows] == sorted(recall_order(embeddings)[:5], key=LONGEST_FIRST.index)
    assert [row.rank for row in rows] == [1, 2, 3, 4, 5]
    assert [row.outcome for row in rows] == ["returned"] * 2 + ["below_k"] * 3
    for row in rows:
        assert row.document == DOCUMENTS[IDS.index(row.document.id or "")]
        assert row.recall_rank == recall_order(embeddings).index(row.document.id or "") + 1
        assert row.recall_score == row.dense_score
        assert row.relevance_score == row.rerank_score == len(row.document.page_content) / 4 - 3
        assert row.truncated is (len(row.document.page_content) > 12)
        assert row.lexical_score is None
        assert row.blended_score is None


def test_seconds(store: FaissStore) -> None:
    seconds = RerankRetriever(store, reranker=Slow(0.05)).explain(QUERY).seconds
    assert set(seconds) == {"recall", "rerank", "blend", "total"}
    assert all(value >= 0 for value in seconds.values())
    assert seconds["rerank"] >= 0.05
    parts = seconds["recall"] + seconds["rerank"] + seconds["blend"]
    assert parts == pytest.approx(seconds["total"])


def test_an_explanation_is_frozen(retriever: RerankRetriever) -> None:
    explanation = retriever.explain(QUERY)
    assert isinstance(explanation.documents, tuple)
    assert isinstance(explanation.candidates, tuple)
    with pytest.raises(dataclasses.FrozenInstanceError):
        explanation.query = "other"  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        explanation.candidates[0].rank = 9  # type: ignore[misc]
    assert dataclasses.asdict(explanation)["query"] == QUERY


# ---------------------------------------------------------------- thresholds, deadlines


def test_a_threshold_without_a_blend_warns_once(store: FaissStore) -> None:
    retriever = RerankRetriever(store, reranker=Longest(), score_threshold=1.0)
    with pytest.warns(UserWarning, match=r"no fitted blend. Tune it with tune\(\)"):
        retriever.invoke(QUERY)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        retriever.invoke(QUERY)
        retriever.invoke(QUERY, score_threshold=2.0)


def test_a_threshold_of_a_probability_does_not_warn(store: FaissStore) -> None:
    retriever = RerankRetriever(store, reranker=Longest(), blend=BLEND, k=6)
    everything = retriever.invoke(QUERY)
    limit = everything[2].metadata["relevance_score"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert retriever.invoke(QUERY, score_threshold=limit) == everything[:3]
        assert retriever.invoke(QUERY, score_threshold=1.0) == []
        assert retriever.invoke(QUERY, score_threshold=0) == everything


def many(size: int) -> list[Document]:
    return [Document(id=f"n{place}", page_content="red " * (place % 7 + 1)) for place in range(size)]


def test_a_deadline_ranks_what_is_scored_and_keeps_the_rest_in_recall_order() -> None:
    retriever = RerankRetriever(Fixed(documents=many(80)), reranker=Slow(0.2), k=80, timeout=0.3)
    for explanation in (retriever.explain(QUERY), asyncio.run(retriever.aexplain(QUERY))):
        found = explanation.documents
        assert len(found) == 80
        scored = [document for document in found if "rerank_score" in document.metadata]
        assert len(scored) == 32
        assert list(found[:32]) == scored
        scores = [document.metadata["rerank_score"] for document in scored]
        assert scores == sorted(scores, reverse=True)
        assert sorted(document.metadata["recall_rank"] for document in scored) == list(range(1, 33))
        assert [document.metadata["recall_rank"] for document in found[32:]] == list(range(33, 81))
        assert {document.metadata["relevance_kind"] for document in found[32:]} == {"recall_score"}
        assert {row.relevance_score for row in explanation.candidates[32:]} == {None}
        assert [row.unscored for row in explanation.candidates] == [None] * 32 + ["timeout"] * 48
        assert (explanation.timed_out, explanation.scored) == (True, 32)
        assert explanation.seconds["total"] < 2


class Hurried(Longest):
    """One that keeps deadlines as ours does: a pair takes a while, the first ones come first."""

    def __init__(self, seconds: float = 0.02) -> None:
        self.seconds = seconds

    def score_pairs(
        self, text_pairs: Sequence[tuple[str, str]], *, deadline: float | None = None
    ) -> PairScores:
        scores = np.full(len(text_pairs), np.nan)
        for place, pair in enumerate(text_pairs):
            if deadline is not None and time.monotonic() + self.seconds > deadline:
                break
            time.sleep(self.seconds)
            scores[place] = self.score([pair])[0]
        return PairScores(scores, np.zeros(len(text_pairs), bool))

    async def ascore_pairs(
        self, text_pairs: Sequence[tuple[str, str]], *, deadline: float | None = None
    ) -> PairScores:
        return await asyncio.to_thread(self.score_pairs, text_pairs, deadline=deadline)


class Waiting(Fixed):
    """A source that takes its time."""

    seconds: float

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        time.sleep(self.seconds)
        return self.documents


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("recall_seconds", [0.0, 0.15, 0.4])
def test_the_time_counts_from_the_call(asynchronous: bool, recall_seconds: float) -> None:
    """What recall takes is not there for scoring; with nothing scored, the answer is recall's."""
    source = Waiting(documents=many(80), seconds=recall_seconds)
    retriever = RerankRetriever(source, reranker=Hurried(), k=80, timeout=0.3)
    started = time.monotonic()
    explanation = asyncio.run(retriever.aexplain(QUERY)) if asynchronous else retriever.explain(QUERY)
    # All pairs would take 1.6 s. What starting threads and a loop take on a busy machine is not the query's.
    assert time.monotonic() - started < max(0.3, recall_seconds) + 0.8
    assert explanation.seconds["total"] < max(0.3, recall_seconds) + 0.25
    assert explanation.timed_out
    assert explanation.scored <= max(0.0, (0.3 - recall_seconds) / 0.02)
    assert (explanation.scored == 0) == (recall_seconds > 0.3)
    count = explanation.scored
    found = [document.metadata for document in explanation.documents]
    assert sorted(one["recall_rank"] for one in found[:count]) == list(range(1, count + 1))
    scores = [one["rerank_score"] for one in found[:count]]
    assert scores == sorted(scores, reverse=True)
    assert [one["recall_rank"] for one in found[count:]] == list(range(count + 1, 81))
    assert {one["relevance_kind"] for one in found[count:]} == {"recall_score"}


def test_with_nothing_scored_a_blend_leaves_the_order_of_recall(store: FaissStore) -> None:
    late = RerankRetriever(store, reranker=Hurried(1.0), blend=BLEND, k=6, timeout=0.05)
    explanation = late.explain(QUERY)
    assert (explanation.timed_out, explanation.scored) == (True, 0)
    assert ids(explanation.documents) == ids(RerankRetriever(store, k=6).invoke(QUERY))
    assert {one.metadata["relevance_kind"] for one in explanation.documents} == {"recall_score"}


def both_ways(retriever: RerankRetriever, **arguments: Any) -> Iterator[list[Document]]:
    yield retriever.invoke(QUERY, **arguments)
    yield asyncio.run(retriever.ainvoke(QUERY, **arguments))


def test_the_metadata_say_that_a_deadline_came() -> None:
    """Where all that is returned has been scored, nothing else in it would tell."""
    source = Fixed(documents=many(80))
    late = RerankRetriever(source, reranker=Slow(0.2), k=4, timeout=0.3)
    for found in both_ways(late):
        assert [one.metadata["relevance_kind"] for one in found] == ["rerank_score"] * 4
        assert [one.metadata["query_timed_out"] for one in found] == [True] * 4
    for found in both_ways(late, k=80):
        assert [one.metadata["query_timed_out"] for one in found] == [True] * 80
    for in_time in (late.model_copy(update={"timeout": 60}), RerankRetriever(source)):
        for found in both_ways(in_time):
            assert [one for one in found if "query_timed_out" in one.metadata] == []


@pytest.mark.parametrize("then", [[], [Reversing()]])
def test_they_say_so_where_a_compressor_dropped_what_was_not_scored(
    then: list[BaseDocumentCompressor],
) -> None:
    cheap = CrossEncoderReranker(model=Slow(0.2), top_n=3)
    late = RerankRetriever(Fixed(documents=many(80)), reranker=[cheap, *then], timeout=0.3)
    for found in both_ways(late):
        assert [one.metadata["query_timed_out"] for one in found] == [True] * 3
    explanation = late.explain(QUERY)
    assert explanation.timed_out
    rows = sorted(explanation.candidates, key=lambda row: row.recall_rank)
    # The longest three of the 32 that are scored have seven words: of these every seventh.
    assert [row.recall_rank for row in rows if row.outcome == "returned"] == [7, 14, 21]
    assert [row.unscored for row in rows] == [None] * 32 + ["timeout"] * 48
    in_time = late.model_copy(update={"timeout": 60})
    assert not in_time.explain(QUERY).timed_out
    assert not any("query_timed_out" in one.metadata for one in in_time.invoke(QUERY))


def test_that_a_deadline_came_is_not_stored(store: FaissStore, embeddings: HashEmbeddings) -> None:
    late = RerankRetriever(store, reranker=Hurried(1.0), timeout=0.05)
    found = late.invoke(QUERY)
    assert all(one.metadata["query_timed_out"] for one in found)
    with FaissStore.from_documents(found, embeddings) as other:
        expected = {one.id: one.metadata for one in DOCUMENTS if one.id in ids(found)}
        assert {one.id: one.metadata for one in other.documents()} == expected


def test_a_threshold_that_leaves_nothing_for_want_of_time_says_so(
    store: FaissStore, caplog: pytest.LogCaptureFixture
) -> None:
    late = RerankRetriever(store, reranker=Hurried(1.0), blend=BLEND, timeout=0.05, score_threshold=0.0)
    for found in both_ways(late):
        assert found == []
        assert [one.levelname for one in caplog.records] == ["WARNING"]
        assert "6 of its 6 candidates were not scored before timeout=" in caplog.text
        assert "score_threshold=0.0 leaves them out" in caplog.text
        caplog.clear()
    in_time = late.model_copy(update={"timeout": 60, "reranker": Longest()})
    for threshold, count in ((1.0, 0), (0.0, 4)):
        for found in both_ways(in_time, score_threshold=threshold):
            assert len(found) == count
    assert caplog.records == []


def test_a_deadline_that_is_not_met_changes_nothing(store: FaissStore, retriever: RerankRetriever) -> None:
    in_time = RerankRetriever(store, reranker=Longest(), timeout=60)
    assert in_time.invoke(QUERY) == retriever.invoke(QUERY)


def test_a_timeout_per_call_is_checked_as_that_of_the_retriever(store: FaissStore) -> None:
    retriever = RerankRetriever(store, reranker=Longest()).configurable_fields(
        timeout=ConfigurableField(id="timeout")
    )
    with pytest.raises(InvalidArgumentError, match=r"timeout: .*None for no limit, got inf"):
        retriever.invoke(QUERY, config={"configurable": {"timeout": float("inf")}})


# ---------------------------------------------------------------- early stops


class Counting(Longest):
    """One that says how many pairs it was asked for at a time, and tells what it cut."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.threads: set[int] = set()

    def score_pairs(
        self, text_pairs: Sequence[tuple[str, str]], *, deadline: float | None = None
    ) -> PairScores:
        self.sizes.append(len(text_pairs))
        self.threads.add(threading.get_ident())
        return PairScores(np.array(self.score(text_pairs), np.float32), np.zeros(len(text_pairs), bool))

    async def ascore_pairs(
        self, text_pairs: Sequence[tuple[str, str]], *, deadline: float | None = None
    ) -> PairScores:
        await asyncio.sleep(0)
        return self.score_pairs(text_pairs)


#: The best one of two looks is enough for one document; of two documents and more, only when it is hopeless.
STOP = EarlyStop(6, (0.0, 100.0, None, 0.0), {2: (1.25, 0.5), 4: (1.0, 0.0)})
STOPPING = Blend((BlendVariant({"rerank": 0.6, "dense": 0.4}, 1.5, -0.5, "standard", STOP),))


def test_what_is_far_behind_is_not_scored(store: FaissStore, embeddings: HashEmbeddings) -> None:
    order = recall_order(embeddings)
    scorer = Counting()
    retriever = RerankRetriever(store, reranker=scorer, blend=STOPPING, fetch_k=6, early_stop=True)
    for call in (retriever.explain, lambda *a, **kw: asyncio.run(retriever.aexplain(*a, **kw))):
        scorer.sizes.clear()
        explanation = call(QUERY, k=1)
        rows = explanation.candidates
        assert scorer.sizes == [2]
        assert (explanation.scored, explanation.timed_out, explanation.truncated) == (2, False, 0)
        assert [row.unscored for row in rows] == [None] * 2 + ["early_stop"] * 4
        assert [row.document.id for row in rows[2:]] == order[2:]
        assert {row.outcome for row in rows[2:]} == {"below_k"}
        # What recall knows is standardised over all six, what the re-ranker says over the two.
        dense = {row.document.id: row.dense_score for row in rows}
        z = dict(zip(order, zscore([dense[name] for name in order])))
        rerank = zscore([len(TEXTS[IDS.index(name)]) for name in order[:2]])
        blended = {name: 0.6 * one + 0.4 * z[name] for name, one in zip(order, rerank)}
        assert [row.document.id for row in rows[:2]] == sorted(blended, key=lambda name: -blended[name])
        for row in rows[:2]:
            assert row.blended_score == pytest.approx(blended[row.document.id])
            assert row.relevance_score == pytest.approx(expit(1.25 * blended[row.document.id] + 0.5))
    assert scorer.threads == {threading.get_ident()}  # awaited, in no thread


@pytest.mark.parametrize(
    ("arguments", "sizes"),
    [
        ({"k": 1}, [2]),
        ({"k": 1, "early_stop": False}, [6]),
        ({"k": 2}, [2, 2, 2]),  # looked at, and never far enough ahead
        ({"k": 3}, [2, 2, 2]),  # no margin
        ({"k": 5}, [2, 2, 2]),  # more documents than there are margins for
        ({"k": 1, "fetch_k": 7}, [6]),  # deeper than it was fitted for
        ({"k": 1, "fetch_k": 3}, [2]),
        ({"k": 1, "fetch_k": 2}, [2]),
        ({"k": 1, "collapse": "no.such.key"}, [2]),
    ],
)
def test_when_it_stops(store: FaissStore, arguments: dict[str, Any], sizes: list[int]) -> None:
    scorer = Counting()
    retriever = RerankRetriever(store, reranker=scorer, blend=STOPPING, fetch_k=6, early_stop=True)
    found = retriever.invoke(QUERY, **arguments)
    assert scorer.sizes == sizes
    if sum(sizes) == 6:
        whole = {**arguments, "early_stop": False}
        assert found == RerankRetriever(store, reranker=Longest(), blend=STOPPING, fetch_k=6).invoke(
            QUERY, **whole
        )


def test_queries_of_a_batch_stop_each_for_itself(store: FaissStore) -> None:
    retriever = RerankRetriever(store, reranker=Counting(), blend=STOPPING, fetch_k=6, early_stop=True, k=1)
    queries = [QUERY, "night train", "apple"] * 5
    expected = [retriever.invoke(query) for query in queries]
    assert retriever.batch(queries) == expected
    assert asyncio.run(retriever.abatch(queries)) == expected


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"blend": BLEND, "reranker": Longest()}, "there is a blend without it here"),
        ({"reranker": Longest()}, "there is no blend that orders by a re-ranker here"),
        ({}, "there is no blend"),
        ({"blend": STOPPING, "reranker": Reversing()}, "there is no blend"),
        ({"blend": STOPPING}, "there is no blend"),
    ],
)
def test_an_early_stop_that_was_not_fitted(store: FaissStore, fields: dict[str, Any], message: str) -> None:
    asked = RerankRetriever(store, early_stop=True, **fields)
    for call in (asked.invoke, RerankRetriever(store, **fields).explain):
        with pytest.raises(
            InvalidArgumentError, match=rf"early_stop=True needs .*{message}.* leave early_stop out"
        ):
            call(QUERY, early_stop=True)
    assert asked.invoke(QUERY, early_stop=False) == RerankRetriever(store, **fields).invoke(QUERY)


# ---------------------------------------------------------------- parents


def test_chunks_of_one_document_are_one_answer(embeddings: HashEmbeddings) -> None:
    chunks = [
        Document(
            id=f"{name}{number}", page_content=f"{TEXTS[place]} {'more ' * number}", metadata={"of": name}
        )
        for place, name in enumerate(IDS)
        for number in range(3)
    ]
    with FaissStore.from_documents(chunks, embeddings) as store:
        retriever = RerankRetriever(store, reranker=Longest(), collapse="of", k=4)
        found = retriever.invoke(QUERY)
        # The longest chunk of a document is its last; the documents are in the order of those.
        assert ids(found) == [f"{name}2" for name in LONGEST_FIRST[:4]]
        assert asyncio.run(retriever.ainvoke(QUERY)) == found
        assert retriever.invoke(QUERY, k=9) == RerankRetriever(store, reranker=Longest()).invoke(
            QUERY, k=9, collapse="of"
        )
        assert len(retriever.invoke(QUERY, k=9)) == 6
        fates = [row.outcome for row in retriever.explain(QUERY).candidates]
        assert {one: fates.count(one) for one in fates} == {"returned": 4, "collapsed": 12, "below_k": 2}
        # Only what was recalled can be chosen from.
        few = retriever.explain(QUERY, k=3, fetch_k=3).candidates
        assert len(retriever.invoke(QUERY, k=3, fetch_k=3)) == len(
            {row.document.metadata["of"] for row in few}
        )
        # Where nobody has the key, everybody stands for himself.
        assert len(retriever.invoke(QUERY, k=9, collapse="nobody.has.this")) == 9


# ---------------------------------------------------------------- foreign parts


def test_input_documents_are_never_changed() -> None:
    documents = [document.model_copy(deep=True) for document in DOCUMENTS]
    for document in documents:
        document.metadata |= {"relevance_score": 99.0, "rerank_score": 99.0}
    before = [document.model_copy(deep=True) for document in documents]
    for reranker in (None, Longest(), Reversing(), CrossEncoderReranker(model=Longest())):
        retriever = RerankRetriever(Fixed(documents=documents), reranker=reranker)
        for found in (retriever.invoke(QUERY), asyncio.run(retriever.ainvoke(QUERY))):
            assert documents == before
            for document in found:
                assert document.metadata.get("relevance_score") != 99.0
                document.metadata["nested"]["tags"].append("mine")
                document.metadata["new"] = 1
                document.page_content = "mine"
            assert documents == before
        for row in retriever.explain(QUERY).candidates:
            assert not set(SCORE_KEYS) & set(row.document.metadata)
        assert documents == before


def test_in_memory_store_as_recall(embeddings: HashEmbeddings) -> None:
    foreign = InMemoryVectorStore(embeddings)
    foreign.add_documents(DOCUMENTS)
    before = copy.deepcopy(foreign.store)
    retriever = RerankRetriever(foreign, reranker=Longest(), k=3)
    assert ids(retriever.invoke(QUERY)) == LONGEST_FIRST[:3]
    assert ids(retriever.invoke(QUERY, filter=lambda document: document.id in ("a", "b"))) == ["a", "b"]
    assert foreign.store == before
    assert retriever.add_documents([Document(id="x", page_content="x" * 80)]) == ["x"]
    assert ids(retriever.invoke(QUERY, k=1)) == ["x"]
    retriever.delete(["x"])
    assert ids(retriever.invoke(QUERY, k=1)) == LONGEST_FIRST[:1]
    with pytest.raises(InvalidArgumentError, match="needs a FaissStore"):
        retriever.invoke(QUERY, recall_mode="hybrid")


def test_retrievers_and_lists_as_recall(store: FaissStore) -> None:
    retriever = RerankRetriever([store, Fixed(documents=many(3))], reranker=Longest(), k=20)
    assert set(ids(retriever.invoke(QUERY))) == {*IDS, "n0", "n1", "n2"}
    nested = RerankRetriever(RerankRetriever(store, k=3), reranker=Longest())
    assert len(nested.invoke(QUERY)) == 3
    assert len(RerankRetriever(store.as_retriever(search_kwargs={"k": 1})).invoke(QUERY)) == 4


def test_compressors_as_rerankers(store: FaissStore, embeddings: HashEmbeddings) -> None:
    order = recall_order(embeddings)[::-1]
    reversing = RerankRetriever(store, reranker=Reversing(), k=2)
    explanation = reversing.explain(QUERY)
    assert ids(explanation.documents) == order[:2]
    assert explanation.documents[0].page_content == TEXTS[IDS.index(order[0])].upper()
    assert [row.outcome for row in explanation.candidates] == (
        ["returned"] * 2 + ["below_k"] + ["dropped_by_reranker"] * 3
    )
    assert asyncio.run(reversing.ainvoke(QUERY)) == reversing.invoke(QUERY)
    ours = RerankRetriever(store, reranker=CrossEncoderReranker(model=Longest(), top_n=3), k=6)
    assert ids(ours.invoke(QUERY)) == LONGEST_FIRST[:3]
    for document in ours.invoke(QUERY):
        assert document.metadata["relevance_kind"] == "rerank_score"
        assert document.metadata["relevance_score"] == document.metadata["rerank_score"]
    with pytest.raises(ScoringError, match="without the metadata"):
        RerankRetriever(store, reranker=Forgetful()).invoke(QUERY)


@pytest.mark.parametrize(
    "scores", [[float("nan")] * 6, [1.0] * 5, [1.0] * 7, [], None, "scores", np.ones((6, 2))]
)
def test_a_cross_encoder_that_gives_no_scores(store: FaissStore, scores: Any) -> None:
    retriever = RerankRetriever(store, reranker=Broken(scores))
    with pytest.raises(ScoringError, match="Broken gave"):
        retriever.invoke(QUERY)
    with pytest.raises(ScoringError, match="Broken gave"):
        asyncio.run(retriever.ainvoke(QUERY))


def test_an_error_of_a_foreign_part_comes_through(store: FaissStore) -> None:
    class Failing(Longest):
        def score(self, text_pairs: Sequence[tuple[str, str]]) -> list[float]:  # type: ignore[override]
            raise KeyError("theirs")

    with pytest.raises(KeyError, match="theirs"):
        RerankRetriever(store, reranker=Failing()).invoke(QUERY)


# ---------------------------------------------------------------- making and changing


@pytest.mark.parametrize("blend", [None, BLEND])
@pytest.mark.parametrize("reranker", [None, Longest(), Reversing()])
@pytest.mark.parametrize("mode", [None, "lexical", "hybrid"])
def test_an_empty_corpus_answers_nothing(
    embeddings: HashEmbeddings, blend: Blend | None, reranker: Any, mode: Any
) -> None:
    retriever = RerankRetriever.from_documents(
        [], embeddings=embeddings, reranker=reranker, blend=blend, recall_mode=mode
    )
    assert retriever.invoke(QUERY) == []
    assert asyncio.run(retriever.ainvoke(QUERY)) == []
    assert retriever.explain(QUERY).candidates == ()
    retriever.add_documents(DOCUMENTS)
    assert len(retriever.invoke(QUERY)) >= 3


def test_from_documents(embeddings: HashEmbeddings, retriever: RerankRetriever) -> None:
    before = copy.deepcopy(DOCUMENTS)
    made = RerankRetriever.from_documents(
        iter(DOCUMENTS), embeddings=embeddings, reranker=Longest(), k=3, recall_mode="hybrid"
    )
    assert isinstance(made.recall, FaissStore)
    assert made.recall.embeddings is embeddings
    assert before == DOCUMENTS
    assert made.invoke(QUERY) == retriever.invoke(QUERY, k=3, recall_mode="hybrid")
    assert ids(made.invoke(QUERY, k=9)) == LONGEST_FIRST


def test_from_texts(embeddings: HashEmbeddings, retriever: RerankRetriever) -> None:
    metadatas = [document.metadata for document in DOCUMENTS]
    made = RerankRetriever.from_texts(TEXTS, metadatas, ids=IDS, embeddings=embeddings, reranker=Longest())
    assert made.invoke(QUERY) == retriever.invoke(QUERY)
    assert len(RerankRetriever.from_texts(TEXTS, embeddings=embeddings).invoke(QUERY)) == 4


def test_from_documents_in_a_folder(embeddings: HashEmbeddings, tmp_path: Any) -> None:
    made = RerankRetriever.from_documents(DOCUMENTS, embeddings=embeddings, path=tmp_path / "store")
    expected = made.invoke(QUERY)
    made.recall.close()
    with FaissStore.load_local(tmp_path / "store", embeddings) as opened:
        assert RerankRetriever(opened).invoke(QUERY) == expected


@pytest.mark.parametrize("fields", [{"k": 0}, {"top_k": 1}, {"recall_mode": "x"}])
def test_a_wrong_field_is_found_before_anything_is_written(
    embeddings: HashEmbeddings, tmp_path: Any, fields: dict[str, Any]
) -> None:
    calls = len(embeddings.calls)
    with pytest.raises(InvalidArgumentError, match=next(iter(fields))):
        RerankRetriever.from_documents(DOCUMENTS, embeddings=embeddings, path=tmp_path / "store", **fields)
    with pytest.raises(InvalidArgumentError, match=next(iter(fields))):
        RerankRetriever.from_texts(TEXTS, embeddings=embeddings, path=tmp_path / "store", **fields)
    assert len(embeddings.calls) == calls
    assert not (tmp_path / "store").exists()


def test_add_and_delete(embeddings: HashEmbeddings) -> None:
    retriever = RerankRetriever.from_documents(DOCUMENTS, embeddings=embeddings, reranker=Longest())
    assert retriever.add_documents([Document(id="a", page_content="x" * 90)]) == ["a"]
    assert retriever.invoke(QUERY, k=1)[0].page_content == "x" * 90
    retriever.delete(["a", "unknown"])
    assert "a" not in ids(retriever.invoke(QUERY, k=9))
    again = retriever.invoke(QUERY, k=1)
    retriever.add_documents(again)
    assert {document.id: document.metadata for document in retriever.recall.documents()}[again[0].id] == {
        key: value for key, value in again[0].metadata.items() if key not in SCORE_KEYS
    }


def test_only_one_store_can_be_changed(store: FaissStore) -> None:
    for recall, name in (([store, store], "list"), (Fixed(documents=[]), "Fixed")):
        with pytest.raises(
            InvalidArgumentError, match=f"only where recall is one vector store; here it is {name}"
        ):
            RerankRetriever(recall).add_documents(DOCUMENTS)
        with pytest.raises(InvalidArgumentError, match="Change the store behind it"):
            RerankRetriever(recall).delete(["a"])


def test_a_report_goes_with_a_copy(retriever: RerankRetriever) -> None:
    assert retriever.report is None
    assert retriever.with_report({"n": 1}).report == {"n": 1}
    assert retriever.report is None
