"""A vector store for LangChain: SQLite holds the truth, FAISS and FTS5 make it searchable."""

from .faiss_store import FaissStore
from .indexing import IndexInfo
from .repair import RepairResult
from .verify import VerifyResult

__all__ = ["FaissStore", "IndexInfo", "RepairResult", "VerifyResult"]
