"""What a tuning run has done so far, kept beside the bundle so that a killed run can go on.

    .my-bundle.tuning/
    ├── run.json                    what is being tuned, as hashes
    ├── run.lock                    held by the process at work
    ├── untuned/  tuned/            stores; durable by themselves, and texts in them are not embedded again
    ├── bi_encoder/                 finished parts
    ├── bi_encoder.steps/step-120/  the newest checkpoint of a part that is being trained
    └── ...

A part or checkpoint counts only when it is whole: it is written under another name, its manifest last, synced, and
renamed. The manifest has the size and hash of every file, and of itself, so what a disk has damaged since is done anew.
"""

import errno
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from langchain_rerank_retriever.errors import InvalidArgumentError, StorageError
from langchain_rerank_retriever.files import (
    CHECKSUM,
    checksum,
    make_folder,
    move_into_place,
    remove,
    scratch_folder,
    sync,
)

#: A disk that is full, over quota, over a limit of file size, broken or read-only; how safetensors and torch say it.
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)
_DISK_WORDS = (*(f"(os error {number})" for number in _DISK), "PytorchStreamWriter")

MANIFEST = "complete.json"
IDENTITY = "run.json"


@contextmanager
def run_folder(target: Path, identity: Mapping[str, str], *, resume: bool) -> Iterator["RunFolder"]:
    """Open the folder of a run for the length of the run.

    It is removed at the end. Where the run raises or is killed it stays, for a later call to resume from or to
    start over.

    Args:
        target: The bundle that the run will write.
        identity: What is being tuned and how: a name and a hash for each thing that must be the same on resuming.
        resume: Go on from what an earlier run left; where there is nothing, start.

    Raises:
        InvalidArgumentError: If the run to resume was of something else; the message names what differs.
        StorageError: If another process is tuning into the same bundle.
    """
    folder = target.parent / f".{target.name}.tuning"
    lock = FileLock(folder / "run.lock", timeout=0)
    try:
        make_folder(folder)
        lock.acquire()
    except Timeout as error:
        raise StorageError(
            f"Another process is tuning into {target}. Wait for it, or choose another output_dir."
        ) from error
    except OSError as error:
        raise StorageError(f"The work of this run cannot be kept in {folder}: {error}.") from error
    try:
        _claim(folder, identity, resume=resume)
        yield RunFolder(folder)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        lock.release()


@dataclass(frozen=True, slots=True)
class Part:
    """A part that is being written.

    Attributes:
        folder: For its files; exists and is empty.
        facts: JSON that is noted with it.
    """

    folder: Path
    facts: dict[str, Any]


class RunFolder:
    """The parts of a run.

    Args:
        folder: Where they lie.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def elapsed(self) -> float:
        """Seconds that the run had taken when the newest part or checkpoint was complete; 0.0 where there is none."""
        found = [one["elapsed"] for one in map(facts_of, self._complete()) if one is not None]
        return max(found, default=0.0)

    def path(self, part: str) -> Path:
        """Return where a part lies or will lie."""
        return self.folder / part

    def facts(self, part: str) -> dict[str, Any] | None:
        """Return what was noted with a finished part; None where it is not finished, or damaged."""
        return facts_of(self.path(part))

    @contextmanager
    def writing(self, name: str) -> Iterator["Part"]:
        """Write a part: it counts when the block ends without an error.

        Args:
            name: Its name; what lies there is damaged or of no use any more and is removed.

        Yields:
            The folder for its files and a dictionary for its facts; `elapsed` must be among these.

        Raises:
            StorageError: If the disk is full or broken.
        """
        target = self.path(name)
        shutil.rmtree(target, ignore_errors=True)
        with _disk_errors(self.folder), scratch_folder(target) as scratch:
            part = Part(scratch, {})
            yield part
            seal(part.folder, target, part.facts)
        shutil.rmtree(self.checkpoints(name), ignore_errors=True)

    def forget(self, name: str) -> None:
        """Remove what there is of a part."""
        shutil.rmtree(self.path(name), ignore_errors=True)

    def checkpoints(self, part: str) -> Path:
        """Return the folder of the checkpoints of a part that is being trained."""
        return self.folder / f"{part}.steps"

    def _complete(self) -> Iterator[Path]:
        for manifest in self.folder.rglob(MANIFEST):
            yield manifest.parent


def seal(scratch: Path, target: Path, facts: Mapping[str, Any]) -> None:
    """Write the manifest of a folder that is otherwise complete, and give it its name.

    Args:
        scratch: The folder.
        target: Its name from now on; nothing lies there.
        facts: JSON, kept in the manifest.
    """
    files = {
        str(file.relative_to(scratch)): _described(file)
        for file in sorted(scratch.rglob("*"))
        if file.is_file()
    }
    manifest = {"files": files, "facts": dict(facts)}
    whole = {**manifest, CHECKSUM: checksum(manifest)}
    (scratch / MANIFEST).write_text(json.dumps(whole, ensure_ascii=False), encoding="utf-8")
    move_into_place(scratch, target)


def facts_of(folder: Path) -> dict[str, Any] | None:
    """Return the facts of a folder that is complete and as it was written; None for any other."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        whole = manifest[CHECKSUM] == checksum(manifest) and all(
            _described(folder / name) == known for name, known in manifest["files"].items()
        )
        return dict(manifest["facts"]) if whole else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def newest_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint that is whole; None where there is none."""
    numbered = [(int(path.name.rpartition("-")[2]), path) for path in folder.glob("step-*")]
    return next((path for _, path in sorted(numbered, reverse=True) if facts_of(path) is not None), None)


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    """Tell what the libraries that write models and checkpoints say of a disk as one error of ours."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        known = isinstance(error, OSError) and not isinstance(error, StorageError) and error.errno in _DISK
        if not known and not any(words in str(error) for words in _DISK_WORDS):
            raise
        raise StorageError(
            f"What this run has done cannot be written to {folder}: {error}. Make room on that disk, then call tune "
            "with resume=True to go on."
        ) from error


def _described(file: Path) -> dict[str, Any]:
    with file.open("rb") as content:
        return {"bytes": file.stat().st_size, "sha256": hashlib.file_digest(content, "sha256").hexdigest()}


def _claim(folder: Path, identity: Mapping[str, str], *, resume: bool) -> None:
    path = folder / IDENTITY
    if resume and path.is_file():
        try:
            earlier = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError):
            earlier = {}
        if not isinstance(earlier, dict):
            earlier = {}
        differing = sorted(
            name for name in identity.keys() | earlier.keys() if identity.get(name) != earlier.get(name)
        )
        if not differing:
            _sweep(folder)
            return
        if earlier:
            raise InvalidArgumentError(
                f"resume=True: the run to resume had other {', '.join(differing)}. Pass the same as then, or "
                "resume=False to start over."
            )
    _empty(folder)
    scratch = folder / f"{IDENTITY}.tmp"
    scratch.write_text(json.dumps(dict(identity)), encoding="utf-8")
    sync(scratch)
    scratch.replace(path)
    sync(folder)


def _sweep(folder: Path) -> None:
    """Remove what a killed run was in the middle of writing."""
    for entry in folder.iterdir():
        if entry.name.startswith(".") or entry.name.endswith(".writing"):
            shutil.rmtree(entry, ignore_errors=True)


def _empty(folder: Path) -> None:
    # First of all what says that the rest is of use.
    remove(folder / IDENTITY)
    sync(folder)
    for entry in folder.iterdir():
        if entry.name != "run.lock":
            remove(entry)
