"""The statements that read a store, each within a transaction of the caller."""

import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from langchain_core.documents import Document

from langchain_rerank_retriever.errors import FormatError
from langchain_rerank_retriever.protocols import FloatArray

from .filters import Condition, Scalar, field_rows
from .lexical.analysis import Analyzer
from .lexical.languages import Lexical, analyzer_of
from .segment import IntArray

#: Rows that are read or embedded at a time.
BATCH = 256
_VECTOR_BATCH = 4096
_MOST_DIMENSIONS = 2**20
PROBES_DAMAGED = (
    "The probe sentences, by which the model is told from another, are damaged: restore a copy that save_local() made, "
    "or open the store with check_model=False and give it its model anew with reembed()"
)


@dataclass(frozen=True, slots=True)
class State:
    """What a transaction sees of the store as a whole.

    Attributes:
        seq: Number of the last change of a vector.
        generation: Which line of changes ``seq`` counts.
        space: Number of the model that made the vectors.
        dimension: Length of a vector, None while no model has written.
        model: The model in words.
        fingerprint: The model's own hash, where it has one.
        index_kind: As asked for when the store was made.
        lexical: Whether there is a lexical index, or the language that it is made for.
        terms: The rules by which its terms were made; None without one.
    """

    seq: int
    generation: int
    space: int
    dimension: int | None
    model: str | None
    fingerprint: str | None
    index_kind: str
    lexical: Lexical
    terms: str | None

    @property
    def analyzer(self) -> Analyzer:
        """How terms are made; other rules than ``terms`` where those are not known any more."""
        return analyzer_of(self.lexical, self.terms)


@dataclass(frozen=True, slots=True)
class Record:
    """What the database says about the snapshot of its view that lies beside it.

    Attributes:
        file: Name of the file.
        digest: SHA-256 of the file's table, which covers all of it.
        generation: As in State, when it was written.
        space: As in State, when it was written.
        seq: The change that it shows.
    """

    file: str
    digest: str
    generation: int
    space: int
    seq: int


@dataclass(frozen=True, slots=True)
class Stored:
    """A document as it lies in the table."""

    pk: int
    id: str
    text: str
    metadata: str

    def fields(self) -> set[tuple[str, str, Scalar]]:
        """Its rows in the metadata index."""
        return field_rows(self._values())

    def document(self) -> Document:
        """A new Document."""
        return Document(id=self.id, page_content=self.text, metadata=self._values())

    def _values(self) -> dict[str, Any]:
        try:
            values = json.loads(self.metadata)
        except (ValueError, RecursionError) as error:
            raise self._damaged() from error
        if not isinstance(values, dict):
            raise self._damaged()
        return values

    def _damaged(self) -> FormatError:
        return FormatError(
            f"The metadata of the document {self.id!r} is damaged on disk: restore a copy that save_local() made"
        )


def read_state(connection: sqlite3.Connection) -> State:
    """The store's single row of settings and counters."""
    row = connection.execute(
        "SELECT seq, generation, space, dimension, model, fingerprint, index_kind, lexical, terms FROM state"
    ).fetchone()
    if not row or not all(isinstance(value, int) for value in row[:3]) or not _is_possible(row):
        raise FormatError("The store's table of settings is damaged: restore a copy that save_local() made")
    seq, generation, space, dimension, model, fingerprint, index_kind, lexical, terms = row
    setting = lexical if isinstance(lexical, str) else bool(lexical)
    return State(seq, generation, space, dimension, model, fingerprint, index_kind, setting, terms)


def _is_possible(row: tuple[Any, ...]) -> bool:
    """Whether a store can have come so far; a damaged or forged row would end in arithmetic that overflows."""
    seq, generation, space, dimension, _, _, index_kind, *_ = row
    return (
        all(0 <= number < 2**62 for number in (seq, generation, space))
        and (dimension is None or (isinstance(dimension, int) and 0 < dimension <= _MOST_DIMENSIONS))
        and isinstance(index_kind, str)
    )


def read_record(connection: sqlite3.Connection) -> Record | None:
    """The snapshot that goes with the database; None where none was written."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'snapshot'").fetchone():
        return None
    row = connection.execute("SELECT file, digest, generation, space, seq FROM snapshot").fetchone()
    return Record(*row) if row and all(isinstance(value, str) for value in row[:2]) else None


def count_vectors(connection: sqlite3.Connection) -> int:
    """Number of vectors in the store."""
    # By the narrow index: in the table itself, every page would have to be read.
    row = connection.execute("SELECT count(*) FROM vector INDEXED BY vector_seq").fetchone()
    return int(row[0])


def document_crc(document_id: str, text: str, metadata: str) -> int:
    """Checksum of a document's columns."""
    return zlib.crc32("\0".join((document_id, text, metadata)).encode())


def _stored(row: tuple[int, str, str, str, int]) -> Stored:
    # In a damaged file a column can come back as anything.
    if not all(isinstance(part, str) for part in row[1:4]) or document_crc(*row[1:4]) != row[4]:
        raise FormatError(
            f"The document {row[1]!r} is damaged on disk: restore a copy that save_local() made"
        )
    return Stored(*row[:4])


_COLUMNS = "document.pk, document.id, document.text, document.metadata, document.crc"


def by_ids(connection: sqlite3.Connection, ids: Sequence[str]) -> dict[str, Stored]:
    """The documents that exist among some ids, by id."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM json_each(?) AS wanted JOIN document ON document.id = wanted.value",  # noqa: S608 - a constant
        (json.dumps(ids, ensure_ascii=False),),
    )
    return {row[1]: _stored(row) for row in rows}


def by_pks(connection: sqlite3.Connection, pks: Sequence[int]) -> list[Stored]:
    """Documents by number, in the order of the numbers; all of them must exist."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM json_each(?) AS wanted JOIN document ON document.pk = wanted.value",  # noqa: S608 - a constant
        (json.dumps(pks),),
    )
    found = {row[0]: _stored(row) for row in rows}
    if len(found) != len(pks):
        raise FormatError(
            "The store's tables disagree: a vector has no document. Restore a copy of the store"
        )
    return [found[pk] for pk in pks]


def pks_of(connection: sqlite3.Connection, ids: Sequence[str]) -> dict[str, int]:
    """Numbers of the documents that exist among some ids."""
    rows = connection.execute(
        "SELECT document.id, document.pk "
        "FROM json_each(?) AS wanted JOIN document ON document.id = wanted.value",
        (json.dumps(ids, ensure_ascii=False),),
    )
    return dict(rows.fetchall())


def after(connection: sqlite3.Connection, pk: int, limit: int) -> list[Stored]:
    """The next documents in order of insertion."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM document WHERE pk > ? ORDER BY pk LIMIT ?",  # noqa: S608 - a constant
        (pk, limit),
    )
    return [_stored(row) for row in rows]


def matching(connection: sqlite3.Connection, condition: Condition) -> IntArray:
    """Numbers of the documents that a filter lets through, in any order."""
    rows = connection.execute(f"SELECT pk FROM document WHERE {condition.sql}", condition.parameters)  # noqa: S608 - values are bound
    return np.fromiter((row[0] for row in rows), dtype=np.int64)


def vectors_since(
    connection: sqlite3.Connection, seq: int, dimension: int
) -> Iterator[tuple[IntArray, FloatArray]]:
    """Vectors that are newer than a change, in batches, numbers ascending."""
    # SQLite would read the whole table in order rather than sort the few rows of a change.
    index = "INDEXED BY vector_seq" if seq >= 0 else "NOT INDEXED"
    rows = connection.execute(
        f"SELECT pk, value, crc FROM vector {index} WHERE seq > ? ORDER BY pk",  # noqa: S608 - constants
        (seq,),
    )
    while batch := rows.fetchmany(_VECTOR_BATCH):
        for pk, value, crc in batch:
            if not isinstance(value, bytes) or zlib.crc32(value) != crc or len(value) != 4 * dimension:
                raise FormatError(
                    f"The vector of document number {pk} is damaged on disk: restore a copy of the store"
                )
        pks = np.array([row[0] for row in batch], dtype=np.int64)
        joined = np.frombuffer(b"".join(row[1] for row in batch), dtype="<f4")
        yield pks, joined.reshape(-1, dimension).astype(np.float32, copy=False)


def joined(batches: Iterable[tuple[IntArray, FloatArray]], dimension: int) -> tuple[IntArray, FloatArray]:
    """Batches of vectors as one."""
    pks, vectors = [np.empty(0, dtype=np.int64)], [np.empty((0, dimension), dtype=np.float32)]
    for numbers, values in batches:
        pks.append(numbers)
        vectors.append(values)
    return np.concatenate(pks), np.concatenate(vectors)


def vector_keys(connection: sqlite3.Connection) -> list[tuple[int, int]]:
    """Number of every document, with the change that its vector came with."""
    return connection.execute("SELECT pk, seq FROM vector").fetchall()


def texts_after(connection: sqlite3.Connection, pk: int, limit: int) -> list[tuple[int, int, str]]:
    """The next documents in order of insertion: number, change of the vector, text."""
    return connection.execute(
        "SELECT pk, seq, text FROM document JOIN vector USING (pk) WHERE pk > ? ORDER BY pk LIMIT ?",
        (pk, limit),
    ).fetchall()


def removed_since(connection: sqlite3.Connection, seq: int) -> IntArray:
    """Numbers of documents that went with a later change."""
    rows = connection.execute("SELECT pk FROM tombstone WHERE seq > ?", (seq,))
    return np.fromiter((row[0] for row in rows), dtype=np.int64)


def last_pk(connection: sqlite3.Connection) -> int:
    """The highest number of a document, 0 without any; numbers are never used twice, and go up."""
    row = connection.execute("SELECT max(pk) FROM vector").fetchone()
    return int(row[0] or 0)


def changed_since(connection: sqlite3.Connection, seq: int) -> int:
    """How many of the documents that there are came, or got another text or vector, after a change."""
    row = connection.execute(
        "SELECT count(*) FROM vector INDEXED BY vector_seq WHERE seq > ?", (seq,)
    ).fetchone()
    return int(row[0])


def probe_position(place: int, vector: bytes) -> int:
    """Where a probe sentence stands: its place, and below that the CRC-32 of its vector."""
    return place << 32 | zlib.crc32(vector)


def read_probes(connection: sqlite3.Connection) -> dict[str, bytes]:
    """The probe sentences and their vectors.

    Raises:
        FormatError: They are not what was written.
    """
    found = connection.execute("SELECT position, sentence, vector FROM probe ORDER BY position").fetchall()
    for place, (position, text, vector) in enumerate(found):
        # The first versions wrote the place alone.
        whole = isinstance(text, str) and isinstance(vector, bytes)
        if not whole or position not in (place, probe_position(place, vector)):
            raise FormatError(PROBES_DAMAGED)
    return {text: vector for _, text, vector in found}
