"""All documents of some files, read anew each time they are asked for, one in memory at a time."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace

from langchain_rerank_retriever.cli.documents.records import (
    CHUNK,
    PARENT,
    Columns,
    Record,
    record_of_row,
    record_of_text,
)
from langchain_rerank_retriever.cli.documents.sources import Source
from langchain_rerank_retriever.cli.documents.tables import table_rows
from langchain_rerank_retriever.errors import DataError


class SeenIds:
    """The ids of a run with a note to each; more of them than memory holds go to a temporary file."""

    def __init__(self) -> None:
        self._table = sqlite3.connect("", isolation_level=None)  # a private file that SQLite removes
        self._table.execute("CREATE TABLE seen (id TEXT PRIMARY KEY, note TEXT) WITHOUT ROWID")

    def add(self, identifier: str, note: str = "") -> str | None:
        """Add an id; where it is there already, return its note instead."""
        added = self._table.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (identifier, note)).rowcount
        return None if added else self._note(identifier)

    def __contains__(self, identifier: str) -> bool:
        return self._note(identifier) is not None

    def _note(self, identifier: str) -> str | None:
        row = self._table.execute("SELECT note FROM seen WHERE id = ?", (identifier,)).fetchone()
        return None if row is None else str(row[0])

    def close(self) -> None:
        """Remove them."""
        self._table.close()


class Reading:
    """The records of some files.

    Args:
        sources: The files.
        columns: Of tables.
        encoding: Of all but Parquet files.
        skip_bad: Count what cannot be read instead of raising it.
        whole_rows: Whether rows of tables are not cut into chunks.

    Attributes:
        bad: What could not be read in the last time through.
        incomplete: Names of the files that this was in.
        source: Number of the file that is being read.
    """

    def __init__(
        self, sources: Sequence[Source], columns: Columns, *, encoding: str, skip_bad: bool, whole_rows: bool
    ) -> None:
        self.sources = sources
        self._columns = columns
        self._encoding = encoding
        self._skip_bad = skip_bad
        self._whole_rows = whole_rows
        self.bad: list[str] = []
        self.incomplete: set[str] = set()
        self.source = 0

    def __iter__(self) -> Iterator[Record]:
        """Yield the records.

        Raises:
            DataError: For the first one that cannot be read, unless those are skipped.
            StorageError: If a file cannot be opened.
        """
        self.bad, self.incomplete = [], set()
        with closing(SeenIds()) as seen:
            for number, source in enumerate(self.sources):
                self.source = number
                for found in self._records(source):
                    try:
                        if isinstance(found, DataError):
                            raise found
                        record = _told_apart(found, seen)
                    except DataError as error:
                        self._note(source, error)
                        continue
                    yield record

    def _note(self, source: Source, error: DataError) -> None:
        if not self._skip_bad:
            raise error
        self.bad.append(str(error))
        self.incomplete.add(source.name)

    def _records(self, source: Source) -> Iterator[Record | DataError]:
        try:
            if source.is_text:
                record = record_of_text(source, self._encoding)
                if record is not None:
                    yield record
                return
            for place, row in table_rows(source, self._encoding):
                yield row if isinstance(row, DataError) else self._record(source, place, row)
        except DataError as error:  # nothing more of this file can be read
            yield error

    def _record(self, source: Source, place: str, row: object) -> Record | DataError:
        try:
            record = record_of_row(source, place, row, self._columns)  # type: ignore[arg-type]
        except DataError as error:
            return error
        taken = [name for name in (PARENT, CHUNK) if name in record.metadata]
        if taken and not self._whole_rows:
            return DataError(
                f"{place}: the column {taken[0]!r} has the name of what chunks keep in their metadata. Rename it, or "
                "name the others: --metadata-column NAME."
            )
        return record


def _told_apart(record: Record, seen: SeenIds) -> Record:
    """Give equal texts without ids different ones; refuse an id that is there twice."""
    earlier = seen.add(record.id, record.place)
    if earlier is None:
        return record
    if record.named:
        raise DataError(
            f"{record.place}: the id {record.id!r} is that of {earlier}, too. Ids must be unique."
        )
    number = 2
    while seen.add(f"{record.id}-{number}", record.place) is not None:
        number += 1
    return replace(record, id=f"{record.id}-{number}")
