from typing import Any

import numpy as np
import pytest
from langchain_core.vectorstores import VectorStore

from langchain_rerank_retriever import PooledEmbeddings
from tests.engines.loading import LoadContract

pytestmark = pytest.mark.engine


class TestLoadingIntoPgvector(LoadContract):
    def new_store(self, engine: Any, embeddings: PooledEmbeddings) -> VectorStore:
        return engine.fill("shards", embeddings, [], np.zeros((0, embeddings.dimension), np.float32))
