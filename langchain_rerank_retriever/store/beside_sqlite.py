"""Reads the bytes of a database that SQLite may have open, without giving up SQLite's locks.

POSIX locks belong to a process and a file: who closes a file gives up all locks that its process holds on it, those of
SQLite's connections too. Another process then believes itself alone, and on closing removes the log that this one goes
on writing to. So a descriptor is kept, where this process has the database open, until its last connection is closed;
SQLite does so with its own (https://www.sqlite.org/howtocorrupt.html, section 2.2).
"""

import os
import sqlite3
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from . import forking

#: Which file, whatever its name: device and inode.
Key = tuple[int, int]


class Connection(sqlite3.Connection):
    """A connection of whose file it is known that it is open."""

    _key: Key | None = None

    def opened(self, file: Path) -> None:
        """Note which file this is; called before the first statement, since only those take locks."""
        self._key = _key_of(file.stat())
        _descriptors.enter(self._key)

    def close(self) -> None:
        """Close, and let go of the descriptors that waited for it."""
        super().close()
        key, self._key = self._key, None
        if key is not None:
            _descriptors.leave(key)


@contextmanager
def reading(file: Path) -> Iterator[BinaryIO]:
    """Open a database's file for reading.

    Raises:
        OSError: It cannot be opened.
    """
    descriptor = _descriptors.take(_key_of(file.stat()))
    if descriptor is None:
        descriptor = os.open(file, os.O_RDONLY)
    try:
        os.lseek(descriptor, 0, os.SEEK_SET)
        with open(descriptor, "rb", closefd=False) as stream:
            yield stream
    finally:
        _descriptors.release(descriptor)


def _key_of(status: os.stat_result) -> Key:
    return status.st_dev, status.st_ino


class _Descriptors:
    """How many connections this process has to each file, and the descriptors that wait for the last to be closed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connections: Counter[Key] = Counter()
        self._waiting: defaultdict[Key, list[int]] = defaultdict(list)

    def enter(self, key: Key) -> None:
        """Count a connection."""
        with self._lock:
            self._connections[key] += 1

    def leave(self, key: Key) -> None:
        """Count one less, and close what waited for the last one."""
        with self._lock:
            self._connections[key] -= 1
            if self._connections[key] <= 0:
                del self._connections[key]
                for descriptor in self._waiting.pop(key, ()):
                    os.close(descriptor)

    def take(self, key: Key) -> int | None:
        """A descriptor that waits, to use it once more: a store that stays open is to keep one, not more and more."""
        with self._lock:
            return self._waiting[key].pop() if self._waiting.get(key) else None

    def release(self, descriptor: int) -> None:
        """Close a descriptor, now or when the last connection to its file is closed."""
        key = _key_of(os.fstat(descriptor))
        with self._lock:
            if self._connections[key] > 0:
                self._waiting[key].append(descriptor)
            else:
                del self._connections[key]
                os.close(descriptor)

    def before_fork(self) -> None:
        """Nothing is held that a fork must not see."""

    def after_fork_in_child(self) -> None:
        """Begin anew: a child has none of its parent's locks and connections, but a copy of each descriptor."""
        self._lock = threading.Lock()
        for descriptors in self._waiting.values():
            for descriptor in descriptors:
                os.close(descriptor)
        self._connections, self._waiting = Counter(), defaultdict(list)


_descriptors = _Descriptors()
forking.register(_descriptors)
