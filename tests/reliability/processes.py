"""Processes that add, delete and search in one folder, some of which are killed.

Each writes down in a file of its own what it is about to do, and that it was done. What a process had written before
it was killed stays, so the files together say what the store must hold, and any process can see what others must show.
"""

import os
import random
import signal
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from langchain_rerank_retriever.store import FaissStore
from tests.store.helpers import FastEmbeddings, content

#: Seconds within which anything must have happened, on a slow and busy machine.
PATIENCE = 120.0


@dataclass
class Ledger:
    """What one process did.

    Attributes:
        held: Its documents, as acknowledged.
        gone: Those that it deleted; an id is never used again.
        open_kind: "+" or "-" where a call was begun and not acknowledged.
        open_names: The documents of that call.
        calls: How many were acknowledged.
        sightings: How often it was seen that another's documents are there, or gone.
    """

    held: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    open_kind: str = ""
    open_names: set[str] = field(default_factory=set)
    calls: int = 0
    sightings: int = 0

    @classmethod
    def read(cls, file: Path) -> "Ledger":
        ledger = cls()
        text = file.read_text() if file.exists() else ""
        for line in text[: text.rfind("\n") + 1].splitlines():
            kind, *names = line.split()
            if kind in {"+", "-"}:
                ledger.open_kind, ledger.open_names = kind, set(names)
            elif kind == ".":
                ledger._acknowledge()
            else:
                ledger.sightings += 1
        return ledger

    def _acknowledge(self) -> None:
        if self.open_kind == "+":
            self.held |= self.open_names
        else:
            self.held -= self.open_names
            self.gone |= self.open_names
        self.calls += 1
        self.open_kind, self.open_names = "", set()

    @property
    def certain(self) -> set[str]:
        """What must be there whatever became of the open call."""
        return self.held - self.open_names


class Worker:
    """What a child does until it is killed or told to stop."""

    def __init__(self, folder: Path, name: str, seed: int, index: str) -> None:
        self._folder, self._name, self._index = folder, name, index
        self._rng = random.Random(f"{seed} {name}")
        self._mine: list[str] = []
        self._count = 0

    def run(self) -> None:
        with FaissStore(FastEmbeddings(), path=self._folder / "store", index=self._index) as store:
            self._log = os.open(self._folder / self._name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            while not (self._folder / "stop").exists():
                self._change(store)
                self._look(store)

    def _change(self, store: FaissStore) -> None:
        if self._mine and self._rng.random() < 0.4:
            names = [
                self._mine.pop(self._rng.randrange(len(self._mine))) for _ in range(min(2, len(self._mine)))
            ]
            self._write("-", *names)
            store.delete(names)
            self._write(".")
            assert store.get_by_ids(names) == []
            assert names[0] not in self._ask(store, names[0], 3)
            return
        names = [f"{self._name}.{self._count + number}" for number in range(self._rng.randint(1, 3))]
        self._count += len(names)
        self._write("+", *names)
        store.add_texts([f"text {name}" for name in names], [{"by": self._name}] * len(names), ids=names)
        self._write(".")
        self._mine += names
        assert [document.id for document in store.get_by_ids(names)] == names

    def _look(self, store: FaissStore) -> None:
        """What another has been told is done shows at once."""
        others = [file for file in ledgers(self._folder) if file.name != self._name]
        if not others:
            return
        file = self._rng.choice(others)
        before = Ledger.read(file)
        if before.gone and self._rng.random() < 0.3:
            name = self._rng.choice(sorted(before.gone))
            assert name not in self._ask(store, name, 3), name
            self._write("s")
        elif before.certain:
            name = self._rng.choice(sorted(before.certain))
            found = self._ask(store, name, 1)
            if name in Ledger.read(file).certain:
                assert found == [name], (name, found)
                self._write("s")

    def _ask(self, store: FaissStore, name: str, k: int) -> list[str | None]:
        """Ids by an id or by a search for its text, which is nearest to itself."""
        found = (
            store.get_by_ids([name])
            if self._rng.random() < 0.3
            else store.similarity_search(f"text {name}", k)
        )
        assert all(each.page_content == f"text {each.id}" for each in found), found
        return [each.id for each in found]

    def _write(self, kind: str, *names: str) -> None:
        os.write(self._log, f"{' '.join((kind, *names))}\n".encode())


def ledgers(folder: Path) -> list[Path]:
    return sorted(folder.glob("p*-*"))


class Family:
    """Four workers; one is killed now and then, and another takes its place."""

    SIZE = 4

    def __init__(self, folder: Path, seed: int, *, index: str) -> None:
        self._folder, self._seed, self._index = folder, seed, index
        self._rng = random.Random(seed)
        self._running: dict[int, str] = {}
        self.kills = 0

    def run(self, *, kills: int, calls: int, pause: float) -> None:
        """Until so many were killed, and so many calls acknowledged."""
        try:
            for slot in range(self.SIZE):
                self._start(f"p{slot}-0")
            while self.kills < kills:
                self._kill_one(pause)
            while self.calls < calls and self.all_alive():
                time.sleep(0.05)
            (self._folder / "stop").touch()
            self._wait_for_all()
        finally:
            for pid in self._running:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)

    @property
    def calls(self) -> int:
        return sum(Ledger.read(file).calls for file in ledgers(self._folder))

    def _start(self, name: str) -> None:
        pid = os.fork()
        if pid:
            self._running[pid] = name
            return
        code = 1
        try:
            Worker(self._folder, name, self._seed, self._index).run()
            code = 0
        except BaseException:
            (self._folder / f"error-{name}").write_text(traceback.format_exc())
        finally:
            os._exit(code)

    def _kill_one(self, pause: float) -> None:
        pid, name = self._rng.choice(list(self._running.items()))
        deadline = time.monotonic() + PATIENCE
        while Ledger.read(self._folder / name).calls < 3 and self.all_alive():
            if time.monotonic() > deadline:
                raise AssertionError(f"{name} did three calls in no {PATIENCE:.0f} seconds")
            time.sleep(0.01)
        # Any moment will do.
        time.sleep(pause * self._rng.random())
        self.all_alive()
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        del self._running[pid]
        self.kills += 1
        slot, incarnation = name.split("-")
        self._start(f"{slot}-{int(incarnation) + 1}")

    def all_alive(self) -> bool:
        """AssertionError where one ended by itself."""
        for pid, name in list(self._running.items()):
            if os.waitpid(pid, os.WNOHANG)[0]:
                del self._running[pid]
                raise AssertionError(f"{name} ended: {self._error(name)}")
        return True

    def _wait_for_all(self) -> None:
        for pid, name in list(self._running.items()):
            _, status = os.waitpid(pid, 0)
            del self._running[pid]
            assert status == 0, f"{name}: {self._error(name)}"

    def _error(self, name: str) -> str:
        file = self._folder / f"error-{name}"
        return file.read_text() if file.exists() else "no error was written"


def differences(folder: Path) -> Iterator[str]:
    """Where the store is not what the ledgers say together."""
    with FaissStore(FastEmbeddings(), path=folder / "store") as store:
        found = content(store)
        problems = store.verify(deep=True).problems
    yield from problems
    ours = [Ledger.read(file) for file in ledgers(folder)]
    certain = {name for ledger in ours for name in ledger.certain}
    for name in certain:
        if found.get(name) != (f"text {name}", {"by": name.rsplit(".", 1)[0]}):
            yield f"{name} is {found.get(name)}"
    for ledger in ours:
        there = ledger.open_names & found.keys()
        if there and there != ledger.open_names:
            yield f"half of an interrupted call: {there} of {ledger.open_names}"
    for name in found.keys() - certain - {name for ledger in ours for name in ledger.open_names}:
        yield f"{name} is there, and was deleted or never added"
