"""Folders that appear whole or not at all."""

import glob
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_ABANDONED = 24 * 3600


def sync(path: Path) -> None:
    """Force a file, or the names in a folder, onto the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_missing_or_empty(folder: Path) -> bool:
    """Whether nothing lies at a path that a new folder there would hide or mix with."""
    if folder.is_dir():
        return next(folder.iterdir(), None) is None
    return not os.path.lexists(folder)


@contextmanager
def scratch_folder(beside: Path) -> Iterator[Path]:
    """A temporary folder on the same file system as a target, removed at the end unless it was moved away."""
    beside.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{beside.name}.tmp-"
    for abandoned in beside.parent.glob(f"{glob.escape(prefix)}*"):
        # Left by a process that was killed; younger ones may belong to one that is at work.
        if time.time() - abandoned.lstat().st_mtime > _ABANDONED:
            shutil.rmtree(abandoned, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(prefix=prefix, dir=beside.parent))
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
    umask = os.umask(0)
    os.umask(umask)
    scratch.chmod(0o777 & ~umask)
    sync(scratch)
    scratch.rename(target)
    sync(target.parent)
