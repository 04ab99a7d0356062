"""Put encoded shards into a vector store, one shard a call, each shard once."""

import inspect
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain_core.vectorstores import VectorStore

from langchain_rerank_retriever.distributed.encoding import JOB, model_identity
from langchain_rerank_retriever.distributed.shard_file import read_shard
from langchain_rerank_retriever.distributed.shards import ShardFolder
from langchain_rerank_retriever.errors import FormatError, InvalidArgumentError, ModelMismatchError
from langchain_rerank_retriever.files import written_whole
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
    whole: such stores replace documents of the same id. For a store that cannot be asked and keeps duplicates (Milvus),
    a ledger says which shards are done, and which one was begun: its ids are deleted before it is added again.

    Args:
        folder: What `encode_corpus` wrote, complete.
        store: A `FaissStore` over the same model, or any vector store with
            ``add_embeddings(texts, embeddings, metadatas, ids)``.
        ledger: A file that keeps which shards this store has; needed for a store that cannot be asked, and of no use to
            others. Remove it when you empty the store.

    Raises:
        FormatError: The folder is not of `encode_corpus`, not complete, or damaged.
        ModelMismatchError: The store embeds queries with another model than the documents were embedded with.
        InvalidArgumentError: The store cannot take vectors, or the ledger is of other shards.
    """
    _check_takes_vectors(store)
    shards = ShardFolder(Path(folder).expanduser())
    whole = _complete(shards)
    _check_model(shards, store)
    book = None if _can_be_asked(store) else _Ledger(_needed(store, ledger), whole["sha256"])
    added = 0
    for shard in encoded_shards(folder):
        done = _add_asking(store, shard) if book is None else _add_by_ledger(store, shard, book)
        added += len(shard.ids) if done else 0
    return LoadResult(whole["rows"], added)


class _Ledger:
    """Which shards a store has, and which one it may have in part."""

    def __init__(self, path: Path, digest: str) -> None:
        self._path, self._digest = path, digest
        self.done: set[int] = set()
        self.begun: int | None = None
        if not path.exists():
            return
        try:
            earlier = json.loads(path.read_text(encoding="utf-8"))
            known, self.done, self.begun = earlier["shards_of"], set(earlier["done"]), earlier["begun"]
        except (ValueError, KeyError, TypeError) as error:
            raise FormatError(f"{path} is no ledger of load_shards: {error}.") from error
        if known != digest:
            raise InvalidArgumentError(
                f"{path} is the ledger of other shards than those given now. Give another file for these."
            )

    def begin(self, number: int) -> None:
        """Note that a shard is about to be added."""
        self.begun = number
        self._write()

    def finish(self, number: int) -> None:
        """Note that a shard is added."""
        self.begun = None
        self.done.add(number)
        self._write()

    def _write(self) -> None:
        told = {"shards_of": self._digest, "done": sorted(self.done), "begun": self.begun}
        with written_whole(self._path) as file:
            json.dump(told, file)


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


def _needed(store: VectorStore, ledger: str | Path | None) -> Path:
    if ledger is None:
        raise InvalidArgumentError(
            f"{type(store).__name__} cannot be asked for documents by their ids, so that it cannot be seen which "
            "shards it has. Name a file that keeps this: ledger='loaded.json'."
        )
    return Path(ledger)


def _add_asking(store: VectorStore, shard: EncodedShard) -> bool:
    stored = {one.id: one.page_content for one in store.get_by_ids(shard.ids)}
    if stored == dict(zip(shard.ids, shard.texts, strict=True)):
        return False
    _add(store, shard)
    return True


def _add_by_ledger(store: VectorStore, shard: EncodedShard, ledger: _Ledger) -> bool:
    if shard.number in ledger.done:
        return False
    if shard.number == ledger.begun:
        store.delete(ids=shard.ids)
    ledger.begin(shard.number)
    _add(store, shard)
    ledger.finish(shard.number)
    return True


def _add(store: Any, shard: EncodedShard) -> None:
    # Databases' drivers write lists; numpy's numbers are strange to some of them.
    vectors: Any = shard.vectors if isinstance(store, FaissStore) else shard.vectors.tolist()
    store.add_embeddings(texts=shard.texts, embeddings=vectors, metadatas=shard.metadatas, ids=shard.ids)
