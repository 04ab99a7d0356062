"""RerankRetriever in several stages: cascades, diversity, further queries; and over foreign stores."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.runnables import ConfigurableField
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_core.vectorstores.utils import maximal_marginal_relevance
from scipy.special import expit
from scipy.stats import zscore

from langchain_rerank_retriever import CrossEncoderReranker, FaissStore, RerankRetriever
from langchain_rerank_retriever.blend import Blend, BlendVariant
from langchain_rerank_retriever.early_stop import EarlyStop
from langchain_rerank_retriever.errors import InvalidArgumentError, RecallError
from langchain_rerank_retriever.protocols import Explanation
from langchain_rerank_retriever.testing import HashEmbeddings, ScriptedCrossEncoder
from tests.recall.test_foreign import ListRetriever, PlainStore, ScoringStore, named
from tests.test_retriever import (
    BLEND,
    DOCUMENTS,
    IDS,
    LONGEST_FIRST,
    QUERY,
    TEXTS,
    Longest,
    ids,
    recall_order,
)

LENGTHS = dict(zip(IDS, map(len, TEXTS), strict=True))
ALPHABETICAL = ScriptedCrossEncoder(lambda _, passage: -float(IDS.index(IDS[TEXTS.index(passage)])))


@pytest.fixture(scope="module")
def embeddings() -> HashEmbeddings:
    return HashEmbeddings()


@pytest.fixture(scope="module")
def store(embeddings: HashEmbeddings) -> Iterator[FaissStore]:
    with FaissStore.from_documents(DOCUMENTS, embeddings) as made:
        yield made


@pytest.fixture
def foreign(embeddings: HashEmbeddings) -> InMemoryVectorStore:
    store = InMemoryVectorStore(embeddings)
    store.add_documents(DOCUMENTS)
    return store


def both(retriever: RerankRetriever, query: str = QUERY, **arguments: Any) -> Explanation:
    """Explain sync and async, see that they agree with each other and with invoke."""
    explanation = retriever.explain(query, **arguments)
    other = asyncio.run(retriever.aexplain(query, **arguments))
    assert other.candidates == explanation.candidates
    assert other.documents == explanation.documents
    assert list(explanation.documents) == retriever.invoke(query, **arguments)
    assert set(other.seconds) == set(explanation.seconds)
    return explanation


class OnlyRed(BaseDocumentCompressor):
    """A filter, as one by a chat model might be; it gives no scores."""

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Any = None
    ) -> list[Document]:
        return [one for one in documents if "red" in one.page_content.split()]


# ---------------------------------------------------------------- cascades


def test_a_cascade(store: FaissStore) -> None:
    cheap = CrossEncoderReranker(model=Longest(), top_n=4)
    retriever = RerankRetriever(store, reranker=[cheap, ALPHABETICAL], k=2)
    explanation = both(retriever)
    kept = sorted(LONGEST_FIRST[:4])
    rows = explanation.candidates
    assert ids(explanation.documents) == kept[:2]
    assert [row.document.id for row in rows[:4]] == kept
    assert [row.outcome for row in rows] == ["returned"] * 2 + ["below_k"] * 2 + ["dropped_by_reranker"] * 2
    assert [row.dropped_by for row in rows] == [None] * 4 + [1, 1]
    assert [row.rerank_score for row in rows] == [-float(IDS.index(name)) for name in kept] + [None] * 2
    assert explanation.scored == 4
    assert set(ids([row.document for row in rows])) == set(IDS)
    assert all(document.metadata["relevance_kind"] == "rerank_score" for document in explanation.documents)


def test_which_stage_left_out_what(store: FaissStore) -> None:
    stages = [OnlyRed(), CrossEncoderReranker(model=Longest(), top_n=2), ALPHABETICAL]
    rows = {row.document.id: row for row in both(RerankRetriever(store, reranker=stages)).candidates}
    red = [name for name, text in zip(IDS, TEXTS) if "red" in text.split()]
    longest = sorted(red, key=lambda name: -LENGTHS[name])
    for name, row in rows.items():
        expected = 1 if name not in red else 2 if name in longest[2:] else None
        assert row.dropped_by == expected
        assert (row.outcome == "dropped_by_reranker") == (expected is not None)
    single = RerankRetriever(store, reranker=OnlyRed()).explain(QUERY)
    assert {row.dropped_by for row in single.candidates} == {None, 1}


def test_what_our_own_compressor_leaves_out_shows_its_score(store: FaissStore) -> None:
    model = ScriptedCrossEncoder(lambda _, passage: float(len(passage)))
    explanation = both(RerankRetriever(store, reranker=CrossEncoderReranker(model=model, top_n=2)))
    rows = explanation.candidates
    assert ids(explanation.documents) == LONGEST_FIRST[:2]
    assert [row.outcome for row in rows] == ["returned"] * 2 + ["dropped_by_reranker"] * 4
    assert {row.document.id: row.rerank_score for row in rows} == LENGTHS
    assert {row.unscored for row in rows} == {None}


def test_a_list_of_one_is_that_one(store: FaissStore) -> None:
    for reranker in (Longest(), OnlyRed(), CrossEncoderReranker(model=Longest(), top_n=2)):
        alone, listed = (RerankRetriever(store, reranker=one, blend=BLEND) for one in (reranker, [reranker]))
        assert both(listed).candidates == both(alone).candidates


def test_a_blend_over_a_cascade(store: FaissStore) -> None:
    """Recall is standardised over all candidates, the last stage's scores over those that it got."""
    cheap = CrossEncoderReranker(model=Longest(), top_n=4)
    retriever = RerankRetriever(store, reranker=[cheap, ALPHABETICAL], blend=BLEND, k=6)
    rows = both(retriever).candidates
    assert retriever.explain(QUERY).relevance_kind == "probability"
    order = [row.document.id for row in sorted(rows, key=lambda row: row.recall_rank)]
    by_id = {row.document.id: row for row in rows}
    kept = LONGEST_FIRST[:4]
    dense, lexical = (
        dict(zip(order, zscore([getattr(by_id[name], field) for name in order])))
        for field in ("dense_score", "lexical_score")
    )
    rerank = dict(zip(kept, zscore([-float(IDS.index(name)) for name in kept])))
    blended = {name: 0.5 * rerank[name] + 0.2 * dense[name] + 0.3 * lexical[name] for name in kept}
    assert [row.document.id for row in rows[:4]] == sorted(kept, key=lambda name: -blended[name])
    for row in rows[:4]:
        assert row.relevance_score == pytest.approx(expit(2 * blended[row.document.id or ""] - 1))
    assert {row.relevance_score for row in rows[4:]} == {None}
    assert len(retriever.invoke(QUERY)) == 4


def test_a_deadline_in_a_cascade(store: FaissStore) -> None:
    cheap = CrossEncoderReranker(model=Longest(), top_n=4)
    late = RerankRetriever(store, reranker=[cheap, ALPHABETICAL], k=6, timeout=1e-9)
    explanation = late.explain(QUERY)
    assert explanation.timed_out
    assert ids(explanation.documents) == [row.document.id for row in explanation.candidates][:4]
    assert [row.recall_rank for row in explanation.candidates] == [1, 2, 3, 4, 5, 6]
    # The first stage dropped two only because there was no time to score them.
    assert [row.dropped_by for row in explanation.candidates] == [None] * 4 + [1] * 2
    assert [row.unscored for row in explanation.candidates] == ["timeout"] * 6


def test_an_early_stop_is_for_one_reranker(store: FaissStore) -> None:
    stop = EarlyStop(6, (0.0,), {2: (1.0, 0.0)})
    blend = Blend((BlendVariant({"rerank": 1.0}, 1.0, 0.0, "standard", stop),))
    retriever = RerankRetriever(store, reranker=[OnlyRed(), Longest()], blend=blend)
    with pytest.raises(
        InvalidArgumentError, match="fitted for one re-ranker over all candidates; there are 2 stages"
    ):
        retriever.invoke(QUERY, early_stop=True)
    # Whom diversity chooses is not known before all are scored.
    one = RerankRetriever(store, reranker=ALPHABETICAL, blend=blend, k=1, fetch_k=6, early_stop=True)
    assert one.explain(QUERY).scored == 2
    assert one.explain(QUERY, lambda_mult=0.5).scored == 6


@pytest.mark.parametrize(
    ("reranker", "message"),
    [
        ([], "reranker: .*must not be an empty list"),
        ([Longest(), Longest()], "reranker: .*Stage 1 of 2 .*Longest only scores. Wrap it"),
        ([OnlyRed(), "a model"], "reranker: .*a list of those, or None; got 'a model'"),
    ],
)
def test_what_is_no_cascade(store: FaissStore, reranker: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        RerankRetriever(store, reranker=reranker)
    retriever = RerankRetriever(store)
    retriever.reranker = reranker
    with pytest.raises(InvalidArgumentError, match=message.removeprefix("reranker: .*")):
        retriever.invoke(QUERY)


# ---------------------------------------------------------------- diversity


@pytest.mark.parametrize("mult", [0.0, 0.3, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("k", [1, 3, 6, 20])
def test_over_recall_it_is_the_stores_own(store: FaissStore, mult: float, k: int) -> None:
    found = both(RerankRetriever(store, k=k, lambda_mult=mult)).documents
    expected = store.max_marginal_relevance_search(QUERY, k=k, fetch_k=100, lambda_mult=mult)
    assert ids(found) == ids(expected)
    assert ids(RerankRetriever(store).invoke(QUERY, k=k, lambda_mult=mult)) == ids(expected)


def from_0_to_1(scores: Sequence[float]) -> np.ndarray:
    return (np.array(scores) - min(scores)) / np.ptp(scores)


def with_gram(
    relevance: np.ndarray, vectors: np.ndarray, mult: float
) -> tuple[list[float], list[list[float]], float]:
    """Find a query, documents and a lambda for which LangChain's function weighs any relevance.

    Relevance has to be a cosine there, so it is made small, which `lambda_mult` makes up for; then there are vectors
    with those cosines to the query and the given ones to each other.
    """
    small = 0.05
    size = len(relevance)
    gram = np.ones((size + 1, size + 1))
    # Each vector is its own and a little of a direction of its own, so that the matrix has a root.
    gram[1:, 1:] = vectors @ vectors.T
    gram[0, 1:] = gram[1:, 0] = small * relevance
    rows = np.linalg.cholesky(gram)
    return rows[0].tolist(), rows[1:].tolist(), mult / (mult + small * (1 - mult))


@pytest.mark.parametrize("mult", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("kind", ["store", "foreign"])
def test_after_reranking(
    store: FaissStore, foreign: InMemoryVectorStore, embeddings: HashEmbeddings, kind: str, mult: float
) -> None:
    retriever = RerankRetriever(store if kind == "store" else foreign, reranker=Longest(), lambda_mult=mult)
    calls = len(embeddings.calls)
    explanation = retriever.explain(QUERY, k=4)
    assert len(embeddings.calls) == calls + (kind == "foreign")
    assert "diversify" in explanation.seconds
    vectors = np.array([embeddings.embed_query(TEXTS[IDS.index(name)]) for name in LONGEST_FIRST])
    relevance = from_0_to_1([LENGTHS[name] / 4 - 3 for name in LONGEST_FIRST])
    query, documents, stretched = with_gram(relevance, vectors, mult)
    expected = maximal_marginal_relevance(np.array(query), documents, lambda_mult=stretched, k=4)
    assert ids(both(retriever, k=4).documents) == [LONGEST_FIRST[place] for place in expected]
    rows = explanation.candidates
    assert [row.outcome for row in rows] == ["returned"] * 4 + ["below_k"] * 2
    left = [name for name in LONGEST_FIRST if name not in ids(explanation.documents)]
    assert [row.document.id for row in rows[4:]] == left
    assert {row.relevance_score for row in rows} == {LENGTHS[name] / 4 - 3 for name in IDS}


def test_probabilities_against_cosines(store: FaissStore, embeddings: HashEmbeddings) -> None:
    plain = RerankRetriever(store, reranker=Longest(), blend=BLEND, k=6)
    ranked = plain.explain(QUERY).candidates
    names = [row.document.id or "" for row in ranked]
    vectors = np.array([embeddings.embed_query(TEXTS[IDS.index(name)]) for name in names])
    relevance = np.array([row.relevance_score for row in ranked])
    query, documents, stretched = with_gram(relevance, vectors, 0.4)
    expected = maximal_marginal_relevance(np.array(query), documents, lambda_mult=stretched, k=3)
    assert ids(both(plain, k=3, lambda_mult=0.4).documents) == [names[place] for place in expected]


def test_near_duplicates_are_not_returned_together(embeddings: HashEmbeddings) -> None:
    texts = [
        "red sky at night",
        "red sky at night indeed",
        "the red sky at night",
        "blue sky by day",
        "a red apple",
    ]
    with FaissStore.from_texts(texts, embeddings) as store:
        retriever = RerankRetriever(
            store, reranker=ScriptedCrossEncoder(lambda _, text: -float(texts.index(text)))
        )
        assert [one.page_content for one in retriever.invoke(QUERY, k=2)] == texts[:2]
        assert [one.page_content for one in retriever.invoke(QUERY, k=2, lambda_mult=0.5)] in (
            [texts[0], texts[3]],
            [texts[0], texts[4]],
        )


def test_diversity_keeps_threshold_and_parents(embeddings: HashEmbeddings) -> None:
    chunks = [
        Document(id=f"{name}{number}", page_content=f"{text} {'more ' * number}", metadata={"of": name})
        for name, text in zip(IDS, TEXTS)
        for number in range(3)
    ]
    with FaissStore.from_documents(chunks, embeddings) as store:
        retriever = RerankRetriever(store, reranker=Longest(), collapse="of", lambda_mult=0.2, k=4)
        found = both(retriever).documents
        assert len({one.metadata["of"] for one in found}) == 4
        assert {str(one.id)[1] for one in found} == {"2"}  # the longest of its parent
        assert found[0].id == f"{LONGEST_FIRST[0]}2"
        with pytest.warns(UserWarning, match="score_threshold"):
            limited = both(retriever, score_threshold=7.0).documents
        assert limited
        assert all(one.metadata["relevance_score"] >= 7.0 for one in limited)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lambda_mult": 1.5}, "lambda_mult must be a number from 0 to 1 or None, got 1.5"),
        ({"lambda_mult": -0.1}, "got -0.1"),
        ({"lambda_mult": float("nan")}, "got nan"),
        ({"lambda_mult": True}, "got True"),
        ({"lambda_mult": "0.5"}, "got '0.5'"),
        ({"extra_queries": "another"}, "extra_queries must be a list of further queries, got 'another'"),
        ({"extra_queries": 5}, "got 5"),
        ({"extra_queries": ["fine", " "]}, "The query is blank"),
        ({"extra_queries": [None]}, "A query must be a str, got NoneType"),
        ({"search_kwargs": "expr"}, "search_kwargs must be a dict of arguments .*got 'expr'"),
        ({"search_kwargs": {1: 2}}, "search_kwargs must be a dict"),
        ({"search_kwargs": {"expr": "x"}}, "search_kwargs are for foreign stores"),
    ],
)
def test_wrong_arguments(store: FaissStore, arguments: dict[str, Any], message: str) -> None:
    retriever = RerankRetriever(store, reranker=Longest())
    with pytest.raises(InvalidArgumentError, match=message):
        retriever.invoke(QUERY, **arguments)
    with pytest.raises(InvalidArgumentError, match=message):
        asyncio.run(retriever.ainvoke(QUERY, **arguments))
    if "lambda_mult" in arguments:
        with pytest.raises(InvalidArgumentError, match=f"lambda_mult: .*{message}"):
            RerankRetriever(store, **arguments)


def test_diversity_that_cannot_be_had(store: FaissStore, foreign: InMemoryVectorStore) -> None:
    for recall in (ListRetriever(documents=named("a")), PlainStore(named("a")), [PlainStore(named("a"))]):
        with pytest.raises(
            InvalidArgumentError, match=r"lambda_mult compares candidates by their vectors.*no embeddings"
        ):
            RerankRetriever(recall, reranker=Longest()).invoke(QUERY, lambda_mult=0.5)
    with pytest.raises(
        InvalidArgumentError, match="lambda_mult weighs relevance, and OnlyRed gives no scores"
    ):
        RerankRetriever(store, reranker=OnlyRed()).invoke(QUERY, lambda_mult=0.5)
    with pytest.raises(
        InvalidArgumentError, match="lambda_mult needs a score of which higher is known to be better"
    ):
        RerankRetriever(foreign).invoke(QUERY, lambda_mult=0.5)
    with FaissStore(HashEmbeddings()) as empty:
        for reranker in (None, Longest(), OnlyRed()):
            assert both(RerankRetriever(empty, reranker=reranker, lambda_mult=0.5)).documents == ()


def test_diversity_over_a_fused_list(store: FaissStore, foreign: InMemoryVectorStore) -> None:
    retriever = RerankRetriever([ListRetriever(documents=named("x")), foreign, store], reranker=Longest())
    found = both(retriever, k=7, lambda_mult=0.5).documents
    assert set(ids(found)) == {*IDS, "x"}


# ---------------------------------------------------------------- further queries


def test_further_queries_widen_recall(store: FaissStore) -> None:
    retriever = RerankRetriever(store, reranker=Longest(), k=6)
    narrow = both(retriever, recall_mode="lexical")
    wide = both(retriever, recall_mode="lexical", extra_queries=["night train", "green apple"])
    assert set(ids(narrow.documents)) == {"a", "c", "d", "e"}
    assert ids(wide.documents) == LONGEST_FIRST
    assert wide.query == QUERY
    assert both(retriever, extra_queries=[]).candidates == both(retriever).candidates
    assert both(retriever, extra_queries=(QUERY,)).candidates == both(retriever).candidates


def test_all_candidates_are_scored_for_the_query_itself(store: FaissStore) -> None:
    model = ScriptedCrossEncoder(lambda _, passage: float(len(passage)))
    RerankRetriever(store, reranker=model).invoke(QUERY, extra_queries=["night train"])
    assert {query for pairs in model.asked for query, _ in pairs} == {QUERY}


def test_a_blend_with_further_queries(store: FaissStore) -> None:
    """With everything recalled, only the recall scores change by the further queries, which the blend does not use."""
    retriever = RerankRetriever(store, reranker=Longest(), blend=BLEND, k=6)
    plain, wide = both(retriever), both(retriever, extra_queries=["green train"])
    assert ids(wide.documents) == ids(plain.documents)
    for one, other in zip(plain.documents, wide.documents):
        assert other.metadata["relevance_kind"] == "probability"
        assert other.metadata["relevance_score"] == pytest.approx(one.metadata["relevance_score"])
        assert other.metadata["dense_score"] == pytest.approx(one.metadata["dense_score"])


def test_the_fitted_recall_score_is_that_of_one_store_and_one_query(store: FaissStore) -> None:
    only_recall = Blend((BlendVariant({"recall": 1.0}, 1.0, 0.0),), {"dense": 0.5, "lexical": 0.5})
    retriever = RerankRetriever(store, blend=only_recall, recall_mode="hybrid")
    assert retriever.explain(QUERY).relevance_kind == "probability"
    assert retriever.explain(QUERY, extra_queries=["green"]).relevance_kind == "recall_score"
    listed = RerankRetriever([store, store], blend=only_recall, recall_mode="hybrid")
    assert listed.explain(QUERY).relevance_kind == "recall_score"


# ---------------------------------------------------------------- over foreign stores


def distances(names: str) -> ScoringStore:
    """A store that gives distances: the best has the lowest."""
    return ScoringStore(named(*names), [0.1 * place for place in range(len(names))])


@pytest.mark.filterwarnings("ignore:score_threshold is compared")
def test_a_foreign_score_is_reported_and_never_compared() -> None:
    found = both(RerankRetriever(distances("abc"))).documents
    assert ids(found) == ["a", "b", "c"]
    assert [one.metadata["recall_score"] for one in found] == pytest.approx([0.0, 0.1, 0.2])
    for recall in (distances("abc"), ListRetriever(documents=named("a"))):
        for reranker in (None, OnlyRed()):
            with pytest.raises(
                InvalidArgumentError,
                match=r"score_threshold needs a score of which higher is known.*may be a distance",
            ):
                RerankRetriever(recall, reranker=reranker).invoke("red", score_threshold=0.15)
    scored = RerankRetriever(distances("abc"), reranker=CrossEncoderReranker(model=Longest()))
    assert scored.invoke(QUERY, score_threshold=99.0) == []
    fused = RerankRetriever([distances("abc"), distances("cd")])
    assert ids(fused.invoke(QUERY, score_threshold=1 / 61 + 1e-9)) == ["c"]


def test_the_blend_that_needs_no_recall_scores(foreign: InMemoryVectorStore, store: FaissStore) -> None:
    for recall in (foreign, foreign.as_retriever(), [foreign, store], ListRetriever(documents=DOCUMENTS)):
        found = both(RerankRetriever(recall, reranker=Longest(), blend=BLEND, k=6)).documents
        assert ids(found) == LONGEST_FIRST
        scores = np.array([one.metadata["rerank_score"] for one in found])
        assert {one.metadata["relevance_kind"] for one in found} == {"probability"}
        np.testing.assert_allclose([one.metadata["relevance_score"] for one in found], expit(zscore(scores)))
    rich = Blend((BLEND.variants[2],))
    assert (
        RerankRetriever(foreign, reranker=Longest(), blend=rich).explain(QUERY).relevance_kind
        == "rerank_score"
    )


def test_a_bundle_over_another_store(
    store: FaissStore, foreign: InMemoryVectorStore, embeddings: HashEmbeddings, tmp_path: Path
) -> None:
    made = RerankRetriever(
        store, reranker=Longest(), blend=BLEND, recall_mode="hybrid", lambda_mult=0.7, k=3, fetch_k=5
    )
    made.save_local(tmp_path / "bundle")
    with pytest.warns(UserWarning, match="recall_mode='hybrid' needs a FaissStore with a lexical index"):
        moved = RerankRetriever.load_local(tmp_path / "bundle", recall=foreign, reranker=Longest())
    assert (moved.recall_mode, moved.lambda_mult, moved.k, moved.fetch_k) == (None, 0.7, 3, 5)
    assert moved.blend == BLEND
    assert len(moved.invoke(QUERY)) == 3
    same = RerankRetriever.load_local(tmp_path / "bundle", embeddings=embeddings, reranker=Longest())
    with same.recall:
        assert (same.recall_mode, same.lambda_mult) == ("hybrid", 0.7)
        assert same.invoke(QUERY) == made.invoke(QUERY)


def test_arguments_for_one_call() -> None:
    store = PlainStore(named("a", "b"))
    retriever = RerankRetriever(store, reranker=Longest())
    both(retriever, search_kwargs={"expr": "x > 1"}, filter="f")
    assert store.asked == [{"k": 100, "expr": "x > 1", "filter": "f"}] * 3


def test_a_failing_store_fails_the_query() -> None:
    class Down(PlainStore):
        def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
            raise ConnectionError("no route to host")

    calls: list[Callable[[str], Any]] = [
        lambda query: RerankRetriever([PlainStore(named("a")), Down([])], reranker=Longest()).invoke(query),
        lambda query: asyncio.run(RerankRetriever([PlainStore(named("a")), Down([])]).ainvoke(query)),
    ]
    for call in calls:
        with pytest.raises(
            RecallError, match=r"Down \(source 2 of 2\) failed: ConnectionError: no route to host"
        ):
            call(QUERY)


def test_settings_can_be_configured(store: FaissStore) -> None:
    cascade = [CrossEncoderReranker(model=Longest(), top_n=4), ALPHABETICAL]
    retriever = RerankRetriever(store, reranker=cascade, lambda_mult=1.0)
    configurable = retriever.configurable_fields(
        lambda_mult=ConfigurableField(id="mult"), reranker=ConfigurableField(id="reranker")
    )
    assert configurable.invoke(QUERY) == retriever.invoke(QUERY)
    assert configurable.invoke(QUERY, {"configurable": {"mult": 0.1}}) == retriever.invoke(
        QUERY, lambda_mult=0.1
    )
    single = configurable.invoke(QUERY, {"configurable": {"reranker": Longest()}})
    assert ids(single) == LONGEST_FIRST[:4]
    with pytest.raises(InvalidArgumentError, match="lambda_mult: "):
        configurable.invoke(QUERY, {"configurable": {"mult": 2}})


def test_the_order_of_recall_is_what_it_was(store: FaissStore, embeddings: HashEmbeddings) -> None:
    found = both(RerankRetriever(store, lambda_mult=1.0, k=6)).documents
    assert ids(found) == recall_order(embeddings)
