"""Put encoded shards into a vector store, one shard a call, each shard once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain_core.vectorstores import VectorStore

from langchain_rerank_retriever.distributed.encoded import EncodedFolder
from langchain_rerank_retriever.distributed.encoding import document_vectors, model_identity
from langchain_rerank_retriever.distributed.ledger import Ledger, Part
from langchain_rerank_retriever.distributed.targets import Target, target_of
from langchain_rerank_retriever.errors import InvalidArgumentError, ModelMismatchError
from langchain_rerank_retriever.store.model import SAME_MODEL, Model
from langchain_rerank_retriever.store.vectors import unit_vectors


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What a call of `load_shards` did.

    Attributes:
        documents: How many the shards have; of a part, those of that part.
        added: How many of them this call added; the others were there already.
    """

    documents: int
    added: int


def load_shards(
    folder: str | Path,
    store: VectorStore,
    *,
    ledger: str | Path | None = None,
    part: tuple[int, int] = (0, 1),
) -> LoadResult:
    """Add encoded documents to a vector store; call it again after a crash, and it goes on where it was.

    A `FaissStore` takes a shard in one transaction, and so does LangChain's PostgreSQL store, by COPY. These two tell
    by ids what they have: a shard whose ids are all there, with their texts and with vectors of the same model, is left
    alone, and any other is added whole, which replaces documents of the same id. For every other store a ledger says
    which shards are done, and which one was begun: its ids are deleted before it is added again, since some stores keep
    an id that is added twice (Milvus). What is loaded into Milvus is flushed in the end.

    Args:
        folder: What `encode_corpus` wrote, complete.
        store: A `FaissStore` over the same model, or any vector store with
            ``add_embeddings(texts, embeddings, metadatas, ids)``.
        ledger: A file that keeps which shards this store has; needed for a store that cannot be asked for texts and
            vectors, and of no use to others. It is bound to the rows, to the model and to the part. Remove it when you
            empty the store.
        part: ``(i, n)`` loads every n-th shard from number i on, i from 0: n processes or machines share the work, each
            with a ledger of its own. Several do not make the same store at once: let one begin.

    Raises:
        FormatError: The folder is not of `encode_corpus`, not complete, or damaged.
        ModelMismatchError: The store embeds queries with another model than the documents were embedded with, or the
            ledger is of vectors of another model.
        InvalidArgumentError: The store cannot take vectors, the ledger is of other shards, of another part or of an
            earlier version, or `part` is no such pair.
        StorageError: The store could not delete what it has of a shard that was begun.
    """
    chosen = _checked_part(part)
    target = target_of(store)
    encoded = EncodedFolder(folder)
    _check_model(encoded, store)
    book = None if target.can_be_asked else Ledger(_needed(store, ledger), encoded, chosen)
    documents = added = 0
    for number in chosen.numbers(encoded.shards):
        rows = encoded.rows(number)
        documents += rows
        added += rows if _loaded(target, encoded, number, book) else 0
    target.finish()
    return LoadResult(documents, added)


def _loaded(target: Target, encoded: EncodedFolder, number: int, ledger: Ledger | None) -> bool:
    """Add a shard that is not there yet, and say whether it was not."""
    if ledger is not None and number in ledger.done:
        return False
    shard = encoded.shard(number)
    if ledger is None:
        if target.has(shard):
            return False
        target.add(shard)
        return True
    if number == ledger.begun:
        target.remove(shard.ids)
    ledger.begin(number)
    target.add(shard)
    ledger.finish(number)
    return True


def _checked_part(part: Any) -> Part:
    whole = isinstance(part, tuple | list) and len(part) == 2 and all(type(one) is int for one in part)
    if not whole or not 0 <= part[0] < part[1]:
        raise InvalidArgumentError(
            f"part must be (i, n), every n-th shard from i on with 0 <= i < n, got {part!r}."
        )
    return Part(*part)


def _check_model(encoded: EncodedFolder, store: VectorStore) -> None:
    model = store.embeddings
    if model is None:
        return
    asked = model_identity(model)
    same, differs = asked["model"] == encoded.model, ""
    sample = encoded.sample(0)
    if same and sample is not None and Model(model).fingerprint is None:
        # Its class and dimension were compared, which two models may share.
        made = unit_vectors([document_vectors(model, [sample.text])[0], sample.vector], range(2))
        cosine = float(made[0] @ made[1])
        same, differs = (
            cosine >= SAME_MODEL,
            f"; on a passage the two agree with a cosine of {cosine:.3f} only",
        )
    if not same:
        expected, got = f"{encoded.model_name} ({encoded.model})", f"{asked['model_name']} ({asked['model']})"
        raise ModelMismatchError(
            f"The documents in {encoded.path} were embedded with {expected}, and the store embeds queries with "
            f"{got}{differs}. Open the store with the model of the documents.",
            expected=expected,
            got=got,
        )


def _needed(store: VectorStore, ledger: str | Path | None) -> Path:
    if ledger is None:
        raise InvalidArgumentError(
            f"{type(store).__name__} cannot be asked for documents and vectors by their ids, so that it cannot be seen "
            "which shards it has. Name a file that keeps this: ledger='loaded.json'."
        )
    return Path(ledger)
