"""From what a user hands in to something that can be recalled from."""

from typing import Any

from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import VectorStore, VectorStoreRetriever

from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.protocols import RecallMode
from langchain_rerank_retriever.recall.candidate import RecallSource
from langchain_rerank_retriever.recall.foreign import RetrieverRecall, VectorStoreRecall
from langchain_rerank_retriever.recall.fused import FusedRecall
from langchain_rerank_retriever.recall.store import StoreRecall
from langchain_rerank_retriever.store import FaissStore


def source_of(recall: Any) -> RecallSource:
    """Make a recall source of a FaissStore, a VectorStore, a BaseRetriever, or a list of those.

    A plain similarity `VectorStoreRetriever` is taken apart, so that `fetch_k` and `filter` reach its store and
    its own `search_kwargs` are kept; as in LangChain, a `filter` of the call takes the place of the retriever's.

    Raises:
        InvalidArgumentError: For anything else, and for an empty list.
    """
    if isinstance(recall, list | tuple) and recall:
        count = len(recall)
        sources = [
            _source_of(one, f"{_kind(one)} (source {number} of {count})")
            for number, one in enumerate(recall, start=1)
        ]
        return FusedRecall(sources)
    return _source_of(recall, _kind(recall))


def recall_score_is_fitted(source: RecallSource, mode: RecallMode | None) -> bool:
    """Tell whether `recall_score` is, given fitted weights, the fitted blend of dense and lexical scores."""
    return mode == "hybrid" and isinstance(source, StoreRecall) and "lexical" in source.stage_scores


def _source_of(recall: Any, name: str) -> RecallSource:
    if isinstance(recall, FaissStore):
        return StoreRecall(recall)
    if _is_plain(recall):
        return _store_of(recall, name)
    if isinstance(recall, VectorStore):
        return VectorStoreRecall(recall, name)
    if isinstance(recall, BaseRetriever):
        return RetrieverRecall(recall, name)
    if isinstance(recall, list | tuple) and recall:
        return source_of(recall)
    raise InvalidArgumentError(
        "recall must be a FaissStore, a LangChain VectorStore, a BaseRetriever, or a non-empty list of those; "
        f"got {recall!r}."
    )


def _kind(recall: Any) -> str:
    return type(recall.vectorstore if _is_plain(recall) else recall).__name__


def _is_plain(recall: Any) -> bool:
    """Tell whether it is a retriever that does no more than ask its store; a subclass may do anything."""
    if not isinstance(recall, VectorStoreRetriever) or recall.search_type != "similarity":
        return False
    methods = ("_get_relevant_documents", "_aget_relevant_documents")
    return all(getattr(type(recall), name) is getattr(VectorStoreRetriever, name) for name in methods)


def _store_of(retriever: VectorStoreRetriever, name: str) -> RecallSource:
    store, arguments = retriever.vectorstore, retriever.search_kwargs
    if isinstance(store, FaissStore) and set(arguments) <= {"k", "filter"}:
        return StoreRecall(store, arguments.get("filter"))
    return VectorStoreRecall(store, name, dict(arguments))
