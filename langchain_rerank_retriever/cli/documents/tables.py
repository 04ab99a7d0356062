"""Rows of tables, one in memory at a time. A row that cannot be read comes as the error that says why."""

import csv
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from langchain_rerank_retriever.cli.documents.sources import Source
from langchain_rerank_retriever.errors import DataError
from langchain_rerank_retriever.formats.reading import json_object, readable

Row = Mapping[str, Any]

#: Rows of a Parquet file in memory.
_BATCH = 256


def table_rows(source: Source, encoding: str) -> Iterator[tuple[str, Row | DataError]]:
    """Yield the rows, each after its place, `"faq.csv, line 3"`; for a bad one, what is wrong with it.

    Raises:
        DataError: If nothing of the file can be read.
        StorageError: If it cannot be opened.
    """
    with readable(source.path, "file"):
        if source.kind == ".parquet":
            yield from _parquet(source.path)
        elif source.kind in {".csv", ".tsv"}:
            with opened(source.path, encoding, newline="") as lines:
                yield from _delimited(source.path, lines, "," if source.kind == ".csv" else "\t", encoding)
        else:
            with opened(source.path, encoding) as lines:
                yield from _json_lines(source.path, lines, encoding)


@contextmanager
def opened(path: Path, encoding: str, newline: str | None = None) -> Iterator[TextIO]:
    """Open a text file; bytes that are not of the encoding become lone surrogates, which `check_encoding` finds.

    So a file is not given up for one line, and the line can be named.
    """
    name = "utf-8-sig" if _plain(encoding) == "utf8" else encoding
    with path.open(encoding=name, errors="surrogateescape", newline=newline) as lines:
        yield lines


def check_encoding(place: str, text: str, encoding: str) -> None:
    """Refuse a text with bytes in it that are not of the encoding.

    Raises:
        DataError: Naming the place.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        byte = ord(text[error.start]) - 0xDC00
        raise DataError(
            f"{place}: not {encoding.upper()}, there is the byte 0x{byte:02x}. Say what it is, for instance --encoding "
            "cp949, or save it as UTF-8."
        ) from error


def _plain(encoding: str) -> str:
    return encoding.lower().replace("-", "").replace("_", "")


def _json_lines(path: Path, lines: TextIO, encoding: str) -> Iterator[tuple[str, Row | DataError]]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            place = f"{path}, line {number}"
            try:
                yield place, _json_row(place, line, encoding)
            except DataError as error:
                yield place, error


def _json_row(place: str, line: str, encoding: str) -> Row:
    check_encoding(place, line, encoding)
    return json_object(place, line)


def _delimited(
    path: Path, lines: TextIO, delimiter: str, encoding: str
) -> Iterator[tuple[str, Row | DataError]]:
    csv.field_size_limit(sys.maxsize)  # Long documents are what is expected here.
    # Strict, because a quotation mark that nothing closes would swallow the rest of the file in silence.
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    header = _header(path, reader, encoding)
    while True:
        place = f"{path}, line {reader.line_num + 1}"
        try:
            fields = next(reader)
            if fields:  # A line without anything is none.
                yield place, _row(place, header, fields, encoding)
        except StopIteration:
            return
        except csv.Error as error:
            yield place, DataError(f"{place}: not a row of a {path.suffix.lower()} file: {error}.")
        except DataError as error:
            yield place, error


def _header(path: Path, reader: Any, encoding: str) -> list[str]:
    place = f"{path}, line 1"
    try:
        names: list[str] = next(reader, [])
    except csv.Error as error:
        raise DataError(f"{place}: not a row of a {path.suffix.lower()} file: {error}.") from error
    if not any(names):
        raise DataError(f"{path} is empty; expected the names of the columns in the first line.")
    check_encoding(place, "\n".join(names), encoding)
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise DataError(f"{place}: the column {twice[0]!r} is there twice. Rename one.")
    return names


def _row(place: str, header: list[str], fields: list[str], encoding: str) -> Row:
    if len(fields) != len(header):
        raise DataError(f"{place}: expected {len(header)} fields as in the first line, got {len(fields)}.")
    check_encoding(place, "\n".join(fields), encoding)
    # An empty field is how such a file writes "nothing".
    return {name: field or None for name, field in zip(header, fields, strict=True)}


def _parquet(path: Path) -> Iterator[tuple[str, Row | DataError]]:
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_BATCH):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path}, row {number}", row
    except pyarrow.ArrowException as error:
        raise DataError(f"{path} is no Parquet file that can be read: {error}.") from error
