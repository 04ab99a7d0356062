"""Is everything in a store as it should be? Derived tables are compared with what the documents say."""

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np

from langchain_rerank_retriever.errors import RerankError

from . import rows
from .engine import Engine, Snapshot
from .lexical import terms
from .view import View


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """What verify() found.

    Attributes:
        ok: Whether there is no problem.
        problems: Each in one sentence.
    """

    ok: bool
    problems: tuple[str, ...]


def verify(engine: Engine, *, deep: bool) -> VerifyResult:
    """Check a store.

    Args:
        engine: An open store.
        deep: Also read every document and vector, and compare the metadata and lexical indexes and the
            FAISS view with ones made anew, and the snapshot with the database; seconds for ten thousand documents.
    """
    problems: list[str] = []
    try:
        with engine.snapshot() as snapshot:
            problems += _structure(snapshot, deep=deep)
            if deep and not problems:
                problems += _vectors(snapshot, snapshot.view, "FAISS view")
                problems += _snapshot(engine, snapshot)
                problems += _metadata(snapshot)
                problems += _terms(snapshot)
    except RerankError as error:
        problems.append(str(error))
    return VerifyResult(not problems, tuple(problems))


def _structure(snapshot: Snapshot, *, deep: bool) -> Iterator[str]:
    connection = snapshot.connection
    # The longer check also compares SQLite's indexes with its tables.
    for (line,) in connection.execute("PRAGMA integrity_check(10)" if deep else "PRAGMA quick_check(10)"):
        if line != "ok":
            yield f"SQLite reports: {line}"
    documents, vectors, paired = connection.execute(
        "SELECT (SELECT count(*) FROM document), (SELECT count(*) FROM vector), "
        "(SELECT count(*) FROM document JOIN vector USING (pk))"
    ).fetchone()
    if not documents == vectors == paired:
        yield f"{documents} documents and {vectors} vectors, of which {paired} belong together"
    if snapshot.state.lexical:
        (terms,) = connection.execute("SELECT count(*) FROM lexical_docsize").fetchone()
        if terms != documents:
            yield f"{documents} documents, but {terms} in the lexical index"
    if len(snapshot.view) != documents:
        yield f"{documents} documents, but {len(snapshot.view)} in the FAISS view"


def _snapshot(engine: Engine, snapshot: Snapshot) -> Iterator[str]:
    view, problem = engine.views.examined(snapshot.connection, snapshot.state)
    if problem:
        yield problem
    elif view is not None:
        yield from _vectors(snapshot, view, "snapshot")


def _vectors(snapshot: Snapshot, view: View, name: str) -> Iterator[str]:
    dimension = snapshot.state.dimension
    if dimension is None:
        return
    for pks, vectors in rows.vectors_since(snapshot.connection, -1, dimension):
        lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
        # NaN is not within any distance of one.
        for pk in pks[~(np.abs(lengths - 1) < 1e-5)]:
            yield f"The vector of document number {pk} is not of length one"
        if not np.array_equal(view.vectors(pks), vectors):
            yield f"The {name} differs from the stored vectors from document number {pks[0]} on"
            return


def _metadata(snapshot: Snapshot) -> Iterator[str]:
    # The index is in another order than the documents, so both sides are added up row by row.
    expected = _sum(
        (*row, stored.pk) for stored in _documents(snapshot.connection) for row in stored.fields()
    )
    found = _sum(snapshot.connection.execute("SELECT key, kind, value, pk FROM field"))
    if found != expected:
        yield f"The metadata index has {found[0]} rows where {expected[0]} are expected, or other ones"


def _sum(lines: Iterable[tuple[object, ...]]) -> tuple[int, int]:
    """Number of rows and the sum of their hashes, in which equal numbers count as equal whatever their type."""
    count = total = 0
    for line in lines:
        count += 1
        total += hash(line)
    return count, total


def _terms(snapshot: Snapshot) -> Iterator[str]:
    analyzer = snapshot.state.analyzer if snapshot.state.lexical else None
    if analyzer is None or snapshot.state.terms != analyzer.rules:
        return
    fresh = sqlite3.connect(":memory:")
    try:
        fresh.execute(terms.table(analyzer))
        terms.put(fresh, analyzer, ((stored.pk, stored.text) for stored in _documents(snapshot.connection)))
        for found, expected in zip_longest(_instances(snapshot.connection), _instances(fresh)):
            if found != expected:
                yield f"The lexical index is wrong from the term {(found or expected)[0]!r} on"
                return
    finally:
        fresh.close()


def _instances(connection: sqlite3.Connection) -> Iterator[tuple[str, int, str, int]]:
    """Every word with its document and place."""
    connection.execute(
        "CREATE VIRTUAL TABLE IF NOT EXISTS temp.instance USING fts5vocab(main, lexical, instance)"
    )
    yield from connection.execute("SELECT term, doc, col, offset FROM temp.instance")


def _documents(connection: sqlite3.Connection) -> Iterator[rows.Stored]:
    last = 0
    while page := rows.after(connection, last, rows.BATCH):
        yield from page
        last = page[-1].pk
