"""G1: a process that is killed at a random moment leaves the state before or after its call."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from langchain_rerank_retriever.store import changes

from .killing import kill, playing, run
from .scale import at_scale
from .steps_scripts_bundle import BundleScript

ROOT = Path(__file__).parents[2]
#: Of a series: index, documents at its beginning, documents a call at most; from a hundred on there is a graph.
SERIES = (("flat", 40, 8), ("hnsw", 130, 8), ("auto", 0, 20), ("flat", 300, 60))
#: So many kills make a series, and so many series run side by side.
LENGTH, PROCESSES = 100, 2
TOTAL = at_scale(12, 100, 9_800)


def checked(counts: dict[str, int], kills: int) -> None:
    assert counts["kills"] == kills
    assert counts["acknowledged"] > 0
    assert counts["interrupted, done"] + counts["interrupted, not done"] > 0
    assert counts["with a snapshot"] > 0.4 * kills


@pytest.mark.parametrize("index", ["flat", "hnsw"])
def test_a_killed_writer_leaves_the_state_before_or_after_its_call(
    tmp_path: Path, index: str, goal, seed: int
) -> None:
    kills = at_scale(8, 40, 100)
    with goal("G1") as count:
        counts = run(
            kills=kills,
            documents=120,
            batch=30,
            calls=2,
            seed=seed,
            index=index,
            folder=tmp_path,
            say=lambda line: setattr(count, "done", count.done + 1),
        )
    checked(counts, kills)


def test_many_short_series(goal, seed: int) -> None:
    rng = random.Random(seed)
    waiting = [(rng.getrandbits(32), *SERIES[number % len(SERIES)]) for number in range(-(-TOTAL // LENGTH))]
    kills = min(TOTAL, LENGTH)
    added: dict[str, int] = {}
    with goal("G1") as count:
        while waiting:
            together, waiting = waiting[:PROCESSES], waiting[PROCESSES:]
            for counts in side_by_side(together, kills):
                checked(counts, kills)
                count.done += counts["kills"]
                added = {name: added.get(name, 0) + number for name, number in counts.items()}
        share = added["in either"] / added["kills"]
        count.note = (
            f"{share:.0%} of the kills of series inside a commit ({added['in a commit'] / added['kills']:.0%}) or with "
            f"a snapshot in the making; {added['acknowledged']:,} calls were acknowledged"
        )
        assert share >= 0.2


def side_by_side(series: list[tuple[int, str, int, int]], kills: int) -> list[dict[str, int]]:
    started = []
    for number, index, documents, batch in series:
        options = {"kills": kills, "seed": number, "index": index, "documents": documents, "batch": batch}
        command = [sys.executable, "-m", "tests.reliability.killing"]
        command += [word for name, value in options.items() for word in (f"--{name}", str(value))]
        started.append(
            (
                command,
                subprocess.Popen(
                    command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
                ),
            )
        )
    ended = []
    for command, process in started:
        out, err = process.communicate()
        ended.append((command, process.returncode, out, err))
    for command, code, _, err in ended:
        assert code == 0, f"{' '.join(command)}\n{err[-4000:]}"
    return [json.loads(out) for _, _, out, _ in ended]


def test_a_bundle_that_is_saved_over_an_earlier_one(tmp_path: Path, goal, seed: int) -> None:
    rng = random.Random(seed)
    with goal("G1") as count:
        for number in range(at_scale(4, 20, 200)):
            script, root = BundleScript(rng.getrandbits(32)), tmp_path / str(number)
            root.mkdir()
            killed = kill(
                playing(script, root), calls=rng.randrange(1, len(script.ORDER)), wait=rng.random() * 0.05
            )
            script.check(root, killed.acknowledged)
            script.tidy(root)
            count.done += 1


def test_a_transaction_that_is_split_in_two_is_found(tmp_path: Path, monkeypatch, seed: int) -> None:
    """The harness sees what it is there for."""
    whole = changes._write_vectors

    def split(connection, number, vectors) -> None:
        connection.execute("COMMIT")
        connection.execute("BEGIN IMMEDIATE")
        whole(connection, number, vectors)

    monkeypatch.setattr(changes, "_write_vectors", split)
    with pytest.raises(AssertionError, match=r"neither before|damaged|verify|vectors"):
        run(
            kills=200,
            documents=20,
            batch=8,
            calls=2,
            seed=seed,
            index="flat",
            folder=tmp_path,
            say=lambda line: None,
        )
