"""What an evaluation tells beyond its means, and that nothing of it is lost in a file."""

import json
from dataclasses import replace
from typing import Any

import ir_measures
import numpy as np
import pytest
from scipy import stats

from langchain_rerank_retriever.errors import DataError
from langchain_rerank_retriever.evaluation import Evaluation, judge
from langchain_rerank_retriever.evaluation.trace import QueryTrace, TracedCandidate, Truncation

QRELS = {"q1": {"a": 2, "b": 0}, "q2": {"c": 1}, "q3": {"a": 1}}
RANKINGS = {"q1": ["b", "x", "a"], "q2": [], "q3": ["y", "z"]}


def traced(name: str, rank: int = 1, **changes: Any) -> TracedCandidate:
    candidate = TracedCandidate(
        document_id=name,
        rank=rank,
        recall_rank=rank,
        recall_score=0.5,
        dense_score=0.5,
        lexical_score=None,
        rerank_score=-1.5,
        relevance_score=0.25,
        truncated=False,
        outcome="returned",
        unscored=None,
    )
    return replace(candidate, **changes)


@pytest.fixture
def full() -> Evaluation:
    """An evaluation with something in every field."""
    result = judge(
        {**RANKINGS, "new": ["a"]},
        QRELS,
        ["RR@2", "AP"],
        name="base",
        seconds={"total": {"q1": 0.1, "q3": 0.3}},
    )
    trace = QueryTrace(
        (
            traced("b"),
            traced("x", 2, truncated=True),
            traced("a", 3, rerank_score=None, truncated=None, outcome="below_k", unscored="timeout"),
        ),
        {"recall": 0.02, "total": 0.1},
        "probability",
    )
    return replace(
        result,
        asked="one at a time",
        traces={"q1": trace},
        query_texts={"q1": "한국어", "q2": "two", "q3": "three"},
    )


def test_there_and_back_as_json_types(full: Evaluation) -> None:
    again = Evaluation.from_dict(json.loads(json.dumps(full.to_dict(), allow_nan=False)))
    assert again == full
    assert again.traces["q1"].candidates[2].unscored == "timeout"
    for derived in ("intervals", "unjudged_documents", "truncated", "queries_without_answer"):
        assert getattr(again, derived) == getattr(full, derived)


def test_what_readers_of_the_file_find(full: Evaluation) -> None:
    data = json.loads(json.dumps(full.to_dict()))
    assert data["queries_without_answer"] == 1
    assert data["truncated"] == {"pairs": 1, "scored": 2}
    assert data["seconds"] == {"total": {"q1": 0.1, "q3": 0.3}}
    assert data["qrels"] == QRELS
    assert data["intervals"]["RR@2"] == list(full.intervals["RR@2"])
    assert data["unjudged_documents"] == full.unjudged_documents


def test_a_file_of_the_first_version() -> None:
    old = {
        "name": "base",
        "queries": 2,
        "unjudged_queries": 1,
        "means": {"RR@10": 0.75},
        "latency_ms": {"total": {"p50": 1.0, "p95": 2.0, "p99": 2.0}},
        "per_query": {"RR@10": {"q1": 1.0, "q2": 0.5}},
        "ranking": {"q1": ["a"], "q2": ["b", "c"]},
    }
    result = Evaluation.from_dict(old)
    assert result.ranking["q2"] == ("b", "c")
    assert (result.unjudged_documents, result.truncated, result.traces, result.asked) == ({}, None, {}, "")
    assert result.intervals["RR@10"] == (0.5, 1.0)
    assert Evaluation.from_dict(result.to_dict()) == result


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 3}, "saved in version 3.*reads up to 2. Update"),
        ({"version": "new"}, "saved in version 'new'"),
        ({"ranking": [1]}, "not a saved evaluation"),
        ({"per_query": {"RR@2": 3}}, "not a saved evaluation"),
        ({"seconds": 5}, "not a saved evaluation"),
        ({"traces": {"q1": {"candidates": {"rank": [1]}}}}, "not a saved trace of a query: KeyError"),
    ],
)
def test_what_cannot_be_read(full: Evaluation, change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Evaluation.from_dict({**full.to_dict(), **change})


def test_what_lacks_something(full: Evaluation) -> None:
    with pytest.raises(DataError, match="lacks ranking"):
        Evaluation.from_dict({key: value for key, value in full.to_dict().items() if key != "ranking"})
    with pytest.raises(DataError, match="not a saved evaluation"):
        Evaluation.from_dict([])


def test_intervals_are_those_of_scipy() -> None:
    rng = np.random.default_rng(4)
    values = rng.choice([0.0, 0.0, 0.3, 0.6, 1.0], size=180)
    per_query = {f"q{number}": float(value) for number, value in enumerate(values)}
    result = Evaluation("x", {"AP": float(values.mean())}, {"AP": per_query}, dict.fromkeys(per_query, ()))
    theirs = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=20_000, rng=1
    ).confidence_interval
    assert result.intervals["AP"] == pytest.approx((theirs.low, theirs.high), abs=0.006)
    shuffled = replace(result, per_query={"AP": dict(reversed(per_query.items()))})
    assert shuffled.intervals == result.intervals


def test_unjudged_documents_are_those_of_ir_measures() -> None:
    rng = np.random.default_rng(6)
    names = [f"d{number}" for number in range(40)]
    qrels = {f"q{query}": dict.fromkeys(rng.choice(names, 12, replace=False), 1) for query in range(20)}
    found = {query: list(rng.permutation(names)[:15]) for query in qrels}
    result = judge(found, qrels, ["nDCG@10", "RR@3", "AP"])
    run = {query: {name: -float(place) for place, name in enumerate(ids)} for query, ids in found.items()}
    for measure, depth in (("nDCG@10", 10), ("RR@3", 3), ("AP", 15)):
        judged = ir_measures.calc_aggregate([ir_measures.parse_measure(f"Judged@{depth}")], qrels, run)
        assert result.unjudged_documents[measure] == pytest.approx(1 - next(iter(judged.values())))


def test_unjudged_documents_by_hand(full: Evaluation) -> None:
    # Within two places: b and x, y and z, of which b is judged; in all: one more, a, which is judged as well.
    assert full.unjudged_documents == {"RR@2": 3 / 4, "AP": 3 / 5}
    assert judge({"q": []}, {"q": {"a": 1}}, ["AP"]).unjudged_documents == {"AP": 0.0}


def test_truncation_is_counted_where_it_is_known(full: Evaluation) -> None:
    assert full.truncated == Truncation(pairs=1, scored=2)
    silent = QueryTrace((traced("a", truncated=None),), {}, "rerank_score")
    assert replace(full, traces={"q1": silent}).truncated is None
    assert replace(full, traces={}).truncated is None
    both = {"q1": silent, "q2": full.traces["q1"], "q3": full.traces["q1"]}
    assert replace(full, traces=both).truncated == Truncation(2, 4)


def test_a_trace_ranks_what_some_k_would_return() -> None:
    outcomes = ("returned", "collapsed", "below_threshold", "below_k", "dropped_by_reranker")
    candidates = tuple(traced(one, rank, outcome=one) for rank, one in enumerate(outcomes, start=1))
    assert QueryTrace(candidates, {}, "rerank_score").ranking == ("returned", "below_k")


def test_text(full: Evaluation) -> None:
    assert str(judge({"q": ["b", "a"]}, {"q": {"a": 1}}, ["RR@10"], name="one")).splitlines() == [
        "one: 1 queries",
        "  RR@10  0.5000  0.5000 to 0.5000  50% not judged",
        "  No ranking has more than 2 documents, and these measures look deeper: RR@10.",
        "  All 1 queries have one value of RR@10, so that the interval has no width. Still, up to 100% of all such "
        "queries may have another.",
    ]
    lines = str(full).splitlines()
    assert lines[0] == (
        "base: 3 queries (1 without judgements left out), 1 got no document, 1 of 2 scored pairs were read only in part"
    )
    assert lines[3:5] == [
        "  milliseconds a query (one at a time)",
        "  total  p50 200.0  p95 290.0  p99 298.0",
    ]
    assert lines[5].startswith("  All 3 queries have one value of RR@2")


def test_notes_of_what_misleads() -> None:
    qrels = {f"q{number}": {"a": 1} for number in range(60)}
    found = {key: ["a", "b"] for key in qrels}
    agreed = judge(found, qrels, ["RR@1", "R@2", "AP"])
    assert agreed.notes == (
        "All 60 queries have one value of RR@1, R@2, AP, so that the interval has no width. Still, up to 5% of all "
        "such queries may have another.",
    )
    assert agreed.most_returned == 2
    some = judge({**found, "q0": ["b"]}, qrels, ["R@1", "R@2", "R@3", "nDCG@10"])
    assert some.notes == (
        "No ranking has more than 2 documents, and these measures look deeper: R@3, nDCG@10.",
    )
    assert some.to_dict()["notes"] == list(some.notes)
    assert "look deeper: R@3" in some._repr_html_()
    # Nothing returned at all is told as such.
    assert (
        judge({"q": [], "r": []}, {"q": {"a": 1}, "r": {"a": 1}}, ["R@3"])
        .notes[0]
        .startswith("All 2 queries")
    )


def test_short_and_html(full: Evaluation) -> None:
    assert repr(full) == "<Evaluation 'base': RR@2 0.0000, AP 0.1111 over 3 queries>"
    html = replace(full, name="<b>")._repr_html_()
    assert "<caption>&lt;b&gt;: 3 queries" in html
    assert '<td style="text-align:left">AP</td><td style="text-align:right">0.1111</td>' in html
