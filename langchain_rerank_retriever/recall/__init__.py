"""Stage one: from a query to `fetch_k` candidates, each with the stage scores that later stages ask for.

`source_of` turns what a user hands in (a FaissStore, any VectorStore, any BaseRetriever, or a list of those) into
a `RecallSource`. Sources hold no state of their own, so making one anew for every query costs nothing.
"""

from langchain_rerank_retriever.recall.candidate import Candidate, RecallRequest, RecallSource
from langchain_rerank_retriever.recall.fused import with_queries
from langchain_rerank_retriever.recall.source import recall_score_is_fitted, source_of
from langchain_rerank_retriever.recall.vectors import embedding_store, vectors_of

__all__ = [
    "Candidate",
    "RecallRequest",
    "RecallSource",
    "embedding_store",
    "recall_score_is_fitted",
    "source_of",
    "vectors_of",
    "with_queries",
]
