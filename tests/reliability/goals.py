"""The goals that the tests of this folder show, and what a run has shown of them.

Every test that works towards a goal writes down how much it did, whether or not it passed; `python -m
tests.reliability` adds that up.
"""

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from .scale import SCALE

#: Where a run writes what it did; removed by `make clean`.
RECORDS = Path(__file__).parents[2] / ".reliability"


@dataclass(frozen=True)
class Goal:
    """What must hold, and how often a full run tries it."""

    claim: str
    asked: int
    unit: str


GOALS = {
    "G1": Goal("kill -9 at random moments: the state before or after the interrupted call", 10_000, "kills"),
    "G2": Goal("kill at every named step: likewise, and the next open cleans up", 20, "kills at each step"),
    "G3": Goal("power loss: unsynced data of our files lost or garbled", 2_000, "losses"),
    "G4": Goal("full disk and failing writes: a clear error, nothing changed", 500, "faults"),
    "G5": Goal("damaged files: a clear error or a right answer", 20_000, "files"),
    "G6": Goal("random operations against a dict and brute force", 200_000, "operations"),
    "G7": Goal("what is served equals what a rebuild serves", 2_000, "comparisons"),
    "G8": Goal("readers beside writers: every answer is of one moment", 1_000_000, "reads"),
    "G9": Goal("concurrent ainvoke with cancellation and time-outs", 100_000, "calls"),
    "G10": Goal("several processes on one folder, one killed now and then", 200, "kills"),
    "G11": Goal("fork, forkserver and spawn after use", 200, "processes"),
    "G12": Goal("hostile texts, ids and metadata: exact round trip or a clear error", 100_000, "documents"),
    "G13": Goal("bad vectors, also under python -O", 50, "cases"),
    "G14": Goal("a wrong model is noticed", 8, "cases"),
    "G15": Goal("real models in threads equal the serial run", 22_000, "calls"),
    "G16": Goal("faults of the re-ranker", 30, "cases"),
    "G17": Goal("attacks on a bundle: no code is run", 50, "attacks"),
    "G18": Goal("offline", 6, "cases"),
    "G19": Goal("killed tuning goes on from a complete checkpoint", 50, "kills"),
    "G20": Goal("old and future formats", 20, "kills of a migration"),
    "G21": Goal("soak: memory, files and threads do not grow", 2_000_000, "operations"),
    "G22": Goal("signals to the command", 200, "signals"),
    "G23": Goal("safety is not bought with slowness", 6, "guards"),
    "G24": Goal("deliberate bugs are caught", 12, "bugs"),
}


@dataclass
class Count:
    """What one test did for a goal.

    Attributes:
        done: In the goal's unit.
        failures: How often what is asked did not hold.
        note: A figure worth telling beside the count.
    """

    done: int = 0
    failures: int = 0
    note: str = ""


@dataclass(frozen=True)
class Record:
    """One test's share in a goal."""

    goal: str
    test: str
    scale: str
    done: int
    failures: int
    seconds: float
    note: str


@contextmanager
def recorded(goal: str, test: str, folder: Path = RECORDS) -> Iterator[Count]:
    """Count within the block; write it down at its end, an error counting as one failure more."""
    if goal not in GOALS:
        raise KeyError(goal)
    count, started = Count(), time.perf_counter()
    try:
        yield count
    except BaseException:
        count.failures += 1
        raise
    finally:
        record = Record(goal, test, SCALE, seconds=time.perf_counter() - started, **asdict(count))
        folder.mkdir(exist_ok=True)
        name = "".join(
            letter if letter.isalnum() else "-" for letter in test.removeprefix("tests/reliability/")
        )
        (folder / f"{goal}.{name}.json").write_text(json.dumps(asdict(record)), encoding="utf-8")


def records(folder: Path = RECORDS) -> list[Record]:
    """The newest record of every test that wrote one."""
    return [Record(**json.loads(path.read_text(encoding="utf-8"))) for path in sorted(folder.glob("G*.json"))]


def table(found: Iterable[Record]) -> str:
    """Markdown: one row a goal, in the order of their numbers, those that nothing was done for included."""
    shown = list(found)
    lines = ["| | what must hold | asked | done | failures | minutes | |", "|---|---|---|---|---|---|---|"]
    for name, goal in GOALS.items():
        mine = [record for record in shown if record.goal == name]
        done = sum(record.done for record in mine)
        failures = sum(record.failures for record in mine)
        minutes = sum(record.seconds for record in mine) / 60
        notes = "; ".join(record.note for record in mine if record.note)
        asked = f"{goal.asked:,} {goal.unit}"
        lines.append(f"| {name} | {goal.claim} | {asked} | {done:,} | {failures} | {minutes:.1f} | {notes} |")
    return "\n".join(lines)
