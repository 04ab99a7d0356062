"""Recall with a bi-encoder through FAISS, re-rank with a cross-encoder, tune both on your own data.

The public names load on first use, so that importing the package loads neither torch, transformers nor faiss.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_rerank_retriever.cross_encoder import CrossEncoderScorer
    from langchain_rerank_retriever.embeddings import PooledEmbeddings
    from langchain_rerank_retriever.evaluation import compare, evaluate
    from langchain_rerank_retriever.reranker import CrossEncoderReranker
    from langchain_rerank_retriever.retriever import RerankRetriever
    from langchain_rerank_retriever.store import FaissStore
    from langchain_rerank_retriever.training import tune

__version__ = "0.1.0"

__all__ = [
    "CrossEncoderReranker",
    "CrossEncoderScorer",
    "FaissStore",
    "PooledEmbeddings",
    "RerankRetriever",
    "__version__",
    "compare",
    "evaluate",
    "tune",
]

_HOME = {
    "CrossEncoderReranker": "reranker",
    "CrossEncoderScorer": "cross_encoder",
    "FaissStore": "store",
    "PooledEmbeddings": "embeddings",
    "RerankRetriever": "retriever",
    "compare": "evaluation",
    "evaluate": "evaluation",
    "tune": "training",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
