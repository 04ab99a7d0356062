"""Rows and text files to documents that a store takes, checked before anything is changed."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from langchain_rerank_retriever.cli.documents.sources import Source
from langchain_rerank_retriever.cli.documents.tables import check_encoding, opened
from langchain_rerank_retriever.errors import DataError, InvalidDocumentError
from langchain_rerank_retriever.formats.reading import readable
from langchain_rerank_retriever.store.validation import checked_entries

#: The metadata key by which a later run knows which documents were a file's.
ORIGIN = "indexed_from"
#: What chunks name the whole by, and their place in it, from 1.
PARENT, CHUNK = "parent", "chunk"

#: Columns that are looked for where none is named, the first that is there.
ID_COLUMNS = ("id", "_id")
TEXT_COLUMNS = ("text", "page_content", "content", "passage")
#: What LangChain's documents have as JSON: an object whose entries are the metadata.
METADATA_COLUMN = "metadata"


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns of a row are what; None and empty for the usual names."""

    id: str | None = None
    text: tuple[str, ...] = ()
    metadata: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Record:
    """What becomes one document, or several chunks.

    Attributes:
        place: For messages.
        source: The file it is from.
        id: Of the whole.
        named: Whether the id was given, and not made of the text.
        text: All of it.
        metadata: Of every chunk.
    """

    place: str
    source: Source
    id: str
    named: bool
    text: str
    metadata: dict[str, Any]


def record_of_row(source: Source, place: str, row: Mapping[str, Any], columns: Columns) -> Record:
    """Make a record of a row.

    Raises:
        DataError: If the row lacks a column, or a value cannot be stored; names the place.
    """
    id_column, identifier = _id(place, row, columns)
    text_columns, text = _text(place, row, columns)
    named = identifier is not None
    if identifier is None:
        # By the text, so that a row keeps its id where others are added or removed.
        identifier = f"{source.name}#{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:16]}"
    metadata = _metadata(place, row, columns, (id_column, *text_columns))
    return _checked(Record(place, source, identifier, named, text, metadata))


def record_of_text(source: Source, encoding: str) -> Record | None:
    """Make a record of a text file; None where nothing is in it.

    Raises:
        DataError: If it is no text, or of another encoding; names the line.
        StorageError: If it cannot be read.
    """
    with readable(source.path, "file"), opened(source.path, encoding) as lines:
        text = lines.read()
    if not text.strip():
        return None
    if "\0" in text:
        raise DataError(
            f"{source.path} is not text: it has NUL bytes in it. For UTF-16, give --encoding utf-16."
        )
    place = str(source.path)
    if not text.isascii():
        for number, line in enumerate(text.split("\n"), start=1):
            check_encoding(f"{source.path}, line {number}", line, encoding)
    return _checked(Record(place, source, source.name, True, text, {}))


def _id(place: str, row: Mapping[str, Any], columns: Columns) -> tuple[str | None, str | None]:
    name = columns.id or next((one for one in ID_COLUMNS if row.get(one) is not None), None)
    if name is None:
        return None, None
    _check_there(place, row, name, "--id-column")
    value = row[name]
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise DataError(
            f"{place}: the id in the column {name!r} must be a text or a whole number, got {value!r}."
        )
    return name, str(value)


def _text(place: str, row: Mapping[str, Any], columns: Columns) -> tuple[tuple[str, ...], str]:
    names = columns.text or tuple(one for one in TEXT_COLUMNS if one in row)[:1]
    if not names:
        raise DataError(
            f"{place}: there is no column {' or '.join(TEXT_COLUMNS)}; there are {_names(row)}. Name the one with the "
            "text: --text-column NAME."
        )
    parts = []
    for name in names:
        _check_there(place, row, name, "--text-column")
        value = row[name]
        if value is not None and not isinstance(value, str):
            raise DataError(f"{place}: expected text in the column {name!r}, got {value!r}.")
        parts.append(value or "")
    text = "\n".join(part for part in parts if part.strip())
    if not text:
        raise DataError(f"{place}: there is no text in the column {' or '.join(names)}.")
    return names, text


def _metadata(
    place: str, row: Mapping[str, Any], columns: Columns, used: tuple[str | None, ...]
) -> dict[str, Any]:
    for name in columns.metadata:
        _check_there(place, row, name, "--metadata-column")
    kept = columns.metadata or tuple(name for name in row if name not in used)
    metadata: dict[str, Any] = {}
    for name in kept:
        value = row[name]
        if name == METADATA_COLUMN and isinstance(value, Mapping):
            metadata |= value
        elif value is not None:
            metadata[name] = value
    return metadata


def _check_there(place: str, row: Mapping[str, Any], name: str, option: str) -> None:
    if name not in row:
        raise DataError(f"{place}: there is no column {name!r} ({option}); there are {_names(row)}.")


def _names(row: Mapping[str, Any]) -> str:
    return ", ".join(map(str, row)) or "none"


def _checked(record: Record) -> Record:
    """Take what the store would make of it, so that what it refuses is told with its place, before it is asked."""
    metadata = {"source": record.source.name} | record.metadata | {ORIGIN: record.source.name}
    try:
        (entry,) = checked_entries((record.text,), (metadata,), (record.id,), blank="keep", default=_storable)
    except InvalidDocumentError as error:
        raise DataError(f"{record.place}: {error}") from error
    return Record(record.place, record.source, entry.id, record.named, entry.text, entry.metadata)


def _storable(value: Any) -> Any:
    """What JSON cannot hold: not-a-number is nothing, dates and the like are text."""
    return None if isinstance(value, float) and not math.isfinite(value) else str(value)
