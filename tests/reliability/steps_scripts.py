"""Scripts of calls on one folder, for kills at each of their steps and for power losses in between.

A script tells when a call has returned, and can check what a folder holds that it was interrupted in.
"""

import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from langchain_rerank_retriever.files import written_whole
from langchain_rerank_retriever.formats.trec import read_run, write_run
from langchain_rerank_retriever.store import FaissStore
from tests.store.helpers import FastEmbeddings

from .killing_check import check, without_warnings
from .killing_series import Call, Series, document, often, perform

#: From this age on, what a killed process left under a temporary name is removed by the next to write there.
ABANDONED_HOURS = 24


class Script(Protocol):
    """Calls that are the same each time for one seed."""

    def play(self, root: Path, done: Callable[[], object]) -> None:
        """Make all calls in a folder that is empty; tells after each that it has returned."""

    def check(self, root: Path, done: int) -> None:
        """AssertionError unless the folder shows the state after so many calls, or after the next as well."""

    def tidy(self, root: Path) -> None:
        """Write once more; AssertionError unless exactly what is allowed remains of an interrupted call."""


class StoreScript:
    """Everything that a store can be asked for.

    Args:
        seed: For texts, ids and which of them are changed.
        index: Of the store; with a graph from 12 documents on.
        lexical: Of the store.
        above: The folder that the store's is in; "." for one that is there.
    """

    ORDER = (
        *("add", "upsert", "snapshot", "save", "reopen", "relabel", "delete", "add", "save"),
        *("reembed", "snapshot", "repair", "add", "remake", "reopen", "save", "clear", "add", "snapshot"),
    )

    def __init__(
        self, seed: int, index: str = "flat", *, lexical: bool | str = True, above: str = "."
    ) -> None:
        self._index, self._lexical, self._above = index, lexical, above
        rng = random.Random(seed)
        self._calls: list[Call] = []
        self._states = [Series()]
        for kind in self.ORDER:
            call = self._states[-1].prepare(rng, 16, kind)
            self._calls.append(call)
            self._states.append(self._states[-1].apply(call))
        self._extra = document(rng)

    def folders(self, root: Path) -> tuple[Path, Path]:
        return root / self._above / "store", root / "copies" / "copy"

    def play(self, root: Path, done: Callable[[], object]) -> None:
        folder, copy_folder = self.folders(root)
        with often(quiet=3600.0, graph_rows=12):
            store = FaissStore(FastEmbeddings(), path=folder, index=self._index, lexical=self._lexical)
            done()
            for call in self._calls:
                store = perform(store, call, copy_folder)
                done()
            store.close()
            done()

    def check(self, root: Path, done: int) -> None:
        folder, copy_folder = self.folders(root)
        if not done:
            with without_warnings(), FaissStore(FastEmbeddings(), path=folder) as store:
                assert len(store) == 0
                assert store.verify(deep=True).ok
            return
        before, after = (self._states[min(place, len(self._states) - 1)] for place in (done - 1, done))
        interrupted = self._calls[done - 1][0] if done <= len(self._calls) else "close"
        check(folder, before.store, after.store, mend=interrupted == "repair")
        if after.saved is not None:
            check(copy_folder, before.saved, after.saved)

    def tidy(self, root: Path) -> None:
        folder, copy_folder = self.folders(root)
        with often(quiet=3600.0), FaissStore(FastEmbeddings(), path=folder, check_model=False) as store:
            store.clear()
            store.add_texts([self._extra[0]], ids=["extra"])
            store._engine.views.upkeep.wait(None)
            store.save_local(copy_folder)
            assert set(names(copy_folder.parent)) <= {"copy", ".copy.tmp-*"}
            age(copy_folder.parent)
            store.save_local(copy_folder)
        assert names(copy_folder.parent) == ["copy"]
        for one in (folder, copy_folder):
            assert set(names(one)) - {"build.lock", "snapshot.lock"} == {"store.db", "view-*.snapshot"}
            assert len(list(one.glob("view-*"))) == 1


class FilesScript:
    """Reports and run files, written one over the other."""

    def __init__(self, seed: int) -> None:
        rng = random.Random(seed)
        #: Longer than a buffer, and than a page of a disk.
        self._versions = [{f"q{n}": [f"d{rng.getrandbits(60):x}"] for n in range(400)} for _ in range(4)]

    def play(self, root: Path, done: Callable[[], object]) -> None:
        for version in self._versions:
            self._write(root, version)
            done()

    @staticmethod
    def _write(root: Path, version: dict[str, list[str]]) -> None:
        with written_whole(root / "new" / "reports" / "report.json") as file:
            json.dump(version, file)
        write_run(root / "run.trec", version)

    def check(self, root: Path, done: int) -> None:
        expected = [*[None, *self._versions][done:][:2]]
        report, run = root / "new" / "reports" / "report.json", root / "run.trec"
        shown = [json.loads(report.read_text(encoding="utf-8")) if report.exists() else None]
        shown.append({query: list(ids) for query, ids in read_run(run).items()} if run.exists() else None)
        assert shown[0] in expected, f"{report} shows neither before nor after"
        assert shown[1] in expected, f"{run} shows neither before nor after"

    def tidy(self, root: Path) -> None:
        self._write(root, self._versions[0])
        assert set(names(root)) <= {"new", "run.trec", ".run.trec.tmp-*"}
        for folder in (root, root / "new" / "reports"):
            age(folder)
        self._write(root, self._versions[0])
        assert names(root) == ["new", "run.trec"]
        assert names(root / "new" / "reports") == ["report.json"]


def names(folder: Path) -> list[str]:
    """What lies in a folder, without what is drawn at random."""
    from .steps import named

    return sorted({named(entry.name) for entry in folder.iterdir()})


def age(folder: Path) -> None:
    """Make everything in a folder older than what may still be at work."""
    past = time.time() - (ABANDONED_HOURS + 1) * 3600
    for entry in folder.iterdir():
        os.utime(entry, (past, past), follow_symlinks=False)
