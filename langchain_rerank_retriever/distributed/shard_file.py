"""A shard: a Parquet file whose footer has the hash of its content, so that damage is found when it is read."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from langchain_rerank_retriever.errors import FormatError

_HEADER, _HASH, _HEADER_HASH = b"shard", b"shard.sha256", b"shard.header.sha256"


@dataclass(frozen=True, slots=True)
class Header:
    """What a shard's footer says of it.

    Attributes:
        number: From 0.
        digest: Of the slice that it was made of.
        rows: How many it has.
        made_of: How many rows the slice has.
        counts: What the job counted on the way.
    """

    number: int
    digest: str
    rows: int
    made_of: int
    counts: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Made:
    """The content of a shard, before it is written.

    Attributes:
        table: The rows.
        counts: What the job counted on the way.
    """

    table: pa.Table
    counts: Mapping[str, int] = field(default_factory=dict)


def write_shard(path: Path, table: pa.Table, header: Header) -> None:
    """Write a Parquet file that can tell whether it is whole."""
    told = json.dumps(asdict(header)).encode()
    # Neither the values nor what the footer says of them can change unnoticed.
    metadata = {_HEADER: told, _HASH: _hash_of(told, table), _HEADER_HASH: _plain_hash(told)}
    vectors = [column.name for column in table.schema if pa.types.is_fixed_size_list(column.type)]
    pq.write_table(
        table.replace_schema_metadata(metadata),
        path,
        # Numbers of a vector hardly compress, and nothing here repeats.
        compression={_leaf(one): "none" if one.name in vectors else "zstd" for one in table.schema},
        use_dictionary=False,
    )


def read_shard(path: Path) -> tuple[Header, pa.Table]:
    """Read a shard.

    Raises:
        FormatError: It is damaged, or no shard.
    """
    try:
        with pq.ParquetFile(path) as file:
            metadata = file.schema_arrow.metadata or {}
            table = file.read()
        table.validate(full=True)
        if _hash_of(metadata[_HEADER], table) != metadata[_HASH]:
            raise FormatError(f"{path} is damaged: its content is not what was written.")
        return Header(**json.loads(metadata[_HEADER])), table
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"{path} is damaged, or no shard: {error}.") from error


def read_header(path: Path) -> Header:
    """Read what a shard's footer says of it, and nothing else: one that is cut off is found, a flipped bit may not be.

    Raises:
        FormatError: The footer is damaged or missing, or the file is no shard.
    """
    try:
        with pq.ParquetFile(path) as file:
            metadata, rows = file.schema_arrow.metadata or {}, file.metadata.num_rows
        told = metadata[_HEADER]
        if _HEADER_HASH not in metadata:
            # Of an earlier version, whose headers are checked with the content only.
            return read_shard(path)[0]
        header = Header(**json.loads(told))
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"{path} is damaged, or no shard: {error}.") from error
    if metadata[_HEADER_HASH] != _plain_hash(told) or header.rows != rows:
        raise FormatError(f"{path} is damaged: its footer is not what was written.")
    return header


def read_first(path: Path, columns: list[str]) -> dict[str, Any] | None:
    """Return the first row of a shard, of some columns, without reading the others; None where it has no row.

    Raises:
        FormatError: It is damaged where it was read, or no Parquet file.
    """
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(1, columns=columns):
                return dict(batch.to_pylist()[0])
    except (OSError, pa.ArrowException, ValueError) as error:
        raise FormatError(f"{path} is damaged, or no shard: {error}.") from error
    return None


def _plain_hash(told: bytes) -> bytes:
    return hashlib.sha256(told).hexdigest().encode()


def _hash_of(told: bytes, table: pa.Table) -> bytes:
    digest = hashlib.sha256(told)
    for name, column in zip(table.column_names, table.columns, strict=True):
        digest.update(f"{name} ".encode())
        for part in _values(column.combine_chunks()):
            digest.update(part)
    return digest.hexdigest().encode()


def _values(array: pa.Array) -> Iterator[bytes]:
    """Yield bytes that are the same for equal arrays only; lengths first, so that values cannot run together."""
    if pa.types.is_string(array.type):
        texts = [text.encode() for text in array.to_pylist()]
        yield b"texts"
        yield np.array([len(text) for text in texts], np.int64).tobytes()
        yield b"".join(texts)
    elif pa.types.is_list(array.type):
        yield b"lists"
        yield np.array(array.value_lengths(), np.int64).tobytes()
        yield from _values(array.flatten())
    elif pa.types.is_fixed_size_list(array.type):
        yield b"vectors %d" % array.type.list_size
        yield from _values(array.flatten())
    else:
        yield str(array.type).encode()
        yield array.to_numpy(zero_copy_only=False).tobytes()


def _leaf(column: pa.Field) -> str:
    nested = pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type)
    return f"{column.name}.list.element" if nested else str(column.name)
