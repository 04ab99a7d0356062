from typing import Any

import numpy as np
import pytest
from langchain_core.vectorstores import VectorStore

from langchain_rerank_retriever import PooledEmbeddings
from tests.engines.loading import LoadContract, ids_of

pytestmark = [pytest.mark.engine, pytest.mark.allow_hosts(["127.0.0.1", "::1"])]


class TestLoadingIntoMilvus(LoadContract):
    def new_store(self, engine: Any, embeddings: PooledEmbeddings) -> VectorStore:
        return engine.open("shards", embeddings)

    def ids(self, store: VectorStore, vector: np.ndarray) -> list[str]:
        # Only such a read is sure to see what has just been written.
        return ids_of(store, vector, consistency_level="Strong")
