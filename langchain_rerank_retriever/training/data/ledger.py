"""A file that remembers which documents a language model was asked about, line by line."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from langchain_rerank_retriever.errors import FormatError, StorageError
from langchain_rerank_retriever.files import sync


class Entry(BaseModel):
    """One line: what a document gave.

    Attributes:
        document_id: Its id.
        asked: Hash of its text and of how was asked; where either changes, the line counts no more.
        queries: What the model wrote.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    document_id: str
    asked: str
    queries: list[str]


class Ledger:
    """Finished documents in a JSONL file; without a path, in memory only.

    A line is on the disk when `add` returns. A last line that a kill tore is cut off at the next opening.

    Raises:
        FormatError: If the file holds something else.
        StorageError: If it cannot be read or written.
    """

    def __init__(self, path: str | Path | None) -> None:
        self._path = None if path is None else Path(path)
        self._writing = Lock()
        self._finished: dict[tuple[str, str], list[str]] = {}
        if self._path is not None:
            with _told(self._path):
                self._open(self._path)

    def get(self, document_id: str, asked: str) -> list[str] | None:
        """Return what the model wrote for a document, or None where it was not asked in this way."""
        return self._finished.get((document_id, asked))

    def add(self, document_id: str, asked: str, queries: Sequence[str]) -> None:
        """Note a finished document, durably; from any thread."""
        self._finished[document_id, asked] = list(queries)
        if self._path is None:
            return
        entry = Entry(document_id=document_id, asked=asked, queries=list(queries))
        line = json.dumps(entry.model_dump(), ensure_ascii=False) + "\n"
        with _told(self._path), self._writing, self._path.open("ab") as file:
            file.write(line.encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())

    def _open(self, path: Path) -> None:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            sync(path.parent)
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        for number, line in enumerate(whole.splitlines(), start=1):
            entry = _entry(path, number, line)
            self._finished[entry.document_id, entry.asked] = entry.queries
        self._last(path, content[len(whole) :], whole)

    def _last(self, path: Path, tail: bytes, whole: bytes) -> None:
        """Deal with a last line that has no end: keep it if it is whole, cut off what a kill left of it."""
        if not tail:
            return
        if b'{"document_id": "'.startswith(tail[:17]) and not _is_json(tail):
            os.truncate(path, len(whole))
            return
        entry = _entry(path, whole.count(b"\n") + 1, tail)
        self._finished[entry.document_id, entry.asked] = entry.queries
        with path.open("ab") as file:
            file.write(b"\n")


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _entry(path: Path, number: int, line: bytes) -> Entry:
    try:
        return Entry.model_validate_json(line)
    except ValidationError as error:
        raise FormatError(
            f"{path}, line {number} is not a line of generated queries. Give the path of a file that an earlier run "
            "wrote, or of one that is not there yet."
        ) from error


@contextmanager
def _told(path: Path) -> Iterator[Any]:
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(f"{path} cannot be read or written: {error}.") from error
