"""Rows of any number cut into slices, one for each shard, which any process can read by itself."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from langchain_core.documents import Document

from langchain_rerank_retriever.errors import DataError, StorageError
from langchain_rerank_retriever.formats.reading import json_object

Row = Mapping[str, Any]

PARQUET, JSONL = (".parquet",), (".jsonl", ".json")

#: Rows of a Parquet file decoded at a time; a row group may be larger than memory.
_BATCH = 1024


@dataclass(frozen=True, slots=True)
class FilePart:
    """Some rows of a file.

    Attributes:
        path: Where it lies, for every process that works on the shards.
        start: The first: its number in a Parquet file, its first byte in a JSONL file.
        stop: The end, in the same unit.
    """

    path: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Slice:
    """The rows of one shard.

    Attributes:
        number: Of the shard, from 0.
        digest: SHA-256 that tells these rows from others. Of JSONL and of what is held, the rows themselves are hashed;
            of Parquet, the footer, which has the sizes and statistics of every column, so that nothing is read.
        parts: Where the rows are, in order.
        held: The rows as lines of JSON, where they are in no file.
    """

    number: int
    digest: str
    parts: tuple[FilePart, ...] = ()
    held: tuple[str, ...] = ()

    def rows(self) -> list[Row]:
        """Read the rows.

        Raises:
            DataError: Something is no row.
            StorageError: A file cannot be read.
        """
        lines = [
            json_object(f"row {place} of shard {self.number}", line) for place, line in enumerate(self.held)
        ]
        return [*lines, *(row for part in self.parts for row in _rows_of(part))]


def slices_of(source: Any, size: int, *, default: Callable[[Any], Any] | None = None) -> Iterator[Slice]:
    """Cut a source into slices of `size` rows, the last one shorter; no more than one is in memory.

    Args:
        source: The path of a Parquet or JSONL file, of a folder of such files, or a list of such paths, whose rows
            follow each other; or anything that iterates over dicts or LangChain Documents: a `datasets.Dataset`, an
            `IterableDataset`, a list, a generator.
        size: Rows of a slice.
        default: Called with each value of an iterated row that JSON cannot hold.

    Raises:
        DataError: It is none of these, or a row is no row.
        StorageError: A path cannot be read.
    """
    paths = _paths(source)
    if not paths:
        yield from _held(source, size, default)
    elif paths[0].suffix in PARQUET:
        yield from _cut(_parquet_ranges(paths, size), size)
    else:
        yield from _cut(_jsonl_ranges(paths), size)


def staged(one: Slice, folder: Path) -> Slice:
    """Put a slice that is held in memory into a file of its own, from which any process can read it."""
    if not one.held:
        return one
    path = folder / f"{one.number:06d}.jsonl"
    path.write_text("".join(f"{line}\n" for line in one.held), encoding="utf-8")
    return Slice(one.number, one.digest, (FilePart(str(path), 0, path.stat().st_size),))


# -- what is iterated over ---------------------------------------------------------------------------------------


def _held(source: Any, size: int, default: Callable[[Any], Any] | None) -> Iterator[Slice]:
    if isinstance(source, Mapping) or not isinstance(source, Iterable):
        raise DataError(
            "Expected the path of Parquet or JSONL files, a datasets.Dataset, or something else that iterates over "
            f"dicts or Documents, got {type(source).__name__}."
        )
    lines = (_line(place, item, default) for place, item in enumerate(source))
    number = 0
    while held := tuple(islice(lines, size)):
        yield Slice(number, hashlib.sha256("\n".join(held).encode()).hexdigest(), held=held)
        number += 1


def _line(place: int, item: Any, default: Callable[[Any], Any] | None) -> str:
    if isinstance(item, Document):
        item = {"id": item.id, "text": item.page_content, "metadata": item.metadata}
    if not isinstance(item, Mapping):
        raise DataError(f"row {place}: expected a dict or a LangChain Document, got {type(item).__name__}.")
    try:
        return json.dumps(dict(item), default=default)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"row {place}: {error}. Its values must be JSON: convert them, or pass metadata_default=str."
        ) from error


# -- files -------------------------------------------------------------------------------------------------------


def _paths(source: Any) -> list[Path]:
    """Return the files that a source names, all of one kind; none where it names no files."""
    given = [source] if isinstance(source, str | Path) else source
    if not isinstance(given, Sequence) or not given or not all(isinstance(one, str | Path) for one in given):
        return []
    paths = [file for one in given for file in _files(Path(one))]
    kinds = {path.suffix in PARQUET for path in paths}
    if len(kinds) > 1:
        raise DataError("Expected Parquet files or JSONL files, got both. Pass one kind.")
    return paths


def _files(path: Path) -> list[Path]:
    # A worker may run in another folder.
    path = path.expanduser().absolute()
    if not path.exists():
        raise StorageError(f"There is no file or folder {path}.")
    known = PARQUET + JSONL
    if path.is_file():
        if path.suffix not in known:
            raise DataError(f"{path}: expected a file ending in {', '.join(known)}.")
        return [path]
    found = sorted(file for file in path.iterdir() if file.suffix in known and not file.name.startswith("."))
    if not found:
        raise DataError(f"{path}: expected files ending in {', '.join(known)} in this folder, found none.")
    return found


@dataclass(frozen=True, slots=True)
class _Range:
    """Rows of a file that are not cut further, and what they are told from others by."""

    part: FilePart
    rows: int
    mark: bytes


def _cut(ranges: Iterator[_Range], size: int) -> Iterator[Slice]:
    """Put ranges together to slices; a range of many rows is taken to have been cut to fit."""
    number, rows, parts, digest = 0, 0, list[FilePart](), hashlib.sha256()
    for one in ranges:
        digest.update(one.mark)
        if parts and (parts[-1].path, parts[-1].stop) == (one.part.path, one.part.start):
            parts[-1] = FilePart(one.part.path, parts[-1].start, one.part.stop)
        else:
            parts.append(one.part)
        rows += one.rows
        if rows == size:
            yield Slice(number, digest.hexdigest(), tuple(parts))
            number, rows, parts, digest = number + 1, 0, [], hashlib.sha256()
    if rows:
        yield Slice(number, digest.hexdigest(), tuple(parts))


def _jsonl_ranges(paths: Sequence[Path]) -> Iterator[_Range]:
    for path in paths:
        position = 0
        with path.open("rb") as lines:
            for line in lines:
                text = line.strip()
                stop = position + len(line)
                yield _Range(FilePart(str(path), position, stop), 1 if text else 0, text + b"\n")
                position = stop


def _parquet_ranges(paths: Sequence[Path], size: int) -> Iterator[_Range]:
    free = size
    for path in paths:
        footer, total = _footer(path)
        start = 0
        while start < total:
            stop = min(start + free, total)
            mark = b"%s %d %d\n" % (footer, start, stop)
            yield _Range(FilePart(str(path), start, stop), stop - start, mark)
            free = free - (stop - start) or size
            start = stop


def _footer(path: Path) -> tuple[bytes, int]:
    """Return the hash of a Parquet file's footer, and how many rows it has."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = int(pq.read_metadata(path).num_rows)
        with path.open("rb") as file:
            # The last eight bytes are the length of the footer and the letters PAR1.
            file.seek(-8, os.SEEK_END)
            length = int.from_bytes(file.read(4), "little")
            file.seek(-8 - length, os.SEEK_END)
            return hashlib.sha256(file.read(length)).hexdigest().encode(), rows
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"{path} is no Parquet file that can be read: {error}.") from error


def _rows_of(part: FilePart) -> Iterator[Row]:
    rows = _parquet_rows if Path(part.path).suffix in PARQUET else _jsonl_rows
    try:
        yield from rows(part)
    except OSError as error:
        raise StorageError(f"{part.path} cannot be read: {error}.") from error


def _parquet_rows(part: FilePart) -> Iterator[Row]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(part.path) as file:
        first, groups = 0, []
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            if first < part.stop and first + rows > part.start:
                groups.append((group, first))
            first += rows
        place = groups[0][1] if groups else 0
        for batch in file.iter_batches(_BATCH, row_groups=[group for group, _ in groups]):
            start, stop = max(part.start - place, 0), min(part.stop - place, len(batch))
            if start < stop:
                yield from batch.slice(start, stop - start).to_pylist()
            place += len(batch)
            if place >= part.stop:
                return


def _jsonl_rows(part: FilePart) -> Iterator[Row]:
    position = part.start
    with Path(part.path).open("rb") as lines:
        lines.seek(position)
        for line in lines:
            if position >= part.stop:
                return
            if line.strip():
                yield json_object(f"{part.path}, byte {position}", line)
            position += len(line)
