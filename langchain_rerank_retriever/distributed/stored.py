"""A FaissStore as a job's workers see it: opened read-only where it lies, its texts read as they are asked for."""

import random
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from itertools import islice
from pathlib import Path

from langchain_core.embeddings import Embeddings

from langchain_rerank_retriever.errors import ClosedError, DataError, StorageError
from langchain_rerank_retriever.store import FaissStore

#: Documents among which random ones are drawn; more would tell a reader of the draws nothing.
SAMPLE = 10_000


class NoModel(Embeddings):
    """Stands where a store wants a model and nothing is embedded."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Refuse."""
        raise ClosedError(
            f"This store was opened for its texts alone; {len(texts)} texts cannot be embedded."
        )

    def embed_query(self, text: str) -> list[float]:
        """Refuse."""
        return self.embed_documents([text])[0]


@contextmanager
def opened(path: str, embeddings: Embeddings | None = None) -> Iterator[FaissStore]:
    """Open a store read-only; without embeddings, for its texts alone."""
    model = NoModel() if embeddings is None else embeddings
    with FaissStore.load_local(path, model, read_only=True, check_model=embeddings is not None) as store:
        yield store


def found_store(store: str | Path) -> tuple[str, str]:
    """Return the folder of a store, and the store's revision.

    Raises:
        StorageError: There is none.
    """
    path = str(Path(store).expanduser().absolute())
    with opened(path) as found:
        return path, found.revision


def check_revision(store: FaissStore, expected: str) -> None:
    """Make sure that a store is what it was when the job was begun.

    Raises:
        StorageError: It was changed, or this process sees another store at the same path.
    """
    found = store.revision
    if found != expected:
        raise StorageError(
            f"The store at {store.path} has the revision {found}, expected {expected}, which it had when the job was "
            "begun: it was changed since, or is another copy on this machine. Let all nodes see the same store, and "
            "begin anew in another output folder where its texts have changed."
        )


class StoredTexts(Mapping[str, str]):
    """The texts of a store by id.

    Any id of the store can be looked up. Iterating gives a sample of at most `SAMPLE` ids, always the same ones, for a
    store may have more than fit into memory.
    """

    def __init__(self, store: FaissStore) -> None:
        self._store = store

    def __getitem__(self, key: str) -> str:
        found = self._store.get_by_ids([key])
        if not found:
            raise KeyError(key)
        return found[0].page_content

    def __iter__(self) -> Iterator[str]:
        return iter(self._sample)

    def __len__(self) -> int:
        return len(self._sample)

    @cached_property
    def _sample(self) -> list[str]:
        rng = random.Random(0)  # noqa: S311 - a sample, not a secret
        size = len(self._store)
        chosen = set(rng.sample(range(size), min(size, SAMPLE)))
        ids = (str(one.id) for place, one in enumerate(self._store.documents()) if place in chosen)
        return sorted(islice(ids, len(chosen)))


def texts_of(store: FaissStore, ids: Iterable[str], place: str) -> dict[str, str]:
    """Return the texts of documents by id.

    Raises:
        DataError: An id is not in the store; names it and what asked for it.
    """
    wanted = list(dict.fromkeys(ids))
    found = {str(one.id): one.page_content for one in store.get_by_ids(wanted)}
    missing = [key for key in wanted if key not in found]
    if missing:
        raise DataError(f"{place}: the document {missing[0]!r} is not in the store.")
    return found
