"""Makes anew what is derived from a store's documents and vectors, where something is wrong with it."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

from langchain_rerank_retriever.errors import FormatError

from . import changes, rows
from .engine import Engine
from .verify import Part, findings


@dataclass(frozen=True, slots=True)
class RepairResult:
    """What repair() did.

    Attributes:
        ok: Whether nothing is wrong any more.
        repaired: What was made anew, in words.
        problems: What is still wrong, each in one sentence; with any, nothing else can be relied on.
    """

    ok: bool
    repaired: tuple[str, ...]
    problems: tuple[str, ...]


def repair(engine: Engine) -> RepairResult:
    """Find what is wrong with a store, and make anew what can be made of the documents and vectors.

    Where these are damaged themselves, nothing is changed.

    Args:
        engine: An open store that may be written to.

    Raises:
        RerankError: Something cannot be read or written, for a reason that is not damage.
    """
    engine.connections.check_open(writing=True)
    repaired: list[Part] = []
    while True:
        found = findings(engine, deep=True)
        wrong = {finding.part for finding in found}
        if Part.SOURCE in wrong and Part.LOOKUP not in repaired and _was_only_lookup(engine):
            repaired.append(Part.LOOKUP)
            continue
        # Each once, in the order of the enumeration: what does not help the first time never will.
        due = [part for part in Part if part in wrong and part not in repaired]
        if Part.SOURCE in wrong or not due:
            break
        _REMAKE[due[0]](engine)
        repaired.append(due[0])
    problems = [finding.text for finding in found]
    if Part.SOURCE in wrong:
        problems.append(
            "The documents and vectors themselves are damaged, and nothing holds them once more: restore a copy "
            "that save_local() made, or index the documents anew. What was read of them can be saved by documents()."
        )
    return RepairResult(not problems, tuple(part.value for part in repaired), tuple(problems))


def _lookup(engine: Engine) -> None:
    with engine.connections.writing() as connection:
        connection.execute("REINDEX")


def _was_only_lookup(engine: Engine) -> bool:
    """Make SQLite's own indexes anew where its file is not whole, and keep them where it is whole then.

    SQLite tells the page that is damaged, and not always whose it is.
    """
    try:
        with engine.connections.writing() as connection:
            if _is_whole(connection):
                return False
            _reindex(connection)
    except (FormatError, _NotMendedError):
        return False
    return True


class _NotMendedError(Exception):
    """Undoes a transaction."""


def _reindex(connection: sqlite3.Connection) -> None:
    connection.execute("REINDEX")
    if not _is_whole(connection):
        raise _NotMendedError


def _is_whole(connection: sqlite3.Connection) -> bool:
    found: tuple[str] = connection.execute("PRAGMA integrity_check(1)").fetchone()
    return found == ("ok",)


def _metadata(engine: Engine) -> None:
    with engine.connections.writing() as connection:
        changes.remake_fields(connection)


def _lexical(engine: Engine) -> None:
    with engine.connections.writing() as connection:
        changes.remake_terms(connection, rows.read_state(connection))


def _view(engine: Engine) -> None:
    engine.views.remake()


_REMAKE: dict[Part, Callable[[Engine], None]] = {
    Part.LOOKUP: _lookup,
    Part.METADATA: _metadata,
    Part.LEXICAL: _lexical,
    Part.VIEW: _view,
    Part.SNAPSHOT: _view,
}
