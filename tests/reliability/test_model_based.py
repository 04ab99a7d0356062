"""Random changes and searches against a dict and brute force, with reopening in between."""

import random
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from langchain_rerank_retriever.errors import ModelMismatchError
from langchain_rerank_retriever.store import FaissStore

from . import operations_loop
from .operations import Twin
from .operations_loop import FAST, Kind, pace, performed, run, shortest
from .operations_oracle import FILTERS, NEAR, WORDS, WordEmbeddings
from .scale import at_scale

NAMES = [f"id{number}" for number in range(12)]
names = st.lists(st.sampled_from(NAMES), unique=True, max_size=5)
texts = st.lists(st.sampled_from([*WORDS, ""]), max_size=5).map(" ".join)
metadatas = st.one_of(
    st.none(), st.fixed_dictionaries({}, optional={"n": st.integers(0, 3), "tags": st.just(["x", "z"])})
)
conditions = st.integers(0, len(FILTERS) - 1)
counts = st.integers(1, 15)


class StoreMachine(RuleBasedStateMachine):
    """Hypothesis looks for the shortest series of operations after which store and dict differ."""

    def __init__(self) -> None:
        super().__init__()
        self.open = ExitStack()
        self.steps = 0
        folder = Path(self.open.enter_context(tempfile.TemporaryDirectory(dir=FAST)))
        self.twin = self.made(folder)

    def made(self, folder: Path) -> Twin:
        return Twin(folder)

    @rule(names=names, data=st.data())
    def add(self, names: list[str], data: st.DataObject) -> None:
        self.twin.add([(name, data.draw(texts), data.draw(metadatas)) for name in names])

    @rule(names=names, data=metadatas)
    def relabel(self, names: list[str], data: dict[str, Any] | None) -> None:
        self.twin.relabel(names, data or {})

    @rule(names=names, text=texts, seed=st.integers(0, 9))
    def add_ready(self, names: list[str], text: str, seed: int) -> None:
        self.twin.add_ready([(name, text) for name in names], seed)

    @rule(names=names)
    def delete(self, names: list[str]) -> None:
        self.twin.delete(names)

    @precondition(lambda self: self.twin.documents)
    @rule()
    def clear(self) -> None:
        self.twin.clear()

    @rule(seed=st.integers(0, 5))
    def reembed(self, seed: int) -> None:
        self.twin.reembed(seed)

    @rule()
    def reopen(self) -> None:
        self.twin.reopen()

    @rule()
    def save(self) -> None:
        self.twin.save()

    @precondition(lambda self: self.twin.saved)
    @rule()
    def load(self) -> None:
        self.twin.load()

    @precondition(lambda self: self.twin.saved)
    @rule(seed=st.one_of(st.none(), st.integers(0, 5)))
    def restore(self, seed: int | None) -> None:
        self.twin.restore(seed)

    @rule(query=texts, k=counts, condition=conditions)
    def search(self, query: str, k: int, condition: int) -> None:
        self.twin.dense(query, k, condition)

    @rule(query=texts, k=counts, condition=conditions)
    def search_words(self, query: str, k: int, condition: int) -> None:
        self.twin.lexical(query, k, condition)

    @rule(query=texts, k=counts, fetch_k=counts, weight=st.floats(0, 1), condition=conditions)
    def search_diverse(self, query: str, k: int, fetch_k: int, weight: float, condition: int) -> None:
        self.twin.diverse(query, k, fetch_k, weight, condition)

    @rule(names=names)
    def get(self, names: list[str]) -> None:
        self.twin.get(names)

    @invariant()
    def holds_exactly_the_model(self) -> None:
        self.steps += 1
        self.twin.check(deep=True)

    def teardown(self) -> None:
        done.append(self.steps)
        with self.open:
            self.twin.close()


class BusyStoreMachine(StoreMachine):
    """The same with a snapshot and a graph after every change, mapped. Graphs over so few rows find every one."""

    def made(self, folder: Path) -> Twin:
        self.open.enter_context(pace(busy=True))
        return Twin(folder, index="hnsw", memory_map=True)

    @rule()
    def settle(self) -> None:
        self.twin.settle()
        info = self.twin.store.index_info
        if len(self.twin.documents) > 2:
            assert info.kind == "hnsw"
            assert info.mapped


#: Steps of each series of the machine that runs now.
done: list[int] = []


@pytest.mark.parametrize(
    ("machine", "examples"),
    [(StoreMachine, at_scale(4, 35, 600)), (BusyStoreMachine, at_scale(2, 10, 150))],
)
def test_hypothesis_finds_no_difference(goal: Any, machine: type[StoreMachine], examples: int) -> None:
    chosen = settings(
        max_examples=examples,
        stateful_step_count=30,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    done.clear()
    with goal("G6") as count:
        try:
            run_state_machine_as_test(machine, settings=chosen)
        finally:
            count.done = sum(done)


@pytest.mark.parametrize(
    ("kind", "share"),
    [
        (Kind(names=12), 0.1),
        (Kind(names=60), 0.3),
        (Kind(names=1000), 0.2),
        (Kind(names=60, handles=2, bounded=True), 0.3),
        (Kind(names=30, busy=True), 0.1),
    ],
    ids=["few names", "names", "many names", "two handles", "busy"],
)
def test_random_operations(goal: Any, seed: int, kind: Kind, share: float) -> None:
    total, series = round(share * at_scale(800, 6000, 200_000)), at_scale(500, 4000, 10_000)
    with goal("G6") as count:
        for number, start in enumerate(range(0, total, series)):
            length = min(series, total - start)
            run(seed + number, length, kind)
            count.done += length


def test_a_store_of_another_model_is_saved_over_an_open_one(tmp_path: Path) -> None:
    """Both have changed their models equally often, and their vectors are of one length."""
    with (
        FaissStore(WordEmbeddings(8, 1), path=tmp_path / "one") as store,
        FaissStore(WordEmbeddings(8, 2), path=tmp_path / "two") as other,
    ):
        for each in (store, other):
            each.add_texts(["red fox"], ids=["id0"])
            assert each.similarity_search_with_score("red fox")[0][1] > 1 - NEAR
        other.save_local(tmp_path / "one")
        with pytest.raises(ModelMismatchError):
            store.similarity_search("red fox")
        with pytest.raises(ModelMismatchError):
            store.add_texts(["blue whale"])


def test_a_store_that_is_saved_over_while_it_is_embedded_anew(tmp_path: Path) -> None:
    """The other's documents have the numbers of those that were embedded, and other texts."""
    with (
        FaissStore(WordEmbeddings(8, 1), path=tmp_path / "one") as store,
        FaissStore(WordEmbeddings(8, 1), path=tmp_path / "two") as other,
    ):
        store.add_texts(["red fox"], ids=["id0"])
        other.add_texts(["blue whale"], ids=["id0"])

        class Meanwhile(WordEmbeddings):
            def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
                if "red fox" in texts:
                    other.save_local(tmp_path / "one")
                return super().embed_documents(texts)

        store.reembed(Meanwhile(8, 2))
        assert store.similarity_search_with_score("blue whale")[0][1] > 1 - NEAR


def test_a_failure_is_cut_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where adding a text and then deleting another goes wrong, these two are what is left of thirty operations."""
    kind = Kind(names=12)
    drawing = operations_loop.Drawing(random.Random(0), kind, {"add": 1.0, "get": 1.0})
    operations = [drawing.next() for _ in range(30)]
    operations.insert(25, ("delete", (["id1"],)))
    operations.insert(10, ("add", ([("id0", "whale whale whale", None)],)))
    delete = Twin.delete

    def failing(twin: Twin, names: list[str]) -> None:
        delete(twin, names)
        assert "whale whale whale" not in getattr(twin, "seen", [])

    add = Twin.add

    def noting(twin: Twin, entries: Any) -> None:
        twin.seen = [*getattr(twin, "seen", []), *(text for _, text, _ in entries)]
        add(twin, entries)

    monkeypatch.setattr(Twin, "delete", failing)
    monkeypatch.setattr(Twin, "add", noting)
    failure = performed(operations, kind)
    assert failure is not None
    assert failure.number == 26
    assert shortest(operations[:27], kind) == [operations[10], operations[26]]
