"""A folder of shards: each one Parquet file that appears whole or not at all, and a manifest of what they are.

encoded/
├── manifest.json      the job, its model and settings; in the end, how many shards and rows there are
├── 000000.parquet     the rows of shard 0; the footer names the slice that they were made of
├── 000001.parquet
└── .work/             lock, attempts and staged rows of the run that is at work
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from langchain_rerank_retriever.distributed.shard_file import (
    Header,
    Made,
    read_header,
    read_shard,
    write_shard,
)
from langchain_rerank_retriever.distributed.slices import Slice
from langchain_rerank_retriever.errors import (
    FormatError,
    InvalidArgumentError,
    ModelMismatchError,
    StorageError,
)
from langchain_rerank_retriever.files import whole_file, written_whole

FORMAT = 1
MANIFEST = "manifest.json"
_SUFFIX = ".parquet"
_WORK = ".work"


class ShardFolder:
    """A folder of shards.

    Args:
        path: The folder, which exists.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def manifest(self) -> dict[str, Any]:
        """What the manifest says.

        Raises:
            FormatError: There is none, or it is damaged, or of a newer version.
        """
        return _read_manifest(self.path)

    @property
    def work(self) -> Path:
        """A folder for what is only of use to the run that is at work."""
        return self.path / _WORK

    def shard(self, number: int) -> Path:
        """Where a shard lies or will lie."""
        return self.path / f"{number:06d}{_SUFFIX}"

    def write(self, one: Slice, made: Made, made_of: int) -> Header:
        """Write the shard that was made of a slice; it replaces what lies there."""
        header = Header(one.number, one.digest, made.table.num_rows, made_of, dict(made.counts))
        with whole_file(self.shard(one.number)) as scratch:
            write_shard(scratch, made.table, header)
        return header

    def header(self, one: Slice, *, verify: bool = False) -> Header | None:
        """Return the header of a slice's shard, None where there is none yet or a damaged one.

        Args:
            one: The slice.
            verify: Read and hash the content, too. The footer alone tells a file that is cut off or foreign.

        Raises:
            InvalidArgumentError: The shard is whole, and was made of other rows.
        """
        path = self.shard(one.number)
        if not path.exists():
            return None
        try:
            header = read_shard(path)[0] if verify else read_header(path)
        except FormatError:
            return None
        if header.digest != one.digest:
            raise InvalidArgumentError(
                f"{path} was made of other rows than those that are given now for this shard. Give the same rows in "
                "the same order as before, or another output folder."
            )
        return header

    def finish(self, headers: Iterable[Header]) -> dict[str, Any]:
        """Note in the manifest that all shards are there.

        Raises:
            InvalidArgumentError: There are more shards than the rows that were given make.
        """
        known = sorted(headers, key=lambda header: header.number)
        beyond = [file for file in self.path.glob(f"[0-9]*{_SUFFIX}") if int(file.stem) >= len(known)]
        if beyond:
            raise InvalidArgumentError(
                f"{self.path} holds {min(beyond).name}, and the rows that are given now end before it. Give the same "
                "rows as before, or another output folder."
            )
        digest = hashlib.sha256("\n".join(header.digest for header in known).encode()).hexdigest()
        whole = {
            "shards": len(known),
            "rows": sum(header.rows for header in known),
            "made_of": sum(header.made_of for header in known),
            "sha256": digest,
        }
        _write_manifest(self.path, {**self.manifest, "complete": whole})
        return whole


@contextmanager
def claimed(path: Path, identity: Mapping[str, Any]) -> Iterator[ShardFolder]:
    """Hold a folder for the length of a job: a new one, or what an earlier run of the same job left.

    Args:
        path: The folder; made where missing.
        identity: What the shards depend on, as JSON: `job`, `model`, and settings by name.

    Raises:
        ModelMismatchError: The shards there are of another model.
        InvalidArgumentError: They are of another job or other settings, or the folder holds something else.
        StorageError: Another process is at work there, or it cannot be written.
    """
    folder = ShardFolder(path)
    try:
        if path.is_dir() and not (path / MANIFEST).exists() and not _only_work(path):
            raise InvalidArgumentError(
                f"{path} holds files, and no {MANIFEST}. Give a new or empty output folder."
            )
        folder.work.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.work / "lock", timeout=0)
        lock.acquire()
    except Timeout as error:
        raise StorageError(f"Another process is at work on {path}. Wait for it.") from error
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error}.") from error
    try:
        _claim(path, json.loads(json.dumps(dict(identity))))
        _sweep(folder)
        yield folder
        # A worker that was killed while it wrote left its share, and another has done it since.
        _sweep(folder)
        shutil.rmtree(folder.work, ignore_errors=True)
    finally:
        lock.release()


def _only_work(path: Path) -> bool:
    return all(entry.name == _WORK for entry in path.iterdir())


def _sweep(folder: ShardFolder) -> None:
    """Remove what a killed process left that no other can use."""
    for entry in folder.path.glob(".*.tmp-*"):
        entry.unlink(missing_ok=True)
    for entry in folder.work.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)


def _claim(path: Path, identity: dict[str, Any]) -> None:
    if not (path / MANIFEST).exists():
        _write_manifest(path, {"format": FORMAT, **identity, "complete": None})
        return
    earlier = _read_manifest(path)
    # A model's name may be the folder it lies in, which may differ.
    differing = [name for name in identity if name != "model_name" and earlier.get(name) != identity[name]]
    if "job" in differing:
        raise InvalidArgumentError(
            f"{path} holds shards of the job {earlier.get('job')!r}, and this is {identity['job']!r}. Give another "
            "output folder."
        )
    if "model" in differing:
        expected, got = (f"{one.get('model_name')} ({one.get('model')})" for one in (earlier, identity))
        raise ModelMismatchError(
            f"The shards in {path} are of the model {expected}, got {got}. Pass the model they were begun with, or "
            "another output folder.",
            expected=expected,
            got=got,
        )
    if differing:
        raise InvalidArgumentError(
            f"The shards in {path} were begun with other settings: "
            + ", ".join(f"{name} {earlier.get(name)!r}, got {identity[name]!r}" for name in differing)
            + ". Pass the same as then, or another output folder."
        )


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        if manifest["format"] > FORMAT:
            raise FormatError(
                f"{path} was written by a newer version: format {manifest['format']}, known {FORMAT}."
            )
        return dict(manifest)
    except FileNotFoundError as error:
        raise FormatError(f"{path} is no folder of shards: it has no {MANIFEST}.") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"{path / MANIFEST} is damaged: {error}.") from error


def _write_manifest(path: Path, manifest: Mapping[str, Any]) -> None:
    with written_whole(path / MANIFEST) as file:
        json.dump(manifest, file, indent=2, ensure_ascii=False)
