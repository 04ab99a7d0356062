"""A whole copy of a store in another folder, complete or not there."""

import shutil
from pathlib import Path

from langchain_rerank_retriever import files
from langchain_rerank_retriever.errors import FormatError, StorageError

from . import schema
from .connections import SQLITE_ERRORS, Connections, connect, storage_error
from .forking import at_work


def save_copy(connections: Connections, target: Path) -> None:
    """Copy a store as it is at one moment, while others may go on writing to it.

    Args:
        connections: The open store.
        target: A missing or empty folder, or an earlier store, which is then replaced in one transaction:
            whoever has it open, in any process, sees either the old one or the new one.

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
            _begin_generation(copy)
            if replace:
                _overwrite(copy, target / schema.FILE_NAME)
            else:
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


def _begin_generation(copy: Path) -> None:
    """Make a copy a line of changes of its own; who has the replaced store open then sees the difference."""
    connection = connect(copy)
    try:
        connection.execute("UPDATE state SET generation = ?", (schema.new_generation(),))
    finally:
        connection.close()


def _overwrite(copy: Path, target: Path) -> None:
    source, destination = connect(copy, read_only=True), connect(target)
    try:
        source.backup(destination)
    finally:
        source.close()
        destination.close()
