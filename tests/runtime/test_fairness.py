"""Turns against the ideal: a machine that divides itself evenly among all queries that are there."""

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_rerank_retriever.runtime.backend import Row
from langchain_rerank_retriever.runtime.serving.worker import Worker

BATCH = 16
CHUNK = 256


class Clocked:
    """A backend whose clock is the rows it has run; requests arrive by that clock.

    Args:
        arrivals: When a request comes and how many rows it has, by time.
        bulk: Places of those that are not urgent.
    """

    def __init__(self, arrivals: Sequence[tuple[int, int]], bulk: Sequence[int] = ()) -> None:
        self.now = arrivals[0][0]
        self._ran = 0
        self.finished = [0] * len(arrivals)
        self._waiting = list(enumerate(arrivals))
        self._open = 0
        self._left = threading.Semaphore(0)
        self._bulk = bulk
        self.worker = Worker(self, budget=BATCH, max_rows=BATCH, chunk=CHUNK)

    def start(self) -> None:
        """Nothing to prepare."""

    def tokenise(self, items: Sequence[Any], kind: str) -> list[Row]:
        return [Row(place, 1, item) for place, item in enumerate(items)]

    def run(self, rows: Sequence[Row]) -> np.ndarray:
        self.now += len(rows)
        self._ran = self.now
        self._open -= len(rows)
        self._arrive()
        return np.zeros(len(rows), dtype=np.float32)

    def _arrive(self) -> None:
        while self._waiting and self._waiting[0][1][0] <= self.now:
            place, (_, count) = self._waiting.pop(0)
            self._open += count
            answer = self.worker.submit(["row"] * count, urgent=place not in self._bulk)
            answer.add_done_callback(lambda _, place=place: self._finish(place))

    def _finish(self, place: int) -> None:
        self.finished[place] = self._ran
        if self._open == 0 and self._waiting:
            # Idle until the next one comes.
            self.now = max(self.now, self._waiting[0][1][0])
            self._arrive()
        self._left.release()

    def play(self) -> list[int]:
        """Return when each request was finished."""
        with self.worker._ready:
            self._arrive()
        for _ in self.finished:
            assert self._left.acquire(timeout=30)
        self.worker.close()
        return self.finished


def ideal(arrivals: Sequence[tuple[int, int]]) -> list[float]:
    """Divide the machine evenly among those that are there, row by row."""
    now, left, finished = 0.0, {}, [0.0] * len(arrivals)
    waiting = list(enumerate(arrivals))
    while left or waiting:
        if not left:
            now = max(now, waiting[0][1][0])
        while waiting and waiting[0][1][0] <= now:
            place, (_, count) = waiting.pop(0)
            left[place] = float(count)
        step = min(left.values()) * len(left)
        if waiting:
            step = min(step, waiting[0][1][0] - now)
        now += step
        for place in list(left):
            left[place] -= step / len(left)
        for place in [place for place, rest in left.items() if rest < 1e-9]:
            finished[place] = now
            del left[place]
    return finished


def latencies(arrivals: Sequence[tuple[int, int]], finished: Sequence[float]) -> np.ndarray:
    return np.array(finished) - np.array([time for time, _ in arrivals])


def overload(seed: int) -> list[tuple[int, int]]:
    """Three hundred queries of 1 to 100 rows, a third more of them than can be served."""
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.exponential(30, size=300)).astype(int)
    return [(int(time), int(count)) for time, count in zip(times, rng.choice([1, 10, 50, 100], size=300))]


def test_the_ideal_by_hand() -> None:
    # The second is alone with the first for 20 rows, of which each gets 10; then the first has 10 left.
    assert ideal([(0, 30), (10, 10)]) == [40, 30]
    assert ideal([(5, 10), (100, 1)]) == [15, 101]


def test_thirty_two_at_once() -> None:
    finished = Clocked([(0, 10)] * 32).play()
    assert max(finished) == 320
    # All run at the same pace, none to the end while others have not begun.
    assert min(finished) > 160


def test_one_large_query_does_not_hold_up_small_ones() -> None:
    finished = Clocked([(0, 100)] + [(0, 10)] * 31).play()
    assert finished[0] == 410
    assert max(finished[1:]) <= 320 + BATCH


def test_one_that_comes_late_gets_its_turn() -> None:
    finished = Clocked([(0, 100)] * 50 + [(500, 10)]).play()
    # Each of the 51 gets ten rows in the time.
    assert finished[-1] - 500 <= 510 + CHUNK
    assert max(finished) == 5010


def test_those_who_came_first_do_not_starve_when_others_keep_coming() -> None:
    arrivals = [(0, 100)] * 32 + [(16 + 120 * place, 100) for place in range(40)]
    finished = latencies(arrivals, Clocked(arrivals).play())
    assert (finished <= 1.1 * latencies(arrivals, ideal(arrivals)) + CHUNK).all()


def test_under_overload_nobody_waits_much_longer_than_in_an_even_division() -> None:
    for seed in range(3):
        arrivals = overload(seed)
        got, even = latencies(arrivals, Clocked(arrivals).play()), latencies(arrivals, ideal(arrivals))
        assert (got <= 1.25 * even + 2 * CHUNK).all()
        assert got.mean() < 1.05 * even.mean()


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2000), st.integers(1, 300)), min_size=1, max_size=60).map(sorted),
)
def test_whatever_arrives(arrivals: list[tuple[int, int]]) -> None:
    got, even = latencies(arrivals, Clocked(arrivals).play()), latencies(arrivals, ideal(arrivals))
    assert (got <= 1.25 * even + 2 * CHUNK).all()


def test_bulk_work_goes_on_under_a_stream_of_queries() -> None:
    # More queries than can be served, for as long as the bulk job takes.
    arrivals = [(0, 200)] + [(10 * place, 20) for place in range(1, 150)]
    finished = Clocked(arrivals, bulk=[0]).play()
    # One batch of five is bulk work.
    assert finished[0] <= 5 * 200 + CHUNK
