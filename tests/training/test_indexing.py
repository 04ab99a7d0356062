"""What a user is told while the documents are indexed."""

import warnings

import pytest

from langchain_rerank_retriever.training import indexing
from langchain_rerank_retriever.training import plan as plan_module
from langchain_rerank_retriever.training.indexing import warns_of_long_indexing
from langchain_rerank_retriever.training.plan import Plan


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    clock = [1000.0]
    monkeypatch.setattr(indexing, "monotonic", lambda: clock[0])
    monkeypatch.setattr(plan_module.time, "monotonic", lambda: clock[0])
    return clock


def index(plan: Plan, now: list[float], seconds: float) -> list[float]:
    """Pretend to index in ten parts; return what was told of the progress."""
    told: list[float] = []
    update = warns_of_long_indexing(plan, told.append)
    for part in range(1, 11):
        now[0] += seconds / 10
        update(part / 10)
    return told


def test_a_promise_too_short_for_indexing_is_told_after_the_first_part(now: list[float]) -> None:
    plan = Plan(180.0, None, started=now[0])
    update = warns_of_long_indexing(plan, lambda _: None)
    now[0] += 51.4  # the first tenth of 514 seconds
    # Twice 514 s of the 65 % that judging, training and closing leave are 26.4 minutes.
    with pytest.warns(UserWarning, match=r"takes about 8.6 minutes.*at least minutes=27\."):
        update(0.1)


def test_it_is_told_once(now: list[float]) -> None:
    plan = Plan(180.0, None, started=now[0])
    with pytest.warns(UserWarning, match="Indexing") as caught:
        assert index(plan, now, 514) == [part / 10 for part in range(1, 11)]
    assert len(caught) == 1


@pytest.mark.parametrize(
    "plan", [Plan.of(10, None, None, default_minutes=10), Plan.of(None, 5, None, default_minutes=10)]
)
def test_nothing_is_told_where_there_is_time_or_none_was_promised(plan: Plan, now: list[float]) -> None:
    seconds = 200 if plan.seconds else 1e6
    plan = Plan(plan.seconds, plan.steps, started=now[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        index(plan, now, seconds)


def test_with_the_minutes_that_are_named_there_is_time_to_train(now: list[float]) -> None:
    plan = Plan(Plan.least_seconds(indexing=500.0), None, started=now[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        index(plan, now, 500)
    judging = plan_module.JUDGING_SHARE * plan.seconds
    assert plan.affordable(indexing=500, judging=0.0)[0]
    assert judging < plan.left()
