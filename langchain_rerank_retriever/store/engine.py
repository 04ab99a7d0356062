"""Consistent reads and whole changes: one database, one view, one model, kept together."""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from langchain_core.embeddings import Embeddings

from langchain_rerank_retriever.errors import InvalidDocumentError, RerankError
from langchain_rerank_retriever.protocols import FloatArray

from . import changes, rows
from .changes import Change
from .connections import Connections
from .lexical.frequencies import Frequencies
from .lexical.rules import RulesCheck
from .model import Model
from .rows import State
from .snapshots import Snapshots
from .validation import Entry
from .vectors import Embedded
from .view import View
from .views import Views

Answer = TypeVar("Answer")
#: Which model made the vectors: its number in one line of changes. A store that is saved over this one counts others.
Space = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The store at one moment: an open read transaction and the view of that very state."""

    connection: sqlite3.Connection
    state: State
    view: View


@dataclass(frozen=True, slots=True)
class Bound:
    """A model, and the vector space that it was last found to belong to; None before the first check."""

    model: Model
    space: Space | None


@dataclass(frozen=True, slots=True)
class _Written:
    generation: int
    change: Change | None


class Engine:
    """What reads and changes a store; the LangChain face puts Documents around it."""

    def __init__(
        self,
        connections: Connections,
        embeddings: Embeddings,
        *,
        mapped: bool | None = None,
        threads: int | None = None,
    ) -> None:
        """Take over open connections; nothing is read yet."""
        self.connections = connections
        self.frequencies = Frequencies()
        self.check_rules = RulesCheck()
        self.views = Views(connections, Snapshots(connections, mapped=mapped), threads=threads)
        self._bound = Bound(Model(embeddings), None)

    @property
    def model(self) -> Model:
        """The model that queries and documents are embedded with."""
        return self._bound.model

    def close(self) -> None:
        """Close the database and let go of the indexes; writes a snapshot where one is due."""
        self.views.close()
        self.connections.close()

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """Everything read inside belongs to the same state of the store, whoever writes meanwhile."""
        while True:
            with self.connections.reading() as connection:
                state = rows.read_state(connection)
                view = self.views.of(connection, state)
                if view is not None:
                    yield Snapshot(connection, state, view)
                    return

    def bound_model(self) -> tuple[Bound, State]:
        """The model, found to be the one of the store's vectors as they are now.

        Raises:
            ModelMismatchError: It is another.
        """
        while True:
            bound = self._bound
            with self.connections.reading() as connection:
                state = rows.read_state(connection)
                probes = rows.read_probes(connection) if bound.space != _space(state) else {}
            if bound.space == _space(state):
                return bound, state
            # Whoever replaces vectors holds this lock until the model has been replaced too.
            with self.connections.model_lock:
                if self._bound is not bound:
                    continue
            if probes:
                bound.model.check(state, probes)
            self._rebind(bound, Bound(bound.model, _space(state)))

    def _rebind(self, old: Bound, new: Bound) -> None:
        with self.connections.model_lock:
            if self._bound is old:
                self._bound = new

    def embed_query(self, text: str) -> tuple[FloatArray, Space | None]:
        """Unit vector of a query, shape ``(d,)``, and the space that it belongs to."""
        bound, state = self.bound_model()
        vector = bound.model.query(text)
        bound.model.check_dimension(vector, state.dimension, state)
        return vector, bound.space

    def answer(self, text: str, search: Callable[[Snapshot, FloatArray], list[Answer]]) -> list[Answer]:
        """Embed a query and search with it; an empty store answers without embedding."""
        while True:
            with self.snapshot() as snapshot:
                if not len(snapshot.view):
                    return []
            vector, space = self.embed_query(text)
            with self.snapshot() as snapshot:
                # A vector of one model says nothing about those of another.
                if _space(snapshot.state) == space:
                    return search(snapshot, vector)

    def add(
        self, entries: Sequence[Entry], given: FloatArray | None = None, *, batch_size: int = rows.BATCH
    ) -> None:
        """Add or replace documents in one transaction.

        Args:
            entries: Checked documents, each id once.
            given: Unit vectors, shape ``(len(entries), d)``; None to embed those whose text is new.
            batch_size: Texts embedded at a time.
        """
        made: Embedded | None = None
        maker: tuple[Model, int] | None = None
        while True:
            bound, state = self.bound_model()
            probes = bound.model.probes() if state.dimension is None else {}
            dimension = state.dimension or len(next(iter(probes.values())))
            if given is not None:
                made = _given_rows(given, dimension)
            elif made is None or maker != (bound.model, state.space):
                # What there is was embedded by a model that reembed() has replaced meanwhile.
                made = Embedded.nothing(dimension)
            maker = bound.model, state.space
            made = self._embed_missing(bound.model, (dimension, state), entries, made, batch_size)
            with self.connections.writing() as connection:
                stored = self._store(connection, bound, entries, made, probes)
            if stored is not None:
                break
        if probes:
            self._rebind(bound, Bound(bound.model, (stored.generation, state.space + 1)))
        if stored.change is not None:
            with contextlib.suppress(MemoryError):
                self.views.publish(stored.generation, stored.change)
        self.refresh()

    def _embed_missing(
        self,
        model: Model,
        expected: tuple[int, State],
        entries: Sequence[Entry],
        made: Embedded,
        batch_size: int,
    ) -> Embedded:
        with self.connections.reading() as connection:
            missing = _without_vector(connection, entries, made)
        tables = []
        for start in range(0, len(missing), batch_size):
            places = missing[start : start + batch_size]
            tables.append(model.documents([entries[place].text for place in places], places))
            model.check_dimension(tables[-1], *expected)
        return made.extended(missing, tables)

    def _store(
        self,
        connection: sqlite3.Connection,
        bound: Bound,
        entries: Sequence[Entry],
        made: Embedded,
        probes: Mapping[str, FloatArray],
    ) -> "_Written | None":
        """Write, or return None where others changed the store so that something must be embedded first."""
        state = rows.read_state(connection)
        if _space(state) != bound.space or _without_vector(connection, entries, made):
            return None
        if probes:
            changes.write_model(
                connection, model=bound.model.name, fingerprint=bound.model.fingerprint, probes=probes
            )
        return _Written(state.generation, changes.put(connection, state, entries, made))

    def delete(self, ids: Sequence[str]) -> None:
        """Delete the documents that exist among some ids, in one transaction."""
        with self.connections.writing() as connection:
            changes.delete(connection, rows.read_state(connection), ids)
        self.refresh()

    def clear(self) -> None:
        """Delete everything and forget the model, in one transaction."""
        with self.connections.writing() as connection:
            changes.clear(connection, rows.read_state(connection))
        self.refresh()

    def reembed(self, embeddings: Embeddings, *, batch_size: int = rows.BATCH) -> None:
        """Move all documents into the space of another model, in one transaction at the end."""
        model = Model(embeddings)
        probes = model.probes()
        made: dict[tuple[int, int, int], FloatArray] = {}
        while True:
            self._embed_all(model, len(next(iter(probes.values()))), made, batch_size)
            with self.connections.model_lock:
                with self.connections.writing() as connection:
                    space = _swap(connection, model, probes, made)
                if space is not None:
                    self._bound = Bound(model, space)
                    break
        self.refresh()

    def _embed_all(
        self, model: Model, dimension: int, made: dict[tuple[int, int, int], FloatArray], batch_size: int
    ) -> None:
        """Embed every text that is not yet in ``made``, whose keys are line of changes, document number and change."""
        last = 0
        while True:
            with self.connections.reading() as connection:
                state = rows.read_state(connection)
                page = rows.texts_after(connection, last, batch_size)
            if not page:
                return
            last = page[-1][0]
            keyed = [((state.generation, pk, seq), text) for pk, seq, text in page]
            missing = [(key, text) for key, text in keyed if key not in made]
            if missing:
                vectors = model.documents([text for _, text in missing])
                model.check_dimension(vectors, dimension, state)
                made.update((key, vector) for (key, _), vector in zip(missing, vectors))

    def refresh(self) -> None:
        """Publish what was just committed, so that the next search need not."""
        # The change is durable. Should publishing fail, the next read tries again and reports what is wrong.
        with contextlib.suppress(RerankError, MemoryError), self.snapshot():
            self.views.upkeep.consider()


def _space(state: State) -> Space:
    return state.generation, state.space


def _without_vector(connection: sqlite3.Connection, entries: Sequence[Entry], made: Embedded) -> list[int]:
    """Places of the documents that have no vector here, and none in the store for the same text."""
    open_places = np.setdiff1d(np.arange(len(entries)), made.places, assume_unique=True).tolist()
    if not open_places:
        return []
    stored = rows.by_ids(connection, [entries[place].id for place in open_places])
    return [
        place
        for place in open_places
        if entries[place].id not in stored or stored[entries[place].id].text != entries[place].text
    ]


def _given_rows(given: FloatArray, dimension: int) -> Embedded:
    if given.shape[1] != dimension:
        raise InvalidDocumentError(
            f"The vectors have {given.shape[1]} dimensions, those of this store's model {dimension}: "
            "make them with the same model"
        )
    return Embedded(np.arange(len(given)), given)


def _swap(
    connection: sqlite3.Connection,
    model: Model,
    probes: Mapping[str, FloatArray],
    made: Mapping[tuple[int, int, int], FloatArray],
) -> Space | None:
    """Replace all vectors, or return None where a document came or changed since it was embedded."""
    generation = rows.read_state(connection).generation
    keys = [(generation, pk, seq) for pk, seq in rows.vector_keys(connection)]
    if any(key not in made for key in keys):
        return None
    changes.write_model(connection, model=model.name, fingerprint=model.fingerprint, probes=probes)
    changes.replace_vectors(connection, ((key[1], made[key]) for key in keys))
    return _space(rows.read_state(connection))
