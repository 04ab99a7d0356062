"""SQLite connections: transactions, threads, forks, and errors that say what to do."""

import contextlib
import ctypes
import os
import re
import sqlite3
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from urllib.parse import quote

from langchain_rerank_retriever.errors import ClosedError, FormatError, ReadOnlyError, StorageError

from . import beside_sqlite, forking

#: Seconds that a writer waits for the writers of other processes.
BUSY_SECONDS = 30.0
_MAX_IDLE = 8
#: To what size the log is cut back after a large transaction.
_LOG_BYTES = 16 * 1024 * 1024

#: How SQLite says that a table is not as the statements here expect it.
_FOREIGN = re.compile("no such (table|column|index|module)|malformed database schema")

#: What sqlite3 raises; the second where a damaged file makes even its message unreadable.
SQLITE_ERRORS = (sqlite3.Error, UnicodeDecodeError)


#: The names of SQLite's errors that pass by waiting.
LOCKED = ("SQLITE_BUSY", "SQLITE_LOCKED")

#: By the name of SQLite's error, or the beginning of it: our error, and what it says; the last that fits counts.
_TOLD: tuple[tuple[tuple[str, ...], type[StorageError], str], ...] = (
    (
        ("SQLITE_CORRUPT", "SQLITE_NOTADB"),
        FormatError,
        "The store at {where} is damaged ({error}): restore a copy that save_local() made",
    ),
    (
        ("SQLITE_FULL",),
        StorageError,
        "No space left to write the store at {where}; nothing was changed ({error})",
    ),
    (
        LOCKED,
        StorageError,
        "Another process has kept the store at {where} locked for {seconds:.0f} seconds; nothing was changed",
    ),
    (
        ("SQLITE_READONLY",),
        StorageError,
        "The store at {where} may not be written to: give permission to write there, or open it with read_only=True "
        "({error})",
    ),
    (
        ("SQLITE_READONLY_ROLLBACK", "SQLITE_READONLY_RECOVERY"),
        StorageError,
        "The store at {where} was being written when its writer was cut off: open it once without read_only=True, "
        "which undoes that ({error})",
    ),
    (
        ("SQLITE_CANTOPEN",),
        StorageError,
        "The store at {where} cannot be opened; is it still there, with permission? ({error})",
    ),
)
_OF_ANOTHER_FORM = (
    "The store at {where} has other tables than this version reads ({error}): it is damaged, or of another version. "
    "Restore a copy that save_local() made, or index the documents anew"
)
_INDEX_OF_ANOTHER_FORM = (
    "The lexical index of the store at {where} is damaged ({error}): repair() makes it anew"
)
_OF_UNKNOWN_KIND = (
    "The store at {where} failed: {error}. verify() tells whether it is damaged, repair() makes anew what can be, and "
    "a copy that save_local() made replaces the rest"
)
_OF_UNKNOWN_DAMAGE = (
    "The store at {where} is damaged ({error}): repair() makes the lexical index anew; where that does not help, "
    "restore a copy that save_local() made"
)


def storage_error(error: sqlite3.Error | UnicodeDecodeError, where: str) -> StorageError:
    """The error of this package for one of SQLite's."""
    name = getattr(error, "sqlite_errorname", "") or ""
    kind, text = StorageError, _OF_UNKNOWN_KIND
    if isinstance(error, UnicodeDecodeError) or "Could not decode to UTF-8" in str(error):
        name = "SQLITE_CORRUPT"
    elif _FOREIGN.match(str(error)):
        kind, text = FormatError, _OF_ANOTHER_FORM
    elif "invalid fts5 file format" in str(error):
        kind, text = FormatError, _INDEX_OF_ANOTHER_FORM
    elif str(error) == "SQL logic error":
        # No statement of ours is wrong, but those that FTS5 makes of the names in its tables can be.
        kind, text = FormatError, _OF_UNKNOWN_DAMAGE
    for names, known, told in _TOLD:
        if name.startswith(names):
            kind, text = known, told
    return kind(text.format(where=where, error=error, seconds=BUSY_SECONDS))


def connect(file: Path | None, *, read_only: bool = False, create: bool = False) -> sqlite3.Connection:
    """Open one connection; raises sqlite3.Error.

    Args:
        file: None for a database in memory.
        read_only: Never writes to the file, not even on close.
        create: Whether a missing file may be made.
    """
    if file is None:
        target = ":memory:"
    else:
        target = f"file:{quote(str(file.resolve()))}?mode={'ro' if read_only else 'rwc' if create else 'rw'}"
        wal = file.with_name(f"{file.name}-wal")
        if read_only and not os.access(file.parent, os.W_OK) and not wal.exists():
            # A log cannot be made beside the file, and there is none to read.
            target += "&immutable=1"
    connection = sqlite3.connect(
        target,
        uri=file is not None,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        factory=beside_sqlite.Connection,
    )
    if file is not None:
        connection.opened(file)
    # FULL: a commit is on the disk before it is reported. The next two refuse what only damaged files hold.
    connection.executescript(
        f"PRAGMA synchronous=FULL; PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON; "
        f"PRAGMA journal_size_limit={_LOG_BYTES};"
    )
    return connection


class Connections:
    """Transactions on one database, from any thread.

    A database in a file has a pool of connections: readers run side by side and beside one writer, each on
    its own snapshot. One in memory has a single connection behind a lock.
    """

    def __init__(self, file: Path | None, *, read_only: bool, first: sqlite3.Connection) -> None:
        """Take over an open database.

        Args:
            file: The database file, None for one in memory.
            read_only: Whether writing is refused.
            first: An open connection, owned from now on.
        """
        self.where = str(file.parent) if file else "memory"
        self._file = file
        self._read_only = read_only
        self._closed = False
        self._idle = deque([first])
        self._open = {first}
        # Taken in this order. The first is for who replaces the model, the last for who replaces the view.
        self.model_lock = threading.RLock()
        self._lock = threading.RLock()
        self.view_lock = threading.RLock()
        forking.register(self)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A transaction that sees the database as it is at its first statement."""
        with self._connection(self._read_lock()) as connection:
            connection.execute("BEGIN")
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction, committed durably at the end of the block, and undone where the block raises."""
        self.check_open(writing=True)
        with self._connection(self._lock) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")

    @contextmanager
    def outside_transactions(self) -> Iterator[sqlite3.Connection]:
        """A connection for statements that start their own transaction."""
        with self._connection(self._read_lock()) as connection:
            yield connection

    def _read_lock(self) -> AbstractContextManager[object]:
        return self._lock if self._file is None else contextlib.nullcontext()

    @contextmanager
    def _connection(self, lock: AbstractContextManager[object]) -> Iterator[sqlite3.Connection]:
        with forking.at_work(), lock:
            connection: sqlite3.Connection | None = None
            try:
                connection = self._take()
                yield connection
            except SQLITE_ERRORS as error:
                raise storage_error(error, self.where) from error
            finally:
                if connection is not None:
                    self._give_back(connection)

    def _take(self) -> sqlite3.Connection:
        self.check_open()
        try:
            return self._idle.pop()
        except IndexError:
            connection = connect(self._file, read_only=self._read_only)
            self._open.add(connection)
            return connection

    def _give_back(self, connection: sqlite3.Connection) -> None:
        usable = (
            connection in self._open
            and (self._file is None or len(self._idle) < _MAX_IDLE)
            and not self._closed
        )
        # SQLite may have rolled back by itself already, when the disk was full for example.
        if connection.in_transaction:
            try:
                connection.rollback()
            except sqlite3.Error:
                usable = False
        if usable:
            self._idle.append(connection)
        if not usable or self._closed:
            self._discard(connection)

    def _discard(self, connection: sqlite3.Connection) -> None:
        if connection in self._open:
            self._open.discard(connection)
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def check_open(self, *, writing: bool = False) -> None:
        """Raise ClosedError after close(), and ReadOnlyError where writing is refused."""
        if self._closed:
            raise ClosedError("This store was closed: open it again with FaissStore(embeddings, path=...)")
        if writing and self._read_only:
            raise ReadOnlyError(
                f"The store at {self.where} was opened with read_only=True, so it cannot be changed"
            )

    def close(self) -> None:
        """Close what is idle now and the rest when its transaction ends; may be called again."""
        self._closed = True
        while True:
            try:
                self._discard(self._idle.pop())
            except IndexError:
                return

    @property
    def folder(self) -> Path | None:
        """The store's folder; None for one in memory."""
        return self._file.parent if self._file else None

    @property
    def read_only(self) -> bool:
        """Whether writing is refused."""
        return self._read_only

    @property
    def closed(self) -> bool:
        """Whether close() was called."""
        return self._closed

    def before_fork(self) -> None:
        """Close the connections to a file; new ones are opened when they are needed."""
        while self._file is not None and self._idle:
            self._discard(self._idle.pop())

    def after_fork_in_child(self) -> None:
        """Replace the locks, which threads that are gone may hold."""
        self.model_lock, self._lock, self.view_lock = threading.RLock(), threading.RLock(), threading.RLock()
        if self._file is not None:
            for connection in self._open:
                # Only a fork from within a transaction comes here. Closing is forbidden too, so let it leak.
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))
            self._open, self._idle = set(), deque()
