"""A whole copy of a store in another folder, complete or not there."""

import shutil
from pathlib import Path

from filelock import FileLock

from langchain_rerank_retriever import files
from langchain_rerank_retriever.errors import FormatError, StorageError

from . import changes, rows, schema, snapshots, view_writing
from .connections import BUSY_SECONDS, SQLITE_ERRORS, Connections, connect, storage_error
from .forking import at_work
from .rows import State
from .view import View


def save_copy(connections: Connections, target: Path, state: State, view: View) -> None:
    """Copy a store as it is at one moment, while others may go on writing to it.

    Args:
        connections: The open store.
        target: A missing or empty folder, or an earlier store, which is then replaced in one transaction:
            whoever has it open, in any process, sees either the old one or the new one.
        state: The store, as it was a moment ago.
        view: Its view of that moment, whole and right, from which the copy's snapshot is made.

    Raises:
        FormatError: The folder holds something else.
        StorageError: It cannot be written; what was there is still there.
    """
    try:
        replace = _is_replaceable(target)
        with files.scratch_folder(target) as scratch, at_work():
            copy = scratch / schema.FILE_NAME
            with connections.outside_transactions() as connection:
                connection.execute("VACUUM INTO ?", (str(copy),))
            if replace:
                with FileLock(target / snapshots.LOCK_NAME, timeout=BUSY_SECONDS):
                    _begin_generation(copy, target, state, view)
                    _overwrite(copy, target / schema.FILE_NAME)
            else:
                _begin_generation(copy, scratch, state, view)
                files.move_into_place(scratch, target)
    except (OSError, shutil.Error) as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(f"The store could not be saved to {target}: {error}") from error
    except SQLITE_ERRORS as error:
        raise storage_error(error, str(target)) from error


def _is_replaceable(target: Path) -> bool:
    """True for an earlier store, False where nothing lies."""
    if target.is_dir() and schema.is_store(target):
        return True
    if files.is_missing_or_empty(target):
        return False
    raise FormatError(
        f"{target} holds something that is no store of this package: give a new or an empty folder"
    )


def _begin_generation(copy: Path, folder: Path, state: State, view: View) -> None:
    """Make a copy a line of changes of its own; who has the replaced store open then sees the difference.

    Args:
        copy: The database file.
        folder: Where the copy's snapshot goes.
        state: The store before it was copied.
        view: Its view.
    """
    connection = connect(copy)
    try:
        copied = rows.read_state(connection)
        generation = schema.new_generation()
        changes.forget_record(connection)
        connection.execute("UPDATE state SET generation = ?", (generation,))
        same = (copied.generation, copied.space) == (state.generation, state.space)
        if same and len(view) >= snapshots.MIN_ROWS:
            record = view_writing.write(folder, view, space=state.space, generation=generation)
            changes.write_record(connection, record)
    finally:
        connection.close()


def _overwrite(copy: Path, target: Path) -> None:
    source, destination = connect(copy, read_only=True), connect(target)
    try:
        source.backup(destination)
        record = rows.read_record(destination)
    finally:
        source.close()
        destination.close()
    # A store that was never opened has a journal and no log. SQLite removes it to commit, and leaves that unsynced:
    # after a power loss it could be there again, and undo what was saved.
    files.sync(target.parent)
    view_writing.remove_others(target.parent, record.file if record else None)
