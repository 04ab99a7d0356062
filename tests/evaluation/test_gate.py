"""A gate stops what is worse, and lets noise pass."""

import json
import math

import numpy as np
import pytest
from scipy import stats

from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.evaluation import Evaluation, check_gate, compare, judge


def evaluation_of(name: str = "system", **values: np.ndarray) -> Evaluation:
    """An evaluation with given values, one a query: `R_10` is R@10."""
    per_query = {
        measure.replace("_", "@"): {f"q{place}": float(value) for place, value in enumerate(column)}
        for measure, column in values.items()
    }
    return Evaluation(
        name=name,
        means={measure: float(np.mean(list(column.values()))) for measure, column in per_query.items()},
        per_query=per_query,
        ranking=dict.fromkeys(next(iter(per_query.values())), ("a",)),
    )


def system(rng: np.random.Generator, queries: int, quality: float) -> np.ndarray:
    """Values of nDCG's kind: many 0, many 1."""
    return np.clip(rng.normal(quality, 0.4, queries), 0, 1)


@pytest.mark.parametrize(("floor", "passed"), [(0.5, True), (0.5 + 1e-12, True), (0.51, False), (-1, True)])
def test_a_floor(floor: float, passed: bool) -> None:
    gate = check_gate(evaluation_of(nDCG_10=np.array([0.25, 0.75])), fail_below={"nDCG@10": floor})
    assert gate.passed is passed
    assert str(gate) == (
        f"passed: nDCG@10 0.5000 is not below {floor:g}" if passed else "FAILED: nDCG@10 0.5000 is below 0.51"
    )
    assert json.loads(json.dumps(gate.to_dict())) == {
        "passed": passed,
        "checks": [{"passed": passed, "reason": gate.checks[0].reason}],
    }


def test_one_floor_that_is_missed_fails_all() -> None:
    evaluation = judge({"q": ["x", "a"]}, {"q": {"a": 1}}, ["RR@10", "R@10"])
    gate = check_gate(evaluation, fail_below={"ndcg@10".replace("ndcg", "R"): 1.0, "RR@10": 0.6})
    assert [check.passed for check in gate.checks] == [True, False]
    assert not gate.passed


def test_a_worse_system_fails() -> None:
    rng = np.random.default_rng(0)
    before = system(rng, 300, 0.6)
    after = np.clip(before - (rng.random(300) < 0.2) * 0.5, 0, 1)
    baseline, now = evaluation_of(nDCG_10=before), evaluation_of(nDCG_10=after)
    gate = check_gate(now, against=baseline)
    assert not gate.passed
    assert stats.wilcoxon(before, after).pvalue < 0.001
    row = compare([evaluation_of("baseline", nDCG_10=before), now]).row("system", "nDCG@10")
    assert (row.verdict, row.difference < -0.04) == ("worse", True)
    assert gate.checks[0].reason == (
        f"nDCG@10 {after.mean():.4f} is significantly below the baseline's {before.mean():.4f}: difference "
        f"{row.difference:+.4f}, 95% interval {row.interval[0]:+.4f} to {row.interval[1]:+.4f}, p {row.p_holm:.4f}"
    )
    better = check_gate(baseline, against=now)
    assert better.passed
    assert f"is not below the baseline's {after.mean():.4f}" in better.checks[0].reason


def test_the_same_system_passes() -> None:
    evaluation = judge({"q": ["x", "a"]}, {"q": {"a": 1}})
    gate = check_gate(evaluation, against=evaluation)
    assert gate.passed
    assert len(gate.checks) == len(evaluation.means)
    assert all("difference +0.0000" in check.reason for check in gate.checks)


def test_noise_passes() -> None:
    """Two systems of the same quality, four measures of which no two agree: the worst case for one gate."""
    rng = np.random.default_rng(1)
    failed = 0
    for _ in range(100):
        columns = [{name: system(rng, 60, 0.5) for name in ("P_1", "P_2", "P_3", "P_4")} for _ in range(2)]
        failed += not check_gate(evaluation_of(**columns[0]), against=evaluation_of(**columns[1])).passed
    # 2.5 % fail in the long run; without the correction it would be nearly four times as many.
    assert failed <= stats.binom(100, 0.025).ppf(0.99)


def test_p_is_corrected_for_the_number_of_measures() -> None:
    rng = np.random.default_rng(2)
    before = system(rng, 100, 0.5)
    after = before - 0.05 + rng.normal(0, 0.22, 100)
    alone = check_gate(evaluation_of(P_1=after), against=evaluation_of(P_1=before))
    p = compare([evaluation_of("a", P_1=before), evaluation_of("b", P_1=after)]).row("b", "P@1").p_value
    assert 0.0125 < p < 0.05
    assert not alone.passed
    same = dict.fromkeys(("P_2", "P_3", "P_4"), before)
    together = check_gate(evaluation_of(P_1=after, **same), against=evaluation_of(P_1=before, **same))
    assert together.passed
    assert "is not significantly below" in together.checks[0].reason
    assert f"p {4 * p:.4f}" in together.checks[0].reason


def test_measures_that_one_side_lacks_are_not_compared() -> None:
    half, none = np.array([0.5, 0.5]), np.array([0.0, 0.0])
    gate = check_gate(evaluation_of(P_1=half, P_2=none), against=evaluation_of(P_1=half, P_3=half))
    assert [check.reason.split()[0] for check in gate.checks] == ["P@1"]


def test_a_baseline_that_was_judged_by_other_judgements() -> None:
    rankings = {"q": ["a", "b"], "r": ["a"]}
    before, now = (judge(rankings, {"q": {"a": 1, **more}, "r": {"a": 1}}) for more in ({}, {"b": 1}))
    with pytest.raises(
        InvalidArgumentError, match=r"judged by other judgements, of 1 queries: 'q'. Judge the older"
    ):
        check_gate(now, against=before)
    assert check_gate(now, against=judge(before.ranking, now.qrels)).passed


def test_what_cannot_be_checked() -> None:
    evaluation = evaluation_of(P_1=np.array([0.5, 0.5]))
    for wrong, message in (
        ({}, "A gate needs something to check"),
        ({"fail_below": {}}, "A gate needs something to check"),
        ({"fail_below": {"foo": 0.5}}, "Unknown measure 'foo'"),
        ({"fail_below": {"R@10": 0.5}}, r"'R@10' was not computed; this evaluation has P@1"),
        ({"fail_below": {"P@1": math.nan}}, r"floor of P@1 must be a finite number, got nan"),
        ({"fail_below": {"P@1": "0.5"}}, r"floor of P@1 must be a finite number, got '0.5'"),
        (
            {"against": evaluation_of("old", R_10=np.array([0.5, 0.5]))},
            "baseline 'old' has no measure of 'system': it has R@10",
        ),
        (
            {"against": evaluation_of("old", P_1=np.array([0.5, 0.5, 0.5]))},
            "'the baseline' and 'system' were evaluated on different queries; only one of them has 'q2'",
        ),
    ):
        with pytest.raises(InvalidArgumentError, match=message):
            check_gate(evaluation, **wrong)
