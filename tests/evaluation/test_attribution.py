"""Every missed document has one fate, and what the fates cost adds up; against the formulas and by hand."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from html import escape
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import InMemoryVectorStore

from langchain_rerank_retriever import FaissStore, RerankRetriever
from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.evaluation import Attribution, attribute, evaluate, judge
from langchain_rerank_retriever.evaluation.attribution.fates import FATES, RECALL_FATES

from .oracle import ndcg, recall
from .traced import candidate, evaluated, trace


def fates(attribution: Attribution) -> dict[str, str]:
    return {one.document_id: one.fate for one in attribution.lost}


@pytest.mark.parametrize(
    ("known", "fate"),
    [
        ({}, "ranked_out"),
        ({"truncated": False}, "ranked_out"),
        ({"truncated": True}, "truncated"),
        ({"unscored": "timeout"}, "timeout"),
        ({"unscored": "early_stop"}, "early_stop"),
        ({"outcome": "dropped_by_reranker"}, "dropped_by_reranker"),
        ({"outcome": "collapsed"}, "collapsed"),
        ({"outcome": "below_k"}, "ranked_out"),
        # Without a score there is nothing that a threshold could be lowered to.
        ({"outcome": "below_threshold", "unscored": "timeout"}, "timeout"),
        # Further down than k, it would be missed without the threshold, too.
        ({"outcome": "below_threshold"}, "ranked_out"),
        ({"outcome": "below_threshold", "truncated": True}, "truncated"),
    ],
)
def test_the_fate_of_a_candidate_further_down(known: dict[str, Any], fate: str) -> None:
    answer = trace([candidate("a"), candidate("b"), candidate("wanted", **known)])
    attribution = attribute(evaluated({"q": answer}, {"q": {"wanted": 1}}), k=2)
    assert fates(attribution) == {"wanted": fate}
    assert attribution.lost[0].place == 3
    assert attribution.lost[0].recall_rank == 3


@pytest.mark.parametrize("outcome", ["below_threshold", "collapsed", "dropped_by_reranker"])
def test_the_fate_of_a_candidate_that_was_kept_back(outcome: str) -> None:
    answer = trace([candidate("a"), candidate("wanted", outcome=outcome)])
    assert fates(attribute(evaluated({"q": answer}, {"q": {"wanted": 1}}), k=2)) == {"wanted": outcome}


def test_what_is_no_candidate() -> None:
    answer, more = trace([candidate("a")]), trace([candidate("a"), candidate("left out")])
    qrels = {"q": {"left out": 1, "far": 1, "nowhere": 1, "a": 1}}
    run, unfiltered = evaluated({"q": answer}, qrels), evaluated({"q": more}, qrels)
    assert set(fates(attribute(run)).values()) == {"not_recalled"}
    told = attribute(run, indexed={"a", "left out", "far"}, unfiltered=unfiltered)
    assert fates(told) == {"left out": "filtered", "far": "not_recalled", "nowhere": "not_indexed"}
    assert list(told.counts) == ["not_indexed", "filtered", "not_recalled"]
    assert told.notes == ()
    assert "indexed was not given" in attribute(run).notes[0]


def test_the_store_is_asked_once_and_only_of_what_is_no_candidate() -> None:
    asked = []

    def indexed(ids: list[str]) -> list[Document]:
        asked.append(ids)
        return [Document(id="far", page_content="")]

    answers = {one: trace([candidate("a"), candidate("b")]) for one in ("q", "r")}
    run = evaluated(answers, {"q": {"far": 1, "b": 1}, "r": {"far": 1, "nowhere": 2}})
    attribution = attribute(run, k=1, indexed=indexed)
    assert asked == [["far", "nowhere"]]
    assert attribution.counts == {"not_indexed": 1, "not_recalled": 2, "ranked_out": 1}


def test_an_id_that_comes_several_times_counts_at_its_best_place() -> None:
    answer = trace([candidate("a"), candidate("a"), candidate("b"), candidate("a", truncated=True)])
    found = attribute(evaluated({"q": answer}, {"q": {"b": 1}}), k=2)
    assert found.lost == ()
    (lost,) = attribute(evaluated({"q": answer}, {"q": {"b": 1}}), k=1).lost
    assert (lost.fate, lost.place, lost.recall_rank) == ("ranked_out", 2, 3)


def test_a_collapsed_candidate_takes_no_place_from_what_the_threshold_keeps_back() -> None:
    # With k=3, "wanted" would be the second that is returned, were it not for the threshold: two others stand for none.
    kept = [
        candidate("first"),
        candidate("same", outcome="collapsed"),
        candidate("also", outcome="collapsed"),
    ]
    below = [candidate("near", outcome="below_threshold"), candidate("wanted", outcome="below_threshold")]
    run = evaluated({"q": trace([*kept, *below])}, {"q": {"wanted": 1}})
    assert [attribute(run, k=k).lost[0].fate for k in (2, 3, 4)] == [
        "ranked_out",
        "below_threshold",
        "below_threshold",
    ]


def test_costs_by_hand() -> None:
    # Of three relevant documents one is found at place 2, one is ranked out at 3, one was not recalled.
    answer = trace([candidate("x"), candidate("found"), candidate("third")])
    # A query without a relevant document takes no part.
    qrels = {"q": {"found": 1, "third": 1, "never": 1}, "none": {"x": 0}}
    run = evaluated({"q": answer, "none": answer}, qrels)
    second, third = 1 / math.log2(3), 1 / math.log2(4)
    ndcg_split, recall_split = attribute(run, k=2).splits
    ideal = 1 + second  # of two places
    assert ndcg_split.measure == "nDCG@2"
    assert ndcg_split.value == pytest.approx(second / ideal)
    assert ndcg_split.ceiling == pytest.approx(1.0)
    assert ndcg_split.lost["ranked_out"] == pytest.approx(second / ideal)
    assert ndcg_split.lost["order"] == pytest.approx((1 - second) / ideal)
    assert ndcg_split.lost_to_ordering == pytest.approx(1 - ndcg_split.value)
    assert ndcg_split.lost_to_recall == ndcg_split.out_of_reach == ndcg_split.lost_to_either == 0
    # Two places can hold two of three.
    assert recall_split.out_of_reach == pytest.approx(1 / 3)
    assert recall_split.value == pytest.approx(1 / 3)
    assert recall_split.ceiling == pytest.approx(2 / 3)
    assert recall_split.lost_to_ordering == pytest.approx(1 / 3)
    deeper = attribute(run, k=3).splits[0]
    assert deeper.lost_to_recall == pytest.approx(third / (1 + second + third))


IDS = [f"d{number}" for number in range(9)]
candidates = st.lists(
    st.builds(
        candidate,
        st.sampled_from(IDS),
        outcome=st.sampled_from(
            ["returned", "below_k", "below_threshold", "collapsed", "dropped_by_reranker"]
        ),
        unscored=st.sampled_from([None, None, "timeout", "early_stop"]),
        truncated=st.sampled_from([None, False, True]),
    ),
    max_size=12,
).map(trace)
judgements = st.dictionaries(st.sampled_from(IDS), st.integers(0, 3), min_size=1, max_size=9)
QUERIES = ("q", "r", "s")


@settings(deadline=None, max_examples=60)
@given(
    traces=st.fixed_dictionaries(dict.fromkeys(QUERIES, candidates)),
    wider=st.fixed_dictionaries(dict.fromkeys(QUERIES, candidates)),
    qrels=st.fixed_dictionaries(
        {"q": judgements.map(lambda one: {**one, "d0": 1})}, optional={"r": judgements}
    ),
    k=st.integers(1, 6),
    indexed=st.none() | st.sets(st.sampled_from(IDS)),
    foreign=st.booleans(),
)
def test_fates_partition_what_is_missed_and_costs_add_up(
    traces: Mapping, wider: Mapping, qrels: Mapping, k: int, indexed: set | None, foreign: bool
) -> None:
    run = evaluated({one: traces[one] for one in qrels}, qrels)
    if foreign:
        run = replace(run, traces={})
    unfiltered = evaluated({one: wider[one] for one in qrels}, qrels)
    attribution = attribute(run, k=k, indexed=indexed, unfiltered=unfiltered)

    relevant = {(q, d) for q, judged in qrels.items() for d, grade in judged.items() if grade > 0}
    missed = {(q, d) for q, d in relevant if d not in run.ranking[q][:k]}
    assert [(one.query_id, one.document_id) for one in attribution.lost] == sorted(
        missed, key=lambda key: (list(qrels).index(key[0]), list(qrels[key[0]]).index(key[1]))
    )
    assert sum(attribution.counts.values()) == len(missed)
    assert attribution.found + len(missed) == attribution.relevant == len(relevant)
    assert all(one.fate in FATES for one in attribution.lost)
    assert all(one.relevance == qrels[one.query_id][one.document_id] for one in attribution.lost)

    with_relevant = [q for q in qrels if any(grade > 0 for grade in qrels[q].values())]
    for split, formula in zip(attribution.splits, (ndcg, recall), strict=True):
        recalled = {
            q: run.ranking[q] if foreign else [one.document_id for one in traces[q].candidates] for q in qrels
        }
        orders = {q: sorted(set(recalled[q]), key=lambda d, q=q: -qrels[q].get(d, 0)) for q in qrels}
        value = sum(formula(run.ranking[q], qrels[q], k) for q in with_relevant) / len(with_relevant)
        ceiling = sum(formula(orders[q], qrels[q], k) for q in with_relevant) / len(with_relevant)
        assert split.value == pytest.approx(value)
        assert split.ceiling == pytest.approx(ceiling)
        assert split.value + sum(split.lost.values()) == pytest.approx(1.0)
        assert min(split.lost.values()) >= -1e-12
        parts = (split.out_of_reach, split.lost_to_recall, split.lost_to_ordering, split.lost_to_either)
        assert split.value + sum(parts) == pytest.approx(1.0)
        never = {one.fate for one in attribution.lost}
        assert all(split.lost[fate] == 0 for fate in FATES if fate not in never)
        assert split.lost_to_either == 0 or foreign
        assert split.lost_to_recall == pytest.approx(sum(split.lost[fate] for fate in RECALL_FATES))


def test_a_foreign_retriever(hash_embeddings: Any) -> None:
    store = InMemoryVectorStore(hash_embeddings)
    texts = {"cats": "cats purr", "dogs": "dogs bark", "birds": "birds sing"}
    store.add_documents([Document(id=name, page_content=text) for name, text in texts.items()])
    run = evaluate(
        store.as_retriever(search_kwargs={"k": 2}),
        {"q": "cats purr"},
        {"q": {"cats": 1, "dogs": 1, "birds": 1, "gone": 1}},
        measures=["nDCG@2"],
    )
    attribution = attribute(run, k=1, indexed=store.get_by_ids)
    assert attribution.counts == {"not_indexed": 1, "not_returned": 1, "ranked_out": 1}
    assert fates(attribution)["gone"] == "not_indexed"
    assert attribution.lost[0].recall_rank is None
    assert len(attribution.notes) == 1
    assert "no explain()" in attribution.notes[0]
    assert "to either, not known which" in str(attribute(run, k=4))


def test_our_own_retriever(hash_embeddings: Any) -> None:
    texts = {"cats": "cats purr", "dogs": "dogs bark", "birds": "birds sing", "fish": "fish swim"}
    documents = [
        Document(id=name, page_content=text, metadata={"lang": "en" if name != "fish" else "ko"})
        for name, text in texts.items()
    ]
    store = FaissStore.from_documents(documents, hash_embeddings)
    retriever = RerankRetriever(store, k=1, fetch_k=2)
    queries = {"q": "fish swim", "r": "cats purr"}
    qrels = {"q": {"fish": 1}, "r": {"cats": 1, "nowhere": 1}}
    filtered: BaseRetriever = retriever.bind(filter={"lang": "en"})  # type: ignore[assignment]
    run = evaluate(filtered, queries, qrels, name="filtered")
    attribution = attribute(
        run, indexed=store.get_by_ids, unfiltered=evaluate(retriever, queries, qrels, name="all")
    )
    assert fates(attribution) == {"fish": "filtered", "nowhere": "not_indexed"}


def advised(*answers: Any, qrels: Mapping[str, int], k: int = 2, **known: Any) -> str:
    run = evaluated(
        {f"q{place}": one for place, one in enumerate(answers)},
        {f"q{place}": qrels for place in range(len(answers))},
    )
    return attribute(run, k=k, **known).advice


@pytest.mark.parametrize(
    ("known", "remedy"),
    [
        ({"outcome": "dropped_by_reranker"}, "raise its top_n"),
        ({"outcome": "below_threshold"}, "Lower score_threshold"),
        ({"outcome": "collapsed"}, "judge parents"),
        ({"unscored": "timeout"}, "Raise the timeout"),
        ({"unscored": "early_stop"}, "Switch early_stop off"),
        ({"truncated": True}, "Raise max_length"),
    ],
)
def test_advice_is_about_what_costs_most(known: dict[str, Any], remedy: str) -> None:
    k = 1 if "outcome" not in known else 2
    answer = trace([candidate("a", rerank_score=2.0), candidate("wanted", rerank_score=1.0, **known)])
    assert remedy in advised(answer, qrels={"wanted": 1}, k=k)


def test_advice_on_recall() -> None:
    shallow = [candidate(f"x{number}") for number in range(10)]
    tune = advised(trace(shallow), qrels={"never": 1})
    assert tune.startswith(
        "Most is lost to documents not recalled, 1.000 of nDCG@2. Tune the bi-encoder. More"
    )
    known = {"recall_score": 1.0, "dense_score": 1.0, "lexical_score": 2.0}
    for other, remedy in (
        ({}, "Tune the bi-encoder, or recall by words as well (recall_mode='hybrid'). More"),
        (
            {"lexical_score": 1.0, "dense_score": 2.0},
            "2. Recall by meaning as well (recall_mode='hybrid'). More",
        ),
        ({"recall_score": 3.0}, "2. Tune the bi-encoder. More"),
    ):
        scored = [replace(one, **{**known, **other}) for one in shallow]
        assert remedy in advised(trace(scored), qrels={"never": 1})
    # Three relevant documents in the deeper half, four missed: twice the depth may find most of these.
    deep = [candidate("hit"), *shallow[:5], *(candidate(f"late{number}") for number in range(3))]
    qrels = {
        "hit": 1,
        **{f"late{number}": 1 for number in range(3)},
        **{f"never{number}": 3 for number in range(4)},
    }
    assert "Raise fetch_k: the deeper half of the 9 candidates held 3" in advised(trace(deep), qrels=qrels)
    assert "Index the documents" in advised(trace(shallow), qrels={"never": 1}, indexed=())


def test_advice_on_order() -> None:
    first = candidate("x", rerank_score=2.0, recall_rank=2)
    worse = trace([first, candidate("wanted", rerank_score=1.0, recall_rank=1)])
    assert "The order of recall alone is better (1.000 against 0.631)" in advised(worse, qrels={"wanted": 1})
    better = [
        candidate("x", rerank_score=3.0, recall_rank=1),
        candidate("wanted", rerank_score=2.0, recall_rank=3),
    ]
    behind = trace([*better, candidate("y", rerank_score=1.0, recall_rank=2)])
    assert "Tune the cross-encoder. (The order of recall alone" in advised(behind, qrels={"wanted": 1}, k=3)
    as_recalled = trace([candidate("x"), candidate("wanted")])
    assert "Add a cross-encoder, or tune the bi-encoder" in advised(as_recalled, qrels={"wanted": 1})
    assert "little to gain" in advised(trace([candidate("wanted")]), qrels={"wanted": 1})
    unexplained = judge({"q": ["x", "wanted"]}, {"q": {"wanted": 1}})
    assert "Add a cross-encoder, or tune the one there is" in attribute(unexplained).advice


def test_as_text_and_as_data() -> None:
    answer = trace([candidate("x"), candidate("wanted", truncated=True)])
    attribution = attribute(
        evaluated({"q": answer}, {"q": {"wanted": 2, "never": 1, "x": 1}}, name="mine"), k=1
    )
    lines = str(attribution).splitlines()
    assert lines[0] == "mine: 3 relevant documents of 1 queries"
    assert lines[1].split() == ["relevant", "documents", "count", "share", "nDCG@1", "lost", "R@1", "lost"]
    assert lines[2].startswith("among the first 1 (lost by their order)")
    assert lines[2].split()[-4:] == ["1", "33.3%", "0.0000", "0.0000"]
    assert lines[3].split() == ["not", "recalled", "1", "33.3%", "0.0000", "0.0000"]
    assert lines[4].split() == [
        "ranked",
        "out,",
        "read",
        "only",
        "in",
        "part",
        "1",
        "33.3%",
        "0.5000",
        "0.0000",
    ]
    assert lines[5] == "nDCG@1 0.5000, ceiling 1.0000: 0.0000 lost to recall, 0.5000 to ordering."
    assert lines[6].endswith("0.6667 out of reach, as more documents are relevant than it counts.")
    assert repr(attribution) == "<Attribution of 'mine': 2 of 3 not among the first 1>"
    assert attribution._repr_html_().startswith(
        "<table>\n<caption>mine: 3 relevant documents of 1 queries</caption>"
    )
    assert attribution._repr_html_().endswith(f"<p>{escape(attribution.advice)}</p>")
    data = json.loads(json.dumps(attribution.to_dict()))
    assert data["counts"] == {"not_recalled": 1, "truncated": 1}
    assert data["found"] == 1
    assert data["splits"][0]["lost_to_ordering"] == pytest.approx(0.5)
    assert data["lost"][0] == {
        "query_id": "q",
        "document_id": "wanted",
        "relevance": 2,
        "fate": "truncated",
        "place": 2,
        "recall_rank": 2,
    }


def test_what_cannot_be_attributed() -> None:
    run = evaluated({"q": trace([candidate("a")])}, {"q": {"a": 1}})
    for k in (0, -1, 1.5, True):
        with pytest.raises(InvalidArgumentError, match="k must be a whole number of at least 1"):
            attribute(run, k=k)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentError, match="holds no relevant document"):
        attribute(replace(run, qrels={}))
    with pytest.raises(InvalidArgumentError, match="holds no relevant document"):
        attribute(evaluated({"q": trace([])}, {"q": {"a": 0}}))
    with pytest.raises(InvalidArgumentError, match="unfiltered lacks 1 queries of the evaluation: 'q'"):
        attribute(run, unfiltered=evaluated({"r": trace([])}, {"r": {"a": 1}}))
