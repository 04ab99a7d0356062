"""Attacks by a store's database, by its snapshot and by what lies beside them."""

import hashlib
import json
import sqlite3
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from langchain_rerank_retriever.store.view_file import MAGIC

from .attacks import Attack, Ends, bomb, crc, deep, fifo, link, outside, put

_FOREVER = "WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r) "
_MAGIC_OF_JOURNALS = bytes.fromhex("d9d505f920a163d7")


def _sql(*statements: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        connection = sqlite3.connect(folder / "store" / "store.db", isolation_level=None)
        for statement in statements:
            connection.execute(statement)
        connection.close()

    return make


def _metadata(text: str) -> Callable[[Path], None]:
    """Other metadata of a document, with the right checksum."""

    def make(folder: Path) -> None:
        connection = sqlite3.connect(folder / "store" / "store.db", isolation_level=None)
        name, content = connection.execute("SELECT id, text FROM document WHERE pk = 4").fetchone()
        connection.execute(
            "UPDATE document SET metadata = ?, crc = ? WHERE pk = 4", (text, crc(name, content, text))
        )
        connection.close()

    return make


def _snapshot(folder: Path) -> Path:
    (file,) = (folder / "store").glob("*.snapshot")
    return file


def _table(change: Callable[[Any], Any]) -> Callable[[Path], None]:
    """Another table of the snapshot's arrays, which the database names as the right one."""

    def make(folder: Path) -> None:
        file = _snapshot(folder)
        content = file.read_bytes()
        size = int.from_bytes(content[-8 - len(MAGIC) : -len(MAGIC)], "little")
        end = len(content) - 8 - len(MAGIC)
        table = json.loads(content[end - size : end])
        result = change(table)
        written = (result if isinstance(result, str) else json.dumps(table)).encode()
        file.write_bytes(content[: end - size] + written + len(written).to_bytes(8, "little") + MAGIC)
        _sql(f"UPDATE snapshot SET digest = '{hashlib.sha256(written).hexdigest()}'")(folder)

    return make


def _array(place: int, **changes: Any) -> Callable[[Path], None]:
    return _table(lambda table: table["arrays"][place].update(changes))


def _graph(table: Any) -> None:
    table["graphs"] = {"0": {"entry": 10**9, "links": 10**9, "ef": -1, "recall": 1.0}}


def _file_of_another(folder: Path) -> None:
    _snapshot(folder).rename(outside(folder) / "view.snapshot")
    link(folder / "store" / "view-0123456789abcdef.snapshot", outside(folder) / "view.snapshot")
    _sql("UPDATE snapshot SET file = 'view-0123456789abcdef.snapshot'")(folder)


def _journal_that_deletes(folder: Path) -> None:
    """A journal left by a crash, as it seems, that is part of a transaction over several files: SQLite removes what
    this part names once it is rolled back, wherever it lies."""
    database = folder / "store" / "store.db"
    page = database.read_bytes()[:16384]
    pages = database.stat().st_size // 16384
    header = (_MAGIC_OF_JOURNALS + struct.pack(">5I", 1, 0, pages, 512, 16384)).ljust(512, b"\0")
    record = (
        struct.pack(">I", 1)
        + page
        + struct.pack(">I", sum(page[place] for place in range(16384 - 200, 0, -200)))
    )
    name = str(outside(folder) / "precious.txt").encode()
    last = struct.pack(">I", 0x40000000 // 16384 + 1) + name + struct.pack(">II", len(name), sum(name))
    put(database.with_name("store.db-journal"), header + record + last + _MAGIC_OF_JOURNALS)


def _hard_link(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.hardlink_to(outside(path.parents[1]) / "precious.txt")


def _beside(name: str, make: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda folder: make(folder / "store" / name)


def _attacks(ends: Ends, makes: dict[str, Callable[[Path], object]]) -> list[Attack]:
    return [Attack(name, make, "store", ends) for name, make in makes.items()]


FILES = _attacks(
    "either",
    {
        "a journal that deletes a file elsewhere": _journal_that_deletes,
        "a pipe as the snapshot": lambda folder: fifo(_snapshot(folder)),
        "a device as the snapshot": lambda folder: link(_snapshot(folder), "/dev/zero"),
        "a snapshot elsewhere": _file_of_another,
        "a pipe as the database": _beside("store.db", fifo),
        "a device as the database": _beside("store.db", lambda path: link(path, "/dev/zero")),
        "a pipe as the journal": _beside("store.db-journal", fifo),
        "a pipe as the log": _beside("store.db-wal", fifo),
        "a pipe as the log's index": _beside("store.db-shm", fifo),
        "a pipe as a lock": _beside("snapshot.lock", fifo),
        "a hard link as a lock": lambda folder: _hard_link(folder / "store" / "snapshot.lock"),
        "a pickle as the database": lambda folder: put(folder / "store" / "store.db", bomb(folder)),
        "a pickle as the snapshot": lambda folder: put(_snapshot(folder), bomb(folder)),
        **{
            f"a link as store.db{end}": lambda folder, end=end: link(
                folder / "store" / f"store.db{end}", outside(folder) / "precious.txt"
            )
            for end in ("", "-journal", "-wal", "-shm")
        },
        **{
            f"a link as {name}": lambda folder, name=name: link(
                folder / "store" / name, outside(folder) / "precious.txt"
            )
            for name in ("snapshot.lock", "build.lock")
        },
    },
)

SNAPSHOTS = _attacks(
    "same",
    {
        "very many rows": _array(0, shape=[2**62]),
        "a shape that overflows": _array(1, shape=[2**32, 2**32]),
        "rows below zero": _array(0, shape=[-1]),
        "a shape of many axes": _array(1, shape=[1] * 100_000),
        "a shape that is no number": _array(1, shape=["x"]),
        "an offset below zero": _array(0, offset=-8),
        "an offset beyond the end": _array(1, offset=2**63),
        "an unknown array": _array(0, name="0/pickle"),
        "a name with a path": _array(0, name="../../x"),
        "no arrays": _table(lambda table: table.update(arrays=[])),
        "a graph over nothing": _table(_graph),
        "vectors of another dimension": _table(lambda table: table.update(dimension=2**31)),
        "a nested table": _table(lambda _: deep()),
        "a table that is a list": _table(lambda _: "[1]"),
        "a length beyond the file": lambda folder: put(_snapshot(folder), b"\xff" * 8 + MAGIC),
    },
)

DATABASES = [
    *_attacks(
        "refused",
        {
            "a trigger": _sql(
                "CREATE TRIGGER t AFTER DELETE ON document BEGIN DELETE FROM document; END",
            ),
            "a trigger that loads a library": _sql(
                "CREATE TRIGGER t AFTER DELETE ON document BEGIN SELECT load_extension('./evil.so'); END",
            ),
            "a table that is a view without end": _sql(
                "ALTER TABLE document RENAME TO hidden",
                f"CREATE VIEW document AS {_FOREVER}"
                "SELECT * FROM hidden UNION ALL SELECT i, i, i, i, i FROM r WHERE i < 0",
            ),
            "settings that are a view without end": _sql(
                "ALTER TABLE state RENAME TO hidden",
                f"CREATE VIEW state AS {_FOREVER} SELECT hidden.* FROM hidden, r WHERE i < 0",
            ),
            "a lexical index that is a view": _sql(
                "DROP TABLE lexical", "CREATE VIEW lexical AS SELECT 1 AS body"
            ),
            "a lexical index over another table": _sql(
                "DROP TABLE lexical",
                "CREATE VIRTUAL TABLE lexical USING fts5(body, content='state', content_rowid='one')",
            ),
            "a lexical index of other columns": _sql(
                "DROP TABLE lexical", "CREATE VIRTUAL TABLE lexical USING fts5(text)"
            ),
            "another virtual table": _sql("CREATE VIRTUAL TABLE x USING fts5(body)"),
            "metadata that is no dict": _metadata("[1]"),
            "metadata that is nested": _metadata(f'{{"a":{deep()}}}'),
            "metadata that is no JSON": _metadata("{"),
            "metadata of many digits": _metadata(f'{{"a":{"9" * 5000}}}'),
            "metadata that is null": _metadata("null"),
            "no settings": _sql("DELETE FROM state"),
            "settings of another kind": _sql("UPDATE state SET dimension = 'many', seq = x'00'"),
            "a text of many bytes": _sql("UPDATE document SET text = zeroblob(100000000) WHERE pk = 4"),
            "vectors of another length": _sql(
                "UPDATE vector SET value = zeroblob(100000000) WHERE pk = 4",
                "UPDATE state SET generation = 7",
            ),
        },
    ),
    *_attacks(
        "data",
        {
            "probes of another length": _sql("UPDATE probe SET vector = zeroblob(3)"),
            "the last change there can be": _sql(f"UPDATE state SET seq = {2**63 - 1}"),
            "a computed column": _sql(
                "ALTER TABLE document ADD COLUMN z TEXT GENERATED ALWAYS AS (zeroblob(999999999)) VIRTUAL"
            ),
            "a dimension below zero": _sql("UPDATE state SET dimension = -5"),
            "a very large dimension": _sql("UPDATE state SET dimension = 2000000000"),
            "an unknown index": _sql("UPDATE state SET index_kind = 'IVF1,Flat'"),
            "an unknown language": _sql("UPDATE state SET lexical = '../../x'"),
            "rules of no language": _sql("UPDATE state SET terms = 'x'"),
            "a snapshot of another name": _sql("UPDATE snapshot SET file = '/etc/passwd'"),
            "a snapshot of another kind": _sql("UPDATE snapshot SET generation = 'x', seq = x'00'"),
            "another encoding of the pages": _sql(
                "PRAGMA auto_vacuum = FULL", "PRAGMA default_cache_size = 2000000000", "VACUUM"
            ),
        },
    ),
]
