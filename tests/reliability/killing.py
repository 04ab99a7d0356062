"""Kill a writing process at random moments; what is reopened must be the state before or after the interrupted call.

Every change is worth a snapshot here, so kills fall into the writing of snapshots as well.

Run a long series by hand: python -m tests.reliability.killing --kills 200 --documents 20000 --batch 200
"""

import argparse
import json
import mmap
import os
import random
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from langchain_rerank_retriever.store import FaissStore
from tests.store.helpers import FastEmbeddings

from .killing_check import check
from .killing_series import Content, Series, document, often, perform
from .steps import Step, watched
from .steps_scripts import Script

#: A child tells that it is ready, and that a call has returned.
READY, DONE = b"r", b"d"
#: Seconds that it may be silent.
_PATIENCE = 60.0
Tell = Callable[[bytes], object]
#: Steps in which a kill is of most interest: the writing of a transaction's log, and of a snapshot until it is named.
_COMMIT, _SNAPSHOT = "COMMIT", "save a snapshot"


@dataclass(frozen=True)
class Killed:
    """How a child was found when it was killed.

    Attributes:
        acknowledged: How many calls had returned.
        inside: The steps of interest that it was in.
        pace: Seconds that a call took; None where none was waited for.
    """

    acknowledged: int
    inside: frozenset[str]
    pace: float | None


def kill(play: Callable[[Tell], None], *, calls: int, wait: float) -> Killed:
    """Fork, and kill the child in the middle of something.

    Args:
        play: What the child does; tells `READY` once, then `DONE` after every call, and does not come to an end.
        calls: How many of its calls are let return.
        wait: Seconds from then on.
    """
    reader, writer = os.pipe()
    flags = mmap.mmap(-1, mmap.PAGESIZE)
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        try:
            with _flagged(flags):
                play(lambda word: os.write(writer, word))
        except BaseException:
            traceback.print_exc()
            raise
        finally:
            os._exit(3)
    os.close(writer)
    told = _heard(reader, 1)
    started = time.monotonic()
    told += _heard(reader, calls)
    pace = (time.monotonic() - started) / calls if calls else None
    time.sleep(wait)
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    while part := os.read(reader, 65536):
        told += part
    os.close(reader)
    inside = frozenset(name for place, name in enumerate((_COMMIT, _SNAPSHOT)) if flags[place])
    flags.close()
    if not os.WIFSIGNALED(status):
        raise AssertionError(f"the child ended by itself with status {status}")
    if len(told) <= calls:
        raise AssertionError(f"the child told {told!r} within {_PATIENCE:.0f} seconds")
    return Killed(told.count(DONE), inside, pace)


def _heard(reader: int, count: int) -> bytes:
    """So many words of a child, fewer where it says nothing for too long."""
    told = b""
    while len(told) < count and select.select([reader], [], [], _PATIENCE)[0]:
        part = os.read(reader, count - len(told))
        if not part:
            break
        told += part
    return told


def _flagged(flags: mmap.mmap):
    """Note in memory that outlives this process in which steps of interest it is."""
    places = {_COMMIT: 0, _SNAPSHOT: 1}

    def note(value: int) -> Callable[[Step], None]:
        def hook(step: Step) -> None:
            if step.name in places:
                flags[places[step.name]] = value

        return hook

    return watched(note(1), note(0))


def change(folder: Path, copy_folder: Path, series: Series, seed: int, batch: int) -> Callable[[Tell], None]:
    """What a child does: change the store until it is killed."""

    def play(tell: Tell) -> None:
        nonlocal series
        with often():
            store = FaissStore(FastEmbeddings(seed=series.store.model), path=folder)
            rng = random.Random(seed)
            tell(READY)
            while True:
                call = series.prepare(rng, batch)
                store = perform(store, call, copy_folder)
                series = series.apply(call)
                tell(DONE)

    return play


def playing(script: Script, root: Path) -> Callable[[Tell], None]:
    """What a child does: play a script, and wait at its end to be killed."""

    def play(tell: Tell) -> None:
        tell(READY)
        script.play(root, lambda: tell(DONE))
        signal.pause()

    return play


def begin(folder: Path, documents: int, index: str, rng: random.Random) -> Content:
    """Make the store of a series, with a snapshot, and a graph where there is to be one."""
    first = {f"first-{i}": document(rng) for i in range(documents)}
    with often(quiet=3600.0), FaissStore(FastEmbeddings(), path=folder, index=index) as store:
        texts = [text for text, _ in first.values()]
        vectors = np.array([FastEmbeddings().vector(text) for text in texts])
        store.add_embeddings(texts, vectors, [data for _, data in first.values()], ids=list(first))
        store._engine.views.upkeep.wait(None)
    return Content(first)


def run(
    *,
    kills: int,
    documents: int,
    batch: int,
    calls: int,
    seed: int,
    index: str,
    folder: Path,
    say: Callable[[str], object],
) -> dict[str, int]:
    """A series of kills on one folder.

    Args:
        kills: How many.
        documents: In the store at first.
        batch: Documents that a call adds or changes at most.
        calls: How many calls a child is let return from at most; it is killed some time in the next, or the one after.
        seed: For all that is random but the moment.
        index: Of the store.
        folder: For the store and its copy.
        say: Told after every kill how things stand.

    Returns:
        Counts: kills, acknowledged calls, interrupted calls that had happened whole and not at all, and where it was
        that the kills fell.
    """
    rng = random.Random(seed)
    store_folder, copy_folder = folder / "store", folder / "copy"
    series = Series(begin(store_folder, documents, index, rng))
    counts, pace = dict.fromkeys(_COUNTS, 0), 0.02
    for _ in range(kills):
        child_seed = rng.getrandbits(32)
        child = change(store_folder, copy_folder, series, child_seed, batch)
        killed = kill(child, calls=rng.randint(0, calls), wait=rng.random() * 1.5 * pace)
        pace = killed.pace or pace
        counts["kills"] += 1
        counts["acknowledged"] += killed.acknowledged
        counts["half a snapshot"] += any(store_folder.glob("*.snapshot.tmp"))
        counts["with a snapshot"] += any(store_folder.glob("*.snapshot"))
        counts["in a commit"] += _COMMIT in killed.inside
        counts["in a snapshot"] += _SNAPSHOT in killed.inside
        counts["in either"] += bool(killed.inside)
        replay = random.Random(child_seed)
        for _ in range(killed.acknowledged):
            series = series.apply(series.prepare(replay, batch))
        series = _found(store_folder, copy_folder, series, replay, batch, counts)
        say(f"{counts} documents: {len(series.store.documents)}")
    return counts


_COUNTS = (
    "kills",
    "acknowledged",
    "interrupted, done",
    "interrupted, not done",
    "half a snapshot",
    "with a snapshot",
    "in a commit",
    "in a snapshot",
    "in either",
)


def _found(
    store_folder: Path,
    copy_folder: Path,
    series: Series,
    replay: random.Random,
    batch: int,
    counts: dict[str, int],
) -> Series:
    """The state that a killed child left; AssertionError where it is none that it may be."""
    call = series.prepare(replay, batch)
    after = series.apply(call)
    happened = check(store_folder, series.store, after.store, mend=call[0] == "repair")
    saved = series.saved
    if after.saved is not saved:
        saved = after.saved if check(copy_folder, saved, after.saved) else saved
    elif saved is not None:
        check(copy_folder, saved, None)
    if after.store is not series.store:
        counts["interrupted, done" if happened else "interrupted, not done"] += 1
    return Series(after.store if happened else series.store, saved)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--documents", type=int, default=60)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--calls", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--index", default="flat")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        counts = run(**vars(options), folder=Path(folder), say=lambda line: sys.stderr.write(f"{line}\n"))
    sys.stdout.write(f"{json.dumps(counts)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
