"""Do no harm: who replaces whom."""

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_rerank_retriever.training.proof.promote import (
    LEAST_TO_TELL,
    RESAMPLES,
    promote,
    tolerated_loss,
)


def systems(**values: list[float]) -> dict[str, dict[str, float]]:
    return {
        name: {f"q{place}": value for place, value in enumerate(column)} for name, column in values.items()
    }


def decide(old: list[float], new: list[float], seed: int = 0) -> tuple[bool, str]:
    chosen, (decision,) = promote(systems(old=old, new=new), ("old", "new"), seed=seed)
    assert chosen == ("new" if decision.promoted else "old")
    assert (decision.candidate, decision.incumbent) == ("new", "old")
    assert decision.difference == pytest.approx(np.mean(new) - np.mean(old))
    return decision.promoted, decision.reason


MILD = "better on average, and a loss of 0.01 is ruled out"


@pytest.mark.parametrize(
    ("old", "new", "promoted", "reason"),
    [
        ([0.5] * 40, [0.6] * 40, True, "better"),
        ([0.5] * 40, [0.4] * 40, False, "not better"),
        ([0.5] * 40, [0.5] * 40, False, "not better"),
        # Gains and losses that cancel out; in floats, not quite.
        ([0.1, 0.2, 0.3, 0.4] * 10, [0.2, 0.3, 0.4, 0.1] * 10, False, "not better"),
        # One gain of a hundred cannot be a loss.
        ([0.5] * 100, [0.5] * 99 + [1.0], True, MILD),
        ([0.0] * 100, [0.0] * 99 + [1.0], True, "better on average, and a loss of 0 is ruled out"),
        # 53 gains of 0.04 and 47 losses: by 95 %, a loss below 0.0042. Little of a mean of 0.5, a fifth of one of 0.02.
        ([0.54] * 47 + [0.5] * 53, [0.5] * 47 + [0.54] * 53, True, MILD),
        ([0.04] * 47 + [0.0] * 53, [0.0] * 47 + [0.04] * 53, False, "not enough queries to tell"),
        # The mean is up, and it might as well be down.
        ([1.0, 0.0] * 20, [0.0, 1.0] * 19 + [1.0, 1.0], False, "not enough queries to tell"),
        # A few queries tell nothing, however much they gain.
        ([0.0] * 4, [1.0] * 4, False, "not enough queries to tell"),
        ([0.0], [1.0], False, "not enough queries to tell"),
        ([0.0] * 5, [1.0] * 5, True, "better"),
    ],
)
def test_by_hand(old: list[float], new: list[float], promoted: bool, reason: str) -> None:
    assert decide(old, new) == (promoted, reason)


@pytest.mark.parametrize(
    ("mean", "tolerated"), [(0.9, 0.01), (0.1, 0.01), (0.05, 0.005), (0.001, 0.0001), (0.0, 0.0)]
)
def test_what_is_tolerated(mean: float, tolerated: float) -> None:
    assert tolerated_loss(mean) == pytest.approx(tolerated)


def test_the_bound_is_that_of_a_paired_bootstrap() -> None:
    rng = np.random.default_rng(8)
    for size, shift in ((30, 0.05), (200, 0.01), (60, 0.0)):
        old = rng.random(size)
        new = np.clip(old + rng.normal(shift, 0.2, size), 0, 1)
        _, (decision,) = promote(systems(old=old.tolist(), new=new.tolist()), ("old", "new"), seed=1)
        ours = np.random.default_rng(77)
        means = [ours.choice(new - old, size).mean() for _ in range(4 * RESAMPLES)]
        # The means of resamples have a standard error of 0.2 / sqrt(size), of which 5,000 show the quantile well.
        assert decision.lower_bound == pytest.approx(
            np.quantile(means, 0.05), abs=0.06 * 0.2 / np.sqrt(size) * 2
        )
        assert decision.promoted == (decision.difference > 0 and decision.lower_bound > -0.01)


def test_each_is_held_against_the_best_so_far() -> None:
    values = systems(a=[0.5] * 30, b=[0.7] * 30, c=[0.6] * 30, d=[0.7] * 30, e=[0.8] * 30)
    chosen, decisions = promote(values, ("a", "b", "c", "d", "e"), seed=0)
    assert chosen == "e"
    assert [(one.candidate, one.incumbent, one.promoted) for one in decisions] == [
        ("b", "a", True),
        ("c", "b", False),
        ("d", "b", False),  # as good, and less simple
        ("e", "b", True),
    ]


def test_alone() -> None:
    assert promote(systems(base=[0.1]), ("base",), seed=0) == ("base", [])


def test_queries_are_paired_by_name() -> None:
    old = {"x": 0.1, "y": 0.9, **{f"q{place}": 0.5 for place in range(10)}}
    new = dict(reversed([(key, value + 0.05) for key, value in old.items()]))
    _, (decision,) = promote({"old": old, "new": new}, ("old", "new"), seed=0)
    assert decision.promoted
    assert decision.lower_bound == pytest.approx(0.05)


def run(values: Mapping[str, Mapping[str, float]], seed: int) -> object:
    return promote(values, tuple(values), seed=seed)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=40), st.integers(0, 2**31 - 1)
)
def test_nothing_harmful_is_promoted(pairs: list[tuple[float, float]], seed: int) -> None:
    values = systems(old=[pair[0] for pair in pairs], new=[pair[1] for pair in pairs])
    chosen, (decision,) = promote(values, ("old", "new"), seed=seed)
    if chosen == "new":
        assert np.mean(list(values["new"].values())) > np.mean(list(values["old"].values()))
        assert decision.lower_bound >= -min(0.01, 0.1 * np.mean(list(values["old"].values())))
        assert len(pairs) >= LEAST_TO_TELL
    assert run(values, seed) == run(values, seed)


def test_noise_is_seldom_promoted() -> None:
    """A candidate that is 0.01 worse in truth: by the rule, at most 5 % of the runs may promote it."""
    rng = np.random.default_rng(4)
    promoted = 0
    for seed in range(200):
        new = rng.normal(0.49, 0.1, 150)
        promoted += promote(systems(old=[0.5] * 150, new=new.tolist()), ("old", "new"), seed=seed)[0] == "new"
    assert promoted <= 18  # P(more than 18 of 200) is below 0.01 at 5 %
