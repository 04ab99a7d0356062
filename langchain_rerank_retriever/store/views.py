"""The view of a store as it changes: made from a snapshot and from the database, published, looked after."""

import contextlib
import logging
import sqlite3
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from langchain_rerank_retriever.errors import RerankError
from langchain_rerank_retriever.runtime.choosing.machine import cores

from . import rows
from .changes import Change
from .connections import Connections
from .graph import THREADS, build
from .indexing import IndexInfo, describe, is_graph_due
from .lexical.languages import Lexical
from .rows import State
from .segment import Segment, joined
from .snapshots import Snapshots, SupersededError, is_due
from .upkeep import Task, Upkeep
from .view import View

logger = logging.getLogger(__name__)

_NONE = View(seq=-1, generation=-1)
_NOTHING = np.empty(0, dtype=np.int64)


class Views:
    """Holds the view that searches read, and replaces it by single assignments."""

    def __init__(self, connections: Connections, snapshots: Snapshots, *, threads: int | None) -> None:
        """Start without a view; the first reader makes it.

        Args:
            connections: The database.
            snapshots: Where views are read from and written to.
            threads: How many build a graph; None for half of the cores, and all while somebody waits for it.
        """
        self._connections = connections
        self._snapshots = snapshots
        self._threads = threads
        self._setting = "flat"
        #: The store's lexical setting, as of the last state that a view was made for.
        self.lexical: Lexical = False
        self._refused = 0
        self.current = _NONE
        self.upkeep = Upkeep(self._next_task, lambda: self.current.seq)

    def of(self, connection: sqlite3.Connection, state: State) -> View | None:
        """The view of a state; None where the transaction is too old for it, and another must be begun."""
        view = self.current
        if (view.seq, view.generation) == (state.seq, state.generation):
            return view
        with self._connections.view_lock:
            view = self.current
            if view.generation == state.generation and view.seq >= state.seq:
                return view if view.seq == state.seq else None
            try:
                self.current = self._made(connection, state, view)
            except SupersededError:
                return None
            return self.current

    def publish(self, generation: int, change: Change) -> None:
        """Show a change that was just committed, where the view shows all that was before it."""
        with self._connections.view_lock:
            view = self.current
            if (view.generation, view.seq + 1) == (generation, change.seq):
                self.current = view.changed(change.seq, _NOTHING, change.pks, change.vectors)

    def close(self) -> None:
        """End the upkeep, write the snapshot that is due, let go of the view."""
        self.upkeep.close()
        try:
            if self._is_save_due(at_the_end=True) and not self._connections.closed:
                self.check()
                self._save(at_the_end=True)
        except (RerankError, MemoryError) as error:
            # The documents are safe; the next to open reads them from the database.
            logger.warning("A store was closed without a snapshot: %s", error)
        self._snapshots.close()
        self.current = _NONE

    def examined(self, connection: sqlite3.Connection, state: State) -> tuple[View | None, str]:
        """The view that the snapshot leads to, every block checked, or what is wrong with the snapshot."""
        try:
            view, problem = self._snapshots.examined(state, rows.read_record(connection))
        except SupersededError:
            return None, ""
        return (None if view is None else _caught_up(connection, state, view)), problem

    def info(self, setting: str, view: View) -> IndexInfo:
        """How the store searches."""
        used = self._snapshots.used
        return describe(
            setting,
            view,
            snapshot=used.file if used is not None and used.generation == view.generation else None,
            busy=self._next_task() is not None,
        )

    def _made(self, connection: sqlite3.Connection, state: State, view: View) -> View:
        self._setting, self.lexical = state.index_kind, state.lexical
        if state.dimension is None:
            return View(state.seq, state.generation)
        if view.generation == state.generation and view.dimension is not None:
            return _caught_up(connection, state, view)
        return self._opened(connection, state) or _rebuilt(connection, state)

    def _opened(self, connection: sqlite3.Connection, state: State) -> View | None:
        """The view by way of a snapshot; None where there is none that can be used."""
        record = rows.read_record(connection)
        base = self._snapshots.load(state, record)
        if base is None or record is None:
            return None
        view = _caught_up(connection, state, base)
        if len(view) != rows.count_vectors(connection):
            self._snapshots.warn(record, f"it leads to {len(view)} documents")
            return None
        return view

    def _next_task(self) -> Task | None:
        if not self._snapshots.is_checked:
            return self.check
        if self._is_graph_due():
            return self._build
        return self._save if self._is_save_due() else None

    def _is_graph_due(self) -> bool:
        # What was not good enough once is tried again when the store has doubled.
        view = self.current
        enough = len(view) >= 2 * self._refused
        return enough and not self._connections.read_only and is_graph_due(self._setting, view)

    def _is_save_due(self, *, at_the_end: bool = False) -> bool:
        return self._snapshots.writable and is_due(self.current, at_the_end=at_the_end)

    def check(self, go_on: Callable[[], bool] = lambda: True) -> None:
        """Check what was mapped unchecked, if anything, and make the view anew where it is damaged."""
        damaged = self._snapshots.check(go_on)
        if damaged is None:
            return
        with self._connections.reading() as connection:
            view = _rebuilt(connection, rows.read_state(connection))
        self._replace(view)
        # Not before: where that fails, it is still to be done.
        self._snapshots.let_go(damaged)

    def remake(self) -> None:
        """Make the view from the database alone, and then the snapshot and the graph that are due, if they can be."""
        self._snapshots.discard()
        with self._connections.reading() as connection:
            view = _rebuilt(connection, rows.read_state(connection))
        self._replace(view)
        self.upkeep.wait(None, again=False)

    def _save(self, _go_on: Callable[[], bool] = lambda: True, *, at_the_end: bool = False) -> None:
        # Another process may have written one, with a graph that we have not.
        self._take_over()
        if self._is_save_due(at_the_end=at_the_end):
            self._write()

    def _write(self) -> None:
        with self._connections.reading() as connection:
            state = rows.read_state(connection)
            view = self.of(connection, state)
        if view is None or view.dimension is None:
            return
        self._snapshots.save(view, state.space)
        with self._connections.view_lock:
            if self.current.generation == view.generation:
                # Where another process holds the lock, its snapshot will do as well.
                self.current = replace(self.current, drift=self.current.drift - view.drift)
        if self._snapshots.is_mapped(len(view), view.dimension):
            self._map()

    def _build(self, go_on: Callable[[], bool]) -> None:
        """Build a graph over everything, then show it with what has changed meanwhile."""
        with self._snapshots.building(go_on) as mine:
            if not mine:
                return
            self._take_over()
            self.check(go_on)
            view = self.current
            if view.dimension is None or not self._is_graph_due():
                return
            whole = joined(view.segments)
            graph = build(whole.vectors, go_on, threads=self._threads_now)
            if graph is None:
                self._refused = len(view) if go_on() else 0
                return
            segments = (replace(whole, graph=graph),)
            self._replace(View(view.seq, view.generation, view.dimension, segments, drift=len(whole.pks)))
            # Before others that wait for their turn look whether there is a graph.
            if self._snapshots.writable:
                self._write()

    def _threads_now(self) -> int:
        if self._threads is not None:
            return self._threads
        # The other half is for searches, but where somebody waits for the graph that is what the cores are for.
        available = cores() if self.upkeep.is_waited_for else cores() // 2
        return max(1, min(available, THREADS))

    def _take_over(self) -> None:
        """Use the snapshot of another process, where there is a newer one than ours."""
        with self._connections.reading() as connection:
            record = rows.read_record(connection)
        if record is not None and record != self._snapshots.used:
            self._map()

    def _map(self) -> None:
        """Use the snapshot in place of what lies in memory."""
        view = None
        with self._connections.reading() as connection, contextlib.suppress(SupersededError):
            view = self._opened(connection, rows.read_state(connection))
        if view is not None:
            self._replace(view)

    def _replace(self, view: View) -> None:
        """Publish a view that was made of an earlier state, unless it is of another generation by now."""
        with self._connections.reading() as connection, self._connections.view_lock:
            # Read within the lock, so that what is shown never falls behind what was shown before: then something
            # could be due that nobody would see until the next reader comes.
            state = rows.read_state(connection)
            if state.generation == view.generation:
                self.current = _caught_up(connection, state, view)


def _caught_up(connection: sqlite3.Connection, state: State, view: View) -> View:
    if view.seq == state.seq or state.dimension is None:
        return view
    pks, vectors = rows.joined(rows.vectors_since(connection, view.seq, state.dimension), state.dimension)
    return view.changed(state.seq, rows.removed_since(connection, view.seq), pks, vectors)


def _rebuilt(connection: sqlite3.Connection, state: State) -> View:
    """The view from the database alone."""
    if state.dimension is None:
        return View(state.seq, state.generation)
    whole = Segment.build(
        state.dimension,
        rows.vectors_since(connection, -1, state.dimension),
        expected=rows.count_vectors(connection),
    )
    segments = (whole,) if len(whole.pks) else ()
    return View(state.seq, state.generation, state.dimension, segments, drift=len(whole.pks))
