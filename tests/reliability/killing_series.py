"""Random calls of a store, and what it must hold after them."""

import copy
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from langchain_rerank_retriever.store import FaissStore, changes, indexing, snapshots, upkeep
from tests.store.helpers import FastEmbeddings

WORDS = ("retrieval", "vector", "검색", "문서", "index", "crash", "durable", "색인", "page", "model")
Model = dict[str, tuple[str, dict[str, Any]]]
Call = tuple[str, Any]
#: How often each is called.
KINDS = {
    "add": 5,
    "upsert": 5,
    "relabel": 3,
    "delete": 5,
    "replace": 2,
    "save": 1,
    "reopen": 2,
    "snapshot": 3,
    "repair": 1,
    "remake": 1,
    "reembed": 0.3,
    "clear": 0.1,
}
_WITHOUT_DOCUMENTS = frozenset({"save", "reopen", "snapshot", "repair", "remake", "reembed", "clear"})
#: What `repair` is given to mend; nothing here damages the documents themselves.
_DAMAGE = ("DELETE FROM field", "DELETE FROM field WHERE pk % 2", "UPDATE field SET pk = -pk")


@dataclass(frozen=True)
class Content:
    """What a folder holds: documents in their order, and the seed of the model that embedded them."""

    documents: Model = field(default_factory=dict)
    model: int = 0


@dataclass(frozen=True)
class Series:
    """The expected content of a folder and of the copy that saves go to."""

    store: Content = field(default_factory=Content)
    saved: Content | None = None

    def prepare(self, rng: random.Random, batch: int, kind: str | None = None) -> Call:
        """The next call, decided by the random numbers and the documents alone, so that both processes agree."""
        kind = kind or rng.choices(list(KINDS), weights=list(KINDS.values()))[0]
        documents = self.store.documents
        some = rng.sample(list(documents), min(len(documents), rng.randint(1, batch)))
        if kind in {"add", "replace"} or (not some and kind not in _WITHOUT_DOCUMENTS):
            return "add", {f"id-{rng.getrandbits(60):x}": document(rng) for _ in range(rng.randint(1, batch))}
        if kind == "upsert":
            return "add", {name: document(rng) for name in some}
        if kind == "relabel":
            return "add", {name: (documents[name][0], {"label": rng.random()}) for name in some}
        if kind == "repair":
            return kind, rng.choice(_DAMAGE)
        return kind, some

    def apply(self, call: Call) -> "Series":
        kind, what = call
        documents = dict(self.store.documents)
        if kind == "add":
            documents.update(what)
        elif kind == "delete":
            documents = {name: one for name, one in documents.items() if name not in what}
        elif kind == "clear":
            documents = {}
        elif kind == "reembed":
            return replace(self, store=replace(self.store, model=self.store.model + 1))
        elif kind == "save":
            return replace(self, saved=self.store)
        return self if documents == self.store.documents else replace(self, store=self._with(documents))

    def _with(self, documents: Model) -> Content:
        return replace(self.store, documents=documents)


def document(rng: random.Random) -> tuple[str, dict[str, Any]]:
    text = " ".join(rng.choices(WORDS, k=rng.randint(1, 12))) + f" {rng.getrandbits(32):x}"
    return text, {
        "year": rng.randint(1990, 2025),
        "tags": rng.sample(WORDS, 2),
        "nested": {"flag": rng.random() < 0.5},
    }


def perform(store: FaissStore, call: Call, copy_folder: Path) -> FaissStore:
    kind, what = call
    if kind == "add":
        texts, metadatas = zip(*what.values())
        store.add_texts(list(texts), [copy.deepcopy(data) for data in metadatas], ids=list(what))
    elif kind == "delete":
        store.delete(what)
    elif kind == "save":
        store.save_local(copy_folder)
    elif kind == "snapshot":
        store._engine.views.upkeep.wait(None)
    elif kind == "repair":
        _damage_and_repair(store, what)
    elif kind == "remake":
        # What repair() does about a snapshot or a view.
        store._engine.views.remake()
    elif kind == "reembed":
        store.reembed(FastEmbeddings(seed=store.embeddings.seed + 1))
    elif kind == "clear":
        store.clear()
    else:
        store.close()
        return FaissStore(store.embeddings, path=store.path, memory_map=len(what) % 2 == 0)
    return store


def _damage_and_repair(store: FaissStore, statement: str) -> None:
    with store._engine.connections.writing() as connection:
        connection.execute(statement)
    result = store.repair()
    if not result.ok:
        raise AssertionError(f"repair() left {result.problems}")


@contextmanager
def often(*, quiet: float = 0.0, graph_rows: int = 100) -> Iterator[None]:
    """Have a snapshot written after every change, graphs of small stores, and deletions seldom kept one by one.

    Args:
        quiet: Seconds without a change before the background begins; many, for it to begin only when asked.
        graph_rows: From how many documents on there are graphs.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snapshots, "MIN_ROWS", 1)
        patch.setattr(snapshots, "DRIFT", 0.0)
        patch.setattr(upkeep, "QUIET", quiet)
        patch.setattr(upkeep, "PATIENCE", max(quiet, upkeep.PATIENCE))
        patch.setattr(indexing, "GRAPH_ROWS", graph_rows)
        patch.setattr(changes, "_TOMBSTONES", 40)
        yield
