"""What a stranger's folder could do to whoever opens it, looked for before SQLite and the snapshot's reader are let in.

A store is data. Links and pipes, journals that name files elsewhere, views and triggers are the means by which a folder
could do more than hold wrong data; no store of ours has any of them.
"""

import os
import re
import sqlite3
from collections.abc import Collection
from pathlib import Path

from langchain_rerank_retriever.errors import FormatError

#: Snapshots are not among them: their reader looks for itself, and leaves aside what is none.
_OPENED = re.compile(r"store\.db(-journal|-wal|-shm)?|(snapshot|build)\.lock")
#: What FTS5 makes for itself beside its table, in other columns with other versions of SQLite.
_OF_FTS5 = re.compile("lexical_(data|idx|content|docsize|config)")
#: At the end of a journal that is part of a transaction over several databases. SQLite then removes the file that it
#: names, wherever that lies.
_SHARED_JOURNAL = bytes.fromhex("d9d505f920a163d7")


def check_folder(folder: Path) -> None:
    """Refuse what would lead elsewhere, or be read for ever.

    Raises:
        FormatError: Naming the file.
    """
    with os.scandir(folder) as entries:
        strange = [
            entry.name
            for entry in entries
            if _OPENED.fullmatch(entry.name) and not entry.is_file(follow_symlinks=False)
        ]
    if strange:
        raise FormatError(f"{folder / min(strange)} is no plain file; a store has no links, pipes or devices")
    journal = folder / "store.db-journal"
    if _last_bytes(journal) == _SHARED_JOURNAL:
        raise FormatError(
            f"{journal} names another file, which SQLite would remove; no store writes such a journal: do not open "
            "this folder unless you know where it comes from"
        )


def _last_bytes(path: Path) -> bytes:
    """The end of a file; nothing where there is none, or none any more: its writer removes it when it is done."""
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - len(_SHARED_JOURNAL)))
            return stream.read()
    except FileNotFoundError:
        return b""


def check_tables(connection: sqlite3.Connection, where: str, known: Collection[str]) -> None:
    """Refuse a database that does more than hold rows, or holds them in other tables than ours.

    A view, a trigger or a generated column runs whatever its maker wrote, and a flipped bit in the name of a type
    makes a key a common column.

    Args:
        connection: To the database.
        where: The store, for the message.
        known: The statements that make our tables; what FTS5 makes for itself is left to it.

    Raises:
        FormatError: Naming what is strange.
    """
    expected = {_canonical(statement) for statement in known}
    for row in connection.execute("SELECT type, name, sql FROM sqlite_master"):
        # In a damaged file a column can come back as anything; an index that SQLite makes by itself has no statement.
        kind, name, sql = map(str, row)
        sql = "" if row[2] is None else _canonical(sql)
        virtual = sql.upper().startswith("CREATE VIRTUAL")
        if kind not in ("table", "index") or (virtual and name != "lexical"):
            raise FormatError(
                f"The store at {where} holds the {kind} {name!r}, which is none of ours: do not use a store whose "
                "origin you do not know; one of your own is damaged: restore a copy that save_local() made"
            )
        if sql and sql not in expected and not _OF_FTS5.fullmatch(name):
            raise FormatError(
                f"The store at {where} has another {kind} {name!r} than this version makes: it is damaged, or of "
                "another version. Restore a copy that save_local() made, or index the documents anew"
            )


def _canonical(statement: str) -> str:
    return " ".join(statement.split())
