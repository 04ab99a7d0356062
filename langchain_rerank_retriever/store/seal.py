"""A closed store's database, known again when it is opened: a small file beside it holds its SHA-256.

Documents and vectors carry checksums, and SQLite checks the form of what it reads. Its own indexes, the metadata index
and the lexical index have no checksum: damage there may leave them well-formed, and they then find the wrong rows, or
none.

The seal is broken (removed) within the first transaction that writes, before anything is written, and set when the
store is closed. So a database that differs from its seal was changed by something else. Where there is no seal, nothing
is known: the store was not closed since it was written.
"""

import contextlib
import hashlib
import json
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from langchain_rerank_retriever import files
from langchain_rerank_retriever.errors import StorageError

from . import beside_sqlite

NAME, SCRATCH_NAME = "store.seal", "store.seal.tmp"
#: More than any seal has.
_LONGEST = 1000
_BLOCK = 4 * 1024 * 1024
#: Bytes of the database's header that SQLite changes where it only opens: journal or log, and its own counters.
_UNSEALED = (slice(18, 20), slice(24, 28), slice(92, 100))


@dataclass(frozen=True, slots=True)
class Seal:
    """What a seal says; ``drawn`` tells it from another of the same content."""

    size: int
    sha256: str
    drawn: str


def agrees(database: Path, go_on: Callable[[], bool] = lambda: True) -> bool | None:
    """Whether a database is what its seal says.

    Args:
        database: The file.
        go_on: Asked now and then whether the answer is still wanted.

    Returns:
        None where there is no seal, somebody has begun to write, or the answer is not wanted any more.

    Raises:
        StorageError: Something cannot be read.
    """
    try:
        before = _read(database)
        if before is None:
            return None
        size, sha256 = _digest(database, go_on)
        # Who writes breaks the seal first.
        if sha256 is None or _read(database) != before:
            return None
    except OSError as error:
        raise StorageError(f"{database} cannot be read: {error}") from error
    return (size, sha256) == (before.size, before.sha256)


def break_(database: Path) -> None:
    """Remove the seal, durably; called within a transaction, before anything is written.

    Raises:
        StorageError: It cannot be removed.
    """
    seal = database.with_name(NAME)
    try:
        seal.unlink()
        files.sync(seal.parent)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StorageError(f"{seal} cannot be removed; nothing was changed: {error}") from error


def is_set(database: Path) -> bool:
    """Whether there is a seal."""
    return database.with_name(NAME).exists()


def set_(database: Path) -> None:
    """Seal a database whose file holds everything and that nobody can write to meanwhile.

    Raises:
        OSError: Something cannot be read or written.
    """
    size, sha256 = _digest(database)
    seal = Seal(size, str(sha256), secrets.token_hex(8))
    # Always the same name: there is one writer, and what a killed one leaves is overwritten by the next.
    scratch = database.with_name(SCRATCH_NAME)
    scratch.write_text(json.dumps(asdict(seal)), encoding="utf-8")
    files.sync(scratch)
    scratch.replace(database.with_name(NAME))
    files.sync(database.parent)


def _read(database: Path) -> Seal | None:
    """The seal; one that nothing agrees with where it is damaged."""
    try:
        with database.with_name(NAME).open("rb") as stream:
            content = stream.read(_LONGEST)
    except FileNotFoundError:
        return None
    with contextlib.suppress(ValueError, TypeError, RecursionError):
        return Seal(**json.loads(content))
    return Seal(-1, "", content.hex())


def _digest(database: Path, go_on: Callable[[], bool] = lambda: True) -> tuple[int, str | None]:
    """Size in bytes and SHA-256; None for the latter where it is not wanted any more."""
    digest, size = hashlib.sha256(), 0
    with beside_sqlite.reading(database) as stream:
        while block := bytearray(stream.read(_BLOCK)):
            if not size:
                for span in _UNSEALED:
                    block[span] = bytes(len(block[span]))
            digest.update(block)
            size += len(block)
            if not go_on():
                return size, None
    return size, digest.hexdigest()
