"""Score the candidates of many queries with a cross-encoder, in shards."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from langchain_core.cross_encoders import BaseCrossEncoder

from langchain_rerank_retriever.distributed.job import Runner, ShardsResult, Work, checked_size, run_job
from langchain_rerank_retriever.distributed.shard_file import Made
from langchain_rerank_retriever.distributed.slices import Row, slices_of
from langchain_rerank_retriever.distributed.stored import (
    check_revision,
    found_store,
    opened,
    texts_of,
)
from langchain_rerank_retriever.errors import DataError, InvalidArgumentError, ScoringError
from langchain_rerank_retriever.store import FaissStore

JOB = "rerank"
QUERIES_PER_SHARD = 100


def rerank_candidates(
    candidates: Any,
    store: str | Path,
    reranker: BaseCrossEncoder,
    output: str | Path,
    *,
    queries_per_shard: int = QUERIES_PER_SHARD,
    verify: bool = False,
    cluster: Runner | None = None,
) -> ShardsResult:
    """Score what was recalled for many queries; call it again after a crash, and it goes on where it was.

    Each shard is a Parquet file with the columns `query_id`, `document_id` and `score` (float32, higher is better), the
    candidates of a query together, best first, equal ones in the order they were given.

    Args:
        candidates: Rows with `query_id`, `query` (the text) and `document_ids` (a list), in any form that
            `encode_corpus` takes.
        store: The folder of a `FaissStore` that has the texts, on a local disk of every node as for `mine_negatives`;
            workers open it read-only, without its model. No other store can be read.
        reranker: A `CrossEncoderScorer`, or any cross-encoder of LangChain's. A cluster's workers get it pickled.
        output: A folder, new or from an earlier call.
        queries_per_shard: Queries of a shard.
        verify: As in `encode_corpus`.
        cluster: A `RayCluster`, or None for this process.

    Raises:
        DataError: A row has not these columns, or a document is not in the store.
        ScoringError: A score is no finite number, or there is not one for each pair.
        InvalidArgumentError: The shards that are there are of another state of the store, or other settings.
        StorageError: The store is changed meanwhile, or a node has another copy.
        RerankError: See `encode_corpus`.
    """
    size = checked_size("queries_per_shard", queries_per_shard)
    if not isinstance(reranker, BaseCrossEncoder):
        raise InvalidArgumentError(
            f"reranker must be a LangChain BaseCrossEncoder, got {type(reranker).__name__}."
        )
    job = RerankJob(*found_store(store), reranker, size)
    return run_job(job, slices_of(candidates, size), output, cluster, verify=verify)


@dataclass(frozen=True)
class RerankJob:
    """Scores the candidates of slices of queries.

    Attributes:
        store: The folder of the store.
        revision: Of the store.
        reranker: The cross-encoder.
        queries_per_shard: Queries of a shard.
    """

    store: str
    revision: str
    reranker: BaseCrossEncoder
    queries_per_shard: int

    @property
    def identity(self) -> dict[str, Any]:
        """See `Job`. A cross-encoder without a fingerprint is known by its class and name."""
        name = f"{type(self.reranker).__name__}({getattr(self.reranker, 'model_name', '')!r})"
        model = getattr(self.reranker, "fingerprint", None) or name
        return {
            "job": JOB,
            "model": model,
            "model_name": name,
            "queries_per_shard": self.queries_per_shard,
            "store_revision": self.revision,
        }

    @contextmanager
    def open(self) -> Iterator[Work]:
        """Open the store."""
        with opened(self.store) as store:
            yield lambda _number, rows: self._rerank(store, rows)

    def _rerank(self, store: FaissStore, rows: Sequence[Row]) -> Made:
        check_revision(store, self.revision)
        asked = [_asked(place, row) for place, row in enumerate(rows)]
        texts = texts_of(store, (key for _, _, ids in asked for key in ids), "candidates")
        pairs = [(query, texts[key]) for _, query, ids in asked for key in ids]
        # All at once: pairs of many queries fill batches of like length.
        scores = np.asarray(self.reranker.score(pairs) if pairs else [], dtype=np.float32)
        if scores.shape != (len(pairs),) or not np.isfinite(scores).all():
            raise ScoringError(f"Expected {len(pairs)} finite scores, got an array of shape {scores.shape}.")
        ends = np.cumsum([len(ids) for _, _, ids in asked])[:-1]
        ranked = [
            (query_id, ids[place], part[place])
            for (query_id, _, ids), part in zip(asked, np.split(scores, ends), strict=True)
            for place in np.argsort(-part, kind="stable")
        ]
        return Made(
            pa.table(
                {
                    "query_id": pa.array([query_id for query_id, _, _ in ranked], pa.string()),
                    "document_id": pa.array([key for _, key, _ in ranked], pa.string()),
                    "score": pa.array([score for _, _, score in ranked], pa.float32()),
                }
            ),
            {"pairs": len(pairs)},
        )


def _asked(place: int, row: Row) -> tuple[str, str, list[str]]:
    query_id, query, ids = (row.get(name) for name in ("query_id", "query", "document_ids"))
    if not isinstance(query_id, str) or not isinstance(query, str) or not isinstance(ids, list):
        raise DataError(
            f"row {place}: expected query_id (str), query (str) and document_ids (a list of str), got "
            f"{dict(row)!r:.200}."
        )
    if len(set(ids)) < len(ids) or not all(isinstance(one, str) for one in ids):
        raise DataError(f"row {place}: document_ids must be different ids of type str, got {ids!r:.200}.")
    return query_id, query, ids
