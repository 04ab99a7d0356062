"""A vector store for LangChain: SQLite holds the truth, FAISS and FTS5 make it searchable."""

from .faiss_store import FaissStore
from .verify import VerifyResult

__all__ = ["FaissStore", "VerifyResult"]
