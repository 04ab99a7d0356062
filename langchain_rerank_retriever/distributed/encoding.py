"""Embed a corpus of any size into shards of ids, texts, metadata and vectors."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from langchain_core.embeddings import Embeddings

from langchain_rerank_retriever.distributed.job import Runner, ShardsResult, Work, checked_size, run_job
from langchain_rerank_retriever.distributed.shard_file import Made
from langchain_rerank_retriever.distributed.slices import Row, slices_of
from langchain_rerank_retriever.distributed.unique import check_unique
from langchain_rerank_retriever.errors import DataError, InvalidArgumentError
from langchain_rerank_retriever.protocols import Encoder, FloatArray
from langchain_rerank_retriever.store.model import Model
from langchain_rerank_retriever.store.validation import (
    Entry,
    MetadataDefault,
    checked_entries,
    dump_metadata,
)
from langchain_rerank_retriever.store.vectors import unit_vectors

JOB = "encode"

#: A killed worker loses at most one shard's work: with a small model on two processor cores, less than a minute.
ROWS_PER_SHARD = 5_000


def encode_corpus(
    corpus: Any,
    model: Embeddings,
    output: str | Path,
    *,
    rows_per_shard: int = ROWS_PER_SHARD,
    id_column: str = "id",
    text_column: str = "text",
    metadata_default: MetadataDefault | None = None,
    verify: bool = False,
    cluster: Runner | None = None,
) -> ShardsResult:
    """Embed the documents of a corpus; call it again after a crash, and it goes on where it was.

    Each shard is a Parquet file with the columns `id`, `text`, `metadata` (JSON) and `vector` (float32, as the model
    gives them), written whole. A shard that is there is not made again, one that is cut off or, with `verify=True`,
    damaged is. At most one shard is in memory in each process. `load_shards` puts the shards into a vector store.

    Args:
        corpus: The path of a Parquet or JSONL file, of a folder of these, or a list of such paths; or a
            `datasets.Dataset`, an `IterableDataset`, or anything else that iterates over dicts or LangChain Documents.
            On a cluster the workers read files by themselves; what is iterated over is written for them into the
            output folder first, and removed at the end. Ids must be unique; that is checked within each shard when it
            is made, and over all of them in the end.
        model: A `PooledEmbeddings`, or any LangChain embeddings. A cluster's workers get it pickled: one from a
            folder needs that folder on every node.
        output: A folder, new or from an earlier call. On a cluster, one that all nodes share.
        rows_per_shard: Documents of a shard. With a cluster so many that there are at most some ten thousand shards.
        id_column: The column with the id, a str or a whole number.
        text_column: The column with the text. All other columns become metadata; one named `metadata` that holds
            dicts is taken apart.
        metadata_default: Called with each metadata value that JSON cannot hold, for instance `str`.
        verify: Read and hash every shard that is there, and make damaged ones anew. Otherwise a restart reads their
            footers alone, which tell what is cut off or foreign; the content is checked when it is loaded.
        cluster: A `RayCluster`, or None for this process.

    Raises:
        ModelMismatchError: The shards that are there are of another model.
        InvalidArgumentError: They are of other rows or settings, or the folder holds something else.
        DataError: A row cannot be embedded; names the shard and the row in it. Earlier shards stay. Or an id is there
            twice.
        StorageError: A path cannot be read or written, or another process is at work on the same folder.
        ShardError: The workers of the cluster could not do a shard.
    """
    size = checked_size("rows_per_shard", rows_per_shard)
    if not isinstance(model, Embeddings):
        raise InvalidArgumentError(f"model must be a LangChain Embeddings, got {type(model).__name__}.")
    job = EncodeJob(model, size, id_column, text_column, metadata_default)
    slices = slices_of(corpus, size, default=metadata_default)
    return run_job(job, slices, output, cluster, verify=verify, check=check_unique)


@dataclass(frozen=True)
class EncodeJob:
    """Embeds the documents of slices.

    Attributes:
        model: The bi-encoder.
        rows_per_shard: Documents of a shard.
        id_column: The column with the id.
        text_column: The column with the text.
        metadata_default: For what JSON cannot hold.
    """

    model: Embeddings
    rows_per_shard: int
    id_column: str
    text_column: str
    metadata_default: MetadataDefault | None

    @cached_property
    def identity(self) -> dict[str, Any]:
        """See `Job`."""
        return {
            "job": JOB,
            **model_identity(self.model),
            "rows_per_shard": self.rows_per_shard,
            "id_column": self.id_column,
            "text_column": self.text_column,
        }

    @contextmanager
    def open(self) -> Iterator[Work]:
        """Embed with the model as it is: it was loaded when this process got it."""
        yield self._work

    def _work(self, _number: int, rows: Sequence[Row]) -> Made:
        fields = [self._fields(place, row) for place, row in enumerate(rows)]
        ids, texts, metadatas = zip(*fields, strict=True)
        entries = checked_entries(texts, metadatas, ids, blank="keep", default=self.metadata_default)
        return Made(_table(entries, document_vectors(self.model, texts)))

    def _fields(self, place: int, row: Row) -> tuple[str, str, dict[str, Any]]:
        for column, argument in ((self.id_column, "id_column"), (self.text_column, "text_column")):
            if row.get(column) is None:
                raise DataError(
                    f"row {place}: expected a value in the column {column!r}, got columns {sorted(row)}. "
                    f"Name the right one with {argument}."
                )
        key = row[self.id_column]
        if not isinstance(key, str | int) or isinstance(key, bool) or key == "":
            raise DataError(f"row {place}: an id must be a str or a whole number, got {key!r}.")
        return str(key), row[self.text_column], self._metadata(place, row)

    def _metadata(self, place: int, row: Row) -> dict[str, Any]:
        others = {
            name: value for name, value in row.items() if name not in (self.id_column, self.text_column)
        }
        inner = others.get("metadata")
        if not isinstance(inner, Mapping | None):
            return others
        others.pop("metadata", None)
        twice = sorted(others.keys() & (inner or {}).keys())
        if twice:
            raise DataError(
                f"row {place}: {twice[0]!r} is a column, and a key of the column 'metadata' too. Rename one."
            )
        return {**(inner or {}), **others}


def model_identity(model: Embeddings) -> dict[str, Any]:
    """Name a model for a manifest: by its fingerprint; one that has none by its class, name and dimension."""
    known = Model(model)
    identity = known.fingerprint
    if identity is None:
        identity = f"{known.name}, {len(model.embed_query('a'))} dimensions"
    return {"model": identity, "model_name": known.name}


def document_vectors(model: Embeddings, texts: Sequence[str]) -> FloatArray:
    """Embed documents, shape ``(n, d)``, float32, of the length that the model gives them.

    Raises:
        InvalidDocumentError: A vector is not finite or all zero, or there is not one for each text.
    """
    given: Any = (
        model.encode(texts, kind="document")
        if isinstance(model, Encoder)
        else model.embed_documents(list(texts))
    )
    unit_vectors(given, range(len(texts)))  # checks them
    return np.ascontiguousarray(given, dtype=np.float32)


def _table(entries: Sequence[Entry], vectors: FloatArray) -> pa.Table:
    flat = pa.array(vectors.reshape(-1))
    return pa.table(
        {
            "id": pa.array([entry.id for entry in entries], pa.string()),
            "text": pa.array([entry.text for entry in entries], pa.string()),
            "metadata": pa.array([dump_metadata(entry.metadata) for entry in entries], pa.string()),
            "vector": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]),
        }
    )
