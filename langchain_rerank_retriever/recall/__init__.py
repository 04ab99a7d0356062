"""Stage one: from a query to `fetch_k` candidates, each with the stage scores that later stages ask for.

`source_of` turns what a user hands in (a FaissStore, any VectorStore, any BaseRetriever, or a list of those) into
a `RecallSource`. Sources hold no state of their own, so making one anew for every query costs nothing.
"""

from langchain_rerank_retriever.recall.candidate import Candidate, RecallRequest, RecallSource
from langchain_rerank_retriever.recall.source import source_of

__all__ = ["Candidate", "RecallRequest", "RecallSource", "source_of"]
