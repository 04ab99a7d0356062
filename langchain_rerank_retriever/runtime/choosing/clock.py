"""Times things in turn, and notices when other work on the machine spoils it."""

import statistics
import time
from collections.abc import Callable, Mapping

#: Each thing is timed so often and the best counts: that time was disturbed least.
REPEATS = 4
#: What takes longer than this is timed once more only: loading must not take minutes.
LONG = 0.5
#: On a quiet machine the middle of a few times is within a tenth of the best one.
STEADY = 1.25


class Clock:
    """Takes times, and remembers whether they can be believed.

    Attributes:
        steady: Whether all so far were about the same from one time to the next.
    """

    def __init__(self) -> None:
        self.steady = True

    def best(self, runs: Mapping[str, Callable[[], object]]) -> dict[str, float]:
        """Return the shortest time of each in seconds. They take turns, so that a disturbance hits all of them."""
        # The first run of each pays for setting up.
        first = [_time(run) for run in runs.values()]
        repeats = REPEATS if max(first) < LONG else 1
        rounds = [{name: _time(run) for name, run in runs.items()} for _ in range(repeats)]
        best = {}
        for name in runs:
            times = [one[name] for one in rounds]
            best[name] = min(times)
            self.steady &= statistics.median(times) <= STEADY * best[name]
        return best


def _time(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
