"""Some thirty calls on a store, its copies and a bundle, each of which may fail and must then have done nothing."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from langchain_rerank_retriever import RerankRetriever
from langchain_rerank_retriever.cli.bundled_store import open_store
from langchain_rerank_retriever.errors import StorageError
from langchain_rerank_retriever.store import FaissStore
from tests.store.helpers import FastEmbeddings, content, stored_vectors, unit

DIMENSION = 12
Texts = dict[str, tuple[str, dict[str, Any]]]


#: How long texts are; longer ones need more pages of SQLite's.
LENGTH = 1


def texts(first: int, count: int, version: int = 0) -> Texts:
    return {
        f"id-{place}": (
            f"text {place} of version {version} " + "word " * (LENGTH * (place % 40)),
            {"n": place % 5},
        )
        for place in range(first, first + count)
    }


@dataclass
class State:
    """What must be there: the store's documents, the number of its model, and what was saved elsewhere."""

    documents: Texts = field(default_factory=dict)
    model: int = 0
    saved: dict[str, Texts] = field(default_factory=dict)

    def after(self, **changes: Any) -> "State":
        return State(**{"documents": self.documents, "model": self.model, "saved": self.saved, **changes})

    def all_saved(self) -> dict[str, Texts]:
        """What a save that raised may have left: one that is whole, and only not known to be durable."""
        return dict.fromkeys(("copy", "second copy", "bundle"), self.documents)


class Stage:
    """A folder with a store, a copy of it, and a bundle.

    Attributes:
        store: Open from the first call to the last, but where a call opens it anew.
        state: What must be there.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.state = State()
        self.store = self.opened(self.state)

    def opened(self, state: State) -> FaissStore:
        return FaissStore(FastEmbeddings(DIMENSION, seed=state.model), path=self.root / "store")

    def add(self, new: Texts) -> State:
        self.store.add_texts(
            [text for text, _ in new.values()], [data for _, data in new.values()], ids=list(new)
        )
        return self.state.after(documents={**self.state.documents, **new})

    def delete(self, names: list[str]) -> State:
        self.store.delete(names)
        left = {name: one for name, one in self.state.documents.items() if name not in names}
        return self.state.after(documents=left)

    def clear(self) -> State:
        self.store.clear()
        return self.state.after(documents={})

    def save(self, name: str) -> State:
        self.store.save_local(self.root / name)
        return self.state.after(saved={**self.state.saved, name: dict(self.state.documents)})

    def save_bundle(self) -> State:
        RerankRetriever(self.store, k=2).save_local(self.root / "bundle")
        return self.state.after(saved={**self.state.saved, "bundle": dict(self.state.documents)})

    def repair(self) -> State:
        result = self.store.repair()
        assert result.ok, result.problems
        return self.state

    def snapshot(self) -> State:
        """What fails in the background is only logged: a snapshot saves time at most."""
        self.store.wait_until_ready(60)
        return self.state

    def reembed(self) -> State:
        model = self.state.model + 1
        self.store.reembed(FastEmbeddings(DIMENSION, seed=model))
        return self.state.after(model=model)

    def reopen(self) -> State:
        self.store.close()
        self.store = self.opened(self.state)
        return self.state

    def calls(self) -> list[Callable[[], State]]:
        """The script."""
        return [
            lambda: self.add(texts(0, 12)),
            lambda: self.add(texts(4, 3, version=1)),
            self.snapshot,
            lambda: self.save("copy"),
            lambda: self.delete(["id-1", "id-2"]),
            lambda: self.add({name: (text, {"n": 9}) for name, (text, _) in texts(4, 3, version=1).items()}),
            lambda: self.save("copy"),
            self.save_bundle,
            self.reopen,
            lambda: self.add(texts(12, 30)),
            self.snapshot,
            self.repair,
            self.reembed,
            lambda: self.add(texts(3, 2, version=2)),
            self.save_bundle,
            lambda: self.save("second copy"),
            lambda: self.delete([f"id-{place}" for place in range(20, 36)]),
            self.snapshot,
            self.reopen,
            lambda: self.save("copy"),
            lambda: self.add(texts(50, 40)),
            self.repair,
            lambda: self.delete(["id-50", "nobody"]),
            self.save_bundle,
            self.clear,
            lambda: self.add(texts(60, 5)),
            lambda: self.save("copy"),
            self.reopen,
            lambda: self.add(texts(70, 20)),
            self.reembed,
            self.save_bundle,
        ]


def check(stage: Stage, state: State) -> None:
    """The open store serves this state, text for text and bit for bit."""
    store, expected = stage.store, state.documents
    assert content(store) == expected
    assert len(store) == len(expected)
    if not expected:
        return
    model = FastEmbeddings(DIMENSION, seed=state.model)
    kept = stored_vectors(store)
    made = {name: unit(model.vector(text)) for name, (text, _) in expected.items()}
    assert kept.keys() == made.keys()
    assert all(np.allclose(kept[name], made[name], atol=1e-6) for name in made)
    name, (text, _) = next(iter(expected.items()))
    assert store.similarity_search_by_vector(model.vector(text), k=1)[0].id == name
    assert name in {one.id for one in store.lexical_search(text, k=len(expected))}


def check_saved(stage: Stage, state: State, also: State) -> dict[str, Texts]:
    """What was saved elsewhere opens as one of two states; tells which."""
    shown = {}
    for name in state.saved.keys() | also.saved.keys():
        allowed = [one.saved.get(name) for one in (state, also)]
        found = _saved(stage.root / name)
        assert found in allowed, f"{name} shows neither of two states"
        if found is not None:
            shown[name] = found
    return shown


def _saved(folder: Path) -> Texts | None:
    # Not read-only: what a save that broke off has left is undone by the next to open, which is a write.
    try:
        if folder.name == "bundle":
            store = open_store(folder, read_only=False)
        else:
            store = FaissStore.load_local(folder, FastEmbeddings(DIMENSION), check_model=False)
    except StorageError:
        return None
    assert store is not None
    with store:
        return content(store)


def run(stage: Stage, mend: Callable[[], None], failed: Callable[[], int]) -> dict[str, Any]:
    """Call by call; what raises has changed nothing, and can be done once the disk is mended.

    Args:
        stage: New.
        mend: Makes the disk work again.
        failed: How often it has failed.

    Returns:
        How many calls raised, and the messages.
    """
    messages = []
    calls = stage.calls()
    place = 0
    while place < len(calls):
        before = stage.state
        try:
            stage.state = calls[place]()
        except StorageError as error:
            messages.append(f"call {place}: {error}")
            if not failed():
                raise
            # The open store goes on serving what it had, while the disk still fails.
            if not stage.store._engine.connections.closed:
                check(stage, before)
            mend()
            check_saved(stage, before, before.after(saved=before.all_saved()))
            continue
        check(stage, stage.state)
        place += 1
    mend()
    stage.reopen()
    check(stage, stage.state)
    assert check_saved(stage, stage.state, stage.state) == stage.state.saved
    result = stage.store.verify(deep=True)
    assert result.ok, result.problems
    stage.store.close()
    return {"raised": len(messages), "messages": messages}
