"""What the tests of formats share: golden folders laid out, and what a folder is, to the last byte."""

import hashlib
import os
import signal
import sqlite3
import zipfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain_core.embeddings import Embeddings

from langchain_rerank_retriever.store import FaissStore

from . import formats_golden
from .failing_writes import Disk, beneath_sqlite

GOLDEN = Path(__file__).parent / "golden"


class Vectors(formats_golden.Vectors, Embeddings):  # type: ignore[misc]
    """The embedder of the golden folders."""


def unpacked(name: str, target: Path) -> Path:
    with zipfile.ZipFile(GOLDEN / f"{name}.zip") as archive:
        archive.extractall(target)
    return target


def hashes(folder: Path) -> dict[str, str]:
    """Every file and folder, with the hash of what is in it."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in sorted(folder.rglob("*"))
    }


def executed(folder: Path, *statements: str) -> None:
    """Change the database of a store behind its back, without leaving a log."""
    with closing(sqlite3.connect(folder / "store.db", isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def forget_terms(folder: Path) -> None:
    """As if the terms had been made with a Unicode that is not known any more; the next change makes them anew."""
    executed(
        folder,
        "UPDATE state SET terms = '1, Unicode 9.0.0'",
        "INSERT INTO lexical (lexical) VALUES ('delete-all')",
        "INSERT INTO lexical (rowid, body) SELECT pk, 'termofbefore ' || text FROM document",
    )


def terms_of(folder: Path) -> str:
    with closing(sqlite3.connect(folder / "store.db")) as connection:
        return str(connection.execute("SELECT terms FROM state").fetchone()[0])


@dataclass
class Killer(Disk):
    """Kills the process in place of failing a call."""

    def fails(self, kind: str) -> bool:
        if super().fails(kind):
            os.kill(os.getpid(), signal.SIGKILL)
        return False


def migrate(folder: Path, at: int) -> dict[str, Any]:
    """Make the first change of a store with terms of before; die at a call of SQLite's, or count them with 0."""
    disk = Killer(folder, at=at)
    beneath_sqlite(disk)
    with FaissStore(Vectors(), path=folder) as store:
        store.add_texts(["a late article"], ids=["late"])
    return {"calls": len(disk.seen)}
