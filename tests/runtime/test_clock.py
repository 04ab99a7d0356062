"""Times by turns, and whether they can be believed."""

import time
from collections.abc import Callable

import pytest

from langchain_rerank_retriever.runtime.choosing import clock


def timed(
    durations: dict[str, list[float]], monkeypatch: pytest.MonkeyPatch
) -> tuple[clock.Clock, dict[str, float], str]:
    order: list[str] = []
    left = {name: iter(values) for name, values in durations.items()}

    def run(name: str) -> Callable[[], object]:
        return lambda: order.append(name)

    def duration(one: Callable[[], object]) -> float:
        one()
        return next(left[order[-1]])

    monkeypatch.setattr(clock, "_time", duration)
    made = clock.Clock()
    return made, made.best({name: run(name) for name in durations}), "".join(order)


def test_things_take_turns_and_the_first_time_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    durations = {"a": [0.01, 0.3, 0.25, 0.29, 0.26], "b": [0.4, 0.1, 0.1, 0.1, 0.12]}
    made, best, order = timed(durations, monkeypatch)
    assert best == {"a": 0.25, "b": 0.1}
    assert order == "ab" * 5
    assert made.steady


def test_a_disturbed_clock_says_so_and_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    made, best, _ = timed({"a": [0.1, 0.1, 0.2, 0.2, 0.2]}, monkeypatch)
    assert best == {"a": 0.1}
    assert not made.steady
    monkeypatch.setattr(clock, "_time", lambda run: 0.1)
    made.best({"a": lambda: None})
    assert not made.steady


def test_what_takes_long_is_timed_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    _, best, order = timed({"a": [0.7, 0.6], "b": [0.1, 0.1]}, monkeypatch)
    assert (best, order) == ({"a": 0.6, "b": 0.1}, "abab")


def test_real_time_is_measured() -> None:
    best = clock.Clock().best({"sleeps": lambda: time.sleep(0.02), "nothing": lambda: None})
    assert 0.02 <= best["sleeps"] < 0.5
    assert best["nothing"] < 0.01
