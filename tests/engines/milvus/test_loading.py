from typing import Any

import numpy as np
import pytest
from langchain_core.vectorstores import VectorStore

from langchain_rerank_retriever import PooledEmbeddings
from tests.engines.loading import ROWS, Interrupted, LoadContract, ids_of

pytestmark = [pytest.mark.engine, pytest.mark.allow_hosts(["127.0.0.1", "::1"])]


class TestLoadingIntoMilvus(LoadContract):
    def new_store(self, engine: Any, embeddings: PooledEmbeddings) -> VectorStore:
        return engine.open("shards", embeddings)

    def ids(self, store: VectorStore, vector: np.ndarray) -> list[str]:
        # Only such a read is sure to see what has just been written.
        return ids_of(store, vector, consistency_level="Strong")

    def interrupt(self, monkeypatch: pytest.MonkeyPatch, store: VectorStore, call: int) -> None:
        add, calls = type(store).add_embeddings, list[int]()

        def half(self: Any, texts: Any, embeddings: Any, metadatas: Any, ids: Any) -> list[str]:
            calls.append(len(ids))
            kept = ROWS // 2 if len(calls) == call else ROWS
            add(self, texts[:kept], embeddings[:kept], metadatas[:kept], ids=ids[:kept])
            if kept < ROWS:
                raise Interrupted
            return list(ids)

        monkeypatch.setattr(type(store), "add_embeddings", half)
