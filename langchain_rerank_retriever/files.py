"""Files and folders that appear whole or not at all, and records that are known to be what was written."""

import contextlib
import glob
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from langchain_rerank_retriever.errors import DataError, RerankError, StorageError

#: Of an entry that holds the checksum of all others of a record.
CHECKSUM = "checksum"

_ABANDONED = 24 * 3600


def checksum(record: Mapping[str, Any]) -> str:
    """SHA-256, as hexadecimal digits, of a JSON object without its own entry for it; the order does not count."""
    rest = {key: value for key, value in record.items() if key != CHECKSUM}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def sync(path: Path) -> None:
    """Force a file, or the names in a folder, onto the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it that are missing, durably; leave one that is there.

    A file in it survives a power loss only where the names of all folders above it do.
    """
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    for one in reversed(missing or [folder]):
        one.mkdir(exist_ok=True)
    for one in reversed(missing):
        sync(one.parent)


def remove(path: Path) -> None:
    """Remove a file, a link, or a folder as far as it can be; nothing happens where there is nothing."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def is_missing_or_empty(folder: Path) -> bool:
    """Whether nothing lies at a path that a new folder there would hide or mix with."""
    if folder.is_dir():
        return next(folder.iterdir(), None) is None
    return not os.path.lexists(folder)


@contextmanager
def scratch_folder(beside: Path) -> Iterator[Path]:
    """A temporary folder on the same file system as a target, removed at the end unless it was moved away."""
    make_folder(beside.parent)
    scratch = Path(tempfile.mkdtemp(prefix=_scratch_prefix(beside), dir=beside.parent))
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def move_into_place(scratch: Path, target: Path) -> None:
    """Give a finished folder its name, durably.

    Args:
        scratch: A folder whose files are complete; they are synced here.
        target: Missing or an empty folder, on the same file system.
    """
    for file in scratch.rglob("*"):
        sync(file)
    # mkdtemp makes a folder for its owner alone; what it becomes follows the user's umask like any other.
    scratch.chmod(0o777 & ~_umask())
    sync(scratch)
    scratch.rename(target)
    sync(target.parent)


@contextmanager
def written_whole(target: Path) -> Iterator[TextIO]:
    """Write a text file in UTF-8 under another name; at the end of the block, durably, it takes the place of the old.

    What is no regular file, such as /dev/stdout, is written to directly.

    Raises:
        StorageError: If it cannot be written; an earlier file is as it was.
        DataError: If a text holds a lone surrogate; likewise.
    """
    with writing(target):
        if target.exists() and not target.is_file():
            with target.open("w", encoding="utf-8", newline="\n") as file:
                yield file
            return
        # A link keeps pointing to the file that it names.
        target = target.resolve()
        make_folder(target.parent)
        with whole_file(target) as scratch, scratch.open("w", encoding="utf-8", newline="\n") as file:
            yield file


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """Yield another name for a file; at the end of the block, durably, what lies there takes the place of the old."""
    descriptor, name = tempfile.mkstemp(prefix=_scratch_prefix(target), dir=target.parent)
    os.close(descriptor)
    scratch = Path(name)
    try:
        yield scratch
        scratch.chmod(0o666 & ~_umask())
        sync(scratch)
        scratch.replace(target)
        sync(target.parent)
    finally:
        scratch.unlink(missing_ok=True)


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Within the block something is written; what goes wrong is told with its name.

    Raises:
        StorageError: If it cannot be written.
        DataError: If a text holds a lone surrogate, which UTF-8 cannot carry.
    """
    try:
        yield
    except RerankError:
        raise
    except OSError as error:
        raise StorageError(f"{target} cannot be written: {error}.") from error
    except UnicodeEncodeError as error:
        raise DataError(
            f"{target} cannot be written as UTF-8: {error.object[error.start : error.end]!r} is a lone surrogate. "
            "Clean it first: text.encode('utf-8', 'replace').decode()."
        ) from error


def _scratch_prefix(target: Path) -> str:
    """How temporary names for a target begin, of which old ones are removed here."""
    prefix = f".{target.name}.tmp-"
    for abandoned in target.parent.glob(f"{glob.escape(prefix)}*"):
        # Left by a process that was killed; younger ones may belong to one that is at work.
        with contextlib.suppress(OSError):
            if time.time() - abandoned.lstat().st_mtime > _ABANDONED:
                remove(abandoned)
    return prefix


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask
