"""How the promised time is shared out."""

from typing import Any

import numpy as np
import pytest

from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.training import plan as module
from langchain_rerank_retriever.training.plan import LEAST_SECONDS, Plan, scoring_seconds


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    clock = [500.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    return clock


@pytest.mark.parametrize("steps", [1, 20, np.int64(3)])
def test_steps(steps: int) -> None:
    plan = Plan.of(None, steps, None, default_minutes=10)
    assert plan.seconds is None
    for budget in (
        plan.bi_encoder(epoch_steps=7, still_needed=1e9, cross_encoder_too=True),
        plan.cross_encoder(epoch_steps=7, still_needed=1e9),
    ):
        assert (budget.seconds, budget.steps) == (None, steps)
        assert type(budget.steps) is int
    assert plan.judged_depth(queries=10_000, pair_seconds=9.0) == plan.judged_depth(
        queries=1, pair_seconds=0.0
    )


def test_minutes(now: list[float]) -> None:
    assert Plan.of(None, None, None, default_minutes=10).seconds == 600
    assert Plan.of(2, None, None, default_minutes=10).seconds == 120
    assert Plan.of(0.5, None, None, default_minutes=10).steps is None


@pytest.mark.parametrize("minutes", [1.0, 3.0, 10.0, 60.0])
def test_budgets_add_up(now: list[float], minutes: float) -> None:
    """Whatever has been spent, what is shared out, still needed and kept back is just the promise."""
    plan = Plan(60 * minutes, None, started=now[0])
    promised = 60 * minutes
    closing = promised - (plan.cross_encoder(epoch_steps=7, still_needed=0.0).seconds or 0)
    assert 0.03 * promised <= closing <= 0.2 * promised
    now[0] += 0.1 * promised
    needed = 0.2 * promised
    first = plan.bi_encoder(epoch_steps=7, still_needed=needed, cross_encoder_too=True).seconds
    assert first is not None
    assert first < (plan.bi_encoder(epoch_steps=7, still_needed=needed, cross_encoder_too=False).seconds or 0)
    now[0] += first + 0.1 * promised
    second = plan.cross_encoder(epoch_steps=7, still_needed=needed - 0.1 * promised).seconds
    assert second is not None
    assert second > first
    assert 0.1 * promised + first + second + needed + closing == pytest.approx(promised)


def test_a_little_is_trained_even_when_time_is_up(now: list[float]) -> None:
    plan = Plan(60.0, None, started=now[0])
    now[0] += 1000
    assert plan.bi_encoder(epoch_steps=7, still_needed=50, cross_encoder_too=True).seconds == LEAST_SECONDS
    assert plan.cross_encoder(epoch_steps=7, still_needed=50).seconds == LEAST_SECONDS


def test_the_judged_depth_falls_with_the_cost(now: list[float]) -> None:
    plan = Plan.of(10, None, None, default_minutes=10)
    depths = [
        plan.judged_depth(queries=300, pair_seconds=seconds) for seconds in (1e-4, 0.01, 0.015, 0.02, 1.0)
    ]
    assert depths == sorted(depths, reverse=True)
    assert depths[0] > depths[-1] >= 10
    for seconds, depth in zip((0.01, 0.015), depths[1:3], strict=True):
        assert scoring_seconds(300, depth, seconds) <= 0.2 * 600
    assert (
        scoring_seconds(300, 20, 0.01)
        == 2 * scoring_seconds(300, 10, 0.01)
        == 4 * scoring_seconds(150, 10, 0.01)
    )


@pytest.mark.parametrize(
    ("minutes", "steps", "message"),
    [
        (0, None, "minutes must be a number above 0, got 0"),
        (-1, None, "minutes must be a number above 0, got -1"),
        (float("nan"), None, "above 0, got nan"),
        (float("inf"), None, "above 0, got inf"),
        ("5", None, "above 0, got '5'"),
        (True, None, "above 0, got True"),
        (None, 0, "steps must be a whole number of at least 1, got 0"),
        (None, -3, "at least 1, got -3"),
        (None, 1.5, "at least 1, got 1.5"),
        (None, float("nan"), "at least 1, got nan"),
        (None, float("inf"), "at least 1, got inf"),
        (None, True, "at least 1, got True"),
        (None, "many", "at least 1, got 'many'"),
    ],
)
def test_errors(minutes: Any, steps: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        Plan.of(minutes, steps, None, default_minutes=10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (1, 1, None),
            "Expected one of minutes, steps and epochs, got minutes and steps; leave out all but one",
        ),
        ((1, None, 1), "got minutes and epochs"),
        ((None, None, 0), "epochs must be a number above 0, got 0"),
        ((None, None, "2"), "epochs must be a number above 0, got '2'"),
    ],
)
def test_one_of_three(arguments: tuple[Any, Any, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        Plan.of(*arguments, default_minutes=10)


@pytest.mark.parametrize(
    ("epochs", "epoch_steps", "steps"), [(1, 10, 10), (2.5, 10, 25), (1, 0.25, 1), (3, 10.1, 31)]
)
def test_epochs(epochs: float, epoch_steps: float, steps: int) -> None:
    plan = Plan.of(None, None, epochs, default_minutes=10)
    assert plan.left() == float("inf")
    for budget in (
        plan.bi_encoder(epoch_steps=epoch_steps, still_needed=1e9, cross_encoder_too=True),
        plan.cross_encoder(epoch_steps=epoch_steps, still_needed=1e9),
    ):
        assert (budget.seconds, budget.steps) == (None, steps)


def test_a_killed_run_has_less_left(now: list[float]) -> None:
    plan = Plan(600.0, None, started=now[0])
    now[0] += 10
    resumed = Plan(600.0, None, started=now[0]).resumed(100.0)
    assert resumed.elapsed == pytest.approx(100.0)
    assert resumed.left() == pytest.approx(plan.left() - 90.0)


def test_the_judged_depth_stays_within_what_is_left(now: list[float]) -> None:
    plan = Plan.of(10, None, None, default_minutes=10)
    seconds = scoring_seconds(300, 15, 0.001)
    assert plan.judged_depth(queries=300, pair_seconds=0.001) == 30
    assert plan.judged_depth(queries=300, pair_seconds=0.001, within=1.01 * seconds) == 15
    assert plan.judged_depth(queries=300, pair_seconds=0.001, within=-5.0) == 10


def test_what_there_is_time_for(now: list[float]) -> None:
    plan = Plan(600.0, None, started=now[0])
    spare, least = plan.left(), 0.12 * 600
    for indexing, judging, expected in (
        (0.0, 0.0, (True, True)),
        (100.0, spare - least - 100.0 - 1e-6, (True, True)),
        (100.0, spare - least - 99.0, (True, False)),
        (spare - least + 1.0, 50.0, (False, True)),
        (spare, spare, (False, False)),
    ):
        assert plan.affordable(indexing=indexing, judging=judging) == expected
    assert Plan.of(None, 5, None, default_minutes=10).affordable(indexing=1e9, judging=1e9) == (True, True)
