"""The documents and the held-out queries of a run, taken through a store."""

import math
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

from langchain_core.documents import Document

from langchain_rerank_retriever.recall.store import StoreRecall
from langchain_rerank_retriever.store import FaissStore
from langchain_rerank_retriever.training.fit.queries import AskedStore
from langchain_rerank_retriever.training.plan import Plan
from langchain_rerank_retriever.training.progress import Update
from langchain_rerank_retriever.training.proof.stages import StageTable, table_of

#: Documents handed to the store at once: enough to fill batches sorted by length, few enough to show progress.
INDEX_CHUNK = 512

#: Queries that are searched for at once.
QUERIES_AT_ONCE = 8


def fill_store(store: FaissStore, documents: Sequence[Document], update: Update) -> None:
    """Index the documents, telling the finished share on the way."""
    for start in range(0, len(documents), INDEX_CHUNK):
        store.add_documents(list(documents[start : start + INDEX_CHUNK]))
        update(min(1.0, (start + INDEX_CHUNK) / len(documents)))


def warns_of_long_indexing(plan: Plan, update: Update) -> Update:
    """Tell the user early, and once, where indexing leaves no time to train in.

    A report at the end that says so comes too late: a run that was meant to take minutes may take an hour.

    Args:
        plan: The promise.
        update: Is told the finished share, as before.
    """
    started, told = monotonic(), False

    def updated(share: float) -> None:
        nonlocal told
        update(share)
        once = (monotonic() - started) / share
        if told or not plan.too_short_to_index_twice(once=once, done=share):
            return
        told = True
        warnings.warn(
            f"Indexing the documents takes about {once / 60:.1f} minutes here, and what was trained needs it again: "
            f"the promised minutes leave no time to train a bi-encoder. To tune it, give at least "
            f"minutes={math.ceil(Plan.least_seconds(indexing=once) / 60)}.",
            UserWarning,
            stacklevel=2,
        )

    return updated


def recall_tables(store: FaissStore, queries: dict[str, str], update: Update) -> dict[str, StageTable]:
    """Recall the candidates of many queries; the same ones in every run."""
    source = StoreRecall(AskedStore(store, list(queries.values())))  # type: ignore[arg-type]
    tables: dict[str, StageTable] = {}
    with ThreadPoolExecutor(QUERIES_AT_ONCE) as pool:
        found = pool.map(lambda query: table_of(source, query), queries.values())
        for key, table in zip(queries, found, strict=True):
            tables[key] = table
            update(len(tables) / len(queries))
    return tables
