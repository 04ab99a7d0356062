"""Documents put into a store so that it holds what their files hold now, and only what changed is embedded."""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import asdict, dataclass
from hashlib import blake2b
from itertools import islice

from langchain_core.documents import Document

from langchain_rerank_retriever.cli.documents.reading import SeenIds
from langchain_rerank_retriever.cli.documents.records import ORIGIN
from langchain_rerank_retriever.errors import DataError
from langchain_rerank_retriever.store import FaissStore

#: Documents of a transaction: enough to fill batches sorted by length, few enough for an interruption to cost little.
BATCH = 512


@dataclass(slots=True)
class Counts:
    """What became of the documents.

    Attributes:
        added: Those that were not in the store.
        changed: Those that were there with another text or other metadata.
        unchanged: Those that were there as they are.
        deleted: Those that were there and are not in their files any more.
        repeated: Those whose text came before in the same run; left out, or among the others.
    """

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    deleted: int = 0
    repeated: int = 0

    def to_dict(self) -> dict[str, int]:
        """Return them by name."""
        return asdict(self)


class Upsert:
    """One run over some files.

    Args:
        store: What they go into; each batch is durable when the next begins.
        counts: Are kept as they come.
        distinct: Whether documents whose text came before are left out.
    """

    def __init__(self, store: FaissStore, counts: Counts, *, distinct: bool) -> None:
        self._counts = counts
        self._store = store
        self._distinct = distinct
        self._seen = SeenIds()
        self._texts = SeenIds()
        self._was_empty = len(store) == 0

    def add(self, documents: Iterable[Document], committed: Callable[[], None]) -> None:
        """Add what is new and replace what is another than before.

        Args:
            documents: Read as they are needed.
            committed: Called after each batch.

        Raises:
            DataError: If two documents have one id; what came before the second stays.
        """
        remaining = self._wanted(documents)
        while batch := list(islice(remaining, BATCH)):
            for document in batch:
                if self._seen.add(str(document.id)) is not None:
                    raise DataError(
                        f"The id {document.id!r} is that of two documents, one of them a chunk. Rename one."
                    )
            self._commit(batch)
            committed()

    def _wanted(self, documents: Iterable[Document]) -> Iterator[Document]:
        for document in documents:
            # What is no text is refused later, with its id.
            text = document.page_content.strip().encode("utf-8", "surrogatepass")
            repeated = self._texts.add(blake2b(text, digest_size=16).hexdigest()) is not None
            self._counts.repeated += repeated
            if not (repeated and self._distinct):
                yield document

    def _commit(self, batch: list[Document]) -> None:
        stored = {one.id: one for one in self._store.get_by_ids([str(one.id) for one in batch])}
        new = [one for one in batch if one.id not in stored]
        changed = [one for one in batch if one.id in stored and _content(one) != _content(stored[one.id])]
        if new or changed:
            self._store.add_documents([*new, *changed])
        self._counts.added += len(new)
        self._counts.changed += len(changed)
        self._counts.unchanged += len(batch) - len(new) - len(changed)

    def delete_vanished(self, read: Collection[str], kept: Collection[str], *, prune: bool) -> None:
        """Delete documents of earlier runs that are not in their files any more.

        Args:
            read: Names of the files of this run.
            kept: Names of files that nothing is deleted of.
            prune: Also those of files that are not of this run.
        """
        if self._was_empty:
            return
        vanished = self._vanished(frozenset(read), frozenset(kept), prune=prune)
        while ids := list(islice(vanished, BATCH)):
            self._store.delete(ids)
            self._counts.deleted += len(ids)

    def _vanished(self, read: Collection[str], kept: Collection[str], *, prune: bool) -> Iterator[str]:
        for document in self._store.documents():
            origin = document.metadata.get(ORIGIN)
            if origin is None or origin in kept or str(document.id) in self._seen:
                continue
            if prune or origin in read:
                yield str(document.id)

    def close(self) -> None:
        """Forget what was seen."""
        self._seen.close()
        self._texts.close()


def _content(document: Document) -> tuple[str, dict[str, object]]:
    return document.page_content, document.metadata
