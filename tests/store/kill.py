"""Kill a writing process at random moments; what is reopened must be the state before or after the interrupted call.

Every change is worth a snapshot here, so kills fall into the writing of snapshots as well.

Run a long series by hand: python -m tests.store.kill --kills 200 --documents 20000
"""

import argparse
import copy
import os
import random
import select
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from langchain_rerank_retriever.store import FaissStore, indexing, snapshots, upkeep

from .helpers import FastEmbeddings, content, stored_vectors, unit

WORDS = ("retrieval", "vector", "검색", "문서", "index", "crash", "durable", "색인", "page", "model")
Model = dict[str, tuple[str, dict[str, Any]]]
KINDS = ("add", "upsert", "relabel", "delete", "replace", "save", "reopen")


@dataclass
class Series:
    """The expected content of a folder and of the copy that saves go to."""

    documents: Model = field(default_factory=dict)
    saved: Model | None = None

    def prepare(self, rng: random.Random, batch: int) -> tuple[str, Any]:
        """The next call, decided by the random numbers and the documents alone, so that both processes agree."""
        kind = rng.choices(KINDS, weights=(5, 5, 3, 5, 2, 0.3, 2))[0]
        names = list(self.documents)
        some = rng.sample(names, min(len(names), rng.randint(1, batch)))
        if kind in {"add", "replace"} or (not some and kind not in {"save", "reopen"}):
            new = {f"id-{rng.getrandbits(60):x}": self._document(rng) for _ in range(rng.randint(1, batch))}

            return "add", new
        if kind == "upsert":
            return "add", {name: self._document(rng) for name in some}
        if kind == "relabel":
            return "add", {name: (self.documents[name][0], {"label": rng.random()}) for name in some}
        return kind, some

    def _document(self, rng: random.Random) -> tuple[str, dict[str, Any]]:
        text = " ".join(rng.choices(WORDS, k=rng.randint(1, 12))) + f" {rng.getrandbits(32):x}"
        return text, {
            "year": rng.randint(1990, 2025),
            "tags": rng.sample(WORDS, 2),
            "nested": {"flag": rng.random() < 0.5},
        }

    def apply(self, call: tuple[str, Any]) -> "Series":
        kind, what = call
        after = Series(dict(self.documents), self.saved)
        if kind == "add":
            after.documents.update(what)
        elif kind == "delete":
            for name in what:
                after.documents.pop(name)
        elif kind == "save":
            after.saved = dict(self.documents)
        return after


def perform(store: FaissStore, call: tuple[str, Any], copy_folder: Path) -> FaissStore:
    kind, what = call
    if kind == "add":
        store.add_texts(
            [text for text, _ in what.values()],
            [copy.deepcopy(data) for _, data in what.values()],
            ids=list(what),
        )
    elif kind == "delete":
        store.delete(what)
    elif kind == "save":
        store.save_local(copy_folder)
    else:
        store.close()
        return FaissStore(FastEmbeddings(), path=store.path, memory_map=len(what) % 2 == 0)
    return store


def often() -> None:
    """Have a snapshot written after every change, and graphs of small stores."""
    snapshots.MIN_ROWS, snapshots.DRIFT, upkeep.QUIET = 1, 0.0, 0.0
    indexing.GRAPH_ROWS = 100


def child(folder: Path, copy_folder: Path, series: Series, seed: int, batch: int, report: int) -> None:
    """Change the store until killed, with one byte to the pipe after opening and after every finished call."""
    often()
    store = FaissStore(FastEmbeddings(), path=folder)
    rng = random.Random(seed)
    os.write(report, b"r")
    while True:
        call = series.prepare(rng, batch)
        store = perform(store, call, copy_folder)
        series = series.apply(call)
        os.write(report, b"d")


def run_child(arguments: tuple[Any, ...], wait: float) -> int:
    """Fork, kill after a while, and return how many calls were acknowledged."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        try:
            child(*arguments, writer)
        finally:
            os._exit(3)
    os.close(writer)
    if not select.select([reader], [], [], 60)[0]:
        os.kill(pid, signal.SIGKILL)
        raise AssertionError("the child did not open the store within a minute")
    time.sleep(wait)
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    acknowledged = b""
    while part := os.read(reader, 65536):
        acknowledged += part
    os.close(reader)
    if not os.WIFSIGNALED(status):
        raise AssertionError(f"the child ended by itself with status {status}")
    return acknowledged.count(b"d")


def differences(store: FaissStore, expected: Model, embeddings: FastEmbeddings) -> str:
    """What is not as expected, or an empty text."""
    found = content(store)
    if found != expected:
        names = [name for name in {**found, **expected} if found.get(name) != expected.get(name)]
        return f"{len(names)} of {len(expected)} documents differ, for example {names[:3]}"
    vectors = stored_vectors(store)
    if vectors.keys() != expected.keys():
        return "the ids of vectors and documents differ"
    if expected:
        made = np.stack([unit(embeddings.vector(text)) for text, _ in expected.values()])
        kept = np.stack([vectors[name] for name in expected])
        if not np.array_equal(made.astype(np.float32), kept) and not np.allclose(
            made, kept, atol=1e-7, rtol=0
        ):
            return "vectors differ"
    result = store.verify(deep=True)
    return "; ".join(result.problems)


def check(folder: Path, before: Model | None, after: Model | None) -> bool:
    """Whether the folder shows the later of two states; AssertionError where it shows neither."""
    embeddings = FastEmbeddings()
    if before is None and not folder.exists():
        return False
    with FaissStore.load_local(folder, embeddings) as store:
        late = "" if after is None else differences(store, after, embeddings)
        if after is not None and not late:
            return True
        early = "there was nothing before" if before is None else differences(store, before, embeddings)
        if early:
            raise AssertionError(
                f"{folder}: neither before ({early}) nor after ({late}) the interrupted call"
            )
    return False


def run(
    *,
    kills: int,
    documents: int,
    batch: int,
    seconds: float,
    seed: int,
    index: str,
    folder: Path,
    say: Callable[[str], object],
) -> dict[str, int]:
    """A series of kills on one folder.

    Returns:
        Counts: kills, acknowledged calls, and interrupted calls that had happened whole and not at all.
    """
    rng = random.Random(seed)
    store_folder, copy_folder = folder / "store", folder / "copy"
    series = Series()
    with FaissStore(FastEmbeddings(), path=store_folder, index=index) as store:
        first = {f"first-{i}": series._document(rng) for i in range(documents)}
        texts = [text for text, _ in first.values()]
        vectors = np.array([FastEmbeddings().vector(text) for text in texts])
        store.add_embeddings(texts, vectors, [data for _, data in first.values()], ids=list(first))
        series.documents = first
    counts = dict.fromkeys(
        (
            "kills",
            "acknowledged",
            "interrupted, done",
            "interrupted, not done",
            "half a snapshot",
            "with a snapshot",
        ),
        0,
    )
    for _ in range(kills):
        child_seed = rng.getrandbits(32)
        arguments = (store_folder, copy_folder, series, child_seed, batch)
        done = run_child(arguments, rng.random() * seconds)
        counts["half a snapshot"] += any(store_folder.glob("*.snapshot.tmp"))
        counts["with a snapshot"] += any(store_folder.glob("*.snapshot"))
        replay = random.Random(child_seed)
        for _ in range(done):
            series = series.apply(series.prepare(replay, batch))
        after = series.apply(series.prepare(replay, batch))
        happened = check(store_folder, series.documents, after.documents)
        if after.saved is not series.saved:
            series.saved = after.saved if check(copy_folder, series.saved, after.saved) else series.saved
        elif series.saved is not None:
            check(copy_folder, series.saved, None)
        interrupted_change = after.documents != series.documents
        counts["kills"] += 1
        counts["acknowledged"] += done
        if interrupted_change:
            counts["interrupted, done" if happened else "interrupted, not done"] += 1
        series = Series(after.documents if happened else series.documents, series.saved)
        say(f"{counts} documents: {len(series.documents)}")
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--batch", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--index", default="flat")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        counts = run(**vars(options), folder=Path(folder), say=lambda line: sys.stderr.write(f"{line}\n"))
    sys.stdout.write(f"{counts}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
