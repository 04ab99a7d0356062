"""Mine hard negatives for many queries: training lists as `tune` draws them, in shards."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from langchain_core.embeddings import Embeddings

from langchain_rerank_retriever.distributed.encoding import model_identity
from langchain_rerank_retriever.distributed.job import Runner, ShardsResult, Work, checked_size, run_job
from langchain_rerank_retriever.distributed.shard_file import Made
from langchain_rerank_retriever.distributed.slices import Row, slices_of
from langchain_rerank_retriever.distributed.stored import (
    StoredTexts,
    check_revision,
    found_store,
    opened,
    texts_of,
)
from langchain_rerank_retriever.errors import DataError, InvalidArgumentError
from langchain_rerank_retriever.protocols import PairScorer
from langchain_rerank_retriever.store import FaissStore
from langchain_rerank_retriever.training.data.reading import TrainingData
from langchain_rerank_retriever.training.data.rows import normalised
from langchain_rerank_retriever.training.fit.mining import mine_lists
from langchain_rerank_retriever.training.fit.recipe import DEFAULT_RECIPE, Recipe

JOB = "mine"
QUERIES_PER_SHARD = 1_000


def mine_negatives(
    queries: Mapping[str, str],
    qrels: Mapping[str, Mapping[str, int]],
    store: str | Path,
    embeddings: Embeddings,
    output: str | Path,
    *,
    lists_per_query: int = 1,
    queries_per_shard: int = QUERIES_PER_SHARD,
    recipe: Recipe = DEFAULT_RECIPE,
    teacher: PairScorer | None = None,
    seed: int = 0,
    verify: bool = False,
    cluster: Runner | None = None,
) -> ShardsResult:
    """Draw training lists for many queries; call it again after a crash, and it goes on where it was.

    Each shard is a Parquet file with the columns `query`, `passage` (a relevant text) and `negatives` (texts, some from
    the hybrid recall of the store, some at random), which is a form of training data that `tune` reads. How negatives
    are found and which are left out: see `Recipe`. Queries with the same text but for case and spaces are in
    one shard, so that what is right for one is never a negative of the other.

    Args:
        queries: {query id: text}.
        qrels: {query id: {document id: relevance}}; whole numbers, above 0 is relevant. Queries without a relevant
            document are left out.
        store: The folder of a `FaissStore` with a lexical index; workers open it read-only, and no other store can be
            mined. Leave it as it is meanwhile: what is mined belongs to one state of it, and once its texts changed,
            another output folder is needed. It must lie on a local disk, which SQLite's write-ahead log needs: on a
            cluster, copy the files of the closed store to the same path on every node.
        embeddings: The store's model.
        output: A folder, new or from an earlier call.
        lists_per_query: How many lists of each query, with different negatives.
        queries_per_shard: At least so many of a shard, the last one excepted.
        recipe: Which recalled documents are taken for false negatives.
        teacher: A cross-encoder that judges, for ``Recipe(false_negatives="cross-encoder")``.
        seed: Of the drawing.
        verify: As in `encode_corpus`.
        cluster: A `RayCluster`, or None for this process.

    Returns:
        `counts` are those of `training.fit.mining.Mined`.

    Raises:
        DataError: A relevant document is not in the store, or no query has one.
        ModelMismatchError: The store's vectors were made by another model, or the shards that are there are.
        InvalidArgumentError: The shards that are there are of another state of the store, or other settings.
        StorageError: The store is changed meanwhile, or a node has another copy.
        RerankError: See `encode_corpus`.
    """
    size = checked_size("queries_per_shard", queries_per_shard)
    if recipe.false_negatives == "cross-encoder" and teacher is None:
        raise InvalidArgumentError(
            "false_negatives='cross-encoder' needs a teacher, a pretrained cross-encoder."
        )
    lists = checked_size("lists_per_query", lists_per_query)
    job = MineJob(*found_store(store), embeddings, lists, recipe, teacher, seed)
    return run_job(job, slices_of(_groups(queries, qrels, size), 1), output, cluster, verify=verify)


@dataclass(frozen=True)
class MineJob:
    """Mines the lists of groups of queries; one row is a group, and a shard.

    Attributes:
        store: The folder of the store.
        revision: Of the store.
        embeddings: Its model.
        lists_per_query: How many lists of each query.
        recipe: What counts as a false negative.
        teacher: Judges, if the recipe wants it.
        seed: Of the drawing.
    """

    store: str
    revision: str
    embeddings: Embeddings
    lists_per_query: int
    recipe: Recipe
    teacher: PairScorer | None
    seed: int

    @property
    def identity(self) -> dict[str, Any]:
        """See `Job`."""
        return {
            "job": JOB,
            **model_identity(self.embeddings),
            "lists_per_query": self.lists_per_query,
            "recipe": asdict(self.recipe),
            "teacher": getattr(self.teacher, "fingerprint", None),
            "seed": self.seed,
            "store_revision": self.revision,
        }

    @contextmanager
    def open(self) -> Iterator[Work]:
        """Open the store."""
        with opened(self.store, self.embeddings) as store:
            texts = StoredTexts(store)
            yield lambda number, rows: self._mine(store, texts, number, rows)

    def _mine(self, store: FaissStore, texts: StoredTexts, number: int, rows: Sequence[Row]) -> Made:
        check_revision(store, self.revision)
        data = _training_data(rows[0])
        for key in data.queries:
            texts_of(store, data.positives(key), f"query {key!r}")
        mined = mine_lists(
            store,
            data,
            texts,
            count=self.lists_per_query * len(data.queries),
            fusion=None,
            # Every shard draws by itself, whoever does it and in whatever order.
            seed=int(np.random.SeedSequence((self.seed, number)).generate_state(1)[0]),
            recipe=self.recipe,
            teacher=self.teacher,
        )
        table = pa.table(
            {
                "query": pa.array([one.query for one in mined.lists], pa.string()),
                "passage": pa.array([one.passages[0] for one in mined.lists], pa.string()),
                "negatives": pa.array([list(one.passages[1:]) for one in mined.lists], pa.list_(pa.string())),
            }
        )
        return Made(table, mined.counts)


def _groups(
    queries: Mapping[str, str], qrels: Mapping[str, Mapping[str, int]], size: int
) -> Iterator[dict[str, Any]]:
    """Put the queries into groups of at least `size`, those of the same text together, in an order of no meaning."""
    judged: dict[str, list[str]] = {}
    for key, text in queries.items():
        if any(relevance > 0 for relevance in qrels.get(key, {}).values()):
            judged.setdefault(hashlib.sha256(normalised(text).encode()).hexdigest(), []).append(key)
    if not judged:
        raise DataError("No query has a relevant document. Expected qrels with a relevance above 0.")
    group: list[str] = []
    for name in sorted(judged):
        group.extend(judged[name])
        if len(group) >= size:
            yield _row(group, queries, qrels)
            group = []
    if group:
        yield _row(group, queries, qrels)


def _row(
    group: Sequence[str], queries: Mapping[str, str], qrels: Mapping[str, Mapping[str, int]]
) -> dict[str, Any]:
    return {
        "queries": {key: queries[key] for key in group},
        "qrels": {key: dict(qrels[key]) for key in group},
    }


def _training_data(row: Row) -> TrainingData:
    queries = row["queries"]
    return TrainingData(queries, row["qrels"], {key: normalised(text) for key, text in queries.items()})
