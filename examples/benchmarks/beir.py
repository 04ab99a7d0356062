"""Where the data sets lie, and how they are read."""

from pathlib import Path

from langchain_core.documents import Document

from langchain_rerank_retriever.evaluation import read_beir_documents
from langchain_rerank_retriever.evaluation import read_beir_qrels as qrels
from langchain_rerank_retriever.evaluation import read_beir_queries as queries

__all__ = ["DATA", "documents", "qrels", "queries"]

DATA = Path(__file__).parents[3] / "shared" / "data"


def documents(folder: Path) -> list[Document]:
    """Title and text of every document, one below the other."""
    return list(read_beir_documents(folder))
