"""A disk that fails at a chosen call, beneath SQLite as well as beneath Python.

SQLite writes from C, where no patch of Python's reaches; but every call of its goes through a table of functions, its
VFS, in which some are replaced here. That is how SQLite tests itself.
"""

import ctypes
import errno
import io
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: SQLite's codes for a full disk, and for failures of writing, syncing, truncating, opening, deleting, shared memory.
FULL, NO_WRITE, NO_SYNC, NO_TRUNCATE, NO_OPEN, NO_DELETE, NO_SHARED = 13, 778, 1034, 1546, 14, 2570, 4874
_CREATE = 0x4

ERRORS = (errno.ENOSPC, errno.EIO, errno.EDQUOT)
#: What a disk without space refuses; it goes on reading, syncing, renaming and deleting.
NEEDS_SPACE = frozenset({"write", "make"})


@dataclass
class Disk:
    """Counts calls that may fail, and fails the n-th, or from the n-th on whatever needs space.

    Attributes:
        root: Only what lies here counts.
        at: Which call fails; 0 for none.
        error: The errno.
        stays: Whether all that need space fail from then on.
        seen: Kinds of the calls so far.
        failed: How many failed.
    """

    root: Path
    at: int = 0
    error: int = errno.ENOSPC
    stays: bool = False
    seen: list[str] = field(default_factory=list)
    failed: int = 0

    def fails(self, kind: str) -> bool:
        """Count a call; True where it is to fail."""
        self.seen.append(kind)
        place = len(self.seen)
        fails = self.at and place >= self.at and (kind in NEEDS_SPACE if self.stays else place == self.at)
        self.failed += bool(fails)
        return bool(fails)

    def check(self, kind: str) -> None:
        """Count a call of Python's; raise where it is to fail."""
        if self.fails(kind):
            raise OSError(self.error, os.strerror(self.error))

    def holds(self, path: Any) -> bool:
        with suppress(TypeError):
            return str(os.fspath(path)).startswith(str(self.root))
        return False

    def mend(self) -> None:
        """There is space again."""
        self.at = 0


def beneath_python(disk: Disk) -> None:
    """Have Python's calls fail; for a process that ends soon, since nothing is put back."""

    def patched(name: str, kind: str | Callable[..., str]) -> None:
        real = getattr(os, name)

        def call(path: Any, *arguments: Any, **named: Any) -> Any:
            if name == "fsync" or disk.holds(path):
                disk.check(kind if isinstance(kind, str) else kind(path, *arguments))
            return real(path, *arguments, **named)

        setattr(os, name, call)

    def opening(path: Any, flags: int = 0, *_: Any) -> str:
        return "make" if flags & os.O_CREAT and not os.path.lexists(path) else "open"

    patched("open", opening)
    for name, kind in {"fsync": "sync", "rename": "rename", "replace": "rename", "mkdir": "make"}.items():
        patched(name, kind)
    real_open = io.open

    def open_(file: Any, mode: str = "r", *arguments: Any, **named: Any) -> Any:
        if not disk.holds(file):
            return real_open(file, mode, *arguments, **named)
        writes = any(letter in mode for letter in "wxa+")
        disk.check("make" if writes and not os.path.lexists(file) else "open")
        stream = real_open(file, mode, *arguments, **named)
        return _Writer(stream, disk) if writes else stream

    io.open = open_


class _Writer:
    """A file whose writes may fail."""

    def __init__(self, stream: Any, disk: Disk) -> None:
        self._stream, self._disk = stream, disk

    def write(self, data: Any) -> Any:
        self._disk.check("write")
        return self._stream.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()


_POINTERS = (
    *(
        "xClose",
        "xRead",
        "xWrite",
        "xTruncate",
        "xSync",
        "xFileSize",
        "xLock",
        "xUnlock",
        "xCheckReservedLock",
    ),
    *(
        "xFileControl",
        "xSectorSize",
        "xDeviceCharacteristics",
        "xShmMap",
        "xShmLock",
        "xShmBarrier",
        "xShmUnmap",
    ),
    *("xFetch", "xUnfetch"),
)


class _Methods(ctypes.Structure):
    """SQLite's functions for an open file."""

    _fields_ = [("iVersion", ctypes.c_int), *((name, ctypes.c_void_p) for name in _POINTERS)]


class _Vfs(ctypes.Structure):
    """The beginning of SQLite's table of functions for files by name."""

    _fields_ = [
        ("iVersion", ctypes.c_int),
        ("szOsFile", ctypes.c_int),
        ("mxPathname", ctypes.c_int),
        ("pNext", ctypes.c_void_p),
        ("zName", ctypes.c_char_p),
        ("pAppData", ctypes.c_void_p),
        ("xOpen", ctypes.c_void_p),
        ("xDelete", ctypes.c_void_p),
    ]


_P, _I, _L = ctypes.c_void_p, ctypes.c_int, ctypes.c_longlong
# Names are handed on as the addresses they are: SQLite keeps them, and what stands behind them.
_OPEN = ctypes.CFUNCTYPE(_I, _P, _P, _P, _I, _P)
_DELETE = ctypes.CFUNCTYPE(_I, _P, _P, _I)
#: Of each function of an open file: its type, what it needs, SQLite's code where it fails.
_FAILING: dict[str, tuple[Any, str, int]] = {
    "xWrite": (ctypes.CFUNCTYPE(_I, _P, _P, _I, _L), "write", NO_WRITE),
    "xTruncate": (ctypes.CFUNCTYPE(_I, _P, _L), "truncate", NO_TRUNCATE),
    "xSync": (ctypes.CFUNCTYPE(_I, _P, _I), "sync", NO_SYNC),
    "xShmMap": (ctypes.CFUNCTYPE(_I, _P, _I, _I, _I, _P), "shared memory", NO_SHARED),
}
#: Callbacks and tables that SQLite holds the addresses of.
_kept: list[Any] = []


def sqlites_vfs() -> _Vfs | None:
    """SQLite's default VFS; None where Python does not show the library."""
    import _sqlite3

    library = ctypes.CDLL(getattr(_sqlite3, "__file__", None))
    with suppress(AttributeError):
        find = library.sqlite3_vfs_find
        find.restype, find.argtypes = ctypes.POINTER(_Vfs), [ctypes.c_char_p]
        found: _Vfs = find(None).contents
        return found
    return None


def beneath_sqlite(disk: Disk) -> None:
    """Have SQLite's calls fail for files opened from now on; nothing is put back."""
    vfs = sqlites_vfs()
    assert vfs is not None
    tables: dict[int, _Methods] = {}
    real_open, real_delete = _OPEN(vfs.xOpen), _DELETE(vfs.xDelete)

    def opened(table: Any, name: int | None, file: int, flags: int, out: Any) -> int:
        path = os.fsdecode(ctypes.string_at(name)) if name else ""
        methods = ctypes.c_void_p.from_address(file)
        makes = flags & _CREATE and not os.path.lexists(path)
        if disk.holds(path) and disk.fails("make" if makes else "open"):
            methods.value = None
            return NO_OPEN
        code: int = real_open(table, name, file, flags, out)
        if code == 0 and disk.holds(path) and methods.value:
            if methods.value not in tables:
                tables[methods.value] = _failing_methods(methods.value, disk)
            methods.value = ctypes.addressof(tables[methods.value])
        return code

    def deleted(table: Any, name: int, sync: int) -> int:
        if disk.holds(os.fsdecode(ctypes.string_at(name))) and disk.fails("delete"):
            return NO_DELETE
        code: int = real_delete(table, name, sync)
        return code

    callbacks = _OPEN(opened), _DELETE(deleted)
    _kept.extend((callbacks, tables, real_open, real_delete))
    vfs.xOpen, vfs.xDelete = (ctypes.cast(callback, ctypes.c_void_p).value for callback in callbacks)


def _failing_methods(address: int, disk: Disk) -> _Methods:
    """A copy of a table of functions, some of which may fail."""
    copy = _Methods.from_buffer_copy(_Methods.from_address(address))
    for name, (kind_of_function, kind, code) in _FAILING.items():
        if not getattr(copy, name):
            continue  # files without locks have no shared memory
        real = kind_of_function(getattr(copy, name))

        def call(*arguments: Any, real: Any = real, kind: str = kind, code: int = code) -> int:
            if disk.fails(kind):
                return FULL if kind == "write" and disk.error == errno.ENOSPC else code
            result: int = real(*arguments)
            return result

        callback = kind_of_function(call)
        _kept.append((real, callback))
        setattr(copy, name, ctypes.cast(callback, ctypes.c_void_p).value)
    return copy
