"""What changes a FaissStore: each call is one transaction, durable when it returns."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.runnables.config import run_in_executor

from langchain_rerank_retriever.errors import InvalidArgumentError

from . import rows
from .recalling import RecallableStore
from .repair import RepairResult, repair
from .validation import (
    Entry,
    MetadataDefault,
    checked_count,
    checked_entries,
    refuse_unknown,
    wanted_ids,
)
from .vectors import unit_table


class WritableStore(RecallableStore):
    """What FaissStore does to its documents."""

    _blank: Literal["keep", "raise"]
    _metadata_default: MetadataDefault | None

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        batch_size: int = rows.BATCH,
        **kwargs: Any,
    ) -> list[str]:
        """Add texts, or replace those whose ids exist; all of them or, where it raises, none.

        A text that is stored under the same id already is not embedded again; only its metadata is replaced.

        Args:
            texts: The texts; none gives ``[]``.
            metadatas: One dict of JSON values per text, or None. Score keys that a retriever wrote are
                left out.
            ids: One per text; None for one, or for all, has one made. An id may stand in a call only once.
            batch_size: Texts embedded at a time.
            **kwargs: Refused with TypeError.

        Returns:
            The ids, in the order of the texts.

        Raises:
            InvalidDocumentError: A text, id, metadata or vector that cannot be stored; names its position.
            ModelMismatchError: The store's vectors were made by another model.
            ReadOnlyError: The store was opened with ``read_only=True``.
        """
        refuse_unknown("add_texts", kwargs)
        entries = self._entries(texts, metadatas, ids)
        size = checked_count(batch_size, "batch_size")
        self._engine.connections.check_open(writing=True)
        if entries:
            self._engine.add(entries, batch_size=size)
        return [entry.id for entry in entries]

    def add_documents(
        self,
        documents: Iterable[Document],
        *,
        ids: Sequence[str | None] | None = None,
        batch_size: int = rows.BATCH,
        **kwargs: Any,
    ) -> list[str]:
        """Add Documents, or replace those whose ids exist; the Documents themselves are not changed.

        Args:
            documents: The Documents; one without an id gets one made.
            ids: Used in place of the Documents' own.
            batch_size: Texts embedded at a time.
            **kwargs: Refused with TypeError.

        Returns:
            The ids, in the order of the Documents.
        """
        refuse_unknown("add_documents", kwargs)
        given = list(documents)
        own = [document.id or None for document in given]
        return self.add_texts(
            [document.page_content for document in given],
            [document.metadata for document in given],
            ids=own if ids is None else ids,
            batch_size=batch_size,
        )

    def add_embeddings(
        self,
        texts: Iterable[str],
        embeddings: Any,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
    ) -> list[str]:
        """Add texts with vectors that were made elsewhere by this store's model.

        Args:
            texts: The texts.
            embeddings: Their vectors, shape ``(n, d)``, of any length above zero; stored with length one.
            metadatas: One per text.
            ids: One per text.

        Returns:
            The ids, in the order of the texts.
        """
        entries = self._entries(texts, metadatas, ids)
        self._engine.connections.check_open(writing=True)
        if entries:
            self._engine.add(entries, unit_table(embeddings, count=len(entries)))
        return [entry.id for entry in entries]

    def _entries(
        self,
        texts: Iterable[str],
        metadatas: Iterable[Mapping[str, Any] | None] | None,
        ids: Sequence[str | None] | None,
    ) -> list[Entry]:
        return checked_entries(texts, metadatas, ids, blank=self._blank, default=self._metadata_default)

    def delete(self, ids: list[str] | None = None, **kwargs: Any) -> bool:
        """Delete documents by id; an unknown id is no error.

        Returns:
            True.

        Raises:
            InvalidArgumentError: ``ids`` is None; ``clear()`` is what empties a store.
        """
        refuse_unknown("delete", kwargs)
        if ids is None:
            raise InvalidArgumentError(
                "delete() needs a list of ids, got None; to delete everything call clear()"
            )
        wanted = wanted_ids(ids, method="delete()")
        self._engine.connections.check_open(writing=True)
        if wanted:
            self._engine.delete(wanted)
        return True

    def clear(self) -> None:
        """Delete every document. The model is forgotten too: the next one to add decides the vector space."""
        self._engine.clear()

    def reembed(self, embeddings: Embeddings) -> None:
        """Embed every document with another model, then change over in one transaction.

        Documents that others add meanwhile are embedded too. Until the change the store answers with the
        old vectors.

        Args:
            embeddings: The new model; also used from then on.
        """
        self._engine.connections.check_open(writing=True)
        self._engine.reembed(embeddings)

    def repair(self) -> RepairResult:
        """Check everything as ``verify(deep=True)``, and make anew what is derived and wrong.

        That is the snapshot with its graph, the FAISS view, the metadata and lexical indexes, and SQLite's own indexes.
        Where documents or vectors are damaged themselves, nothing is changed, and ``problems`` says what helps.

        Raises:
            ReadOnlyError: The store was opened with ``read_only=True``.
            StorageError: Something cannot be written; what was repaired before stays so.
        """
        return repair(self._engine)

    async def aadd_embeddings(
        self,
        texts: Iterable[str],
        embeddings: Any,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
    ) -> list[str]:
        """Async twin of `add_embeddings`."""
        return await run_in_executor(None, self.add_embeddings, texts, embeddings, metadatas, ids=ids)
