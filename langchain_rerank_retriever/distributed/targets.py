"""The kinds of vector stores that shards are loaded into: how rows get in, and what the store can be asked."""

import inspect
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.vectorstores import VectorStore

from langchain_rerank_retriever.distributed import postgres
from langchain_rerank_retriever.distributed.encoded import EncodedShard, same_vector
from langchain_rerank_retriever.errors import InvalidArgumentError, StorageError
from langchain_rerank_retriever.protocols import FloatArray
from langchain_rerank_retriever.store import FaissStore

#: Ids of one question: PostgreSQL's drivers take 32,767 or 65,535 values.
IDS_AT_ONCE = 10_000


class Target:
    """Any vector store that takes ready vectors.

    Args:
        store: The store.

    Raises:
        InvalidArgumentError: It has no ``add_embeddings(texts, embeddings, metadatas, ids)``.
    """

    def __init__(self, store: Any) -> None:
        method = getattr(store, "add_embeddings", None)
        names = set(inspect.signature(method).parameters) if method is not None else set()
        if not {"texts", "embeddings", "metadatas", "ids"} <= names:
            raise InvalidArgumentError(
                f"{type(store).__name__} has no add_embeddings(texts, embeddings, metadatas, ids), got "
                f"{sorted(names) or 'none at all'}. Add what encoded_shards() yields by the store's own means."
            )
        self._store = store

    @property
    def can_be_asked(self) -> bool:
        """Whether the store tells by ids what it has, vectors too."""
        return False

    def has(self, shard: EncodedShard) -> bool:
        """Whether the store has the texts of a shard, and vectors of the same model; only if it can be asked."""
        stored: dict[str | None, str] = {}
        for start in range(0, len(shard.ids), IDS_AT_ONCE):
            found = self._store.get_by_ids(shard.ids[start : start + IDS_AT_ONCE])
            stored.update((one.id, one.page_content) for one in found)
        if stored != dict(zip(shard.ids, shard.texts, strict=True)):
            return False
        # A shard is added in one transaction, so that two vectors speak for all.
        ends = {shard.ids[place]: shard.vectors[place] for place in (0, -1)} if shard.ids else {}
        vectors = self._vectors(list(ends))
        return all(key in vectors and same_vector(vectors[key], vector) for key, vector in ends.items())

    def _vectors(self, ids: Sequence[str]) -> Mapping[str, FloatArray]:  # noqa: ARG002 - of the stores that tell them
        return {}

    def add(self, shard: EncodedShard) -> None:
        """Add a shard."""
        # Databases' drivers write lists; numpy's numbers are strange to some of them.
        self._store.add_embeddings(
            texts=shard.texts, embeddings=shard.vectors.tolist(), metadatas=shard.metadatas, ids=shard.ids
        )

    def remove(self, ids: list[str]) -> None:
        """Delete the documents that exist among some ids.

        Raises:
            StorageError: The store says that it did not.
        """
        if self._store.delete(ids=ids) is False:
            raise StorageError(
                f"{type(self._store).__name__} could not delete the {len(ids)} documents of a shard that was begun "
                "before, from which it would keep duplicates. Nothing was added; see the store's log, and call "
                "load_shards again when the store answers."
            )

    def finish(self) -> None:
        """Have everything that was added searched as it should be."""


class FaissTarget(Target):
    """A `FaissStore`: a shard is a transaction."""

    can_be_asked = True

    def _vectors(self, ids: Sequence[str]) -> Mapping[str, FloatArray]:
        return dict(self._store.vectors_by_ids(ids))

    def add(self, shard: EncodedShard) -> None:
        """Add a shard; the vectors need not become lists."""
        self._store.add_embeddings(
            texts=shard.texts, embeddings=shard.vectors, metadatas=shard.metadatas, ids=shard.ids
        )


class PostgresTarget(Target):
    """LangChain's PostgreSQL store: a shard is one COPY, in a transaction."""

    can_be_asked = True

    def _vectors(self, ids: Sequence[str]) -> Mapping[str, FloatArray]:
        return postgres.stored_vectors(self._store, ids)

    def add(self, shard: EncodedShard) -> None:
        """Add a shard."""
        postgres.copy_embeddings(self._store, shard.texts, shard.vectors, shard.metadatas, ids=shard.ids)


class MilvusTarget(Target):
    """LangChain's Milvus store: it cannot be asked by id, and keeps an id that is added again twice."""

    def remove(self, ids: list[str]) -> None:
        """Delete documents; there are none while there is no collection, whose deletes fail too.

        Raises:
            StorageError: The store says that it did not.
        """
        if self._has_collection():
            super().remove(ids)

    def finish(self) -> None:
        """Write what was added to disk: until then it is searched by an approximate index, whatever was asked for."""
        if self._has_collection():
            self._store.client.flush(self._store.collection_name)

    def _has_collection(self) -> bool:
        return bool(self._store.client.has_collection(self._store.collection_name))


def target_of(store: VectorStore) -> Target:
    """Choose how a store is loaded.

    Raises:
        InvalidArgumentError: The store cannot take vectors.
    """
    if isinstance(store, FaissStore):
        return FaissTarget(store)
    if postgres.can_copy(store):
        return PostgresTarget(store)
    # A store of a package that was never imported is none of its stores.
    milvus = getattr(sys.modules.get("langchain_milvus"), "Milvus", None)
    if milvus is not None and isinstance(store, milvus):
        return MilvusTarget(store)
    return Target(store)
