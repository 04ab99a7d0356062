"""Serve a tuned bundle from PostgreSQL with pgvector: move its documents there once, then ask.

    pip install 'langchain-rerank-retriever[postgres]'
    python examples/pgvector.py BUNDLE postgresql+psycopg://user:password@host/database "a question"

`PGVectorStore` inserts row by row; `copy_embeddings` loads the same rows many times faster, by COPY. Its scores are
cosine distances: lower is better, which the retriever need not know. pgvector's HNSW looks at `ef_search` rows: keep it
at `fetch_k` or more.
"""

import sys

import numpy as np
from langchain_postgres import Column, PGEngine, PGVectorStore
from langchain_postgres.v2.indexes import HNSWIndex, HNSWQueryOptions

from langchain_rerank_retriever import RerankRetriever
from langchain_rerank_retriever.distributed import copy_embeddings

FETCH_K = 100


def main(bundle: str, url: str, question: str) -> None:
    local = RerankRetriever.load_local(bundle, read_only=True)
    documents = list(local.recall.documents())
    texts, metadatas, ids = map(list, zip(*((one.page_content, one.metadata, one.id) for one in documents)))
    vectors = local.recall.vectors_by_ids(ids)
    # pre_ping: connections that a restart of the server closed are replaced instead of failing once each.
    engine = PGEngine.from_connection_string(url, pool_pre_ping=True)
    identity = Column("langchain_id", "TEXT", nullable=False)
    engine.init_vectorstore_table("passages", local.recall.embeddings.dimension, id_column=identity)
    options = HNSWQueryOptions(ef_search=2 * FETCH_K)
    store = PGVectorStore.create_sync(
        engine, local.recall.embeddings, "passages", index_query_options=options
    )
    copy_embeddings(store, texts, np.stack([vectors[one] for one in ids]), metadatas, ids=ids)
    store.apply_vector_index(HNSWIndex())
    retriever = RerankRetriever.load_local(bundle, recall=store)
    for document in retriever.invoke(question, fetch_k=FETCH_K):
        print(f"{document.metadata['relevance_score']:.3f} {document.id} {document.page_content[:80]}")


if __name__ == "__main__":
    main(*sys.argv[1:])
