"""The statements that take away or replace: delete, clear, and a new vector space."""

import json
import sqlite3
from collections.abc import Iterable, Sequence

from langchain_rerank_retriever.protocols import FloatArray

from .rows import State, by_ids, forget_terms, next_seq, write_vectors
from .schema import new_generation

#: Below this many, deleted numbers are kept for other processes to catch up with, however small the store.
_TOMBSTONES = 1024


def delete(connection: sqlite3.Connection, state: State, ids: Sequence[str]) -> None:
    """Delete the documents that exist among some ids."""
    stored = list(by_ids(connection, ids).values())
    if not stored:
        return
    forget_terms(connection, state, stored)
    seq = next_seq(connection)
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
    next_seq(connection)
    for table in ("document", "vector", "field", "tombstone", "probe"):
        connection.execute(f"DELETE FROM {table}")  # noqa: S608 - constants
    if state.lexical:
        connection.execute("INSERT INTO lexical (lexical) VALUES ('delete-all')")
    connection.execute(
        "UPDATE state SET space = space + 1, dimension = NULL, model = NULL, fingerprint = NULL"
    )
    _start_over(connection)


def replace_vectors(connection: sqlite3.Connection, vectors: Iterable[tuple[int, FloatArray]]) -> None:
    """Give documents, by number, vectors of another space."""
    write_vectors(connection, next_seq(connection), vectors)
    _start_over(connection)


def _start_over(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE state SET generation = ?", (new_generation(),))
