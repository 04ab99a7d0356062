"""A store and what it must hold, side by side: every operation is done to both, and every answer compared."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from langchain_rerank_retriever.errors import ModelMismatchError
from langchain_rerank_retriever.store import FaissStore
from tests.store.helpers import content, stored_vectors, unit

from .operations_oracle import (
    FILTERS,
    NEAR,
    Document,
    WordEmbeddings,
    bm25,
    check_diversity,
    check_ranking,
    chosen,
    cosines,
    matching,
)


@dataclass(frozen=True)
class Saved:
    """What the copy must hold that `save` wrote last."""

    embeddings: WordEmbeddings
    documents: dict[str, Document]
    vectors: dict[str, np.ndarray]

    def moved(self, embeddings: WordEmbeddings) -> "Saved":
        """The same documents with the vectors of another model."""
        vectors = {name: embeddings.unit(text) for name, (text, _) in self.documents.items()}
        return Saved(embeddings, self.documents, vectors)


class Twin:
    """A store in a folder, opened once or more, and its documents and vectors in dicts.

    Args:
        folder: Where the store and its copies lie.
        index: Kind of index.
        memory_map: As in FaissStore.
        handles: How often the store is open; operations go to one of them, see `switch`.
    """

    def __init__(
        self, folder: Path, *, index: str | None = None, memory_map: bool | None = None, handles: int = 1
    ) -> None:
        self.folder, self._index, self._mapped = folder, index, memory_map
        self.embeddings = WordEmbeddings(8)
        self.documents: dict[str, Document] = {}
        self.vectors: dict[str, np.ndarray] = {}
        self.saved: Saved | None = None
        self.stores = [self._opened() for _ in range(handles)]

    @property
    def store(self) -> FaissStore:
        """The handle that operations go to now."""
        return self.stores[0]

    def _opened(self) -> FaissStore:
        return FaissStore(
            self.embeddings, path=self.folder / "store", index=self._index, memory_map=self._mapped
        )

    def close(self) -> None:
        for store in self.stores:
            store.close()

    # Changes --------------------------------------------------------------------------------------

    def add(self, entries: Sequence[tuple[str, str, dict[str, Any] | None]]) -> None:
        """Add or replace; only texts that are new are embedded."""
        names, texts = [name for name, _, _ in entries], [text for _, text, _ in entries]
        self.embeddings.calls.clear()
        assert self.store.add_texts(texts, [data for _, _, data in entries], ids=names) == names
        new = [text for name, text, _ in entries if self.documents.get(name, ("\0",))[0] != text]
        embedded = [text for call in self.embeddings.calls for text in call]
        assert embedded[len(embedded) - len(new) :] == new
        for name, text, data in entries:
            if self.documents.get(name, ("\0",))[0] != text:
                self.vectors[name] = self.embeddings.unit(text)
            self.documents[name] = (text, data or {})

    def relabel(self, names: Sequence[str], data: dict[str, Any]) -> None:
        """Give documents other metadata and their own texts again, which are not embedded."""
        known = [name for name in names if name in self.documents]
        if known:
            self.add([(name, self.documents[name][0], {**data, "place": name}) for name in known])

    def add_ready(self, entries: Sequence[tuple[str, str]], seed: int) -> None:
        """Add or replace with vectors that were made elsewhere."""
        if not entries:
            return
        ready = np.random.default_rng(seed).standard_normal((len(entries), self.embeddings.dimension))
        names = [name for name, _ in entries]
        assert self.store.add_embeddings([text for _, text in entries], ready, ids=names) == names
        for (name, text), vector in zip(entries, ready):
            self.documents[name] = (text, {})
            self.vectors[name] = unit(vector)

    def delete(self, names: Sequence[str]) -> None:
        assert self.store.delete(list(names)) is True
        for name in names:
            self.documents.pop(name, None)
            self.vectors.pop(name, None)

    def clear(self) -> None:
        self.store.clear()
        self.documents.clear()
        self.vectors.clear()

    def reembed(self, seed: int) -> None:
        """Move to another model, whose vectors may be longer; who has the store open with the old one is told."""
        self.embeddings = WordEmbeddings(8 if seed % 3 else 12, seed)
        self.store.reembed(self.embeddings)
        self.vectors = {name: self.embeddings.unit(text) for name, (text, _) in self.documents.items()}
        for place, other in enumerate(self.stores[1:], start=1):
            if self.documents and other.embeddings.seed != seed:
                with pytest.raises(ModelMismatchError):
                    other.similarity_search("red")
            other.close()
            self.stores[place] = self._opened()

    # Answers --------------------------------------------------------------------------------------

    def dense(self, query: str, k: int, condition: int) -> None:
        names, vector = matching(self.documents, condition), self.embeddings.unit(query)
        found = self.store.similarity_search_with_score(query, k=k, filter=FILTERS[condition][0])
        self._check_documents(document for document, _ in found)
        true = cosines(chosen(self.vectors, names), vector)
        pairs = [(document.id, score) for document, score in found]
        check_ranking(pairs, true, k, lambda name: self.vectors[name].tobytes())
        asked = [*self.documents, "unknown"]
        scores = self.store.dense_scores(self.store.embeddings.embed_query(query), asked)
        assert list(scores) == asked[:-1]
        assert all(scores[name] == score for name, score in pairs)

    def lexical(self, query: str, k: int, condition: int) -> None:
        texts = {name: text for name, (text, _) in self.documents.items()}
        every = bm25(texts, query)
        kept = [name for name in matching(self.documents, condition) if name in every]
        found = self.store.lexical_search_with_score(query, k=k, filter=FILTERS[condition][0])
        self._check_documents(document for document, _ in found)
        pairs = [(document.id, score) for document, score in found]
        check_ranking(pairs, chosen(every, kept), k, texts.__getitem__)
        assert all(score > 0 for _, score in pairs)
        scores = self.store.lexical_scores(query, [*texts, "unknown"])
        assert list(scores) == list(texts)
        assert all(abs(score - every.get(name, 0.0)) < NEAR for name, score in scores.items())
        assert all(scores[name] == score for name, score in pairs)

    def diverse(self, query: str, k: int, fetch_k: int, weight: float, condition: int) -> None:
        names, vector = matching(self.documents, condition), self.embeddings.unit(query)
        found = self.store.max_marginal_relevance_search(
            query, k=k, fetch_k=fetch_k, lambda_mult=weight, filter=FILTERS[condition][0]
        )
        self._check_documents(found)
        ids = [document.id for document in found]
        check_diversity(ids, chosen(self.vectors, names), vector, (k, fetch_k, weight))

    def get(self, names: Sequence[str]) -> None:
        found = self.store.get_by_ids(names)
        self._check_documents(found)
        assert [document.id for document in found] == [name for name in names if name in self.documents]

    def _check_documents(self, documents: Any) -> None:
        for document in documents:
            assert (document.page_content, document.metadata) == self.documents[document.id]

    # Folders --------------------------------------------------------------------------------------

    def save(self) -> None:
        """Copy the store; what was saved before is replaced."""
        self.store.save_local(self.folder / "copy")
        self.saved = Saved(self.embeddings, dict(self.documents), dict(self.vectors))

    def load(self) -> None:
        """Open the copy and see that nothing has changed in it since."""
        if self.saved is None:
            return
        with FaissStore.load_local(self.folder / "copy", self.saved.embeddings) as copy:
            check_content(copy, self.saved.documents, self.saved.vectors)
            assert copy.verify(deep=True).ok

    def restore(self, seed: int | None) -> None:
        """Save the copy, moved to another model where there is a seed, over the store; go on from there.

        The store stays open meanwhile, and is told where its model is another now.
        """
        if self.saved is None:
            return
        with FaissStore.load_local(self.folder / "copy", self.saved.embeddings) as copy:
            if seed is not None:
                embeddings = WordEmbeddings(self.saved.embeddings.dimension, seed)
                copy.reembed(embeddings)
                self.saved = self.saved.moved(embeddings)
            copy.save_local(self.folder / "store")
        self.embeddings = self.saved.embeddings
        self.documents, self.vectors = dict(self.saved.documents), dict(self.saved.vectors)
        for place, store in enumerate(self.stores):
            if self.documents and store.embeddings.seed != self.embeddings.seed:
                with pytest.raises(ModelMismatchError):
                    store.similarity_search("red")
            if store.embeddings is not self.embeddings:
                store.close()
                self.stores[place] = self._opened()

    def reopen(self) -> None:
        """Close the handle and open it again; answers are the same to the last bit."""
        before = stored_vectors(self.store)
        query = self.embeddings.embed_query("red fox")
        answers = self.store.similarity_search_with_score_by_vector(query, k=20)
        self.store.close()
        self.stores[0] = self._opened()
        after = stored_vectors(self.store)
        assert before.keys() == after.keys()
        assert all(np.array_equal(before[name], after[name]) for name in before)
        # Although the vectors now lie in one index and lay in several.
        assert self.store.similarity_search_with_score_by_vector(query, k=20) == answers

    def settle(self) -> None:
        """Wait until the snapshot and the graph that are due are there."""
        assert not self.store.wait_until_ready(60).busy

    def switch(self) -> None:
        """Go on with another handle."""
        self.stores.append(self.stores.pop(0))

    def check(self, *, deep: bool = False) -> None:
        """The store holds exactly what it must, in order."""
        check_content(self.store, self.documents, self.vectors if deep else None)
        if deep:
            result = self.store.verify(deep=True)
            assert result.ok, result.problems


def check_content(
    store: FaissStore, documents: dict[str, Document], vectors: dict[str, np.ndarray] | None
) -> None:
    """Documents and, where given, vectors are equal, in order."""
    held = content(store)
    assert held == documents
    assert list(held) == list(documents)
    assert len(store) == len(documents)
    if vectors is not None:
        stored = stored_vectors(store)
        assert stored.keys() == vectors.keys()
        assert all(np.allclose(stored[name], vectors[name], rtol=0, atol=1e-6) for name in vectors)
