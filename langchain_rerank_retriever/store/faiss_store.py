"""FaissStore: a LangChain VectorStore that does not lose a document."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Self

from langchain_core.embeddings import Embeddings

from langchain_rerank_retriever.errors import InvalidArgumentError, StorageError

from . import schema
from .copying import save_copy
from .engine import Engine
from .lexical.languages import Lexical
from .validation import MetadataDefault, checked_count
from .writing import WritableStore


class FaissStore(WritableStore):
    """Documents, their vectors and a lexical index, in one folder that survives crashes.

    Every call that changes something is one SQLite transaction: when it returns, it is on the disk; when
    it raises or the process dies, nothing of it has happened. Searches run on FAISS indexes that are
    never changed once they are visible, so any number of threads may read and write, and other processes
    may use the same folder.

    Scores are cosine similarities in [-1, 1], higher is better; equal scores come in order of insertion.
    A document that is replaced keeps its place in that order.

    Args:
        embeddings: Any LangChain embeddings. The vectors of three probe sentences are stored with the first
            documents and compared when the store is opened again.
        path: A folder, made where missing; None keeps everything in memory.
        index: ``"flat"`` (exact), ``"hnsw"`` (approximate from 10,000 documents on, once a graph was built in
            the background), or ``"auto"`` (as hnsw from 256 MiB of vectors on, else flat); see ``index_info``.
            None is flat for a new store and whatever it was made with for an existing one, where any other value,
            ``"auto"`` too, must be what it was made with.
        lexical: Whether there is a lexical index for BM25, or the language that it is made for. True stems English
            and cuts Korean, Chinese, Japanese, Thai, Lao, Khmer and Burmese into pairs of characters. ``"german"`` or
            another language that Snowball has a stemmer for needs the extra ``stemming``, ``"korean"`` cuts Korean
            into morphemes and needs the extra ``korean``; both keep a second copy of the texts, as terms. None is
            True for a new store. The rules of cutting are stored with the index; where another version of a package,
            or the Unicode of another Python, has other ones, a UserWarning is given once, and ``verify`` tells it.
        blank: ``"keep"`` embeds and stores blank texts like any other, ``"raise"`` refuses them.
        metadata_default: Called with each metadata value that JSON cannot hold; what it returns is stored.
            ``str`` takes datetimes, paths and numpy values.
        check_model: False leaves the comparison with the stored probes to the first embedding.
        read_only: Refuse changes; the folder must exist.
        memory_map: True leaves the vectors in a file and reads from it what searches need; False reads them into
            memory. None does the former from 512 MiB on. Only for a store that has a snapshot, which is
            written once it has 20,000 documents.
        threads: How many threads build a graph. None takes half of the cores, at least one, so that searches, which
            use one each, keep the others, and all of them while `wait_until_ready` or `repair` waits for the graph.

    Raises:
        InvalidArgumentError: A setting is unknown or differs from what the store was made with.
        MissingExtraError: A package that the language of the lexical index needs is not installed.
        ModelMismatchError: The store's vectors were made by another model.
        FormatError: The folder holds something else, is damaged, or was written by a newer version.
        StorageError: The folder cannot be read or made.
    """

    def __init__(
        self,
        embeddings: Embeddings,
        *,
        path: str | os.PathLike[str] | None = None,
        index: str | None = None,
        lexical: Lexical | None = None,
        blank: Literal["keep", "raise"] = "keep",
        metadata_default: MetadataDefault | None = None,
        check_model: bool = True,
        read_only: bool = False,
        memory_map: bool | None = None,
        threads: int | None = None,
    ) -> None:
        if blank not in {"keep", "raise"}:
            raise InvalidArgumentError(f'blank must be "keep" or "raise", got {blank!r}')
        if path is None and read_only:
            raise InvalidArgumentError("read_only=True needs a path: a store in memory is new, and empty")
        checked_threads = None if threads is None else checked_count(threads, "threads")
        self._path = None if path is None else Path(path)
        self._blank = blank
        self._metadata_default = metadata_default
        connections = schema.open_connections(self._path, index=index, lexical=lexical, read_only=read_only)
        try:
            self._engine = Engine(connections, embeddings, mapped=memory_map, threads=checked_threads)
            if check_model:
                self._engine.bound_model()
            with self._engine.snapshot() as snapshot:
                state = snapshot.state
                self._kinds = (state.index_kind, state.lexical)
            if state.lexical:
                self._engine.check_rules(state.terms, state.analyzer, stacklevel=2)
            self._engine.views.upkeep.consider()
        except BaseException:
            connections.close()
            raise

    @classmethod
    def from_texts(
        cls,
        texts: Iterable[str],
        embedding: Embeddings,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        **settings: Any,
    ) -> Self:
        """Open a store and add texts to it.

        Args:
            texts: The texts.
            embedding: LangChain's name for what the constructor calls ``embeddings``.
            metadatas: One per text.
            ids: One per text.
            **settings: The constructor's keyword arguments, ``path`` among them; others raise TypeError.
                Where a store lies at ``path``, the texts are added to it.
        """
        store = cls(embedding, **settings)
        try:
            store.add_texts(texts, metadatas, ids=ids)
        except BaseException:
            store.close()
            raise
        return store

    @classmethod
    def load_local(
        cls,
        folder: str | os.PathLike[str],
        embeddings: Embeddings,
        *,
        read_only: bool = False,
        check_model: bool = True,
        memory_map: bool | None = None,
        threads: int | None = None,
    ) -> Self:
        """Open the store in a folder, which must exist.

        Changes go to that folder. Neither pickle nor a file format of FAISS is read, so a foreign folder can at
        worst hold wrong data.

        Args:
            folder: What a store was made in, or `save_local` wrote.
            embeddings: The model that filled it.
            read_only: Refuse changes.
            check_model: False leaves the comparison with the stored probes to the first embedding.
            memory_map: Whether the vectors stay in a file, see the class.
            threads: How many threads build a graph, see the class.

        Raises:
            StorageError: There is no store, or it cannot be read.
            ModelMismatchError: The store's vectors were made by another model.
        """
        if not schema.is_store(Path(folder)):
            raise StorageError(
                f"There is no store at {folder}; FaissStore(embeddings, path=...) makes a new one"
            )
        return cls(
            embeddings,
            path=folder,
            read_only=read_only,
            check_model=check_model,
            memory_map=memory_map,
            threads=threads,
        )

    def save_local(self, folder: str | os.PathLike[str]) -> None:
        """Copy the whole store, as it is at one moment, to a folder.

        Args:
            folder: Missing, empty, or an earlier store, which is replaced in one transaction. A store's
                own folder needs no saving and is left as it is.

        Raises:
            FormatError: The folder holds something else.
            StorageError: It cannot be written; what was there is still there.
        """
        target = Path(folder)
        self._engine.connections.check_open()
        if self._path is not None and target.exists() and target.samefile(self._path):
            return
        self._engine.views.check()
        with self._engine.snapshot() as snapshot:
            state, view = snapshot.state, snapshot.view
        save_copy(self._engine.connections, target, state, view)
