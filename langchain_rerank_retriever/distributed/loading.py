"""Put encoded shards into a vector store, one shard a call, each shard once."""

import inspect
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from langchain_core.vectorstores import VectorStore

from langchain_rerank_retriever.distributed.encoding import JOB, model_identity
from langchain_rerank_retriever.distributed.shards import ShardFolder, read_shard
from langchain_rerank_retriever.errors import FormatError, InvalidArgumentError, ModelMismatchError
from langchain_rerank_retriever.files import whole_file
from langchain_rerank_retriever.protocols import FloatArray
from langchain_rerank_retriever.store import FaissStore


@dataclass(frozen=True, slots=True)
class EncodedShard:
    """The documents of a shard.

    Attributes:
        number: From 0.
        ids: One per document.
        texts: One per document.
        metadatas: One per document.
        vectors: Shape ``(n, d)``, float32, as the model gave them.
    """

    number: int
    ids: list[str]
    texts: list[str]
    metadatas: list[dict[str, Any]]
    vectors: FloatArray


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What a call of `load_shards` did.

    Attributes:
        documents: How many the shards have.
        added: How many of them this call added; the others were there already.
    """

    documents: int
    added: int


def encoded_shards(folder: str | Path) -> Iterator[EncodedShard]:
    """Read what `encode_corpus` wrote, one shard in memory at a time.

    Raises:
        FormatError: The folder is not of `encode_corpus`, not complete, or damaged; names the shard.
    """
    shards = ShardFolder(Path(folder).expanduser())
    whole = _complete(shards)
    for number in range(whole["shards"]):
        path = shards.shard(number)
        try:
            _, table = read_shard(path)
        except FormatError as error:
            raise FormatError(f"{error} Call encode_corpus again, which makes this shard anew.") from error
        column = table.column("vector").combine_chunks()
        yield EncodedShard(
            number,
            table.column("id").to_pylist(),
            table.column("text").to_pylist(),
            [json.loads(one) for one in table.column("metadata").to_pylist()],
            column.flatten().to_numpy(zero_copy_only=False).reshape(len(table), column.type.list_size),
        )


def load_shards(folder: str | Path, store: VectorStore, *, ledger: str | Path | None = None) -> LoadResult:
    """Add encoded documents to a vector store; call it again after a crash, and it goes on where it was.

    A `FaissStore` takes a shard in one transaction. Of a store that can be asked for documents by their ids
    (`FaissStore`, pgvector), a shard whose ids are all there with their texts is left alone, and any other is added
    whole: such stores replace documents of the same id. A store that cannot be asked (Milvus) keeps duplicates: from
    it the ids of a shard that an earlier call may have begun are deleted first, and the ledger says which are done.

    Args:
        folder: What `encode_corpus` wrote, complete.
        store: A `FaissStore` over the same model, or any vector store with
            ``add_embeddings(texts, embeddings, metadatas, ids)``.
        ledger: A file that keeps which shards this store has, for stores that cannot be asked; without it each call
            deletes and adds every shard. Remove it when you empty the store.

    Raises:
        FormatError: The folder is not of `encode_corpus`, not complete, or damaged.
        ModelMismatchError: The store embeds queries with another model than the documents were embedded with.
        InvalidArgumentError: The store cannot take vectors, or the ledger is of other shards.
    """
    _check_takes_vectors(store)
    shards = ShardFolder(Path(folder).expanduser())
    whole = _complete(shards)
    _check_model(shards, store)
    book = _Ledger(None if ledger is None else Path(ledger), whole["sha256"])
    added = 0
    for shard in encoded_shards(folder):
        if shard.number in book.done or _is_there(store, shard):
            continue
        if not _can_be_asked(store):
            store.delete(ids=shard.ids)
        _add(store, shard)
        book.note(shard.number)
        added += len(shard.ids)
    return LoadResult(whole["rows"], added)


class _Ledger:
    """Which shards a store has."""

    def __init__(self, path: Path | None, digest: str) -> None:
        self._path, self._digest = path, digest
        self.done: set[int] = set()
        if path is None or not path.exists():
            return
        try:
            earlier = json.loads(path.read_text(encoding="utf-8"))
            known, self.done = earlier["shards_of"], set(earlier["done"])
        except (ValueError, KeyError, TypeError) as error:
            raise FormatError(f"{path} is no ledger of load_shards: {error}.") from error
        if known != digest:
            raise InvalidArgumentError(
                f"{path} is the ledger of other shards than those given now. Give another file for these."
            )

    def note(self, number: int) -> None:
        self.done.add(number)
        if self._path is not None:
            with whole_file(self._path) as scratch:
                told = {"shards_of": self._digest, "done": sorted(self.done)}
                scratch.write_text(json.dumps(told), encoding="utf-8")


def _complete(shards: ShardFolder) -> dict[str, Any]:
    manifest = shards.manifest
    if manifest.get("job") != JOB:
        raise FormatError(f"{shards.path} holds shards of the job {manifest.get('job')!r}, expected {JOB!r}.")
    if not manifest.get("complete"):
        raise FormatError(
            f"{shards.path} is not complete. Call encode_corpus again, which goes on where it was."
        )
    return dict(manifest["complete"])


def _check_takes_vectors(store: VectorStore) -> None:
    method = getattr(store, "add_embeddings", None)
    names = set(inspect.signature(method).parameters) if method is not None else set()
    if not {"texts", "embeddings", "metadatas", "ids"} <= names:
        raise InvalidArgumentError(
            f"{type(store).__name__} has no add_embeddings(texts, embeddings, metadatas, ids), got "
            f"{sorted(names) or 'none at all'}. Add what encoded_shards() yields by the store's own means."
        )


def _check_model(shards: ShardFolder, store: VectorStore) -> None:
    model = store.embeddings
    manifest = shards.manifest
    if model is None:
        return
    asked = model_identity(model)
    if asked["model"] != manifest["model"]:
        expected, got = (f"{one['model_name']} ({one['model']})" for one in (manifest, asked))
        raise ModelMismatchError(
            f"The documents in {shards.path} were embedded with {expected}, and the store embeds queries with {got}. "
            "Open the store with the model of the documents.",
            expected=expected,
            got=got,
        )


def _can_be_asked(store: VectorStore) -> bool:
    return type(store).get_by_ids is not VectorStore.get_by_ids


def _is_there(store: VectorStore, shard: EncodedShard) -> bool:
    if not _can_be_asked(store):
        return False
    stored = {one.id: one.page_content for one in store.get_by_ids(shard.ids)}
    return stored == dict(zip(shard.ids, shard.texts, strict=True))


def _add(store: Any, shard: EncodedShard) -> None:
    # Databases' drivers write lists; numpy's numbers are strange to some of them.
    vectors: Any = shard.vectors if isinstance(store, FaissStore) else np.asarray(shard.vectors).tolist()
    store.add_embeddings(texts=shard.texts, embeddings=vectors, metadatas=shard.metadatas, ids=shard.ids)
