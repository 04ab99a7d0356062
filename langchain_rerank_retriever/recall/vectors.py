"""The vectors of candidates, for comparing them with each other."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from langchain_core.documents import Document
from langchain_core.vectorstores import VectorStore

from langchain_rerank_retriever.errors import ScoringError
from langchain_rerank_retriever.recall.candidate import RecallSource
from langchain_rerank_retriever.recall.foreign import VectorStoreRecall
from langchain_rerank_retriever.recall.fused import FusedRecall, ManyQueriesRecall
from langchain_rerank_retriever.recall.fusion import Floats
from langchain_rerank_retriever.recall.store import StoreRecall
from langchain_rerank_retriever.store import FaissStore


def embedding_store(source: RecallSource) -> VectorStore | None:
    """Find the store whose model can embed the candidates of a source; of several, the first that has one."""
    if isinstance(source, FusedRecall):
        stores = (embedding_store(one) for one in source.sources)
        return next((store for store in stores if store is not None), None)
    if isinstance(source, ManyQueriesRecall):
        return embedding_store(source.source)
    if isinstance(source, StoreRecall | VectorStoreRecall) and source.store.embeddings is not None:
        return source.store
    return None


def vectors_of(store: VectorStore, documents: Sequence[Document]) -> Floats:
    """Give documents their vectors: those that a FaissStore keeps, else embedded anew by the store's embeddings.

    Returns:
        Shape ``(len(documents), d)``, of length one.

    Raises:
        ScoringError: If the embeddings do not give one finite vector a document.
    """
    known: dict[str, Any] = {}
    if isinstance(store, FaissStore):
        known = dict(store.vectors_by_ids([one.id for one in documents if one.id is not None]))
    missing = [one for one in documents if one.id not in known]
    made = iter(_embedded(store, missing))
    rows = [known[str(one.id)] if one.id in known else next(made) for one in documents]
    table = np.asarray(rows, float)
    return np.asarray(table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), np.finfo(float).tiny))


def _embedded(store: VectorStore, documents: Sequence[Document]) -> Floats:
    embeddings = store.embeddings
    if not documents or embeddings is None:
        return np.zeros((0, 0))
    made = embeddings.embed_documents([one.page_content for one in documents])
    try:
        table = np.asarray(made, float)
    except (TypeError, ValueError) as error:
        raise ScoringError(
            f"{type(embeddings).__name__} gave no vectors for {len(documents)} texts ({error}); expected one of finite "
            "numbers a text."
        ) from error
    if table.ndim != 2 or len(table) != len(documents) or not np.isfinite(table).all():
        raise ScoringError(
            f"{type(embeddings).__name__} gave an array of shape {table.shape} for {len(documents)} texts; expected "
            "one vector of finite numbers a text."
        )
    return table
