"""Is everything in a store as it should be? Derived tables are compared with what the documents say."""

import re
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import zip_longest

import numpy as np

from langchain_rerank_retriever.errors import FormatError, RerankError

from . import rows
from .connections import SQLITE_ERRORS
from .engine import Engine, Snapshot
from .lexical import terms
from .lexical.rules import difference
from .model import PROBES
from .view import View


class Part(Enum):
    """What may be wrong. All but the first is made of the first."""

    SOURCE = "the documents and vectors"
    LOOKUP = "SQLite's own indexes"
    METADATA = "the metadata index"
    LEXICAL = "the lexical index"
    VIEW = "the FAISS view"
    SNAPSHOT = "the snapshot"


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem, in one sentence, and where it lies."""

    part: Part
    text: str

    def with_remedy(self) -> str:
        """The problem, and what helps."""
        if self.part is not Part.SOURCE:
            return f"{self.text}: repair() makes it anew"
        if self.text.startswith(_SQLITE):
            # It does not always tell whose page it is.
            return (
                f"{self.text}: repair() makes its own indexes anew; where that does not help, {RESTORE} that "
                "save_local() made"
            )
        return self.text if RESTORE in self.text.lower() else f"{self.text}: {RESTORE} that save_local() made"


#: What helps where nothing holds the same once more.
RESTORE = "restore a copy"


#: What a problem begins with that SQLite has found.
_SQLITE = "SQLite reports: "
#: By how much the length of a vector of length one may differ from one.
_ROUNDING = 1e-5
#: How SQLite speaks of an index that does not agree with its table.
_LOOKUP = re.compile(r"(missing from|# of entries in) index")


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """What verify() found.

    Attributes:
        ok: Whether there is no problem.
        problems: Each in one sentence, with what helps.
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
    try:
        found = findings(engine, deep=deep)
    except RerankError as error:
        return VerifyResult(False, (str(error),))
    return VerifyResult(not found, tuple(finding.with_remedy() for finding in found))


def findings(engine: Engine, *, deep: bool) -> list[Finding]:
    """Check a store as `verify` does, and tell of each problem where it lies.

    Raises:
        RerankError: The store cannot be read, for a reason that is not damage.
    """
    found: list[Finding] = []
    try:
        with engine.snapshot() as snapshot:
            found += _structure(snapshot, deep=deep)
            wrong = {finding.part for finding in found}
            # What is derived says nothing beside a source that is damaged.
            if deep and Part.SOURCE not in wrong:
                found += _derived(engine, snapshot, wrong)
    except FormatError as error:
        found.append(Finding(Part.SOURCE, str(error)))
    return found


def _derived(engine: Engine, snapshot: Snapshot, wrong: set[Part]) -> Iterator[Finding]:
    """Compare what is not known to be wrong yet."""
    if Part.VIEW not in wrong:
        yield from _vectors(snapshot, snapshot.view, Part.VIEW)
    yield from _snapshot(engine, snapshot)
    yield from _metadata(snapshot)
    if Part.LEXICAL not in wrong:
        yield from _terms(snapshot)


def _structure(snapshot: Snapshot, *, deep: bool) -> Iterator[Finding]:
    connection = snapshot.connection
    # The longer check also compares SQLite's indexes with its tables.
    for (line,) in connection.execute("PRAGMA integrity_check(10)" if deep else "PRAGMA quick_check(10)"):
        if line != "ok":
            told = line.removeprefix("*** in database main ***\n")
            yield Finding(Part.LOOKUP if _LOOKUP.search(line) else Part.SOURCE, f"{_SQLITE}{told}")
    documents, vectors, paired = connection.execute(
        # An index, which SQLite would count by, may be what is damaged.
        "SELECT (SELECT count(*) FROM document NOT INDEXED), (SELECT count(*) FROM vector NOT INDEXED), "
        "(SELECT count(*) FROM document NOT INDEXED JOIN vector NOT INDEXED USING (pk))"
    ).fetchone()
    if not documents == vectors == paired:
        yield Finding(
            Part.SOURCE, f"{documents} documents and {vectors} vectors, of which {paired} belong together"
        )
    yield from _probes(snapshot)
    if snapshot.state.lexical:
        yield from _lexical(snapshot, documents)
    if len(snapshot.view) != documents:
        yield Finding(Part.VIEW, f"{documents} documents, but {len(snapshot.view)} in the FAISS view")


def _lexical(snapshot: Snapshot, documents: int) -> Iterator[Finding]:
    """What is quickly seen of the lexical index: its rules, and how many documents it holds."""
    problem = difference(snapshot.state.terms, snapshot.state.analyzer)
    if problem:
        yield Finding(Part.LEXICAL, problem)
    try:
        (held,) = snapshot.connection.execute("SELECT count(*) FROM lexical_docsize").fetchone()
    except SQLITE_ERRORS as error:
        yield Finding(Part.LEXICAL, f"The lexical index cannot be read: {error}")
    else:
        if held != documents:
            yield Finding(Part.LEXICAL, f"{documents} documents, but {held} in the lexical index")


def _probes(snapshot: Snapshot) -> Iterator[Finding]:
    """What the model is compared by must be sentences of ours, with vectors of length one."""
    dimension = snapshot.state.dimension
    if dimension is None:
        return
    probes = rows.read_probes(snapshot.connection)
    # A store of before a sentence was added lacks it.
    known = bool(probes) and probes.keys() <= set(PROBES)
    whole = known and all(len(value) == 4 * dimension for value in probes.values())
    lengths = (
        [np.linalg.norm(np.frombuffer(value, dtype="<f4")) for value in probes.values()] if whole else []
    )
    if not whole or not all(abs(length - 1) < _ROUNDING for length in lengths):
        yield Finding(Part.SOURCE, rows.PROBES_DAMAGED)


def _snapshot(engine: Engine, snapshot: Snapshot) -> Iterator[Finding]:
    view, problem = engine.views.examined(snapshot.connection, snapshot.state)
    if problem:
        yield Finding(Part.SNAPSHOT, problem)
    elif view is not None:
        yield from _vectors(snapshot, view, Part.SNAPSHOT)


def _vectors(snapshot: Snapshot, view: View, part: Part) -> Iterator[Finding]:
    dimension = snapshot.state.dimension
    if dimension is None:
        return
    for pks, vectors in rows.vectors_since(snapshot.connection, -1, dimension):
        lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
        # NaN is not within any distance of one.
        for pk in pks[~(np.abs(lengths - 1) < _ROUNDING)]:
            yield Finding(Part.SOURCE, f"The vector of document number {pk} is not of length one")
        if not np.array_equal(view.vectors(pks), vectors):
            yield Finding(
                part, f"{_sentence(part)} differs from the stored vectors from document number {pks[0]} on"
            )
            return


def _sentence(part: Part) -> str:
    return part.value[0].upper() + part.value[1:]


def _metadata(snapshot: Snapshot) -> Iterator[Finding]:
    # The index is in another order than the documents, so both sides are added up row by row.
    expected = _sum(
        (*row, stored.pk) for stored in _documents(snapshot.connection) for row in stored.fields()
    )
    found = _sum(snapshot.connection.execute("SELECT key, kind, value, pk FROM field"))
    if found != expected:
        yield Finding(
            Part.METADATA,
            f"The metadata index has {found[0]} rows where {expected[0]} are expected, or other ones",
        )


def _sum(lines: Iterable[tuple[object, ...]]) -> tuple[int, int]:
    """Number of rows and the sum of their hashes, in which equal numbers count as equal whatever their type."""
    count = total = 0
    for line in lines:
        count += 1
        total += hash(line)
    return count, total


#: A term that is there when all are read in turn, and not, or otherwise, when it is looked up as a query does.
_LOST = """
    SELECT read.term FROM temp.word AS read LEFT JOIN temp.word AS found ON found.term = read.term
    WHERE found.doc IS NOT read.doc OR found.cnt IS NOT read.cnt LIMIT 1
"""


def _terms(snapshot: Snapshot) -> Iterator[Finding]:
    if not snapshot.state.lexical:
        return
    analyzer = snapshot.state.analyzer
    fresh = sqlite3.connect(":memory:")
    try:
        fresh.execute(terms.table(analyzer))
        terms.put(fresh, analyzer, ((stored.pk, stored.text) for stored in _documents(snapshot.connection)))
        for found, expected in zip_longest(_instances(snapshot.connection), _instances(fresh)):
            if found != expected:
                where = (found or expected)[0]
                yield Finding(Part.LEXICAL, f"The lexical index is wrong from the term {where!r} on")
                return
        _show(snapshot.connection, "word", "row")
        for (term,) in snapshot.connection.execute(_LOST):
            yield Finding(Part.LEXICAL, f"The lexical index has the term {term!r} and does not find it")
        if _lengths(snapshot.connection) != _lengths(fresh):
            yield Finding(Part.LEXICAL, "The lexical index has wrong lengths of documents")
    except SQLITE_ERRORS as error:
        yield Finding(Part.LEXICAL, f"The lexical index cannot be read: {error}")
    finally:
        fresh.close()


def _instances(connection: sqlite3.Connection) -> Iterator[tuple[str, int, str, int]]:
    """Every word with its document and place."""
    _show(connection, "instance", "instance")
    yield from connection.execute("SELECT term, doc, col, offset FROM temp.instance")


def _show(connection: sqlite3.Connection, name: str, what: str) -> None:
    """Make a table that shows what is in the lexical index, in one of the forms that FTS5 knows."""
    connection.execute(
        f"CREATE VIRTUAL TABLE IF NOT EXISTS temp.{name} USING fts5vocab(main, lexical, {what})"
    )


def _lengths(connection: sqlite3.Connection) -> tuple[object, ...]:
    """Number of documents and of words in all, and a sum over the words in each, by which BM25 judges."""
    return terms.totals(connection), _sum(connection.execute("SELECT id, sz FROM lexical_docsize"))


def _documents(connection: sqlite3.Connection) -> Iterator[rows.Stored]:
    last = 0
    while page := rows.after(connection, last, rows.BATCH):
        yield from page
        last = page[-1].pk
