"""What the tests of all engines share: real models, and a bundle over FAISS to compare with."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.vectorstores import VectorStore

from langchain_rerank_retriever import CrossEncoderScorer, FaissStore, PooledEmbeddings, RerankRetriever
from langchain_rerank_retriever.blend import Blend, BlendVariant
from tests.engines import corpus
from tests.test_bundle import make_cross_encoder

pytest.register_assert_rewrite("tests.engines.contract")


@pytest.fixture(scope="session")
def embeddings(minilm_folder: Path) -> Iterator[PooledEmbeddings]:
    with PooledEmbeddings(minilm_folder, precision="float32") as model:
        yield model


@pytest.fixture(scope="session")
def vectors(embeddings: PooledEmbeddings) -> np.ndarray:
    return embeddings.encode([document.page_content for document in corpus.documents()])


@pytest.fixture(scope="session")
def bundle(
    embeddings: PooledEmbeddings, minilm_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A bundle with a FaissStore, and a blend that needs no score but the cross-encoder's."""
    folder = tmp_path_factory.mktemp("bundle")
    made = make_cross_encoder(minilm_folder, folder / "model", seed=1)
    blend = Blend((BlendVariant({"rerank": 1.0}, 1.3, -0.4),))
    with (
        CrossEncoderScorer(made, precision="float32", max_length=64) as scorer,
        FaissStore.from_documents(corpus.documents(), embeddings) as store,
    ):
        RerankRetriever(store, reranker=scorer, blend=blend, k=10, fetch_k=30).save_local(folder / "bundle")
    return folder / "bundle"


@pytest.fixture(scope="session")
def over_faiss(bundle: Path) -> Iterator[RerankRetriever]:
    retriever = RerankRetriever.load_local(bundle, read_only=True)
    with retriever.recall, retriever.reranker:
        yield retriever


@pytest.fixture(scope="session")
def served(engine: Any, embeddings: PooledEmbeddings, vectors: np.ndarray) -> VectorStore:
    """The corpus in the engine that the tests of a folder are for."""
    return engine.fill("corpus", embeddings, corpus.documents(), vectors)


@pytest.fixture(scope="session")
def retriever(bundle: Path, served: VectorStore) -> Iterator[RerankRetriever]:
    """The bundle over that engine."""
    retriever = RerankRetriever.load_local(bundle, recall=served)
    with retriever.reranker:
        yield retriever
