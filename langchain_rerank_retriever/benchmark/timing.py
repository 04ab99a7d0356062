"""Measuring two sides in turns, and how long an event loop was kept waiting."""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar

import numpy as np

Input = TypeVar("Input")

#: Between two ticks of a watched loop: much less than a block that a user would notice, 50 ms.
TICK_SECONDS = 0.001


@dataclass(frozen=True, slots=True)
class Spread:
    """Repeated measurements: the middle one and the quartiles around it, interpolated as numpy does it.

    Attributes:
        median: Half of the values are below.
        low: A quarter of the values are below.
        high: Three quarters of the values are below.
        count: How many values there are.
    """

    median: float
    low: float
    high: float
    count: int


def spread(values: Sequence[float]) -> Spread:
    """Return the median and the quartiles of at least one value."""
    low, median, high = np.percentile(values, [25, 50, 75]).tolist()
    return Spread(median, low, high, len(values))


def percentiles_ms(seconds: Sequence[float]) -> dict[str, float]:
    """Return ``{"p50": ..., "p95": ...}`` of at least one duration, in milliseconds."""
    middle, high = np.percentile(seconds, [50, 95]).tolist()
    return {"p50": 1000 * middle, "p95": 1000 * high}


@dataclass(frozen=True, slots=True)
class Race:
    """Seconds of two sides that took turns; one entry a round.

    Attributes:
        theirs: Of the side that is compared with.
        ours: Of this package.
    """

    theirs: tuple[float, ...]
    ours: tuple[float, ...]

    @property
    def ratio(self) -> Spread:
        """How many times as long they take; by round, so that what disturbs a whole round counts for neither."""
        return spread([them / us for them, us in zip(self.theirs, self.ours, strict=True)])


def take_turns(
    theirs: Callable[[Input], object], ours: Callable[[Input], object], rounds: Iterable[Input]
) -> Race:
    """Time two calls on each input, one after the other; who goes first changes with every round."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for number, given in enumerate(rounds):
        order = (0, 1) if number % 2 == 0 else (1, 0)
        for side in order:
            started = time.perf_counter()
            (theirs, ours)[side](given)
            seconds[side].append(time.perf_counter() - started)
    return Race(tuple(seconds[0]), tuple(seconds[1]))


class LoopWatch:
    """Watches the running event loop for as long as its block lasts.

    Attributes:
        longest: Seconds by which the loop was latest, that is how long something kept it from running.
    """

    def __init__(self) -> None:
        self.longest = 0.0

    async def __aenter__(self) -> Self:
        self._due = time.perf_counter() + TICK_SECONDS
        self._ticking = asyncio.create_task(self._tick())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._note()  # what blocked the loop until now has kept the last tick from coming
        self._ticking.cancel()
        with suppress(asyncio.CancelledError):
            await self._ticking

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self._note()
            self._due = time.perf_counter() + TICK_SECONDS

    def _note(self) -> None:
        self.longest = max(self.longest, time.perf_counter() - self._due)
