"""What becomes of a store whose database is not what its seal says, and when a store is sealed."""

import atexit
import logging
import sqlite3
import threading
import weakref
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from langchain_rerank_retriever.errors import FormatError, RerankError, StorageError

from . import seal
from .connections import SQLITE_ERRORS, connect, storage_error
from .engine import Doubt, Engine
from .forking import at_work
from .repair import repair
from .verify import Part, findings

logger = logging.getLogger(__name__)

#: A database up to this size is compared with its seal before a store is open, which takes some 50 milliseconds; a
#: larger one in the background.
AT_ONCE_BYTES = 64 * 1024 * 1024


def check_first(engine: Engine) -> None:
    """Compare a store that was just opened with its seal, now or in the background.

    Where they differ, everything is verified: what is derived and wrong is made anew, with a warning. What cannot be,
    since documents are damaged or the store is read-only, is told in a warning, and every later call that would be
    answered from it raises FormatError.
    """
    file = engine.connections.file
    if file is None:
        return
    _open.add(engine)
    if not seal.is_set(file):
        return
    check = _Once(engine, file)
    if file.stat().st_size <= AT_ONCE_BYTES:
        check(lambda: True)
    else:
        engine.check_later(check)


class _Once:
    """The comparison, made once, by whoever comes first; others wait for it."""

    def __init__(self, engine: Engine, file: Path) -> None:
        self._engine, self._file = engine, file
        self._lock = threading.RLock()
        self._done = False

    def __call__(self, go_on: Callable[[], bool]) -> None:
        with self._lock:
            if self._done:
                return
            # Before what follows, which asks the store, and would come here again.
            self._done = True
            if seal.agrees(self._file, go_on) is False:
                _react(self._engine, self._file)


def _react(engine: Engine, file: Path) -> None:
    found = findings(engine, deep=True)
    if not found:
        logger.warning("%s was changed from outside, or its seal was; its content is whole", file)
        if not engine.connections.read_only:
            seal.break_(file)
        return
    problems = "; ".join(finding.with_remedy() for finding in found[:3])
    if engine.connections.read_only or any(finding.part is Part.SOURCE for finding in found):
        text = f"The store at {file.parent} was damaged since it was closed: {problems}"
        engine.doubt = Doubt(text, of_lookup=any(finding.is_of_sqlite for finding in found))
        logger.warning(text)
        return
    result = repair(engine)
    logger.warning("The store at %s was damaged since it was closed: %s", file.parent, problems)
    logger.warning("Made anew: %s", ", ".join(result.repaired))
    if not result.ok:
        raise FormatError("; ".join(result.problems))


def set_last(engine: Engine) -> None:
    """Seal a store that is about to be closed; where that cannot be, it is closed without, with a warning."""
    file = engine.connections.file
    if file is None or engine.connections.read_only or engine.connections.closed:
        return
    if seal.is_set(file) or not file.exists():
        return
    try:
        set_of(file)
    except RerankError as error:
        # A seal only tells of later damage.
        logger.warning("A store was closed without a seal: %s", error)


_open: "weakref.WeakSet[Engine]" = weakref.WeakSet()


@atexit.register
def _set_all() -> None:
    # Few programs close their stores.
    for engine in list(_open):
        set_last(engine)


def set_of(file: Path) -> None:
    """Seal a database, unless somebody is at work on it: the last to close it seals it then.

    Raises:
        StorageError: Something cannot be read or written.
    """
    with at_work():
        try:
            with closing(connect(file)) as connection:
                _set(file, connection)
        except OSError as error:
            raise StorageError(f"{file.with_name(seal.NAME)} could not be written: {error}") from error
        except SQLITE_ERRORS as error:
            raise storage_error(error, str(file.parent)) from error


def _set(file: Path, connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA busy_timeout = 0")
    version = connection.execute("PRAGMA data_version").fetchone()
    busy, logged, moved = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    if busy or logged != moved:
        return
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        return  # Somebody writes.
    # Nothing was written between the check-point and the lock: the file holds everything.
    if connection.execute("PRAGMA data_version").fetchone() == version:
        seal.set_(file)
    connection.execute("ROLLBACK")
