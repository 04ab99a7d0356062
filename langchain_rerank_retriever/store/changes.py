"""The statements that change a store, each within a write transaction of the caller."""

import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from langchain_rerank_retriever.protocols import FloatArray

from .filters import field_rows
from .lexical import terms
from .rows import BATCH, Record, State, Stored, after, by_ids, document_crc, probe_position
from .schema import SNAPSHOT_TABLE, new_generation
from .segment import IntArray
from .validation import Entry, dump_metadata
from .vectors import Embedded

#: Below this many, deleted numbers are kept for other processes to catch up with, however small the store.
_TOMBSTONES = 1024


@dataclass(frozen=True, slots=True)
class Change:
    """New vectors, as they were written.

    Attributes:
        seq: The number of the change.
        pks: Document numbers, ascending, shape ``(n,)``.
        vectors: Shape ``(n, d)``, float32.
    """

    seq: int
    pks: IntArray
    vectors: FloatArray


def write_model(
    connection: sqlite3.Connection, *, model: str, fingerprint: str | None, probes: Mapping[str, FloatArray]
) -> None:
    """Record what makes the vectors from now on."""
    dimension = next(len(vector) for vector in probes.values())
    connection.execute(
        "UPDATE state SET space = space + 1, dimension = ?, model = ?, fingerprint = ?",
        (dimension, model, fingerprint),
    )
    connection.execute("DELETE FROM probe")
    stored = {text: vector.astype("<f4").tobytes() for text, vector in probes.items()}
    connection.executemany(
        "INSERT INTO probe VALUES (?, ?, ?)",
        [(probe_position(place, value), text, value) for place, (text, value) in enumerate(stored.items())],
    )


def put(
    connection: sqlite3.Connection, state: State, entries: Sequence[Entry], made: Embedded
) -> Change | None:
    """Add or replace documents.

    Args:
        connection: In a write transaction.
        state: As this transaction sees it.
        entries: The documents, each id once.
        made: The vectors by place in ``entries``; a document without one keeps the vector that it has.

    Returns:
        What became of the vectors; None where there were none.
    """
    _renew_terms(connection, state)
    existing = by_ids(connection, [entry.id for entry in entries])
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'document'").fetchone()
    following = (row[0] if row else 0) + 1
    numbers: list[int] = []
    for entry in entries:
        stored = existing.get(entry.id)
        numbers.append(stored.pk if stored else following)
        following += stored is None
    fresh = [place for place, entry in enumerate(entries) if _differs(existing.get(entry.id), entry)]
    _forget_terms(connection, state, [existing[entries[i].id] for i in fresh if entries[i].id in existing])
    _write_documents(connection, state, [(numbers[place], entries[place]) for place in fresh])
    if not len(made.places):
        return None
    pks, vectors = np.array(numbers, dtype=np.int64)[made.places], made.vectors
    if (pks[1:] < pks[:-1]).any():
        order = np.argsort(pks)
        pks, vectors = pks[order], vectors[order]
    change = Change(_next_seq(connection), pks, vectors)
    _write_vectors(connection, change.seq, zip(pks.tolist(), _blobs(change.vectors)))
    return change


def _differs(stored: Stored | None, entry: Entry) -> bool:
    return stored is None or stored.text != entry.text or stored.metadata != dump_metadata(entry.metadata)


def _write_documents(
    connection: sqlite3.Connection, state: State, documents: Sequence[tuple[int, Entry]]
) -> None:
    def document_rows() -> Iterator[tuple[int, str, str, str, int]]:
        for pk, entry in documents:
            metadata = dump_metadata(entry.metadata)
            yield pk, entry.id, entry.text, metadata, document_crc(entry.id, entry.text, metadata)

    connection.executemany(
        "INSERT INTO document VALUES (?, ?, ?, ?, ?) ON CONFLICT (pk) DO UPDATE "
        "SET text = excluded.text, metadata = excluded.metadata, crc = excluded.crc",
        document_rows(),
    )
    connection.executemany(
        "INSERT INTO field VALUES (?, ?, ?, ?)",
        ((*row, pk) for pk, entry in documents for row in field_rows(entry.metadata)),
    )
    if state.lexical:
        terms.put(connection, state.analyzer, ((pk, entry.text) for pk, entry in documents))


def _forget_terms(connection: sqlite3.Connection, state: State, documents: Sequence[Stored]) -> None:
    """Take documents out of the metadata and lexical indexes, which cannot be searched by document."""
    connection.executemany(
        "DELETE FROM field WHERE key = ? AND kind = ? AND value = ? AND pk = ?",
        ((*row, stored.pk) for stored in documents for row in stored.fields()),
    )
    if state.lexical:
        terms.remove(connection, state.analyzer, [(stored.pk, stored.text) for stored in documents])


def _renew_terms(connection: sqlite3.Connection, state: State) -> None:
    """Make the lexical index anew where its terms were cut by other rules than those of today."""
    if not state.lexical or state.terms == state.analyzer.rules:
        return
    remake_terms(connection, state)


def remake_terms(connection: sqlite3.Connection, state: State) -> None:
    """Make the lexical index anew from the documents."""
    terms.make_anew(connection, state.analyzer)
    for page in _pages(connection):
        terms.put(connection, state.analyzer, ((stored.pk, stored.text) for stored in page))
    connection.execute("UPDATE state SET terms = ?", (state.analyzer.rules,))


def remake_fields(connection: sqlite3.Connection) -> None:
    """Make the metadata index anew from the documents."""
    connection.execute("DELETE FROM field")
    for page in _pages(connection):
        connection.executemany(
            "INSERT INTO field VALUES (?, ?, ?, ?)",
            ((*row, stored.pk) for stored in page for row in stored.fields()),
        )


def _pages(connection: sqlite3.Connection) -> Iterator[list[Stored]]:
    last = 0
    while page := after(connection, last, BATCH):
        yield page
        last = page[-1].pk


def _blobs(vectors: FloatArray) -> Iterator[memoryview]:
    """The stored form of vectors, shape ``(n, d)``, without a copy of each."""
    content = np.ascontiguousarray(vectors, dtype="<f4").reshape(-1).view(np.uint8).data
    width = 4 * vectors.shape[1]
    return (content[start : start + width] for start in range(0, len(content), width))


def _write_vectors(
    connection: sqlite3.Connection, seq: int, vectors: Iterable[tuple[int, memoryview]]
) -> None:
    """Store unit vectors by document number, under the number of the change that they are part of."""
    # Half the time of INSERT OR REPLACE, which gets ready to undo each row by itself.
    connection.executemany(
        "INSERT INTO vector VALUES (?, ?, ?, ?) ON CONFLICT (pk) DO UPDATE "
        "SET seq = excluded.seq, value = excluded.value, crc = excluded.crc",
        ((pk, seq, value, zlib.crc32(value)) for pk, value in vectors),
    )


def _next_seq(connection: sqlite3.Connection) -> int:
    """Count a change of the vectors and return its number."""
    row = connection.execute("UPDATE state SET seq = seq + 1 RETURNING seq").fetchone()
    return int(row[0])


def delete(connection: sqlite3.Connection, state: State, ids: Sequence[str]) -> None:
    """Delete the documents that exist among some ids."""
    stored = list(by_ids(connection, ids).values())
    if not stored:
        return
    _renew_terms(connection, state)
    _forget_terms(connection, state, stored)
    seq = _next_seq(connection)
    numbers = json.dumps([document.pk for document in stored])
    connection.execute("DELETE FROM document WHERE pk IN (SELECT value FROM json_each(?))", (numbers,))
    connection.execute("DELETE FROM vector WHERE pk IN (SELECT value FROM json_each(?))", (numbers,))
    connection.execute("INSERT INTO tombstone SELECT ?, value FROM json_each(?)", (seq, numbers))
    gone, kept = connection.execute(
        "SELECT (SELECT count(*) FROM tombstone), (SELECT count(*) FROM document)"
    ).fetchone()
    if gone > max(_TOMBSTONES, kept):
        # Reading everything anew is then no more work than following the deletions one by one.
        connection.execute("DELETE FROM tombstone")
        _start_over(connection)


def clear(connection: sqlite3.Connection, state: State) -> None:
    """Delete every document, and forget the model that made their vectors."""
    _next_seq(connection)
    for table in ("document", "vector", "field", "tombstone", "probe"):
        connection.execute(f"DELETE FROM {table}")  # noqa: S608 - constants
    if state.lexical:
        terms.make_anew(connection, state.analyzer)
    connection.execute(
        "UPDATE state SET space = space + 1, dimension = NULL, model = NULL, fingerprint = NULL"
    )
    _start_over(connection)


def replace_vectors(connection: sqlite3.Connection, vectors: Iterable[tuple[int, FloatArray]]) -> None:
    """Give documents, by number, vectors of another space."""
    blobs = ((pk, next(_blobs(vector[None]))) for pk, vector in vectors)
    _write_vectors(connection, _next_seq(connection), blobs)
    _start_over(connection)


def write_record(connection: sqlite3.Connection, record: Record) -> None:
    """Name the snapshot that goes with the database from now on."""
    # Stores of earlier versions come without the table, and those versions do not mind it.
    connection.execute(SNAPSHOT_TABLE)
    connection.execute(
        "INSERT OR REPLACE INTO snapshot VALUES (1, ?, ?, ?, ?, ?)",
        (record.file, record.digest, record.generation, record.space, record.seq),
    )


def forget_record(connection: sqlite3.Connection) -> None:
    """Name no snapshot any more."""
    connection.execute("DROP TABLE IF EXISTS snapshot")


def _start_over(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE state SET generation = ?", (new_generation(),))
