"""G2: a process that dies before or after any step leaves the state before or after its call, and can go on."""

import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from .scale import SCALE, at_scale
from .steps_kill import Point, kill_at, steps_of
from .steps_scripts import FilesScript, Script, StoreScript
from .steps_scripts_bundle import BundleScript

#: How many scripts are killed at every step; below the full numbers, one of each kind at some of them.
SEEDS = at_scale(1, 1, 20)


@pytest.fixture
def quick() -> Iterator[Path]:
    """A folder in memory where there is one: what was written is there for a process that follows, synced or not."""
    with TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
        yield Path(folder)


def store_script(seed: int) -> Script:
    # By turns, so that each step is killed at in stores with and without a graph.
    return StoreScript(seed, ("flat", "hnsw")[seed % 2])


def run_script(seed: int) -> Script:
    # torch and transformers come with it.
    from .steps_scripts_run import RunScript

    return RunScript(seed)


SCRIPTS: dict[str, tuple[Callable[[int], Script], int]] = {
    "store": (store_script, at_scale(24, 200, 0)),
    "bundle": (BundleScript, at_scale(12, 60, 0)),
    "reports and run files": (FilesScript, at_scale(10, 60, 0)),
    "tuning run": (run_script, at_scale(0, 60, 0)),
}


# At the smallest scale, torch is not loaded for this.
@pytest.mark.parametrize("name", [name for name in SCRIPTS if SCALE != "everyday" or SCRIPTS[name][1]])
def test_a_kill_at_any_step(quick: Path, goal, seed: int, name: str) -> None:
    make, sample = SCRIPTS[name]
    rng, kills, seen = random.Random(seed), 0, Counter()
    with goal("G2") as count:
        for number in range(seed, seed + SEEDS):
            script, folder = make(number), quick / str(number)
            folder.mkdir()
            names = steps_of(script, folder)
            points = [Point(step, taken) for step in range(1, len(names) + 1) for taken in (False, True)]
            for point in sorted(rng.sample(points, min(sample or len(points), len(points)))):
                one_kill(script, quick / "root", point, names)
                seen[names[point.number - 1]] += 1
                kills += 1
            count.done += SCALE == "nightly"
            count.note = (
                f"{name}: {kills:,} kills before and after {len(names)} steps, {len(set(names))} by name"
            )


def one_kill(script: Script, root: Path, point: Point, names: list[str]) -> None:
    with TemporaryDirectory(dir=root.parent) as folder:
        root = Path(folder)
        done = kill_at(script, root, point)
        try:
            script.check(root, done)
            script.tidy(root)
        except Exception as error:
            when = "after" if point.taken else "before"
            raise AssertionError(f"killed {when} step {point.number}, {names[point.number - 1]!r}") from error


def test_the_steps_of_a_script_are_those_that_matter(quick: Path) -> None:
    """Were a step taken by another function some day, it would be missed here, and kills at it with it."""
    taken = set(steps_of(StoreScript(0), quick))
    assert taken >= {
        *("BEGIN IMMEDIATE", "COMMIT", "VACUUM INTO", "backup", "close", "PRAGMA journal_mode"),
        *("CREATE TABLE state", "INSERT INTO document", "INSERT INTO vector", "INSERT INTO lexical"),
        *("DELETE FROM document", "INSERT INTO tombstone", "UPDATE state", "INSERT OR REPLACE INTO snapshot"),
        *("save a snapshot", "open view-*.snapshot.tmp", "fsync view-*.snapshot.tmp"),
        *("rename view-*.snapshot.tmp to view-*.snapshot", "fsync store", "unlink view-*.snapshot"),
        *("mkdir .copy.tmp-*", "rename .copy.tmp-* to copy", "fsync copies", "rmdir .copy.tmp-*"),
        *("publish a change", "make the view", "replace the view"),
    }


def test_what_a_kill_leaves_under_a_temporary_name_is_noticed(quick: Path, monkeypatch) -> None:
    """The harness sees what it is there for."""
    from langchain_rerank_retriever import files

    monkeypatch.setattr(files, "_ABANDONED", float("inf"))
    script = FilesScript(0)
    names = steps_of(script, quick)
    number = names.index("fsync .report.json.tmp-*") + 1
    with pytest.raises(AssertionError, match="killed after step"):
        one_kill(script, quick / "root", Point(number, taken=True), names)
