"""Queries embedded ahead, all together, in batches that are the same in every run."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from langchain_rerank_retriever.protocols import Encoder, FloatArray
from langchain_rerank_retriever.store import FaissStore
from langchain_rerank_retriever.store.sides import Hit, SideName

#: Queries embedded in one request: enough to fill batches sorted by length, few enough not to keep others waiting.
AT_ONCE = 256


class AskedStore:
    """A FaissStore that knows the vectors of some queries.

    Threads that ask at the same time share the model's batches as it happens, and in half precision a query's vector
    differs in the last digits with its neighbours in the batch. What is drawn from such answers would not be the same
    again.

    Args:
        store: The store.
        queries: The queries that will be asked.
    """

    def __init__(self, store: FaissStore, queries: Sequence[str]) -> None:
        self._store = store
        self._vectors: dict[str, FloatArray] = {}
        texts = list(dict.fromkeys(queries))
        for start in range(0, len(texts), AT_ONCE):
            part = texts[start : start + AT_ONCE]
            self._vectors.update(zip(part, _embed(store, part), strict=True))

    def embed_query(self, text: str) -> FloatArray:
        """Do as the store's method, for a query that was given without asking the model."""
        known = self._vectors.get(text)
        return self._store.embed_query(text) if known is None else known

    def hits_by_side(self, query: str, k: int, **arguments: Any) -> list[Hit]:
        """Do as the store's method, with the vector of a query that was given."""
        return self._store.hits_by_side(query, k, vector=self._vectors.get(query), **arguments)

    def scores_by_side(
        self, query: str, ids: Sequence[str], **arguments: Any
    ) -> dict[SideName, dict[str, float]]:
        """Do as the store's method, with the vector of a query that was given."""
        return self._store.scores_by_side(query, ids, vector=self._vectors.get(query), **arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def _embed(store: FaissStore, texts: Sequence[str]) -> Sequence[FloatArray]:
    model: object = store.embeddings
    if not isinstance(model, Encoder):
        return [store.embed_query(text) for text in texts]
    vectors = model.encode(texts, kind="query")
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return list(vectors / np.maximum(lengths, np.finfo(np.float32).tiny))
