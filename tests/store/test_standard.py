"""LangChain's own tests for vector stores, with nothing overridden."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from langchain_tests.integration_tests.vectorstores import VectorStoreIntegrationTests

from langchain_rerank_retriever.store import FaissStore


class TestStandardInMemory(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self) -> Iterator[FaissStore]:
        with FaissStore(self.get_embeddings()) as store:
            yield store


class TestStandardInFolder(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, tmp_path: Path) -> Iterator[FaissStore]:
        with FaissStore(self.get_embeddings(), path=tmp_path / "store") as store:
            yield store
