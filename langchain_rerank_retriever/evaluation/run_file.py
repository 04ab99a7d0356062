"""What a retriever has answered so far, kept in a file so that a killed evaluation can go on.

    {"format": "langchain-rerank run", "version": 1, "retriever": "tuned", "asked": "one at a time", "queries": "..."}
    {"query": "q1", "seconds": {"total": 0.021}, "ranking": ["d7", "d2"]}
    {"query": "q2", "seconds": {"total": 0.019, ...}, "trace": {...}}

A line is written by one call once its answer is there, so that a killed process leaves whole lines and at most one torn
one at the end, which is cut off when the file is opened again.
"""

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from langchain_rerank_retriever.errors import FormatError, InvalidArgumentError, RerankError, StorageError
from langchain_rerank_retriever.evaluation.asker import Answer
from langchain_rerank_retriever.evaluation.trace import QueryTrace
from langchain_rerank_retriever.files import sync

_FORMAT = {"format": "langchain-rerank run", "version": 1}

#: A crash of the machine costs the answers of this many seconds; a killed process costs none.
_SECONDS_BETWEEN_SYNCS = 1.0


@contextmanager
def opened_run_file(
    path: str | os.PathLike[str], *, retriever: str, asked: str, queries: Mapping[str, str], state: str = ""
) -> Iterator["RunFile"]:
    """Open or begin a run file for the length of an evaluation.

    Args:
        path: Of the file; it and its folder are made where they are missing.
        retriever: The name of what is asked.
        asked: How it is asked, on which its times depend.
        queries: All queries, `{query id: text}`, judged or not: later judgements of more of them can use the same file.
        state: Of what is asked; empty where nothing tells it from others.

    Raises:
        InvalidArgumentError: If the file holds answers of another retriever or another state of it, asked in another
            way or other queries.
        FormatError: If it is no run file, or damaged before its last line; it stays as it is.
        StorageError: If it cannot be read or written, or another process writes to it.
    """
    place = Path(path)
    header = {**_FORMAT, "retriever": retriever, "asked": asked, "queries": _hash(queries), **_state(state)}
    with _storage(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        file = place.open("a+b", buffering=0)
    with file:
        _lock(file, place)
        with _storage(place):
            answers = _begun(place, file, header)
        try:
            yield RunFile(place, file, answers)
        finally:
            with _storage(place):
                os.fsync(file.fileno())


class RunFile:
    """The answers that are there, and where to put those to come.

    Args:
        path: Of the file.
        file: Open for appending, unbuffered, locked.
        answers: What it holds.
    """

    def __init__(self, path: Path, file: BinaryIO, answers: Mapping[str, Answer]) -> None:
        self.answers = dict(answers)
        self._path, self._file = path, file
        self._synced = time.monotonic()

    def append(self, query_id: str, answer: Answer) -> None:
        """Write one answer.

        Raises:
            StorageError: If the disk does not take it, in whole.
        """
        with _storage(self._path):
            _write_line(self._file, _line(query_id, answer))
            if time.monotonic() - self._synced >= _SECONDS_BETWEEN_SYNCS:
                os.fsync(self._file.fileno())
                self._synced = time.monotonic()
        self.answers[query_id] = answer


def _begun(path: Path, file: BinaryIO, header: Mapping[str, Any]) -> dict[str, Answer]:
    """Read a file up to its last whole line and cut off the rest; begin it where nothing was written yet."""
    file.seek(0)
    content = file.read()
    whole = content.rfind(b"\n") + 1
    if not whole:
        # Only what may be the beginning of our own first line is written over.
        if not _as_line(header).startswith(content):
            raise FormatError(f"{path} is not a run file. Choose another run_file; this one was not changed.")
        file.truncate(0)
        _write_line(file, header)
        sync(path.parent)
        return {}
    first, *lines = content[: whole - 1].split(b"\n")
    _check_header(path, first, header)
    answers = dict(_parsed(path, number, line) for number, line in enumerate(lines, start=2))
    file.truncate(whole)
    return answers


def _check_header(path: Path, line: bytes, expected: Mapping[str, Any]) -> None:
    try:
        found = json.loads(line)
        ours = {name: found[name] for name in expected if name != "state"}
        ours["state"] = found.get("state", "")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FormatError(
            f"{path} is not a run file. Choose another run_file; this one was not changed."
        ) from error
    if (ours["format"], ours["version"]) != (expected["format"], expected["version"]):
        raise FormatError(
            f"{path} is of the form {ours['format']!r}, version {ours['version']!r}; this package reads "
            f"{expected['format']!r}, version {expected['version']!r}. Choose another run_file."
        )
    expected = {"state": "", **expected}
    differing = [name for name in ("retriever", "queries", "asked", "state") if ours[name] != expected[name]]
    if differing:
        told = {
            "queries": "to other queries",
            "retriever": f"of {ours['retriever']!r}, and {expected['retriever']!r} is asked now",
            "state": f"of {ours['retriever']!r} as it was ({ours['state']}), and it has changed ({expected['state']})",
            "asked": f"to queries asked {ours['asked']}, and {expected['asked']} their times mean something else",
        }
        raise InvalidArgumentError(
            f"{path} holds answers {told[differing[0]]}. Choose another run_file, or "
            f"delete this one to ask everything again."
        )


def _line(query_id: str, answer: Answer) -> dict[str, Any]:
    line = {"query": query_id, "seconds": dict(answer.seconds)}
    if answer.trace is None:
        return {**line, "ranking": list(answer.ranking)}
    return {**line, "trace": answer.trace.to_dict()}


def _parsed(path: Path, number: int, line: bytes) -> tuple[str, Answer]:
    try:
        data = json.loads(line)
        trace = QueryTrace.from_dict(data["trace"]) if "trace" in data else None
        ranking = data["ranking"] if trace is None else trace.ranking
        return data["query"], Answer(tuple(ranking), dict(data["seconds"]), trace)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FormatError(
            f"Line {number} of {path} is damaged: {error!r}. Delete the line, so that its query is asked again."
        ) from error


def _write_line(file: BinaryIO, data: Mapping[str, Any]) -> None:
    line = _as_line(data)
    if file.write(line) != len(line):
        raise OSError("only a part of a line could be written; the disk may be full")


def _as_line(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data).encode("ascii") + b"\n"


def _state(state: str) -> dict[str, str]:
    # Left out where it is empty, as in files of before there was one.
    return {"state": state} if state else {}


def _hash(queries: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(sorted(queries.items())).encode("ascii")).hexdigest()


def _lock(file: BinaryIO, path: Path) -> None:
    # Of the file itself and not of one beside it: the system lets go of it when the process ends, however it ends.
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise StorageError(
            f"Another process writes to {path}. Wait for it, or choose another run_file."
        ) from error
    except OSError as error:
        raise StorageError(f"{path} cannot be locked: {error}.") from error


@contextmanager
def _storage(path: Path) -> Iterator[None]:
    """Name the run file where the disk fails."""
    try:
        yield
    except RerankError:
        raise
    except OSError as error:
        raise StorageError(f"The run file {path} cannot be used: {error}.") from error
