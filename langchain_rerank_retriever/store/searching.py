"""What a store answers to a vector: LangChain's searches, and scores for given documents."""

from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

import numpy as np
from langchain_core.documents import Document
from langchain_core.vectorstores.utils import maximal_marginal_relevance

from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.protocols import FloatArray

from . import rows
from .engine import Snapshot
from .filters import Condition, compile_filter
from .reading import Filter, ReadableStore, Scored, only_documents
from .sides import nearest
from .validation import checked_count, checked_query, refuse_unknown, wanted_ids
from .vectors import unit_query


class SearchableStore(ReadableStore):
    """What FaissStore answers to a vector."""

    def embed_query(self, text: str) -> FloatArray:
        """A query's vector as the store uses it: checked, of length one, shape ``(d,)``, float32.

        Raises:
            ModelMismatchError: The store's vectors were made by another model.
        """
        return self._engine.embed_query(checked_query(text))[0]

    def similarity_search(
        self,
        query: str,
        k: int = 4,
        filter: Filter | None = None,  # noqa: A002 - LangChain's name
        **kwargs: Any,
    ) -> list[Document]:
        """The k documents nearest to a query, best first; fewer only where fewer match.

        Args:
            query: Any text; an empty one is embedded like any other.
            k: How many, at least 1.
            filter: Conditions on the metadata, applied before the search; see the module ``filters``.
            **kwargs: Refused with TypeError.
        """
        refuse_unknown("similarity_search", kwargs)
        return only_documents(self.similarity_search_with_score(query, k, filter))

    def similarity_search_with_score(
        self,
        query: str,
        k: int = 4,
        filter: Filter | None = None,  # noqa: A002 - LangChain's name
        **kwargs: Any,
    ) -> Scored:
        """As `similarity_search`, with cosine similarities in [-1, 1], higher is better."""
        refuse_unknown("similarity_search_with_score", kwargs)
        text, count, condition = checked_query(query), checked_count(k, "k"), compile_filter(filter)
        return self._engine.answer(
            text, lambda snapshot, vector: _nearest(snapshot, vector, count, condition)
        )

    def similarity_search_by_vector(
        self,
        embedding: Sequence[float] | FloatArray,
        k: int = 4,
        filter: Filter | None = None,  # noqa: A002 - LangChain's name
        **kwargs: Any,
    ) -> list[Document]:
        """As `similarity_search`, for a query vector.

        Args:
            embedding: Shape ``(d,)``, of any length above zero.
            k: How many, at least 1.
            filter: Conditions on the metadata, applied before the search.
            **kwargs: Refused with TypeError.
        """
        refuse_unknown("similarity_search_by_vector", kwargs)
        return only_documents(self.similarity_search_with_score_by_vector(embedding, k, filter))

    def similarity_search_with_score_by_vector(
        self,
        embedding: Sequence[float] | FloatArray,
        k: int = 4,
        filter: Filter | None = None,  # noqa: A002 - LangChain's name
        **kwargs: Any,
    ) -> Scored:
        """As `similarity_search`, for a query vector, with cosine similarities in [-1, 1], higher is better.

        Args:
            embedding: Shape ``(d,)``, of any length above zero.
            k: How many, at least 1.
            filter: Conditions on the metadata, applied before the search.
            **kwargs: Refused with TypeError.

        Raises:
            InvalidArgumentError: The vector has another dimension than the store, is not finite, or is all
                zero.
        """
        refuse_unknown("similarity_search_with_score_by_vector", kwargs)
        vector, count, condition = unit_query(embedding), checked_count(k, "k"), compile_filter(filter)
        with self._engine.snapshot() as snapshot:
            check_dimension(vector, snapshot)
            return _nearest(snapshot, vector, count, condition)

    def dense_search(
        self,
        query_vector: Sequence[float] | FloatArray,
        k: int = 4,
        filter: Filter | None = None,  # noqa: A002 - LangChain's name
    ) -> Scored:
        """The same as `similarity_search_with_score_by_vector`, under a shorter name.

        Args:
            query_vector: Shape ``(d,)``, of any length above zero.
            k: How many, at least 1.
            filter: Conditions on the metadata, applied before the search.
        """
        return self.similarity_search_with_score_by_vector(query_vector, k, filter)

    def dense_scores(self, vector: Sequence[float] | FloatArray, ids: Sequence[str]) -> dict[str, float]:
        """Cosine similarities of given documents: the very numbers that a search would give them.

        Args:
            vector: Query vector, shape ``(d,)``, of any length above zero.
            ids: Document ids; an unknown one is left out of the result.
        """
        query, wanted = unit_query(vector), wanted_ids(ids, method="dense_scores()")
        with self._engine.snapshot() as snapshot:
            check_dimension(query, snapshot)
            found = rows.pks_of(snapshot.connection, wanted)
            scores = snapshot.view.scores(query, np.array(list(found.values()), dtype=np.int64))
        by_id = dict(zip(found, scores.tolist()))
        return {document_id: by_id[document_id] for document_id in wanted if document_id in by_id}

    def vectors_by_ids(self, ids: Sequence[str]) -> dict[str, FloatArray]:
        """The stored vectors of given documents, each of length one, shape ``(d,)``, float32.

        Args:
            ids: Document ids; an unknown one is left out of the result.
        """
        wanted = wanted_ids(ids, method="vectors_by_ids()")
        with self._engine.snapshot() as snapshot:
            found = rows.pks_of(snapshot.connection, wanted)
            vectors = snapshot.view.vectors(np.array(list(found.values()), dtype=np.int64))
        return dict(zip(found, vectors))

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        return relevance

    def max_marginal_relevance_search(
        self,
        query: str,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: Filter | None = None,  # noqa: A002 - LangChain's name
        **kwargs: Any,
    ) -> list[Document]:
        """Documents that are near to a query and unlike each other.

        Args:
            query: Any text.
            k: How many, at least 1.
            fetch_k: How many of the nearest to choose from; at least k are fetched.
            lambda_mult: From 0 (all for diversity) to 1 (all for similarity).
            filter: Conditions on the metadata, applied before the search.
            **kwargs: Refused with TypeError.
        """
        refuse_unknown("max_marginal_relevance_search", kwargs)
        text, choose, condition = (
            checked_query(query),
            _Diverse(k, fetch_k, lambda_mult),
            compile_filter(filter),
        )
        return self._engine.answer(text, lambda snapshot, vector: choose(snapshot, vector, condition))

    def max_marginal_relevance_search_by_vector(
        self,
        embedding: Sequence[float] | FloatArray,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: Filter | None = None,  # noqa: A002 - LangChain's name
        **kwargs: Any,
    ) -> list[Document]:
        """As `max_marginal_relevance_search`, for a query vector.

        Args:
            embedding: Shape ``(d,)``, of any length above zero.
            k: How many, at least 1.
            fetch_k: How many of the nearest to choose from; at least k are fetched.
            lambda_mult: From 0 (all for diversity) to 1 (all for similarity).
            filter: Conditions on the metadata, applied before the search.
            **kwargs: Refused with TypeError.
        """
        refuse_unknown("max_marginal_relevance_search_by_vector", kwargs)
        vector, choose, condition = (
            unit_query(embedding),
            _Diverse(k, fetch_k, lambda_mult),
            compile_filter(filter),
        )
        with self._engine.snapshot() as snapshot:
            check_dimension(vector, snapshot)
            return choose(snapshot, vector, condition)


class _Diverse:
    """Maximal marginal relevance with its settings checked."""

    def __init__(self, k: int, fetch_k: int, lambda_mult: float) -> None:
        self._k = checked_count(k, "k")
        self._fetch_k = max(self._k, checked_count(fetch_k, "fetch_k"))
        number = isinstance(lambda_mult, Real) and not isinstance(lambda_mult, bool)
        if not number or not 0 <= lambda_mult <= 1:
            raise InvalidArgumentError(f"lambda_mult must be a number from 0 to 1, got {lambda_mult!r}")
        self._lambda = float(lambda_mult)

    def __call__(self, snapshot: Snapshot, vector: FloatArray, condition: Condition | None) -> list[Document]:
        pks, _ = nearest(snapshot, vector, self._fetch_k, condition)
        vectors = snapshot.view.vectors(np.array(pks, dtype=np.int64))
        chosen = maximal_marginal_relevance(vector, vectors.tolist(), lambda_mult=self._lambda, k=self._k)
        return [
            stored.document() for stored in rows.by_pks(snapshot.connection, [pks[place] for place in chosen])
        ]


def relevance(cosine: float) -> float:
    """A cosine similarity as a number from 0 to 1."""
    return (1.0 + cosine) / 2.0


def _nearest(snapshot: Snapshot, vector: FloatArray, k: int, condition: Condition | None) -> Scored:
    pks, scores = nearest(snapshot, vector, k, condition)
    return [
        (stored.document(), score) for stored, score in zip(rows.by_pks(snapshot.connection, pks), scores)
    ]


def check_dimension(vector: FloatArray, snapshot: Snapshot) -> None:
    """Raise InvalidArgumentError where a query vector, shape ``(d,)``, has another dimension than the store's."""
    dimension = snapshot.state.dimension
    if dimension is not None and len(vector) != dimension:
        raise InvalidArgumentError(
            f"The query vector has {len(vector)} dimensions, the store's vectors have {dimension}"
        )
