"""Milvus: reports similarities, higher is better; keeps ids in the metadata, and documents of the same id."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from langchain_core.vectorstores import VectorStore

from langchain_rerank_retriever import PooledEmbeddings, RerankRetriever
from langchain_rerank_retriever.errors import RecallError
from tests.engines import corpus
from tests.engines.contract import KitContract, StoreContract, names, texts
from tests.engines.corpus import QUESTIONS
from tests.engines.example import example

pytestmark = [pytest.mark.engine, pytest.mark.allow_hosts(["127.0.0.1", "::1"])]


class TestMilvus(StoreContract):
    stars: ClassVar[dict[str, Any]] = {"search_kwargs": {"expr": "topic == 'stars'"}}
    high_numbers: ClassVar[dict[str, Any]] = {"search_kwargs": {"expr": "number >= 4"}}

    @staticmethod
    def reported(cosine: np.ndarray) -> np.ndarray:
        return cosine

    def test_filter_is_no_argument_of_milvus(self, retriever: RerankRetriever) -> None:
        with pytest.raises(RecallError, match=r"Milvus failed: .*filter"):
            retriever.invoke(QUESTIONS[0], filter={"topic": "stars"})

    def test_an_expression_that_milvus_cannot_read(self, retriever: RerankRetriever) -> None:
        with pytest.raises(RecallError, match=r"Milvus failed: .*cannot parse expression"):
            retriever.invoke(QUESTIONS[0], search_kwargs={"expr": "topic ="})

    def test_documents_inserted_twice_count_once(
        self, engine: Any, embeddings: PooledEmbeddings, vectors: np.ndarray, over_faiss: RerankRetriever
    ) -> None:
        documents = corpus.documents()
        store = engine.fill("twice", embeddings, [*documents, *documents], np.vstack([vectors, vectors]))
        expected = names(RerankRetriever(over_faiss.recall, k=30).invoke(QUESTIONS[0]))
        found = names(RerankRetriever(store, k=30).invoke(QUESTIONS[0]))
        assert 1 <= len(found) <= 30
        assert found == expected[: len(found)]

    def test_bounded_reads(self, bundle: Path, served: VectorStore, over_faiss: RerankRetriever) -> None:
        fixed = served.as_retriever(search_kwargs=example("milvus").SERVING)
        retriever = RerankRetriever.load_local(bundle, recall=fixed)
        assert names(retriever.invoke(QUESTIONS[1])) == names(over_faiss.invoke(QUESTIONS[1]))

    def test_the_example(
        self, engine: Any, bundle: Path, over_faiss: RerankRetriever, capsys: pytest.CaptureFixture[str]
    ) -> None:
        example("milvus").main(str(bundle), engine.uri, QUESTIONS[0])
        expected = over_faiss.invoke(QUESTIONS[0], fetch_k=100)
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[1] for line in lines] == names(expected)
        assert [line.split(maxsplit=2)[2] for line in lines] == [text[:80] for text in texts(expected)]


class TestConformanceOfMilvus(KitContract):
    filter_arguments: ClassVar[dict[str, Any]] = {"search_kwargs": {"expr": "topic == 'bread'"}}
