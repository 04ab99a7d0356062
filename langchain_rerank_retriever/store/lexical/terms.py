"""The FTS5 table of a store: how it is made and changed. Its statements are part of a transaction of the caller."""

import json
import sqlite3
from collections.abc import Iterable, Sequence

from .analysis import PLAIN, PORTER, Analyzer

#: Row of FTS5's table of data in which it keeps the number of documents and of words.
_AVERAGES = 1


def table(analyzer: Analyzer) -> str:
    """The statement that makes the table."""
    return _table(analyzer.tokenizer, keeps_text=analyzer.keeps_text)


def tables() -> list[str]:
    """Every statement that makes the table of some store."""
    return [_table(tokenizer, keeps_text=keeps) for tokenizer in (PORTER, PLAIN) for keeps in (False, True)]


def _table(tokenizer: str, *, keeps_text: bool, name: str = "lexical") -> str:
    # What needs not be kept is not: the texts are in ``document`` already.
    content = "" if keeps_text else "content='', "
    return f"CREATE VIRTUAL TABLE {name} USING fts5(body, {content}tokenize='{tokenizer}')"


def put(connection: sqlite3.Connection, analyzer: Analyzer, texts: Iterable[tuple[int, str]]) -> None:
    """Add texts by the numbers of their documents, of which there are none yet."""
    connection.executemany(
        "INSERT INTO lexical (rowid, body) VALUES (?, ?)",
        ((pk, analyzer.index_text(text)) for pk, text in texts),
    )


def remove(connection: sqlite3.Connection, analyzer: Analyzer, texts: Sequence[tuple[int, str]]) -> None:
    """Take texts out; without a copy of them FTS5 must be told what they were."""
    if analyzer.keeps_text:
        connection.executemany("DELETE FROM lexical WHERE rowid = ?", ((pk,) for pk, _ in texts))
        return
    connection.executemany(
        "INSERT INTO lexical (lexical, rowid, body) VALUES ('delete', ?, ?)",
        ((pk, analyzer.index_text(text)) for pk, text in texts),
    )


def make_anew(connection: sqlite3.Connection, analyzer: Analyzer) -> None:
    """Put an empty table in the place of one, whatever has become of its parts."""
    connection.execute(_table(analyzer.tokenizer, name="temp.spare", keeps_text=analyzer.keeps_text))
    # FTS5 drops only what it can open, so the parts are first made what those of an empty table are.
    for spare, sql in connection.execute(
        "SELECT name, sql FROM temp.sqlite_master WHERE type = 'table' AND name GLOB 'spare_*'"
    ).fetchall():
        part = spare.replace("spare", "lexical")
        connection.execute(f"DROP TABLE IF EXISTS main.{part}")
        connection.execute(sql.replace(spare, part))
        connection.execute(f"INSERT INTO main.{part} SELECT * FROM temp.{spare}")  # noqa: S608 - names of FTS5's
    connection.execute("DROP TABLE temp.spare")
    connection.execute("DROP TABLE lexical")
    connection.execute(table(analyzer))


def bodies(connection: sqlite3.Connection, analyzer: Analyzer, pks: Sequence[int]) -> list[tuple[int, str]]:
    """What FTS5 was given for documents; a number without a document is left out."""
    source, column = ("lexical", "rowid, body") if analyzer.keeps_text else ("document", "pk, text")
    rows = connection.execute(
        f"SELECT {column} FROM {source} WHERE rowid IN (SELECT value FROM json_each(?))",  # noqa: S608 - constants
        (json.dumps(pks),),
    ).fetchall()
    return rows if analyzer.keeps_text else [(pk, analyzer.index_text(text)) for pk, text in rows]


def totals(connection: sqlite3.Connection) -> tuple[int, int]:
    """Number of documents, and of words in all of them."""
    row = connection.execute("SELECT block FROM lexical_data WHERE id = ?", (_AVERAGES,)).fetchone()
    numbers = varints(row[0]) if row else []
    return (numbers[0], numbers[1]) if len(numbers) > 1 else (0, 0)


def varints(block: bytes) -> list[int]:
    """SQLite's numbers of variable length: seven bits a byte, the highest first, the eighth says that more follow."""
    numbers, value = [], 0
    for byte in block:
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            numbers.append(value)
            value = 0
    return numbers
