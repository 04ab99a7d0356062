"""Threads that read a store beside threads that change it; each answer is compared with the states of its time."""

import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from langchain_rerank_retriever.store import FaissStore, changes
from tests.store.helpers import content

from .operations_oracle import WORDS, Document
from .threads_reads import READS, Read, State

READERS = 8
#: Pairs of documents that agree; each belongs to one writer, or to who deletes.
PAIRS = 10


class History:
    """What a store held after each of its changes, in the order in which they were committed.

    A change is written down within its transaction: so whatever can be seen is written down, and whatever has been
    acknowledged, with all that was before it, must be seen.
    """

    #: So many states are kept; no read takes as long as so many changes.
    _KEPT = 5_000

    def __init__(self) -> None:
        self._states: list[State | None] = [{}]
        self._lock = threading.Lock()
        self._mine = threading.local()
        self.acknowledged = 0

    @property
    def last(self) -> int:
        """Number of the last change that may be visible."""
        return len(self._states) - 1

    def state(self, number: int) -> State:
        state = self._states[number]
        if state is None:
            raise LookupError("a read that took thousands of changes")
        return state

    @property
    def mine(self) -> int:
        """Number of the calling thread's last change."""
        return int(self._mine.number)

    def finish(self) -> None:
        """The calling thread's change was acknowledged."""
        with self._lock:
            self.acknowledged = max(self.acknowledged, self.mine)

    def _append(self, state: State) -> None:
        self._states.append(state)
        self._mine.number = self.last
        if self.last > self._KEPT:
            self._states[self.last - self._KEPT] = None

    @contextmanager
    def recording(self) -> Any:
        """Write down the changes of the one store that is changed meanwhile."""
        put, delete = changes.put, changes.delete

        def noted_put(connection: Any, state: Any, entries: Any, made: Any) -> Any:
            change = put(connection, state, entries, made)
            self._append(
                self.state(self.last) | {entry.id: (entry.text, entry.metadata) for entry in entries}
            )
            return change

        def noted_delete(connection: Any, state: Any, ids: Sequence[str]) -> None:
            delete(connection, state, ids)
            gone = set(ids)
            self._append({name: held for name, held in self.state(self.last).items() if name not in gone})

        with patch.object(changes, "put", noted_put), patch.object(changes, "delete", noted_delete):
            yield


@dataclass
class Crowd:
    """Readers, and where asked for two writers, one who deletes and one who saves, on one store.

    Attributes:
        store: The store.
        history: Its states.
        copy: Where it is saved to.
        seed: For all that is random.
        problems: Answers that no state of their time explains, and errors.
        seconds: How long each read took.
        changed: How many changes were made.
        saved: How many copies were made and found whole.
    """

    store: FaissStore
    history: History
    copy: Path
    seed: int
    problems: list[object] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    changed: int = 0
    saved: int = 0
    _over: threading.Event = field(default_factory=threading.Event)

    def run(self, reads: int, limit: float, *, beside_writers: bool) -> None:
        """So many reads in all, or as many as can be done within some seconds."""
        self._over.clear()
        self.seconds = []
        readers = [self._thread(self._read, number, reads // READERS) for number in range(READERS)]
        others = []
        if beside_writers:
            others = [self._thread(self._write, number) for number in range(2)]
            others += [self._thread(self._delete, 2), self._thread(self._save, 3)]
        deadline = time.monotonic() + limit
        for thread in (*others, *readers):
            thread.start()
        for thread in readers:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._over.set()
        for thread in (*readers, *others):
            thread.join()

    def fill(self) -> None:
        """Every pair once."""
        rng = random.Random(self.seed)
        for owner in range(3):
            for pair in range(PAIRS):
                self._put(rng, owner, pair, 0)

    def _thread(self, work: Callable[..., None], number: int, *arguments: Any) -> threading.Thread:
        def guarded() -> None:
            try:
                work(random.Random(f"{self.seed} {work.__name__} {number}"), number, *arguments)
            except Exception as error:
                self.problems.append(error)

        return threading.Thread(target=guarded, name=f"{work.__name__} {number}")

    # What each of them does ------------------------------------------------------------------------

    def _read(self, rng: random.Random, _number: int, count: int) -> None:
        for _ in range(count):
            if self._over.is_set():
                return
            read = rng.choice(READS).drawn(rng)
            started = time.perf_counter()
            self.check(read, self.history.acknowledged)
            self.seconds.append(time.perf_counter() - started - read.checking)

    def check(self, read: Read, low: int) -> None:
        """An answer is that of one state, which is no older than what was acknowledged before."""
        answer = read.ask(self.store)
        high = self.history.last
        started = time.perf_counter()
        # Most answers show the newest state.
        if not any(read.fits(answer, self.history.state(number)) for number in range(high, low - 1, -1)):
            self.problems.append(("no state explains", read, answer, low, high))
        read.checking = time.perf_counter() - started

    def _put(self, rng: random.Random, owner: int, pair: int, version: int) -> list[str]:
        names = [f"{owner} {pair} {side}" for side in "ab"]
        text = f"pair{pair} version{version} {' '.join(rng.choices(WORDS, k=4))}"
        data: Document = (text, {"n": version % 4, "version": version, "text": text})
        self.store.add_texts([text, text], [data[1], data[1]], ids=names)
        self.history.finish()
        self.changed += 1
        return names

    def _write(self, rng: random.Random, number: int) -> None:
        """Replace pairs, or delete and add them; what was added is found at once."""
        version = 0
        while not self._over.is_set() or version < 12:
            version += 1
            pair = rng.randrange(PAIRS)
            if version % 5 == 0:
                self.store.delete([f"{number} {pair} {side}" for side in "ab"])
                self.history.finish()
            names = self._put(rng, number, pair, version)
            mine = self.history.mine
            if [document.metadata["version"] for document in self.store.get_by_ids(names)] != [version] * 2:
                self.problems.append(("what was added is not there", names, version))
            self.check(rng.choice(READS).drawn(rng), mine)

    def _delete(self, rng: random.Random, number: int) -> None:
        """Delete one document after the other; none that was deleted is found any more."""
        version, rounds = 0, 0
        while not self._over.is_set() or rounds < 2:
            version, rounds = version + 1, rounds + 1
            names = [name for pair in range(PAIRS) for name in self._put(rng, number, pair, version)]
            while names:
                gone = names.pop(rng.randrange(len(names)))
                self.store.delete([gone])
                self.history.finish()
                mine = self.history.mine
                self.changed += 1
                found = [*self.store.get_by_ids([gone]), *self.store.similarity_search("red", k=200)]
                if gone in {document.id for document in found}:
                    self.problems.append(("what was deleted is there", gone))
                self.check(rng.choice(READS).drawn(rng), mine)

    def _save(self, _rng: random.Random, _number: int) -> None:
        """Copies, each of which shows one state whole."""
        while not self._over.is_set() or not self.saved:
            low = self.history.acknowledged
            self.store.save_local(self.copy)
            high = self.history.last
            with FaissStore.load_local(self.copy, self.store.embeddings) as copy:
                held = content(copy)
            if not any(held == self.history.state(number) for number in range(low, high + 1)):
                self.problems.append(("a copy of no state", held, low, high))
            self.saved += 1
