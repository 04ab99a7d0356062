"""Every step by which the package changes what is on the disk or shown, under a name, without a line in the package.

Within `watched`, the functions of Python that change files, the statements of SQLite that change a database, and the
places where a view is published report to two functions, before and after each step.
"""

import io
import itertools
import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from langchain_rerank_retriever.store import beside_sqlite, view_writing
from langchain_rerank_retriever.store.snapshots import Snapshots
from langchain_rerank_retriever.store.views import Views

_FILES = ("fsync", "rename", "replace", "unlink", "mkdir", "rmdir", "chmod")
_STATEMENT = re.compile(
    r"BEGIN IMMEDIATE|COMMIT|VACUUM INTO|REINDEX|PRAGMA journal_mode|PRAGMA page_size"
    r"|(?:INSERT|UPDATE|DELETE|CREATE|DROP)(?: (?:INTO|FROM|OR REPLACE|VIRTUAL|TABLE|INDEX|IF NOT EXISTS|IF EXISTS))*"
    r" \w+"
)
#: Parts of names that are drawn at random.
_DRAWN = re.compile(r"(?<=tmp-)\w+|(?<=view-)[0-9a-f]{16}|(?<=-)[0-9]+")


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        number: From 1, in the order of their beginning.
        name: What is done to which file.
        descriptor: Of the file that is synced; None in any other step.
        database: The file of a database that a statement changes; None in any other step.
        connection: By which it does.
    """

    number: int
    name: str
    descriptor: int | None = None
    database: Path | None = None
    connection: sqlite3.Connection | None = None


Hook = Callable[[Step], object]


class _Watch:
    def __init__(self, before: Hook, after: Hook) -> None:
        self._before, self._after = before, after
        self._numbers = itertools.count(1)
        self._inside = False

    def step(self, name: str, call: Callable[[], Any], **about: Any) -> Any:
        if self._inside:
            return call()
        step = Step(next(self._numbers), name, **about)
        self._run(self._before, step)
        try:
            return call()
        finally:
            self._run(self._after, step)

    def _run(self, hook: Hook, step: Step) -> None:
        # What a hook does itself, in threads of its own as well, is no step of the package.
        self._inside = True
        try:
            hook(step)
        finally:
            self._inside = False


@contextmanager
def watched(before: Hook, after: Hook) -> Iterator[None]:
    """Call one function before each step and the other after it, from the thread that takes the step."""
    watch = _Watch(before, after)
    with pytest.MonkeyPatch.context() as patch:
        for name in _FILES:
            patch.setattr(os, name, _file_step(watch, name, getattr(os, name)))
        patch.setattr(os, "open", _creating(watch, os.open))
        patch.setattr(io, "open", _opening(watch, io.open))
        patch.setattr(sqlite3, "connect", _connecting(watch, sqlite3.connect))
        for owner, name, words in (
            (Views, "publish", "publish a change"),
            (Views, "_made", "make the view"),
            (Views, "_replace", "replace the view"),
            (Snapshots, "save", "save a snapshot"),
            (view_writing, "write", "write a snapshot"),
        ):
            patch.setattr(owner, name, _whole(watch, words, getattr(owner, name)))
        yield


def named(path: Any) -> str:
    """The name of a file, without what is drawn at random."""
    return _DRAWN.sub("*", Path(os.fsdecode(path)).name)


def _whole(watch: _Watch, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any, **keywords: Any) -> Any:
        return watch.step(name, lambda: function(*arguments, **keywords))

    return call


def _file_step(watch: _Watch, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(what: Any, *arguments: Any, **keywords: Any) -> Any:
        if name == "fsync":
            words = named(Path(f"/proc/self/fd/{what}").readlink())
            return watch.step(f"{name} {words}", lambda: function(what), descriptor=what)
        words = " to ".join(map(named, (what, *(one for one in arguments if not isinstance(one, int)))))
        return watch.step(f"{name} {words}", lambda: function(what, *arguments, **keywords))

    return call


def _creating(watch: _Watch, function: Callable[..., int]) -> Callable[..., int]:
    def call(path: Any, flags: int, *arguments: Any, **keywords: Any) -> int:
        if not flags & os.O_CREAT:
            return function(path, flags, *arguments, **keywords)
        return watch.step(f"open {named(path)}", lambda: function(path, flags, *arguments, **keywords))

    return call


def _opening(watch: _Watch, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(path: Any, mode: str = "r", *arguments: Any, **keywords: Any) -> Any:
        if isinstance(path, int) or not set(mode) & set("wax+"):
            return function(path, mode, *arguments, **keywords)
        return watch.step(f"open {named(path)}", lambda: function(path, mode, *arguments, **keywords))

    return call


def _connecting(watch: _Watch, function: Callable[..., Any]) -> Callable[..., Any]:
    class Watched(beside_sqlite.Connection):
        """Reports the statements that change something."""

        _file: Path | None = None

        def execute(self, statement: str, *arguments: Any) -> Any:
            run = super().execute
            return self._step(statement, lambda: run(statement, *arguments))

        def executemany(self, statement: str, *arguments: Any) -> Any:
            run = super().executemany
            return self._step(statement, lambda: run(statement, *arguments))

        def backup(self, target: "Watched", **keywords: Any) -> None:
            run = super().backup
            watch.step("backup", lambda: run(target, **keywords), database=target._file, connection=target)

        def close(self) -> None:
            run = super().close
            watch.step("close", run, database=self._file, connection=self)

        def _step(self, statement: str, call: Callable[[], Any]) -> Any:
            found = _STATEMENT.match(statement.lstrip())
            if found is None:
                return call()
            return watch.step(found[0], call, database=self._file, connection=self)

    def connect(target: str, **keywords: Any) -> sqlite3.Connection:
        connection = function(target, **{**keywords, "factory": Watched})
        row = connection.execute("PRAGMA database_list").fetchone()
        connection._file = Path(row[2]) if row[2] else None
        return connection

    return connect
