"""Random changes and searches against a dict and brute force, with reopening in between."""

import shutil
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from langchain_rerank_retriever.store import FaissStore, indexing, snapshots, upkeep
from tests.conftest import HashEmbeddings

from .helpers import content, ranking, stored_vectors

NAMES = [f"id{i}" for i in range(12)]
names = st.lists(st.sampled_from(NAMES), unique=True, max_size=5)
texts = st.lists(
    st.sampled_from(["red", "fox", "blue", "whale", "검색", "문서", "", "a'b\"c"]), max_size=5
).map(" ".join)
metadatas = st.one_of(st.none(), st.fixed_dictionaries({"n": st.integers(0, 3)}))


class StoreMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.embeddings = HashEmbeddings(8)
        self.store = self.opened()
        self.model: dict[str, tuple[str, dict[str, Any]]] = {}
        self.vectors: dict[str, np.ndarray] = {}

    def opened(self) -> FaissStore:
        return FaissStore(self.embeddings, path=self.folder / "store")

    @rule(names=names, data=st.data())
    def add(self, names: list[str], data: st.DataObject) -> None:
        words = [data.draw(texts) for _ in names]
        labels = [data.draw(metadatas) for _ in names]
        self.embeddings.calls.clear()
        assert self.store.add_texts(words, labels, ids=names) == names
        new = [text for name, text in zip(names, words) if self.model.get(name, ("\0",))[0] != text]
        embedded = [text for call in self.embeddings.calls for text in call]
        assert embedded[len(embedded) - len(new) :] == new
        for name, text, label in zip(names, words, labels):
            self.model[name] = (text, label or {})
            self.vectors[name] = np.array(self.embeddings._vector(text))

    @rule(names=names)
    def delete(self, names: list[str]) -> None:
        assert self.store.delete(names) is True
        for name in names:
            self.model.pop(name, None)
            self.vectors.pop(name, None)

    @rule()
    def reopen(self) -> None:
        before = stored_vectors(self.store)
        query = self.embeddings.embed_query("red fox")
        answers = self.store.similarity_search_with_score_by_vector(query, k=20)
        self.store.close()
        self.store = self.opened()
        after = stored_vectors(self.store)
        assert before.keys() == after.keys()
        assert all(np.array_equal(before[name], after[name]) for name in before)
        # To the last bit, although the vectors now lie in one index and lay in several.
        assert self.store.similarity_search_with_score_by_vector(query, k=20) == answers

    @precondition(lambda self: self.model)
    @rule()
    def clear(self) -> None:
        self.store.clear()
        self.model.clear()
        self.vectors.clear()

    @rule(query=texts, k=st.integers(1, 15), number=st.one_of(st.none(), st.integers(0, 3)))
    def search(self, query: str, k: int, number: int | None) -> None:
        kept = {
            name: v
            for name, v in self.vectors.items()
            if number is None or self.model[name][1].get("n") == number
        }
        expected = ranking(kept, np.array(self.embeddings._vector(query)))[:k]
        condition = None if number is None else {"n": number}
        found = self.store.similarity_search_with_score(query, k=k, filter=condition)
        assert np.allclose([score for _, score in found], [score for _, score in expected], atol=1e-6)
        assert len(found) == len(expected)
        for document, score in found:
            assert document.id is not None
            assert (document.page_content, document.metadata) == self.model[document.id]
            exact = dict(ranking(kept, np.array(self.embeddings._vector(query))))[document.id]
            assert abs(exact - score) < 1e-6
        scores = self.store.dense_scores(self.embeddings.embed_query(query), NAMES)
        assert scores.keys() == self.model.keys()
        assert all(scores[document.id or ""] == score for document, score in found)

    @rule(query=texts)
    def search_words(self, query: str) -> None:
        words = {word for word in query.replace("'", " ").replace('"', " ").split() if word != "a"}
        found = self.store.lexical_search_with_score(query, k=20)
        scores = self.store.lexical_scores(query, NAMES)
        assert {document.id: score for document, score in found} == {n: s for n, s in scores.items() if s > 0}
        holding = {
            name
            for name, (text, _) in self.model.items()
            if words & set(text.replace("'", " ").replace('"', " ").split())
        }
        assert holding <= {document.id for document, _ in found}

    @invariant()
    def holds_exactly_the_model(self) -> None:
        assert content(self.store) == self.model
        assert list(content(self.store)) == list(self.model)
        assert len(self.store) == len(self.model)
        result = self.store.verify(deep=True)
        assert result.ok, result.problems

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)


TestStore = StoreMachine.TestCase
TestStore.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)


class BusyStoreMachine(StoreMachine):
    """The same with a snapshot and a graph after every change, mapped. Graphs over so few rows find every one."""

    def __init__(self) -> None:
        self.patches = [
            patch.object(snapshots, "MIN_ROWS", 1),
            patch.object(snapshots, "DRIFT", 0.0),
            patch.object(indexing, "GRAPH_ROWS", 2),
            patch.object(upkeep, "QUIET", 0.0),
        ]
        for each in self.patches:
            each.start()
        super().__init__()

    def opened(self) -> FaissStore:
        return FaissStore(self.embeddings, path=self.folder / "store", index="hnsw", memory_map=True)

    @rule()
    def settle(self) -> None:
        info = self.store.wait_until_ready(60)
        assert not info.busy
        if len(self.model) > 2:
            assert info.kind == "hnsw"
            assert info.mapped

    def teardown(self) -> None:
        super().teardown()
        for each in self.patches:
            each.stop()


TestBusyStore = BusyStoreMachine.TestCase
TestBusyStore.settings = settings(TestStore.settings, max_examples=15)
