"""The tests of significance against scipy's, against arithmetic, and against what chance does."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.evaluation import Evaluation, compare, judge
from langchain_rerank_retriever.evaluation.paired import bootstrap_intervals, holm, sign_flip_p_values


def system(name: str, values: np.ndarray, measure: str = "nDCG@10") -> Evaluation:
    per_query = {f"q{number}": float(value) for number, value in enumerate(values)}
    ranking = dict.fromkeys(per_query, ())
    return Evaluation(name, {measure: float(np.mean(values))}, {measure: per_query}, ranking)


def test_a_measure_that_looks_deeper_than_one_system_ranks_is_told() -> None:
    qrels = {f"q{number}": {"a": 1} for number in range(4)}
    few = judge({key: ["x", "y"] for key in qrels}, qrels, ["R@2", "R@100"], name="few")
    many = judge({key: [*"xyzuvw", "a"] for key in qrels}, qrels, ["R@2", "R@100"], name="many")
    comparison = compare([many, few])
    careful = [note for note in comparison.notes() if note.startswith("Careful: R")]
    assert careful == [
        "Careful: R@100 looks at 100 documents, and there are at most 7 of many, 2 of few. Those that rank fewer can "
        "only lose by it; give them a larger fetch_k, or compare by a measure that looks less deep."
    ]
    assert {one["name"]: one["most_returned"] for one in comparison.to_dict()["systems"]} == {
        "many": 7,
        "few": 2,
    }
    assert not [
        note
        for note in compare([many, judge(many.ranking, qrels, ["R@2", "R@100"])]).notes()
        if "R@100 looks" in note
    ]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(11)


@pytest.mark.parametrize("shift", [0.0, 0.02, 0.05])
def test_p_values_are_those_of_scipy(rng: np.random.Generator, shift: float) -> None:
    differences = rng.normal(shift, 0.2, size=120)
    mine = sign_flip_p_values(differences[:, None], resamples=20_000, seed=0)[0]
    theirs = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=20_000, rng=1
    ).pvalue
    # Both are estimates; four standard errors of their difference.
    assert mine == pytest.approx(theirs, abs=4 * np.sqrt(2 * theirs * (1 - theirs) / 20_000) + 1e-4)


def test_p_value_of_few_queries_is_that_of_all_sign_patterns() -> None:
    differences = np.array([0.5, 0.5, 0.25, 1.0, 0.0])
    exact = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf
    ).pvalue
    mine = sign_flip_p_values(differences[:, None], resamples=50_000, seed=3)[0]
    assert exact == pytest.approx(2 / 16)
    assert mine == pytest.approx(exact, abs=0.006)


def test_p_is_never_zero_and_one_without_differences() -> None:
    columns = np.stack([np.full(200, 0.5), np.zeros(200)], axis=1)
    assert sign_flip_p_values(columns, resamples=999, seed=0).tolist() == [1 / 1000, 1.0]


def test_p_does_not_depend_on_rounding_of_sums() -> None:
    # 0.1 + 0.2 - 0.3 is not 0 in floating point, so that equal sums differ in their last digits.
    differences = np.array([0.1, 0.2, -0.3, 0.7, -0.7])
    assert sign_flip_p_values(differences[:, None], resamples=999, seed=0)[0] == 1.0


def test_intervals_are_those_of_scipy(rng: np.random.Generator) -> None:
    differences = rng.choice([0.0, 0.0, 0.5, 1.0, -0.5], size=150)
    low, high = bootstrap_intervals(differences[:, None], resamples=20_000, seed=0)
    theirs = stats.bootstrap(
        (differences,), np.mean, method="percentile", n_resamples=20_000, rng=2
    ).confidence_interval
    assert (low[0], high[0]) == pytest.approx((theirs.low, theirs.high), abs=0.005)


def test_holm_by_hand() -> None:
    # Sorted 0.01 0.02 0.03 0.2 times 4 3 2 1 is 0.04 0.06 0.06 0.2: the third may not be below the second.
    assert holm(np.array([0.2, 0.01, 0.03, 0.02])).tolist() == pytest.approx([0.2, 0.04, 0.06, 0.06])
    assert holm(np.array([0.9, 0.8])).tolist() == [1.0, 1.0]
    assert holm(np.array([0.03])).tolist() == [0.03]


def test_false_alarms_are_as_rare_as_promised(rng: np.random.Generator) -> None:
    alarms = 0
    for number in range(200):
        base, other = rng.choice([0.0, 0.5, 1.0], size=(2, 60))
        row = compare([system("a", base), system("b", other)], seed=number, resamples=500).rows[1]
        alarms += row.verdict in {"better", "worse"}
    # 10 are expected; 18 or more would come up in about 1 of 80 such simulations.
    assert 0 < alarms <= 18


def test_false_alarms_stay_rare_with_many_systems(rng: np.random.Generator) -> None:
    alarms = 0
    for number in range(100):
        values = rng.choice([0.0, 0.5, 1.0], size=(6, 60))
        rows = compare(
            [system(f"s{i}", row) for i, row in enumerate(values)], seed=number, resamples=500
        ).rows
        alarms += any(row.verdict in {"better", "worse"} for row in rows)
    assert alarms <= 11


def test_a_real_improvement_is_found(rng: np.random.Generator) -> None:
    base = rng.random(300)
    comparison = compare([system("base", base), system("tuned", np.clip(base + 0.1, 0, 1))])
    row = comparison.row("tuned", "nDCG@10")
    assert row.verdict == "better"
    assert row.interval[0] < row.difference < row.interval[1]
    assert row.p_value == pytest.approx(1 / 10_001)
    assert compare([system("tuned", base + 0.1), system("base", base)]).rows[1].verdict == "worse"


@pytest.mark.parametrize(
    ("queries", "verdict"),
    [
        (1000, "no difference of more than 0.003"),
        (150, "no difference of more than 0.020"),
        (149, "not enough"),
    ],
)
def test_equal_systems_are_equal_only_if_there_are_queries_enough(queries: int, verdict: str) -> None:
    values = np.tile([0.0, 1.0, 0.5], 400)[:queries]
    row = compare([system("a", values), system("b", values)]).rows[1]
    assert row.verdict.startswith(verdict)
    assert (row.difference, row.interval, row.p_holm) == (0.0, (0.0, 0.0), 1.0)
    assert (row.wins, row.ties, row.losses) == (0, queries, 0)


def test_a_small_noisy_difference_is_bounded_by_the_interval(rng: np.random.Generator) -> None:
    base = rng.random(2000)
    row = compare([system("a", base), system("b", base + rng.normal(0, 0.1, 2000))]).rows[1]
    bound = float(row.verdict.removeprefix("no difference of more than "))
    assert max(map(abs, row.interval)) <= bound <= max(map(abs, row.interval)) + 0.001


def test_few_queries_are_never_enough() -> None:
    row = compare([system("a", np.zeros(5)), system("b", np.ones(5))]).rows[1]
    assert row.verdict == "not enough queries to tell"
    assert row.p_value == pytest.approx(2 / 32, abs=0.01)
    assert (row.wins, row.ties, row.losses) == (5, 0, 0)


def test_the_numbers_of_a_system_do_not_depend_on_the_others(rng: np.random.Generator) -> None:
    a, b, c = (system(name, rng.random(50)) for name in "abc")
    alone, beside = compare([a, c]).row("c", "nDCG@10"), compare([a, b, c]).row("c", "nDCG@10")
    assert (alone.p_value, *alone.interval) == pytest.approx((beside.p_value, *beside.interval))
    assert compare([a, b, c]) == compare([a, b, c])
    assert compare([a, c], seed=1).row("c", "nDCG@10").p_value != alone.p_value


def test_queries_are_paired_by_id() -> None:
    values = np.linspace(0, 1, 40)
    forward = system("a", values)
    backward = Evaluation(
        "b",
        forward.means,
        {"nDCG@10": dict(reversed(forward.per_query["nDCG@10"].items()))},
        dict(reversed(forward.ranking.items())),
    )
    assert compare([forward, backward]).rows[1].ties == 40


def test_the_baseline_can_be_chosen() -> None:
    a, b = system("a", np.zeros(30)), system("b", np.ones(30))
    comparison = compare([a, b], baseline="b")
    assert [(row.system, row.difference, row.verdict) for row in comparison.rows] == [
        ("a", -1.0, "worse"),
        ("b", 0.0, "baseline"),
    ]


def test_one_system_is_only_shown() -> None:
    only = system("a", np.ones(3))
    assert compare(only).rows == compare([only]).rows
    assert compare([only]).rows[0].verdict == "baseline"


@pytest.fixture
def judged() -> list[Evaluation]:
    qrels = {f"q{number}": {"a": 1} for number in range(20)}
    rankings = {"base": ["b", "a"], "tuned": ["a", "b"]}
    return [
        judge(
            dict.fromkeys(qrels, ids),
            qrels,
            ["RR@10", "R@10"],
            name=name,
            seconds={"total": {"q0": 0.010}, "rerank": {"q0": 0.004}},
        )
        for name, ids in rankings.items()
    ]


def test_text(judged: list[Evaluation]) -> None:
    lines = str(compare(judged)).splitlines()
    assert lines[0] == "RR@10 over 20 queries"
    assert [cell.strip() for cell in lines[1].split("  ") if cell] == [
        "system", "mean", "95% interval", "difference", "95% interval", "p", "p (Holm)", "wins/ties/losses", "verdict"
    ]  # fmt: skip
    assert lines[2].split() == ["base", "0.5000", "0.5000", "to", "0.5000", "baseline"]
    assert " ".join(lines[3].split()) == (
        "tuned 1.0000 1.0000 to 1.0000 +0.5000 +0.5000 to +0.5000 0.0001 0.0001 20/0/0 better"
    )
    assert lines[2].index("baseline") == lines[3].index("better") == lines[1].index("verdict")
    assert "base    10.0  10.0  10.0" in lines
    assert lines[-1].startswith("Differences are to base where no other is named. p: two-sided paired")


def test_markdown(judged: list[Evaluation]) -> None:
    text = compare([judged[0], system_named(judged[1], "a|b")]).to_markdown()
    assert "**RR@10 over 20 queries**\n\n| system | mean | 95% interval | difference |" in text
    assert "| a\\|b | 1.0000 | 1.0000 to 1.0000 | +0.5000 | +0.5000 to +0.5000 |" in text


def system_named(evaluation: Evaluation, name: str) -> Evaluation:
    return Evaluation.from_dict({**evaluation.to_dict(), "name": name})


def test_dictionary(judged: list[Evaluation]) -> None:
    data = json.loads(json.dumps(compare(judged, seed=4).to_dict()))
    assert (data["baseline"], data["queries"], data["seed"]) == ("base", 20, 4)
    base, tuned = data["systems"]
    assert base["name"] == "base"
    assert base["measures"]["RR@10"]["mean"] == 0.5
    assert tuned["measures"]["RR@10"]["interval"] == [0.5, 0.5]
    assert tuned["measures"]["RR@10"]["mean_interval"] == [1.0, 1.0]
    assert tuned["measures"]["RR@10"]["verdict"] == "better"
    assert data["pairs"] == []
    assert tuned["latency_ms"]["rerank"]["p50"] == pytest.approx(4.0)


def test_systems_that_were_not_judged_alike() -> None:
    qrels = {f"q{number}": {"a": 1, "b": 0} for number in range(20)}
    known, new = (
        judge(dict.fromkeys(qrels, ids), qrels, ["P@2"], name=name)
        for name, ids in (("known", ["b", "a"]), ("new", ["x", "a"]))
    )
    comparison = compare([known, new])
    assert comparison.to_dict()["systems"][1]["unjudged_documents"] == {"P@2": 0.5}
    note = "Careful: of the documents that P@2 looks at, nobody judged 0% of known, 50% of new."
    assert note in str(comparison)
    assert note in comparison.to_markdown()
    assert note in comparison._repr_html_()
    assert "Careful" not in str(compare([known, replace(known, name="again")]))


def test_how_systems_were_asked_is_told_with_their_times(judged: list[Evaluation]) -> None:
    base, tuned = judged
    text = str(compare([replace(base, asked="one at a time"), replace(tuned, asked="8 at once")]))
    assert "base    10.0  10.0  10.0  one at a time" in text.splitlines()
    assert "tuned   10.0  10.0  10.0  8 at once" in text.splitlines()


def test_short() -> None:
    comparison = compare([system("a", np.zeros(3)), system("<b>", np.ones(3))])
    assert repr(comparison) == "<Comparison of a, <b> with a by nDCG@10 over 3 queries>"
    assert "<caption>nDCG@10 over 3 queries</caption>" in comparison._repr_html_()
    assert "&lt;b&gt;" in comparison._repr_html_()
    assert "<b>" not in comparison._repr_html_()


def test_what_cannot_be_compared(rng: np.random.Generator) -> None:
    a, shorter = system("a", rng.random(5)), system("b", rng.random(4))
    with pytest.raises(InvalidArgumentError, match="nothing to compare"):
        compare([])
    with pytest.raises(InvalidArgumentError, match=r"called 'a'; give each its own: evaluate\(..., name"):
        compare([a, system("a", rng.random(5))])
    with pytest.raises(InvalidArgumentError, match=r"'a' and 'b' were evaluated on different queries.*'q4'"):
        compare([a, shorter])
    with pytest.raises(InvalidArgumentError, match=r"different measures.*'RR@10', 'nDCG@10'"):
        compare([a, system("c", rng.random(5), "RR@10")])
    with pytest.raises(InvalidArgumentError, match="No evaluation is called 'x'; there are a"):
        compare([a], baseline="x")
    with pytest.raises(InvalidArgumentError, match="at least 100, got 10"):
        compare([a], resamples=10)
    with pytest.raises(
        InvalidArgumentError, match="No row for system 'a' and measure 'AP' against 'a'; systems: a; measures"
    ):
        compare([a]).row("a", "AP")


def test_other_judgements_are_no_other_system(rng: np.random.Generator) -> None:
    values = rng.random(2)
    judged = {"q0": {"a": 1}, "q1": {"a": 1}}
    before, now = (replace(system(name, values), qrels=judged) for name in ("before", "now"))
    assert compare([before, now]).row("now", "nDCG@10").difference == 0
    now = replace(now, qrels={**judged, "q1": {"a": 1, "b": 2}})
    with pytest.raises(
        InvalidArgumentError,
        match=r"'before' and 'now' were judged by other judgements, of 1 .*: 'q1'\. Judge the",
    ):
        compare([before, now])
    assert compare([before, system("unknown", values)]).row("unknown", "nDCG@10").difference == 0
