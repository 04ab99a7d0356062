"""The documents of a tuning run: checked, by id, and indexed."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from langchain_core.documents import Document

from langchain_rerank_retriever.errors import DataError
from langchain_rerank_retriever.store import FaissStore
from langchain_rerank_retriever.training.progress import Update
from langchain_rerank_retriever.training.stages import StageTable, recall_table

#: Documents handed to the store at once: enough to fill batches sorted by length, few enough to show progress.
INDEX_CHUNK = 512

#: Queries asked at once, so that they share the model's batches.
QUERIES_AT_ONCE = 8


def corpus_of(documents: Iterable[Document]) -> dict[str, Document]:
    """Return the documents by id.

    Raises:
        DataError: If there are none, or an id is missing or not unique.
    """
    corpus: dict[str, Document] = {}
    for place, document in enumerate(documents):
        if not isinstance(document, Document):
            raise DataError(
                f"document {place}: expected a LangChain Document, got {type(document).__name__}."
            )
        if not document.id:
            raise DataError(
                f"document {place} has no id; training data name documents by id. "
                "Give each one: Document(id=..., page_content=...)."
            )
        if document.id in corpus:
            raise DataError(f"document {place}: the id {document.id!r} is there twice. Ids must be unique.")
        corpus[document.id] = document
    if not corpus:
        raise DataError("There are no documents; expected at least one.")
    return corpus


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
