"""PostgreSQL with pgvector: reports distances, lower is better; replaces a document of the same id."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from langchain_rerank_retriever import PooledEmbeddings, RerankRetriever
from langchain_rerank_retriever.errors import RecallError
from tests.engines import corpus
from tests.engines.contract import KitContract, StoreContract, names, texts
from tests.engines.corpus import QUESTIONS
from tests.engines.example import example

pytestmark = pytest.mark.engine


class TestPgvector(StoreContract):
    stars: ClassVar[dict[str, Any]] = {"filter": {"topic": "stars"}}
    high_numbers: ClassVar[dict[str, Any]] = {"filter": {"number": {"$gte": 4}}}

    @staticmethod
    def reported(cosine: np.ndarray) -> np.ndarray:
        return 1.0 - cosine

    def test_a_filter_that_the_store_cannot_read(self, retriever: RerankRetriever) -> None:
        with pytest.raises(RecallError, match=r"PGVectorStore failed: ValueError: Invalid operator: \$near"):
            retriever.invoke(QUESTIONS[0], filter={"topic": {"$near": "stars"}})

    def test_added_again_is_replaced(
        self, engine: Any, embeddings: PooledEmbeddings, vectors: np.ndarray
    ) -> None:
        documents = corpus.documents()[:3]
        store = engine.fill("again", embeddings, documents, vectors[:3])
        changed = documents[0].model_copy(update={"page_content": "sand and silt"})
        retriever = RerankRetriever(store)
        assert retriever.add_documents([changed]) == [documents[0].id]
        found = {one.id: one.page_content for one in retriever.invoke("sand")}
        assert found == {changed.id: "sand and silt", **{one.id: one.page_content for one in documents[1:]}}

    def test_a_copy_that_fails_leaves_nothing(
        self, engine: Any, embeddings: PooledEmbeddings, vectors: np.ndarray
    ) -> None:
        twice = [corpus.documents()[0]] * 2
        with pytest.raises(Exception, match="cannot affect row a second time"):
            engine.fill("broken", embeddings, twice, vectors[:2])
        assert RerankRetriever(engine.open("broken", embeddings)).invoke("sand") == []

    def test_the_example(
        self, engine: Any, bundle: Path, over_faiss: RerankRetriever, capsys: pytest.CaptureFixture[str]
    ) -> None:
        example("pgvector").main(str(bundle), engine.url, QUESTIONS[0])
        expected = over_faiss.invoke(QUESTIONS[0], fetch_k=100)
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[1] for line in lines] == names(expected)
        assert [line.split(maxsplit=2)[2] for line in lines] == [text[:80] for text in texts(expected)]


class TestConformanceOfPgvector(KitContract):
    filter_arguments: ClassVar[dict[str, Any]] = {"filter": {"topic": "bread"}}
