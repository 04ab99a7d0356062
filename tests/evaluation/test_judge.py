"""Values against formulas, against trec_eval itself, and a table of the odd cases."""

import math

import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_rerank_retriever.errors import DataError, InvalidArgumentError
from langchain_rerank_retriever.evaluation import Judge, judge
from tests.evaluation import oracle

DOCUMENTS = [f"d{number}" for number in range(14)]

rankings = st.lists(st.sampled_from(DOCUMENTS), max_size=20)
judgements = st.dictionaries(st.sampled_from(DOCUMENTS), st.integers(-2, 4), min_size=1)
cases = st.dictionaries(st.sampled_from("abcdef"), st.tuples(rankings, judgements), min_size=1)


@settings(max_examples=80, deadline=None)
@given(cases, st.integers(1, 12))
def test_values_are_those_of_the_formulas(case: dict, k: int) -> None:
    qrels = {query: judged for query, (_, judged) in case.items()}
    result = judge(
        {query: ranking for query, (ranking, _) in case.items()},
        qrels,
        (f"nDCG@{k}", f"RR@{k}", f"Success@{k}", f"R@{k}"),
    )
    expected = {
        f"nDCG@{k}": oracle.ndcg,
        f"RR@{k}": oracle.reciprocal_rank,
        f"Success@{k}": oracle.success,
        f"R@{k}": oracle.recall,
    }
    for measure, formula in expected.items():
        values = {
            query: formula(list(dict.fromkeys(ranking)), judged, k)
            for query, (ranking, judged) in case.items()
        }
        assert result.per_query[measure] == pytest.approx(values)
        assert result[measure] == pytest.approx(np.mean(list(values.values())))


def test_values_are_those_of_trec_eval_for_many_measures() -> None:
    rng = np.random.default_rng(5)
    names = [f"d{number}" for number in range(80)]
    qrels = {
        f"q{query}": {names[place]: int(rng.integers(0, 4)) for place in rng.choice(80, 12, replace=False)}
        for query in range(25)
    }
    found = {query: [names[place] for place in rng.choice(80, 50, replace=False)] for query in qrels}
    measures = ("nDCG@10", "nDCG", "AP", "P@5", "P(rel=2)@5", "R@20", "RR", "Rprec", "Bpref", "Judged@10")
    result = judge(found, qrels, measures)
    run = {query: {name: 1 / rank for rank, name in enumerate(ids, 1)} for query, ids in found.items()}
    expected = ir_measures.calc_aggregate([ir_measures.parse_measure(name) for name in measures], qrels, run)
    assert result.means == pytest.approx({str(measure): value for measure, value in expected.items()})
    assert tuple(result.means) == measures


def test_graded_relevance_by_hand() -> None:
    result = judge({"q": ["b", "x", "a"]}, {"q": {"a": 3, "b": 1, "c": 2}}, ["nDCG@3", "R@3", "RR@3"])
    gained = 1 / math.log2(2) + 3 / math.log2(4)
    ideal = 3 / math.log2(2) + 2 / math.log2(3) + 1 / math.log2(4)
    assert result["nDCG@3"] == pytest.approx(gained / ideal)
    assert result["R@3"] == pytest.approx(2 / 3)
    assert result["RR@3"] == 1.0


@pytest.mark.parametrize(
    ("ranking", "judged", "reciprocal_rank", "recall"),
    [
        pytest.param([], {"a": 1}, 0.0, 0.0, id="nothing returned"),
        pytest.param(["x", "a"], {"a": 1}, 0.5, 1.0, id="fewer than the cutoff"),
        pytest.param(["x", "x", "x", "a"], {"a": 1}, 0.5, 1.0, id="a repeated document takes one place"),
        pytest.param(["a", "a", "b"], {"a": 1, "b": 1, "c": 1}, 1.0, 2 / 3, id="a repeated hit counts once"),
        pytest.param(["x", "y"], {"a": 1}, 0.0, 0.0, id="only documents without judgement"),
        pytest.param(["a"], {"a": 0}, 0.0, 0.0, id="no relevant document exists"),
        pytest.param(["a", "b"], {"a": -1, "b": 1}, 0.5, 1.0, id="negative is not relevant"),
        pytest.param(["a"], {"a": -5, "b": -3}, 0.0, 0.0, id="very negative is no more than that"),
        pytest.param(["a", "b"], {"a": 0.0, "b": 2.0}, 0.5, 1.0, id="floats that are whole numbers"),
        pytest.param(["a", "b"], {"b": np.int64(1)}, 0.5, 1.0, id="numpy numbers"),
        pytest.param(["문서 1", "é b"], {"é b": 1}, 0.5, 1.0, id="ids with spaces and other scripts"),
    ],
)
def test_odd_cases(ranking: list, judged: dict, reciprocal_rank: float, recall: float) -> None:
    result = judge({"q": ranking}, {"q": judged}, ["RR@10", "R@10"])
    assert (result["RR@10"], result["R@10"]) == pytest.approx((reciprocal_rank, recall))


def test_rank_is_the_place_in_the_list_even_where_trec_eval_would_sort_by_id() -> None:
    # With equal scores trec_eval puts the greater id first, which would turn one of these around.
    result = judge({"up": ["a", "z"], "down": ["z", "a"]}, {"up": {"z": 1}, "down": {"a": 1}}, ["RR"])
    assert result.per_query["RR"] == {"up": 0.5, "down": 0.5}


def test_long_rankings_keep_their_order() -> None:
    names = [f"d{number}" for number in range(3000)]
    assert judge({"q": names}, {"q": {names[-1]: 1}}, ["RR"])["RR"] == pytest.approx(1 / 3000)


def test_queries_that_got_nothing_or_have_nothing_relevant_stay_in_the_mean() -> None:
    qrels = {"hit": {"a": 1}, "empty": {"a": 1}, "hopeless": {"a": 0}, "miss": {"a": 1}}
    found = {"hit": ["a"], "empty": [], "hopeless": ["a"], "miss": ["b"]}
    result = judge(found, qrels, ["nDCG@10", "RR@10", "Judged@10"])
    assert result["nDCG@10"] == result["RR@10"] == 0.25
    assert result.per_query["nDCG@10"] == {"hit": 1.0, "empty": 0.0, "hopeless": 0.0, "miss": 0.0}
    assert result.queries == 4


def test_every_ranking_empty() -> None:
    assert judge({"q": []}, {"q": {"a": 1}}).means == {
        "nDCG@10": 0.0,
        "RR@10": 0.0,
        "Success@10": 0.0,
        "R@100": 0.0,
    }


def test_queries_without_judgements_are_counted_and_left_out() -> None:
    result = judge({"q": ["a"], "new": ["a"], "blank": ["a"]}, {"q": {"a": 1}, "blank": {}})
    assert (result.queries, result.unjudged_queries, result["RR@10"]) == (1, 2, 1.0)
    assert result.ranking == {"q": ("a",)}


def test_one_judge_many_rankings() -> None:
    judge_once = Judge({"q": {"a": 1}}, ["RR@10", "rr@10".upper()])
    assert judge_once.measures == ("RR@10",)
    assert [judge_once({"q": ids})["RR@10"] for ids in (["a"], ["b", "a"], [], ["a"])] == [1, 0.5, 0, 1]


def test_inputs_stay_as_they_were() -> None:
    qrels, found = {"q": {"a": 1.0, "b": -1}}, {"q": ["b", "b", "a"]}
    judge(found, qrels)
    assert qrels == {"q": {"a": 1.0, "b": -1}}
    assert found == {"q": ["b", "b", "a"]}


@pytest.mark.parametrize(
    ("found", "qrels", "message"),
    [
        ({}, {"q": {"a": 1}}, r"lack 1 of 1 judged queries: 'q'.*empty list"),
        ({"q": ["a"]}, {}, "hold no judgement"),
        ({"q": ["a"]}, {"q": {}}, "hold no judgement"),
        ({"q": ["a"]}, [("q", "a", 1)], "mapping"),
        ({"q": ["a"]}, {"q": ["a"]}, "judgements of query 'q' must be a mapping"),
        (
            {1: ["a"]},
            {1: {"a": 1}},
            r"query id in qrels must be a non-empty string, got 1 \(int\).*string first",
        ),
        ({"q": ["a"]}, {"q": {7: 1}}, r"qrels of query 'q' must be a non-empty string, got 7 \(int\)"),
        ({"q": [3]}, {"q": {"a": 1}}, r"ranking of query 'q' must be a non-empty string, got 3 \(int\)"),
        ({"q": [""]}, {"q": {"a": 1}}, "non-empty string"),
        ({"q": "abc"}, {"q": {"a": 1}}, "sequence of document ids, got 'abc'"),
        ({"q": ["a"]}, {"q": {"a": 0.5}}, r"document 'a' for query 'q' must be a whole number.*got 0.5"),
        ({"q": ["a"]}, {"q": {"a": math.nan}}, "whole number"),
        ({"q": ["a"]}, {"q": {"a": math.inf}}, "whole number"),
        ({"q": ["a"]}, {"q": {"a": True}}, r"whole number.*got True \(bool\)"),
        ({"q": ["a"]}, {"q": {"a": "1"}}, r"whole number.*got '1' \(str\)"),
        ({"q": ["a"]}, {"q": {"a": None}}, "whole number"),
        ({"q": ["a"]}, {"q": {"a": 10**9}}, "at most 1000000, got 1000000000"),
    ],
)
def test_unusable_data(found: object, qrels: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        judge(found, qrels)


@pytest.mark.parametrize(
    ("measures", "message"),
    [
        ([], "measures is empty"),
        (["nDCG@10", "foo@3"], "Unknown measure 'foo@3'.*notation of ir-measures"),
        (["nDCG@@"], "Unknown measure 'nDCG@@'"),
        (["P"], "Unknown measure 'P'"),
        (["nDCG@0"], "cutoff of measure 'nDCG@0' must be at least 1"),
        ([10], "string such as 'nDCG@10', got 10"),
        (["alpha_nDCG@10"], "'alpha_nDCG@10' cannot be computed"),
        (["Accuracy"], "'Accuracy' cannot be computed"),
    ],
)
def test_unusable_measures(measures: list, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        judge({"q": ["a"]}, {"q": {"a": 1}}, measures)


@pytest.mark.parametrize("values", [[], [math.nan]])
def test_a_measure_must_have_a_value_for_every_query(values: list, monkeypatch: pytest.MonkeyPatch) -> None:
    judge_once = Judge({"q": {"a": 1}}, ["AP"])
    metrics = [ir_measures.Metric("q", ir_measures.AP, value) for value in values]
    monkeypatch.setattr(judge_once._evaluator, "iter_calc", lambda run: metrics)
    with pytest.raises(InvalidArgumentError, match="'AP' has no value for query 'q'"):
        judge_once({"q": ["a"]})


def test_latency_percentiles() -> None:
    total = {f"q{number}": number / 1000 for number in range(1, 102)}
    seconds = {"total": total, "recall": {"q": 0.002}, "none": {}}
    result = judge({"q": ["a"]}, {"q": {"a": 1}}, seconds=seconds)
    assert result.latency_ms == {
        "total": pytest.approx({"p50": 51.0, "p95": 96.0, "p99": 100.0}),
        "recall": pytest.approx({"p50": 2.0, "p95": 2.0, "p99": 2.0}),
    }


def test_reading_one_measure() -> None:
    result = judge({"q": ["a"]}, {"q": {"a": 1}}, "nDCG@10")
    assert result["nDCG@10"] == result["NDCG@10"] == 1.0
    with pytest.raises(InvalidArgumentError, match=r"'RR@10' was not computed; this evaluation has nDCG@10"):
        result["RR@10"]
