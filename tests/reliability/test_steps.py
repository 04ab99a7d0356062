"""G2: a process that dies before or after any step leaves the state before or after its call, and can go on."""

import random
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from .scale import SCALE, at_scale
from .steps_kill import Point, kill_at, steps_of
from .steps_scripts import FilesScript, Script, StoreScript
from .steps_scripts_bundle import BundleScript


def store_script(seed: int) -> Script:
    # By turns, so that each step is killed at in stores with and without a graph.
    return StoreScript(seed, ("flat", "hnsw")[seed % 2])


def run_script(seed: int) -> Script:
    # torch and transformers come with it.
    from .steps_scripts_run import RunScript

    return RunScript(seed)


#: Of each kind of script: how many are killed at every step by the full numbers, and at how many steps one is below.
SCRIPTS: dict[str, tuple[Callable[[int], Script], int, int]] = {
    "store": (store_script, 20, at_scale(16, 80, 0)),
    "bundle": (BundleScript, 5, at_scale(8, 50, 0)),
    "reports and run files": (FilesScript, 20, at_scale(6, 50, 0)),
    "tuning run": (run_script, 5, at_scale(0, 30, 0)),
}
NIGHTLY = SCALE == "nightly"


# At the smallest scale, torch is not loaded for this.
@pytest.mark.parametrize("name", [name for name in SCRIPTS if NIGHTLY or SCRIPTS[name][2]])
def test_a_kill_at_any_step(quick: Path, goal, seed: int, name: str) -> None:
    make, seeds, sample = SCRIPTS[name]
    rng, kills = random.Random(seed), 0
    with goal("G2") as count:
        for number in range(seed, seed + (seeds if NIGHTLY else 1)):
            script, folder = make(number), quick / str(number)
            folder.mkdir()
            names = steps_of(script, folder)
            points = [Point(step, taken) for step in range(1, len(names) + 1) for taken in (False, True)]
            for point in points if NIGHTLY else sorted(rng.sample(points, sample)):
                one_kill(script, quick / "root", point, names)
                kills += 1
            # What the goal asks for is of the store; the others are told of beside it.
            count.done += NIGHTLY and name == "store"
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
