"""Serve a tuned bundle from PostgreSQL with pgvector: move its documents there once, then ask.

    pip install 'langchain-rerank-retriever[postgres]'
    python examples/pgvector.py BUNDLE postgresql+psycopg://user:password@host/database "a question"

`PGVectorStore` inserts row by row; COPY loads the same rows many times faster. Its scores are cosine distances: lower
is better, which the retriever need not know. pgvector's HNSW looks at `ef_search` rows: keep it at `fetch_k` or more.
"""

import sys
from collections.abc import Iterable, Sequence

import numpy as np
import psycopg
from langchain_core.documents import Document
from langchain_postgres import Column, PGEngine, PGVectorStore
from langchain_postgres.v2.indexes import HNSWIndex, HNSWQueryOptions
from pgvector.psycopg import register_vector
from psycopg.types.json import Json

from langchain_rerank_retriever import RerankRetriever

FETCH_K = 100
COLUMNS = "langchain_id, content, embedding, langchain_metadata"


def copy(url: str, table: str, documents: Iterable[Document], vectors: Sequence[np.ndarray]) -> None:
    """Load documents with ids and their vectors into a table; all of them or, on any error, none."""
    copying = f'COPY "{table}" ({COLUMNS}) FROM STDIN (FORMAT BINARY)'
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        register_vector(connection)
        with connection.cursor() as cursor, cursor.copy(copying) as rows:
            rows.set_types(["text", "text", "vector", "json"])
            for document, vector in zip(documents, vectors, strict=True):
                rows.write_row((document.id, document.page_content, vector, Json(document.metadata)))


def main(bundle: str, url: str, question: str) -> None:
    local = RerankRetriever.load_local(bundle, read_only=True)
    documents = list(local.recall.documents())
    vectors = local.recall.vectors_by_ids([document.id for document in documents])
    # pre_ping: connections that a restart of the server closed are replaced instead of failing once each.
    engine = PGEngine.from_connection_string(url, pool_pre_ping=True)
    identity = Column("langchain_id", "TEXT", nullable=False)
    engine.init_vectorstore_table("passages", local.recall.embeddings.dimension, id_column=identity)
    copy(url, "passages", documents, [vectors[document.id] for document in documents])
    options = HNSWQueryOptions(ef_search=2 * FETCH_K)
    store = PGVectorStore.create_sync(
        engine, local.recall.embeddings, "passages", index_query_options=options
    )
    store.apply_vector_index(HNSWIndex())
    retriever = RerankRetriever.load_local(bundle, recall=store)
    for document in retriever.invoke(question, fetch_k=FETCH_K):
        print(f"{document.metadata['relevance_score']:.3f} {document.id} {document.page_content[:80]}")


if __name__ == "__main__":
    main(*sys.argv[1:])
