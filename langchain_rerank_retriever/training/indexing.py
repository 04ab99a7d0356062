"""The documents and the held-out queries of a run, taken through a store."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from langchain_core.documents import Document

from langchain_rerank_retriever.store import FaissStore
from langchain_rerank_retriever.training.progress import Update
from langchain_rerank_retriever.training.proof.stages import StageTable, recall_table

#: Documents handed to the store at once: enough to fill batches sorted by length, few enough to show progress.
INDEX_CHUNK = 512

#: Queries asked at once, so that they share the model's batches.
QUERIES_AT_ONCE = 8


def fill_store(store: FaissStore, documents: Sequence[Document], update: Update) -> None:
    """Index the documents, telling the finished share on the way."""
    for start in range(0, len(documents), INDEX_CHUNK):
        store.add_documents(list(documents[start : start + INDEX_CHUNK]))
        update(min(1.0, (start + INDEX_CHUNK) / len(documents)))


def recall_tables(store: FaissStore, queries: dict[str, str], update: Update) -> dict[str, StageTable]:
    """Recall the candidates of many queries."""
    tables: dict[str, StageTable] = {}
    with ThreadPoolExecutor(QUERIES_AT_ONCE) as pool:
        for key, table in zip(
            queries, pool.map(lambda q: recall_table(store, q), queries.values()), strict=True
        ):
            tables[key] = table
            update(len(tables) / len(queries))
    return tables
