"""From what a user hands in to something that can be recalled from."""

from typing import Any

from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import VectorStore, VectorStoreRetriever

from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.recall.candidate import RecallSource
from langchain_rerank_retriever.recall.foreign import FusedRecall, RetrieverRecall, VectorStoreRecall
from langchain_rerank_retriever.recall.store import StoreRecall
from langchain_rerank_retriever.store import FaissStore


def source_of(recall: Any) -> RecallSource:
    """Make a recall source of a FaissStore, a VectorStore, a BaseRetriever, or a list of those.

    A plain similarity `VectorStoreRetriever` is taken apart, so that `fetch_k` and `filter` reach its store and
    its own `search_kwargs` are kept; as in LangChain, a `filter` of the call takes the place of the retriever's.

    Raises:
        InvalidArgumentError: For anything else, and for an empty list.
    """
    if isinstance(recall, FaissStore):
        return StoreRecall(recall)
    if isinstance(recall, VectorStoreRetriever) and recall.search_type == "similarity":
        if isinstance(recall.vectorstore, FaissStore) and set(recall.search_kwargs) <= {"k", "filter"}:
            return StoreRecall(recall.vectorstore, recall.search_kwargs.get("filter"))
        return VectorStoreRecall(recall.vectorstore, dict(recall.search_kwargs))
    if isinstance(recall, VectorStore):
        return VectorStoreRecall(recall)
    if isinstance(recall, BaseRetriever):
        return RetrieverRecall(recall)
    if isinstance(recall, list | tuple) and recall:
        return FusedRecall([source_of(one) for one in recall])
    raise InvalidArgumentError(
        "recall must be a FaissStore, a LangChain VectorStore, a BaseRetriever, or a non-empty list of those; "
        f"got {recall!r}."
    )
