"""Verdicts on simulated systems: alarms without a difference are rare, and enough queries are enough."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from langchain_rerank_retriever.evaluation import compare
from langchain_rerank_retriever.evaluation.paired import queries_needed, sign_flip_p_values
from tests.evaluation.test_compare import system

#: What nDCG@10 takes where one document is relevant: the discounts of the ranks 1 to 10, or nothing. Half of the
#: queries are easy, a third are hopeless, as on real collections.
VALUES = np.array([1 / np.log2(rank + 1) for rank in range(1, 11)] + [0.0])
OFTEN = np.array([0.45, 0.08, 0.05, 0.03, 0.02, 0.02, 0.02, 0.01, 0.01, 0.01, 0.30])

Draw = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]


def alike(rng: np.random.Generator, queries: int) -> tuple[np.ndarray, np.ndarray]:
    """Two systems that agree on seven of ten queries, and on the others are equally good by chance."""
    base, other = rng.choice(VALUES, size=(2, queries), p=OFTEN)
    return base, np.where(rng.random(queries) < 0.7, base, other)


def skewed(rng: np.random.Generator, queries: int) -> tuple[np.ndarray, np.ndarray]:
    """The other gains a little on every fifth query, and loses four times as much on a fourth as many."""
    base = rng.choice(VALUES, size=queries, p=OFTEN)
    return base, base + rng.choice([0.1, -0.4, 0.0], size=queries, p=[0.2, 0.05, 0.75])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("draw", "queries"),
    [
        (alike, 30),
        (alike, 100),
        (alike, 300),
        # With 100 such queries it is 6 to 7 %, and with 30, of which a fifth of all draws have no loss at all, 13 %.
        (skewed, 300),
    ],
)
def test_of_a_thousand_comparisons_without_a_difference_few_are_called_different(
    draw: Draw, queries: int
) -> None:
    rng = np.random.default_rng(2026)
    called = 0
    for number in range(1000):
        base, other = draw(rng, queries)
        row = compare([system("a", base), system("b", other)], seed=number, resamples=999).rows[1]
        called += row.verdict in {"better", "worse"}
    assert called <= 65


@pytest.mark.parametrize("queries", [50, 200])
def test_p_values_without_a_difference_are_spread_evenly(queries: int) -> None:
    rng = np.random.default_rng(7)
    pairs = [alike(rng, queries) for _ in range(1000)]
    differences = np.stack([other - base for base, other in pairs], axis=1)
    p_values = sign_flip_p_values(differences, resamples=2000, seed=0)
    for level in (0.01, 0.05, 0.2, 0.5):
        # Four standard errors of a share among 1,000.
        assert (p_values <= level).mean() <= level + 4 * np.sqrt(level * (1 - level) / 1000)
    assert (p_values <= 0.05).mean() <= 0.065


@pytest.mark.parametrize("queries", [8, 12])
def test_with_ties_and_zeros_p_is_that_of_all_sign_patterns(queries: int) -> None:
    rng = np.random.default_rng(queries)
    base, other = alike(rng, queries)
    exact = stats.permutation_test(
        (other - base,), np.mean, permutation_type="samples", n_resamples=np.inf
    ).pvalue
    mine = sign_flip_p_values((other - base)[:, None], resamples=40_000, seed=1)[0]
    assert mine == pytest.approx(exact, abs=0.01)


def test_with_ties_and_zeros_p_is_that_of_scipy() -> None:
    base, other = alike(np.random.default_rng(3), 200)
    theirs = stats.permutation_test(
        (other, base), lambda x, y, axis: np.mean(x - y, axis=axis), permutation_type="samples", n_resamples=20_000,
        vectorized=True, rng=5,
    ).pvalue  # fmt: skip
    mine = sign_flip_p_values((other - base)[:, None], resamples=20_000, seed=5)[0]
    assert mine == pytest.approx(theirs, abs=4 * np.sqrt(2 * theirs * (1 - theirs) / 20_000) + 1e-4)


def spread_around(mean: float, deviation: float, queries: int) -> np.ndarray:
    """Differences with just that mean and standard deviation."""
    values = np.random.default_rng(0).normal(size=queries)
    return mean + deviation * (values - values.mean()) / values.std(ddof=1)


def needed(differences: np.ndarray, significance: float = 0.05) -> int | None:
    return queries_needed(differences, small=0.02, fewest_alike=150, significance=significance)


@pytest.mark.parametrize(
    ("mean", "significance", "expected"),
    [
        # (1.9600 + 0.8416)^2 * 0.25^2 / 0.1^2 = 49.06; the textbook's 7.849 s^2 / d^2.
        pytest.param(0.1, 0.05, 50, id="as large as that"),
        pytest.param(-0.1, 0.05, 50, id="on either side"),
        # (2.2414 + 0.8416)^2 * 0.25^2 / 0.1^2 = 59.41.
        pytest.param(0.1, 0.025, 60, id="one of two comparisons"),
        # (1.9600 + 1.2816)^2 * 0.25^2 / 0.02^2 = 1641.9.
        pytest.param(0.0, 0.05, 1642, id="none"),
        # At 0.01 more would do for neither; (1.9600 + 1.9600)^2 * 0.25^2 / 0.02^2 = 2401.0 leave no third possibility.
        pytest.param(0.01, 0.05, 2401, id="in between"),
    ],
)
def test_how_many_queries_would_do(mean: float, significance: float, expected: int) -> None:
    assert needed(spread_around(mean, 0.25, 40), significance) == expected


def test_how_many_queries_would_do_where_all_agree() -> None:
    # Six of the same sign have p = 2/64; 150 without any difference bound it by 3/150.
    assert needed(np.full(4, 0.3)) == 6
    assert needed(np.full(4, 0.3), 0.025) == 7
    assert needed(np.zeros(20)) == 150
    assert needed(np.array([0.5])) is None
    # There is never an answer that was given already.
    assert needed(np.full(8, 0.3)) == 9


def test_the_verdict_says_how_many() -> None:
    comparison = compare([system("a", np.zeros(4)), system("b", np.full(4, 0.3))])
    row = comparison.rows[1]
    assert (row.verdict, row.queries_needed) == ("not enough queries to tell", 6)
    assert row.words == "not enough queries to tell: about 6 would do"
    assert row.words in str(comparison)
    assert row.words in comparison._repr_html_()
    assert comparison.to_dict()["systems"][1]["measures"]["nDCG@10"]["queries_needed"] == 6
    settled = compare([system("a", np.zeros(40)), system("b", np.full(40, 0.3))]).rows[1]
    assert (settled.words, settled.queries_needed) == ("better", None)


@pytest.mark.parametrize(("gain", "settled"), [(0.06, {"better"}), (0.0, {"no difference"})])
def test_so_many_queries_do(gain: float, settled: set[str]) -> None:
    rng = np.random.default_rng(12)

    def differences(queries: int) -> np.ndarray:
        return gain + rng.choice([0.0, 0.37, -0.37], size=queries, p=[0.8, 0.1, 0.1])

    enough = needed(spread_around(gain, 0.37 * np.sqrt(0.2), 30))
    assert enough is not None
    verdicts = [
        compare([system("a", np.zeros(enough)), system("b", differences(enough))], seed=number, resamples=500)
        .rows[1]
        .verdict
        for number in range(60)
    ]
    # Promised are 48 of 60; 39 is three standard deviations less.
    assert sum(any(one.startswith(word) for word in settled) for one in verdicts) >= 39
    few = [
        compare(
            [system("a", np.zeros(enough // 4)), system("b", differences(enough // 4))], resamples=500
        ).rows[1]
        for _ in range(30)
    ]
    assert sum(one.verdict == "not enough queries to tell" for one in few) >= 15


@pytest.mark.parametrize(
    ("queries", "told"), [(6, "6"), (60, "60"), (101, "110"), (2401, "2,500"), (99_001, "100,000")]
)
def test_in_words_two_digits_are_told(queries: int, told: str) -> None:
    row = compare([system("a", np.zeros(4)), system("b", np.full(4, 0.3))]).rows[1]
    assert replace(row, queries_needed=queries).words == f"not enough queries to tell: about {told} would do"


def test_pairs_among_the_others() -> None:
    rng = np.random.default_rng(1)
    base = rng.random(80)
    systems = [
        system("a", base),
        system("b", np.minimum(base + 0.2, 1)),
        system("c", np.minimum(base + 0.21, 1)),
    ]
    plain, pairwise = compare(systems), compare(systems, pairwise=True)
    assert [(row.system, row.against) for row in pairwise.rows] == [
        ("a", "a"),
        ("b", "a"),
        ("c", "a"),
        ("c", "b"),
    ]
    pair = pairwise.row("c", "nDCG@10", against="b")
    alone = compare(systems[1:]).row("c", "nDCG@10")
    assert (pair.difference, pair.p_value, *pair.interval) == pytest.approx(
        (alone.difference, alone.p_value, *alone.interval)
    )
    # The smallest p of three comparisons is tripled, of two doubled.
    assert pairwise.row("b", "nDCG@10").p_holm == pytest.approx(3 / 10_001)
    assert plain.row("b", "nDCG@10").p_holm == pytest.approx(2 / 10_001)
    assert "nDCG@10, the others with each other" in str(pairwise)
    assert [(one["system"], one["against"]) for one in pairwise.to_dict()["pairs"]] == [("c", "b")]
    assert plain.to_dict()["pairs"] == []


def test_means_have_their_own_intervals() -> None:
    values = np.random.default_rng(2).choice([0.0, 0.5, 1.0], size=90)
    a, b = system("a", values), system("b", values[::-1])
    for row, evaluation in zip(compare([a, b]).rows, (a, b), strict=True):
        assert row.mean_interval == pytest.approx(evaluation.intervals["nDCG@10"])
    theirs = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=20_000, rng=1
    ).confidence_interval
    assert a.intervals["nDCG@10"] == pytest.approx((theirs.low, theirs.high), abs=0.006)
