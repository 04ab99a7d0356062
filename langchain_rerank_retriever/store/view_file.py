"""A view on disk: the arrays that searches read, so that opening a store need not read them from SQLite.

One file, never changed once it has its name:

    the arrays, each on a page boundary | a JSON table of them with the SHA-256 of every block | its length | magic

The database names the file and the SHA-256 of the table, which covers all the rest. So a snapshot of another
database, of another history of this one (a restored backup), or one that is not whole, is seen as such. SHA-256 and no
quicker checksum: it is as quick as the disk, and leaves nothing to ask about collisions.

Nothing here is parsed by FAISS, whose readers trust what they read: the arrays are plain numbers, checked in Python.
"""

import hashlib
import json
import math
import mmap
import os
import re
import stat
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from langchain_rerank_retriever.protocols import FloatArray

from .graph import Graph, assembled
from .rows import Record, State
from .segment import Segment
from .view import View

MAGIC = b"\nLCRR view 1\n"
_TAIL = 8 + len(MAGIC)
#: Arrays begin where pages do, on every processor, so that they can be mapped.
ALIGNMENT = 65536
#: Small enough that the loss of time is small when checking stops, large enough that Python's part is nothing.
BLOCK = 4 * 1024 * 1024
_READERS = 2
GRAPH_NUMBERS = ("entry", "links", "ef", "recall")
NAME = re.compile(r"view-[0-9a-f]{16}\.snapshot")
_TYPES = {"pks": "<i8", "vectors": "<f4", "alive": "|u1", "levels": "<i4", "neighbors": "<i4"}

Array = NDArray[Any]


class DoubtfulError(Exception):
    """Something about a snapshot is not as it must be; it is not used, and nobody outside sees this."""


def type_of(name: str) -> str:
    """The type of an array by its name in the table."""
    return _TYPES[name.split("/")[1]]


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    shape: tuple[int, ...]
    offset: int
    hashes: tuple[str, ...]

    @property
    def size(self) -> int:
        return math.prod(self.shape) * np.dtype(type_of(self.name)).itemsize


class _Descriptor:
    """An open file, which is closed when nobody has it any more: one thread may be reading what another lets go of."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        os.close(self.number)


class ViewFile:
    """A snapshot, open for reading; closing it leaves mapped arrays usable."""

    def __init__(self, folder: Path, record: Record) -> None:
        """Open what the database names.

        Raises:
            DoubtfulError: It is not there, not a plain file, or not the one that was written.
        """
        self.record = record
        if not NAME.fullmatch(record.file):
            raise DoubtfulError(f"{record.file!r} is no name of a snapshot")
        try:
            # A link could lead anywhere, and the opening of a pipe would wait for someone to write to it.
            flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
            self._file: _Descriptor | None = _Descriptor(os.open(folder / record.file, flags))
        except OSError as error:
            raise DoubtfulError(f"it cannot be opened ({error})") from error
        try:
            self._footer = self._checked_footer(self._file.number, record)
            self._entries = {entry.name: entry for entry in _entries(self._footer, self._end)}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            self.close()
            raise DoubtfulError(f"its table cannot be read ({error!r})") from error
        except DoubtfulError:
            self.close()
            raise

    def _checked_footer(self, descriptor: int, record: Record) -> dict[str, Any]:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size < _TAIL:
            raise DoubtfulError("it is no whole file")
        tail = os.pread(descriptor, _TAIL, status.st_size - _TAIL)
        length = int.from_bytes(tail[:8], "little")
        self._end = status.st_size - _TAIL - length
        if tail[8:] != MAGIC or self._end < 0:
            raise DoubtfulError("its end is missing")
        footer = os.pread(descriptor, length, self._end)
        if hashlib.sha256(footer).hexdigest() != record.digest:
            raise DoubtfulError("it is not the one that the database names, or is damaged")
        found: dict[str, Any] = json.loads(footer)
        if (found["generation"], found["space"], found["seq"]) != (
            record.generation,
            record.space,
            record.seq,
        ):
            raise DoubtfulError("it belongs to another state of the database")
        return found

    @property
    def rows(self) -> int:
        """Number of rows in all segments, dead ones counted."""
        return sum(entry.shape[0] for name, entry in self._entries.items() if name.endswith("/pks"))

    def close(self) -> None:
        """Close the file; a check that another thread is at ends with the block that it reads."""
        self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def view(self, state: State, *, mapped: bool) -> View:
        """The view that was written.

        Args:
            state: The store as its database has it.
            mapped: Leave vectors and links on the disk, unchecked, to be read as searches need them; ``check`` is for
                later. Otherwise everything is read, and checked.

        Raises:
            DoubtfulError: An array is damaged, or does not fit the others or the store.
        """
        if self._footer["dimension"] != state.dimension or state.dimension is None:
            raise DoubtfulError(f"its vectors have {self._footer['dimension']} dimensions")
        try:
            mapping = (
                mmap.mmap(self._opened().number, 0, access=mmap.ACCESS_READ) if mapped and self._end else None
            )
            places = sorted({int(name.split("/")[0]) for name in self._entries})
            segments = tuple(self._segment(place, state.dimension, mapping) for place in places)
        except (OSError, ValueError, KeyError) as error:
            raise DoubtfulError(f"an array cannot be read ({error!r})") from error
        return View(self._footer["seq"], self._footer["generation"], state.dimension, segments)

    def _segment(self, place: int, dimension: int, mapping: mmap.mmap | None) -> Segment:
        pks = self._read(self._entries[f"{place}/pks"])
        vectors = self._array(f"{place}/vectors", mapping)
        alive = (
            self._read(self._entries[f"{place}/alive"]) != 0 if f"{place}/alive" in self._entries else None
        )
        if pks.ndim != 1 or not (np.diff(pks) > 0).all():
            raise DoubtfulError("its document numbers do not ascend")
        if vectors.shape != (len(pks), dimension) or (alive is not None and alive.shape != pks.shape):
            raise DoubtfulError("its arrays do not fit each other")
        return Segment(pks, vectors, alive, self._graph(place, vectors, mapping))

    def _graph(self, place: int, vectors: FloatArray, mapping: mmap.mmap | None) -> Graph | None:
        numbers = self._footer["graphs"].get(str(place))
        if numbers is None:
            return None
        return assembled(
            vectors,
            self._read(self._entries[f"{place}/levels"]),
            self._array(f"{place}/neighbors", mapping),
            entry=int(numbers["entry"]),
            links=int(numbers["links"]),
            ef=int(numbers["ef"]),
            recall=float(numbers["recall"]),
        )

    def _array(self, name: str, mapping: mmap.mmap | None) -> Array:
        entry = self._entries[name]
        if mapping is None or not entry.size:
            return self._read(entry)
        count = math.prod(entry.shape)
        flat = np.frombuffer(mapping, dtype=type_of(name), count=count, offset=entry.offset)
        return flat.reshape(entry.shape)

    def _read(self, entry: _Entry) -> Array:
        array = np.empty(entry.shape, dtype=type_of(entry.name))
        data = array.data.cast("B") if array.size else memoryview(b"")
        places = range(len(entry.hashes))

        file = self._opened()

        def read(place: int) -> None:
            _read_block(file, entry, place, data[place * BLOCK : (place + 1) * BLOCK])

        if len(places) == 1:
            read(0)
        else:
            # Reading and hashing leave Python's lock, and take about as long as each other.
            with ThreadPoolExecutor(_READERS) as pool:
                deque(pool.map(read, places), maxlen=0)
        return array

    def _opened(self) -> _Descriptor:
        if self._file is None:
            raise DoubtfulError("it was closed")
        return self._file

    def check(self, go_on: Callable[[], bool]) -> bool:
        """Read and check every block, with little memory.

        Args:
            go_on: Asked before each block; False ends the check.

        Returns:
            Whether it came to its end.

        Raises:
            DoubtfulError: A block is damaged.
        """
        buffer = memoryview(bytearray(BLOCK))
        for entry in self._entries.values():
            for place, start in enumerate(range(0, entry.size, BLOCK)):
                file = self._file
                if file is None or not go_on():
                    return False
                _read_block(file, entry, place, buffer[: min(BLOCK, entry.size - start)])
        return True


def _read_block(file: _Descriptor, entry: _Entry, place: int, block: memoryview) -> None:
    try:
        length = os.preadv(file.number, [block], entry.offset + place * BLOCK)
    except OSError as error:
        raise DoubtfulError(f"it cannot be read ({error})") from error
    if length != len(block):
        raise DoubtfulError("it ends too early")
    if hashlib.sha256(block).hexdigest() != entry.hashes[place]:
        raise DoubtfulError(f"its array {entry.name} is damaged")


def _entries(footer: Mapping[str, Any], limit: int) -> Iterator[_Entry]:
    end = 0
    for item in footer["arrays"]:
        entry = _Entry(
            item["name"], tuple(map(int, item["shape"])), int(item["offset"]), tuple(item["sha256"])
        )
        if (
            entry.offset < end
            or min(entry.shape, default=-1) < 0
            or len(entry.hashes) != -(-entry.size // BLOCK)
        ):
            raise ValueError(entry.name)
        end = entry.offset + entry.size
        if end > limit:
            raise ValueError(entry.name)
        yield entry
