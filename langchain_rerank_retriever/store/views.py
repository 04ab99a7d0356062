"""The view of a store as it changes: made from a snapshot and from the database, published, looked after."""

import logging
import sqlite3
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from langchain_rerank_retriever.errors import RerankError

from . import rows
from .changes import Change
from .connections import Connections
from .rows import State
from .segment import Segment
from .snapshots import Snapshots, is_due
from .upkeep import Task, Upkeep
from .view import View

logger = logging.getLogger(__name__)

_NONE = View(seq=-1, generation=-1)
_NOTHING = np.empty(0, dtype=np.int64)


class Views:
    """Holds the view that searches read, and replaces it by single assignments."""

    def __init__(self, connections: Connections, snapshots: Snapshots) -> None:
        """Start without a view; the first reader makes it."""
        self._connections = connections
        self._snapshots = snapshots
        self.current = _NONE
        self.upkeep = Upkeep(self._next_task, lambda: self.current.seq)

    def of(self, connection: sqlite3.Connection, state: State) -> View | None:
        """The view of a state; None where a newer one was published since the transaction began."""
        view = self.current
        if (view.seq, view.generation) == (state.seq, state.generation):
            return view
        with self._connections.view_lock:
            view = self.current
            if view.generation == state.generation and view.seq >= state.seq:
                return view if view.seq == state.seq else None
            self.current = self._made(connection, state, view)
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
            if self._is_save_due() and not self._connections.closed:
                self.check()
                self._save()
        except (RerankError, MemoryError) as error:
            # The documents are safe; the next to open reads them from the database.
            logger.warning("A store was closed without a snapshot: %s", error)
        self.current = _NONE

    def examined(self, connection: sqlite3.Connection, state: State) -> tuple[View | None, str]:
        """The view that the snapshot leads to, every block checked, or what is wrong with the snapshot."""
        view, problem = self._snapshots.examined(state, rows.read_record(connection))
        return (None if view is None else _caught_up(connection, state, view)), problem

    def _made(self, connection: sqlite3.Connection, state: State, view: View) -> View:
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
        if self._snapshots.unchecked is not None:
            return self.check
        return self._save if self._is_save_due() else None

    def _is_save_due(self) -> bool:
        return self._snapshots.writable and is_due(self.current)

    def check(self, go_on: Callable[[], bool] = lambda: True) -> None:
        """Check what was mapped unchecked, if anything, and make the view anew where it is damaged."""
        if self._snapshots.check(go_on):
            return
        with self._connections.reading() as connection:
            view = _rebuilt(connection, rows.read_state(connection))
        self._replace(view)

    def _save(self, _go_on: Callable[[], bool] = lambda: True) -> None:
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

    def _map(self) -> None:
        """Read from the snapshot what lies in memory."""
        with self._connections.reading() as connection:
            state = rows.read_state(connection)
            view = self._opened(connection, state)
        if view is not None:
            self._replace(view)

    def _replace(self, view: View) -> None:
        # It may be a little behind by now; the next reader follows the changes since.
        with self._connections.view_lock:
            self.current = view


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
