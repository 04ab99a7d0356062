"""What holds of loading encoded shards into any database server."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.vectorstores import VectorStore

from langchain_rerank_retriever import PooledEmbeddings
from langchain_rerank_retriever.distributed import encode_corpus, load_shards
from tests.engines import corpus

ROWS = 10


class Interrupted(Exception):
    """Stands for a process that ends."""


def ids_of(store: VectorStore, vector: np.ndarray, **search: Any) -> list[str]:
    """Every id that a search finds, as often as it does."""
    found = store.similarity_search_by_vector(vector.tolist(), k=1000, **search)
    return sorted(str(one.id or one.metadata["pk"]) for one in found)


class LoadContract:
    """Shards are in the store once, whatever was interrupted."""

    def new_store(self, engine: Any, embeddings: PooledEmbeddings) -> VectorStore:
        raise NotImplementedError

    def ids(self, store: VectorStore, vector: np.ndarray) -> list[str]:
        return ids_of(store, vector)

    def interrupt(self, monkeypatch: pytest.MonkeyPatch, store: VectorStore, call: int) -> None:
        """Let the process end in the middle of adding a shard, counted from 1."""
        raise NotImplementedError

    def test_each_shard_is_loaded_once(
        self,
        engine: Any,
        embeddings: PooledEmbeddings,
        vectors: np.ndarray,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        documents = corpus.documents()
        encode_corpus(documents, embeddings, tmp_path / "encoded", rows_per_shard=ROWS)
        store, ledger = self.new_store(engine, embeddings), tmp_path / "ledger.json"
        with monkeypatch.context() as patch:
            self.interrupt(patch, store, 3)
            with pytest.raises(Interrupted):
                load_shards(tmp_path / "encoded", store, ledger=ledger)
        assert load_shards(tmp_path / "encoded", store, ledger=ledger).added == len(documents) - 2 * ROWS
        assert self.ids(store, vectors[0]) == sorted(str(one.id) for one in documents)
        assert load_shards(tmp_path / "encoded", store, ledger=ledger).added == 0
        (best,) = store.similarity_search_by_vector(vectors[40].tolist(), k=1)
        assert best.page_content == documents[40].page_content
