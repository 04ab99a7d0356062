"""Random operations as plain data: drawn from a seed, performed one by one, and cut down where one of them fails."""

import random
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from langchain_rerank_retriever.store import changes, indexing, segment, snapshots, upkeep
from langchain_rerank_retriever.store.lexical import search

from .operations import Twin
from .operations_oracle import FILTERS, WORDS

#: A folder in memory, where there is room; what is lost with the power is not asked here.
_SHARED = Path("/dev/shm")
FAST = _SHARED if _SHARED.is_dir() and shutil.disk_usage(_SHARED).free > 2**30 else None

#: The name of a method of Twin, and its arguments. Any part of a series can be performed without the rest.
Operation = tuple[str, tuple[Any, ...]]

CHANGES = {"add": 6.0, "relabel": 1.5, "add_ready": 0.7, "delete": 3.0, "clear": 0.01, "reembed": 0.02}
READS = {"dense": 6.0, "lexical": 4.0, "diverse": 1.0, "get": 2.0}
FOLDERS = {"save": 0.05, "load": 0.03, "restore": 0.02, "settle": 0.05, "reopen": 0.1}


@dataclass(frozen=True)
class Kind:
    """What store the operations go to.

    Attributes:
        names: From how many ids they draw.
        handles: How often the store is open.
        busy: A snapshot, mapped, and a graph are made after every change.
        bounded: Lexical searches do what they do in large stores. With so few documents they miss none.
    """

    names: int
    handles: int = 1
    busy: bool = False
    bounded: bool = False


class Drawing:
    """The next operation, by a seeded generator alone."""

    def __init__(self, rng: random.Random, kind: Kind, weights: dict[str, float]) -> None:
        self._rng, self._kind = rng, kind
        self._weights = weights | ({"switch": 8.0} if kind.handles > 1 else {})

    def next(self) -> Operation:
        method = self._rng.choices(list(self._weights), list(self._weights.values()))[0]
        arguments = getattr(self, f"_{method}", tuple)
        return method, arguments()

    def _names(self) -> list[str]:
        count = min(self._rng.choice((1, 1, 1, 2, 5, 20)), self._kind.names)
        return [f"id{number}" for number in self._rng.sample(range(self._kind.names), count)]

    def _text(self) -> str:
        return " ".join(self._rng.choices(WORDS, k=self._rng.randrange(7)))

    def _data(self) -> dict[str, Any]:
        rng = self._rng
        whole: dict[str, Any] = {
            "n": rng.randrange(4),
            "tags": rng.sample("xyz", 2),
            "sub": {"flag": rng.random() < 0.5},
        }
        return {key: value for key, value in whole.items() if rng.random() < 0.7}

    def _add(self) -> tuple[Any, ...]:
        return ([(name, self._text(), self._data() or None) for name in self._names()],)

    def _relabel(self) -> tuple[Any, ...]:
        return self._names(), self._data()

    def _add_ready(self) -> tuple[Any, ...]:
        return [(name, self._text()) for name in self._names()], self._rng.getrandbits(32)

    def _delete(self) -> tuple[Any, ...]:
        return (self._names(),)

    def _reembed(self) -> tuple[Any, ...]:
        return (self._rng.randrange(6),)

    def _restore(self) -> tuple[Any, ...]:
        return (self._rng.choice((None, self._rng.randrange(6))),)

    def _dense(self) -> tuple[Any, ...]:
        return self._text(), self._rng.randint(1, 15), self._rng.randrange(len(FILTERS))

    _lexical = _dense

    def _diverse(self) -> tuple[Any, ...]:
        return (
            self._text(),
            self._rng.randint(1, 6),
            self._rng.randint(1, 15),
            self._rng.random(),
            self._rng.randrange(len(FILTERS)),
        )

    def _get(self) -> tuple[Any, ...]:
        return (self._names(),)


@contextmanager
def pace(*, busy: bool, bounded: bool = False) -> Any:
    """Have snapshots and graphs made of small stores, all the time or when they are waited for."""
    with (
        patch.object(search, "EXHAUSTIVE", 0 if bounded else search.EXHAUSTIVE),
        patch.object(snapshots, "MIN_ROWS", 1),
        patch.object(snapshots, "DRIFT", 0.0),
        patch.object(indexing, "GRAPH_ROWS", 2),
        patch.object(upkeep, "QUIET", 0.0 if busy else 3600.0),
        patch.object(upkeep, "PATIENCE", 3600.0),
        # What larger stores come to: vectors in several segments, and a new line of changes after many deletions.
        patch.object(segment, "_SMALL", 16),
        patch.object(segment, "_MANY", 9),
        patch.object(changes, "_TOMBSTONES", 30),
    ):
        yield


@dataclass(frozen=True)
class Failure:
    """Which operation went wrong, counted from 0, and how."""

    number: int
    error: Exception


def performed(
    operations: Sequence[Operation],
    kind: Kind,
    after: Callable[[int, Twin], object] = lambda _number, _twin: None,
) -> Failure | None:
    """Do operations in a new folder, and compare after each; None where all went well.

    Args:
        operations: What to do.
        kind: To what store.
        after: Called after each operation with its number.
    """
    # Comparing everything takes as long as there are documents.
    every = max(1, kind.names // 50)
    with tempfile.TemporaryDirectory(dir=FAST) as folder, pace(busy=kind.busy, bounded=kind.bounded):
        index = "hnsw" if kind.busy else None
        twin = Twin(Path(folder), index=index, memory_map=kind.busy or None, handles=kind.handles)
        number = 0
        try:
            for number, (method, arguments) in enumerate(operations):
                getattr(twin, method)(*arguments)
                # After a switch the next operation comes to a handle that has not looked at the database for some time.
                if method != "switch":
                    assert len(twin.store) == len(twin.documents)
                    if number % every == 0 or method in FOLDERS:
                        twin.check(deep=method in FOLDERS)
                after(number, twin)
        except Exception as error:
            return Failure(number, error)
        finally:
            with suppress(Exception):
                twin.close()
    return None


def shortest(operations: list[Operation], kind: Kind, seconds: float = 60.0) -> list[Operation]:
    """Leave out halves, then quarters and so on, as long as the rest still fails and there is time."""
    deadline = time.monotonic() + seconds
    size = len(operations) // 2
    while size:
        start = 0
        while start < len(operations) and time.monotonic() < deadline:
            rest = operations[:start] + operations[start + size :]
            if performed(rest, kind) is None:
                start += size
            else:
                operations = rest
        size //= 2
    return operations


def run(seed: int, count: int, kind: Kind) -> None:
    """Random operations from a seed; AssertionError with the shortest series found that fails, too."""
    drawing = Drawing(random.Random(seed), kind, CHANGES | READS | FOLDERS)
    operations = [drawing.next() for _ in range(count)]
    failure = performed(operations, kind)
    if failure is not None:
        short = shortest(operations[: failure.number + 1], kind)
        lines = "\n".join(map(repr, short))
        raise AssertionError(
            f"seed {seed}, {kind}: operation {failure.number} of {count} failed; these do as well:\n{lines}"
        ) from failure.error
