"""The database file: its tables, how it is recognised, made and opened."""

import secrets
import sqlite3
import time
from pathlib import Path

from langchain_rerank_retriever import files
from langchain_rerank_retriever.errors import FormatError, InvalidArgumentError, RerankError, StorageError

from . import beside_sqlite, guard
from .connections import BUSY_SECONDS, LOCKED, SQLITE_ERRORS, Connections, connect, storage_error
from .forking import at_work
from .lexical import terms
from .lexical.languages import Lexical, analyzer_of
from .rows import read_state

FILE_NAME = "store.db"
APPLICATION_ID = 0x4C435252
#: The newest format that is read. The first is that of stores whose lexical index is made for no language.
FORMAT, FIRST_FORMAT = 2, 1
INDEX_KINDS = ("flat", "hnsw", "auto")

# A page of 16 KiB holds ten vectors of 384 numbers; with SQLite's usual 4 KiB a fifth of the file is waste.
_PAGE_SIZE = 16384
_MAGIC = b"SQLite format 3\0"
#: A rollback journal is 1, a write-ahead log 2 (https://www.sqlite.org/fileformat2.html).
_WAYS_OF_WRITING = 2

#: ``seq`` counts changes of vectors; ``generation`` is drawn anew when they cannot be followed one by one;
#: ``space`` counts the models. Numbers of documents are never used twice.
_TABLES = (
    """CREATE TABLE state (
    one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER NOT NULL, generation INTEGER NOT NULL,
    space INTEGER NOT NULL, dimension INTEGER, model TEXT, fingerprint TEXT,
    index_kind TEXT NOT NULL, lexical INTEGER NOT NULL, terms TEXT)""",
    "CREATE TABLE probe (position INTEGER PRIMARY KEY, sentence TEXT NOT NULL, vector BLOB NOT NULL)",
    """CREATE TABLE document (
    pk INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, text TEXT NOT NULL, metadata TEXT NOT NULL,
    crc INTEGER NOT NULL)""",
    "CREATE TABLE vector (pk INTEGER PRIMARY KEY, seq INTEGER NOT NULL, value BLOB NOT NULL, crc INTEGER NOT NULL)",
    "CREATE INDEX vector_seq ON vector (seq)",
    "CREATE TABLE tombstone (seq INTEGER NOT NULL, pk INTEGER NOT NULL, PRIMARY KEY (seq, pk)) WITHOUT ROWID",
    """CREATE TABLE field (
    key TEXT NOT NULL, kind TEXT NOT NULL, value NOT NULL, pk INTEGER NOT NULL,
    PRIMARY KEY (key, kind, value, pk)) WITHOUT ROWID""",
)
#: Made with the first snapshot.
SNAPSHOT_TABLE = (
    "CREATE TABLE IF NOT EXISTS snapshot (one INTEGER PRIMARY KEY CHECK (one = 1), file TEXT NOT NULL, "
    "digest TEXT NOT NULL, generation INTEGER NOT NULL, space INTEGER NOT NULL, seq INTEGER NOT NULL)"
)
#: What a store's tables and indexes can be; SQLite makes the last for AUTOINCREMENT.
_ALL_TABLES = (
    *_TABLES,
    *terms.tables(),
    SNAPSHOT_TABLE.replace(" IF NOT EXISTS", ""),
    "CREATE TABLE sqlite_sequence(name,seq)",
)


def new_generation() -> int:
    """A number that no other line of changes has."""
    return secrets.randbits(62)


def format_of(lexical: Lexical) -> int:
    """The oldest format that a store with such a lexical index can have, which the most versions can read."""
    return FORMAT if isinstance(lexical, str) else FIRST_FORMAT


def is_store(folder: Path) -> bool:
    """Whether a folder holds a store of this or an earlier format.

    Raises:
        FormatError: It holds a database that is empty, not ours, or of a newer format.
    """
    file = folder / FILE_NAME
    if not file.is_file():
        return False
    _check_header(file)
    return True


#: What helps where a file is another's, or looks so.
_NOT_OURS = "restore a copy that save_local() made, or give the folder of a store"


def _check_header(file: Path) -> None:
    """Judge a file by its first bytes, without SQLite, which could write to it."""
    with beside_sqlite.reading(file) as stream:
        header = stream.read(100)
    if not header:
        raise FormatError(
            f"{file} is empty: restore a copy that save_local() made, or remove it to make a new store"
        )
    if not header.startswith(_MAGIC):
        raise FormatError(f"{file} is not a database of this package: {_NOT_OURS}")
    # SQLite writes to no database of a way of writing that it does not know; this one is newer than any that there is.
    if max(header[18:20], default=0) > _WAYS_OF_WRITING:
        raise FormatError(f"{file} is damaged in its first bytes: restore a copy that save_local() made")
    application, version = int.from_bytes(header[68:72], "big"), int.from_bytes(header[60:64], "big")
    # A database whose making was cut off has both still zero in its main file.
    if application or version:
        _check_format(application, version, file)


def _check_format(application: int, version: int, file: Path) -> None:
    if application != APPLICATION_ID:
        raise FormatError(f"{file} is a database of another program: {_NOT_OURS}")
    if version > FORMAT:
        raise FormatError(
            f"{file} has format {version}, and this version of the package reads up to {FORMAT}: "
            "upgrade the package"
        )


def open_connections(
    path: Path | None, *, index: str | None, lexical: Lexical | None, read_only: bool
) -> Connections:
    """Open the store at a path, or make one where nothing lies.

    Raises:
        InvalidArgumentError: A setting differs from what the store was made with.
        StorageError: There is nothing to open, or no permission.
        FormatError: What lies there is not ours, damaged, or newer.
    """
    if index is not None and index not in INDEX_KINDS:
        raise InvalidArgumentError(
            f"index must be one of {', '.join(INDEX_KINDS)}, got {index!r}: "
            "a FAISS factory string cannot be kept right under changes, and is not taken"
        )
    if not isinstance(lexical, bool | str | None):
        raise InvalidArgumentError(f"lexical must be True, False or a language, got {lexical!r}")
    if isinstance(lexical, str):
        analyzer_of(lexical)
    file = None if path is None else path / FILE_NAME
    where = "memory" if path is None else str(path)
    if path is not None:
        _prepare_folder(path, create=not read_only)
    with at_work():
        connection = _opened(file, where, index=index, lexical=lexical, read_only=read_only)
        return Connections(file, read_only=read_only, first=connection)


def _opened(
    file: Path | None, where: str, *, index: str | None, lexical: Lexical | None, read_only: bool
) -> sqlite3.Connection:
    connection: sqlite3.Connection | None = None
    try:
        connection = connect(file, read_only=read_only, create=True)
        _make_tables(connection, where, index=index, lexical=lexical, read_only=read_only)
        guard.check_tables(connection, where, _ALL_TABLES)
        _check_settings(connection, where, index=index, lexical=lexical)
        if file is not None and not read_only:
            _use_log(connection)
    except (*SQLITE_ERRORS, RerankError) as error:
        if connection is not None:
            connection.close()
        if isinstance(error, RerankError):
            raise
        raise storage_error(error, where) from error
    return connection


def _prepare_folder(path: Path, *, create: bool) -> None:
    try:
        if path.exists() and not path.is_dir():
            raise FormatError(f"{path} is a file; a store is a folder")
        if path.exists():
            guard.check_folder(path)
        if (create and _is_cut_off(path)) or is_store(path):
            return
        if not create:
            raise StorageError(f"There is no store at {path}")
        if not files.is_missing_or_empty(path) and not (path / FILE_NAME).exists():
            raise FormatError(f"{path} is a folder with other things in it: give a new or an empty folder")
        files.make_folder(path)
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(f"The folder {path} cannot be used: {error}") from error


def _is_cut_off(path: Path) -> bool:
    """Whether a folder holds what the making of a store leaves where it is cut off: an empty file and its journal.

    Raises:
        FormatError: There is more, which only a store that was whole once can have left.
    """
    file = path / FILE_NAME
    if not file.is_file() or file.stat().st_size:
        return False
    others = {entry.name for entry in path.iterdir()} - {FILE_NAME, f"{FILE_NAME}-journal"}
    if others:
        raise FormatError(
            f"{file} is empty, but beside it lies {min(others)}: restore a copy that save_local() made"
        )
    return True


def _make_tables(
    connection: sqlite3.Connection, where: str, *, index: str | None, lexical: Lexical | None, read_only: bool
) -> None:
    """Make the tables of an empty database, in one transaction; leave one of ours as it is."""
    file = Path(where) / FILE_NAME
    if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        return _check_format(*_marks(connection), file)
    if connection.execute("PRAGMA page_count").fetchone()[0]:
        raise FormatError(f"{file} is damaged, its tables are gone: restore a copy that save_local() made")
    if read_only:
        raise StorageError(f"There is no store at {where}")
    connection.execute(f"PRAGMA page_size = {_PAGE_SIZE}")
    connection.execute("BEGIN IMMEDIATE")
    # Another process may have been first.
    if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        setting = True if lexical is None else lexical
        analyzer = analyzer_of(setting) if setting else None
        marks = (f"PRAGMA application_id = {APPLICATION_ID}", f"PRAGMA user_version = {format_of(setting)}")
        for statement in (*_TABLES, *marks, *([terms.table(analyzer)] if analyzer else [])):
            connection.execute(statement)
        connection.execute(
            "INSERT INTO state VALUES (1, 0, ?, 0, NULL, NULL, NULL, ?, ?, ?)",
            (new_generation(), index or "flat", setting, analyzer.rules if analyzer else None),
        )
    connection.execute("COMMIT")
    return _check_format(*_marks(connection), file)


def _marks(connection: sqlite3.Connection) -> tuple[int, int]:
    return (
        connection.execute("PRAGMA application_id").fetchone()[0],
        connection.execute("PRAGMA user_version").fetchone()[0],
    )


def _check_settings(
    connection: sqlite3.Connection, where: str, *, index: str | None, lexical: Lexical | None
) -> None:
    state = read_state(connection)
    if index is not None and index != state.index_kind:
        raise InvalidArgumentError(
            f"The store at {where} was made with index={state.index_kind!r}, got index={index!r}: "
            "leave it out, or make a new store"
        )
    if lexical is not None and lexical != state.lexical:
        raise InvalidArgumentError(
            f"The store at {where} was made with lexical={state.lexical!r}, got lexical={lexical!r}: "
            "leave it out, or make a new store"
        )
    if state.lexical:
        # A package that the store's language needs is found missing here, not in the middle of a call.
        analyzer_of(state.lexical)


def _use_log(connection: sqlite3.Connection) -> None:
    """Switch to a write-ahead log, in which readers and a writer do not wait for each other."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            # SQLite does not wait for a lock here by itself.
            if not error.sqlite_errorname.startswith(LOCKED) or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
