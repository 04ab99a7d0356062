"""Which snapshot a store opens with, and when it writes another. SQLite is the truth; a snapshot only saves time."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from langchain_rerank_retriever.errors import StorageError

from . import changes, rows, view_writing
from .connections import BUSY_SECONDS, Connections
from .rows import Record, State
from .view import View
from .view_file import DoubtfulError, ViewFile

logger = logging.getLogger(__name__)

#: Below this many rows, reading all vectors from SQLite takes less than a tenth of a second.
MIN_ROWS = 20_000
#: Another snapshot is due in the background when this share of the rows has changed, so that many small changes do not
#: have it written again and again; at the end already when a smaller share has, since the next to open must follow it.
DRIFT, DRIFT_AT_THE_END = 1 / 16, 1 / 64
#: From this size on, vectors stay on the disk. Reading as much, checked, takes about half a second.
MAPPED_BYTES = 512 * 1024 * 1024
LOCK_NAME = "snapshot.lock"
BUILD_LOCK_NAME = "build.lock"


def is_due(view: View, *, at_the_end: bool = False) -> bool:
    """Whether a store has changed so much since its last snapshot that another is worth its writing."""
    return view.drift >= max(MIN_ROWS, (DRIFT_AT_THE_END if at_the_end else DRIFT) * len(view))


class SupersededError(Exception):
    """Another snapshot has taken the place of the one that a transaction sees; a new transaction sees that one."""


class Snapshots:
    """The snapshots in one store's folder."""

    def __init__(self, connections: Connections, *, mapped: bool | None) -> None:
        """Read nothing yet.

        Args:
            connections: The store's database.
            mapped: Whether vectors stay on the disk; None where they are many.
        """
        self._connections = connections
        self._folder = connections.folder
        self._mapped = mapped
        self._unchecked: ViewFile | None = None
        #: What the view was last read from or written to.
        self.used: Record | None = None

    @property
    def is_checked(self) -> bool:
        """Whether every block of what is used was checked, and none is damaged."""
        return self._unchecked is None

    @property
    def writable(self) -> bool:
        """Whether this store may write any."""
        return self._folder is not None and not self._connections.read_only

    def is_mapped(self, count: int, dimension: int) -> bool:
        """Whether so many vectors would stay on the disk."""
        if self._folder is None:
            return False
        return 4 * count * dimension >= MAPPED_BYTES if self._mapped is None else self._mapped

    def load(self, state: State, record: Record | None) -> View | None:
        """The view that a snapshot holds, which may lag behind; None, with a warning, where anything is doubtful.

        Args:
            state: The store as the caller's transaction sees it.
            record: What the database says about its snapshot.

        Raises:
            SupersededError: It is not there any more because there is another one.
        """
        if self._folder is None or record is None or state.dimension is None:
            return None
        if (record.generation, record.space) != (state.generation, state.space):
            # Not damage: clear(), reembed() and save_local() start anew.
            return None
        if record.seq > state.seq:
            self.warn(record, "it is newer than the database")
            return None
        try:
            view = self._read(ViewFile(self._folder, record), state)
        except DoubtfulError as error:
            self._check_place(record)
            self.warn(record, str(error))
            return None
        self.used = record
        return view

    def _read(self, file: ViewFile, state: State) -> View:
        mapped = self.is_mapped(file.rows, state.dimension or 0)
        try:
            view = file.view(state, mapped=mapped)
        except BaseException:
            file.close()
            raise
        if self._unchecked is not None:
            self._unchecked.close()
        self._unchecked = file if mapped else None
        if not mapped:
            file.close()
        return view

    def _check_place(self, record: Record) -> None:
        with self._connections.reading() as connection:
            if rows.read_record(connection) != record:
                raise SupersededError

    def close(self) -> None:
        """Close what is open; views stay usable."""
        if self._unchecked is not None:
            self._unchecked.close()
            self._unchecked = None

    def warn(self, record: Record, reason: str) -> None:
        """Say why a snapshot is not used."""
        logger.warning(
            "The snapshot %s in %s is not used, and the vectors are read from the database instead: %s",
            record.file,
            self._folder,
            reason,
        )

    def check(self, go_on: Callable[[], bool]) -> ViewFile | None:
        """Check what was mapped unchecked; where it is damaged, tell and return it, for `let_go`."""
        file = self._unchecked
        if file is None:
            return None
        try:
            finished = file.check(go_on)
        except DoubtfulError as error:
            self.warn(file.record, str(error))
            return file
        if finished:
            self.let_go(file)
        return None

    def let_go(self, file: ViewFile) -> None:
        """Count a file as checked: it is whole, or the view is no longer made of it."""
        if self._unchecked is file:
            self.close()

    def examined(self, state: State, record: Record | None) -> tuple[View | None, str]:
        """The view of a snapshot whose every block is checked, for comparison, or what is wrong with it.

        Raises:
            SupersededError: It is not there any more because there is another one.
        """
        if self._folder is None or record is None or record.generation != state.generation:
            return None, ""
        try:
            with ViewFile(self._folder, record) as file:
                file.check(lambda: True)
                return file.view(state, mapped=True), ""
        except DoubtfulError as error:
            self._check_place(record)
            return None, f"The snapshot {record.file} is not used, and may be deleted: {error}"

    @contextmanager
    def building(self, go_on: Callable[[], bool]) -> Iterator[bool]:
        """Wait until no other process builds an index for this store; False where ``go_on`` ends the waiting."""
        if self._folder is None:
            yield True
            return
        lock = FileLock(self._folder / BUILD_LOCK_NAME)
        try:
            while not _acquired(lock) and go_on():
                pass
            yield lock.is_locked
        finally:
            lock.release()

    def save(self, view: View, space: int) -> bool:
        """Write a view of this store and name it in the database.

        Args:
            view: Whole and right.
            space: The space of its vectors.

        Returns:
            False where another process is at it, or has changed the store so much that this view is of no use.

        Raises:
            StorageError: It cannot be written; the store is as it was.
        """
        if self._folder is None:
            return False
        try:
            with FileLock(self._folder / LOCK_NAME, timeout=0):
                return self._write(self._folder, view, space)
        except Timeout:
            return False
        except OSError as error:
            if isinstance(error, StorageError):
                raise
            raise StorageError(f"No snapshot could be written to {self._folder}: {error}") from error

    def discard(self) -> None:
        """Remove the snapshot, whatever is wrong with it; who has it open keeps it.

        Raises:
            StorageError: It cannot be removed.
        """
        self.close()
        self.used = None
        if self._folder is None:
            return
        try:
            with FileLock(self._folder / LOCK_NAME, timeout=BUSY_SECONDS):
                with self._connections.writing() as connection:
                    changes.forget_record(connection)
                view_writing.remove_others(self._folder, None)
        except OSError as error:
            if isinstance(error, StorageError):
                raise
            raise StorageError(f"The snapshot in {self._folder} cannot be removed: {error}") from error

    def _write(self, folder: Path, view: View, space: int) -> bool:
        record = view_writing.write(folder, view, space=space)
        try:
            with self._connections.writing() as connection:
                state = rows.read_state(connection)
                current = (state.generation, state.space) == (record.generation, record.space)
                if current:
                    changes.write_record(connection, record)
                    self.used = record
                named = rows.read_record(connection)
        except BaseException:
            (folder / record.file).unlink(missing_ok=True)
            raise
        view_writing.remove_others(folder, named.file if named else None)
        return current


def _acquired(lock: FileLock) -> bool:
    try:
        lock.acquire(timeout=1)
    except Timeout:
        return False
    except OSError as error:
        raise StorageError(f"No index can be built at {lock.lock_file}: {error}") from error
    return True
