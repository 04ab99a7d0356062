"""Serve a tuned bundle from Milvus: move its documents there once, then ask.

    pip install 'langchain-rerank-retriever[milvus]'
    python examples/milvus.py BUNDLE http://host:19530 "a question"

The same code reaches Milvus Distributed and Zilliz. Documents that may be there already go in by `upsert`: inserting
keeps both. Filters are Milvus's: `retriever.invoke(question, search_kwargs={"expr": "year > 2020"})`.
"""

import sys

import numpy as np
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_milvus import Milvus

from langchain_rerank_retriever import RerankRetriever

FETCH_K = 100
GRAPH = {"M": 32, "efConstruction": 200}
#: Bounded reads do not wait for what was written in the last seconds; a server that is gone is waited for 10 seconds.
SERVING = {"consistency_level": "Bounded", "timeout": 10}


def open_store(uri: str, collection: str, embeddings: Embeddings, index: str = "HNSW") -> Milvus:
    """Open a collection, or name one that `load` is to make."""
    return Milvus(
        embeddings,
        collection,
        # Not shared with other stores, since an async connection belongs to the event loop that uses it first.
        connection_args={"uri": uri, "dedicated": True},
        # Named on every opening: without them L2 distances are assumed. `ef` may not be below k.
        index_params={"index_type": index, "metric_type": "COSINE", "params": GRAPH},
        search_params={"metric_type": "COSINE", "params": {"ef": 2 * FETCH_K}},
        enable_dynamic_field=True,  # Otherwise every document must have the metadata keys of the first.
    )


def load(store: Milvus, documents: list[Document], vectors: np.ndarray) -> None:
    """Insert documents with ids and their vectors, and wait until they are on disk."""
    for start in range(0, len(documents), 10_000):
        part = documents[start : start + 10_000]
        texts, metadatas, ids = map(list, zip(*((one.page_content, one.metadata, one.id) for one in part)))
        store.add_embeddings(texts, vectors[start : start + 10_000].tolist(), metadatas, ids=ids)
    store.client.flush(store.collection_name)


def main(bundle: str, uri: str, question: str) -> None:
    local = RerankRetriever.load_local(bundle, read_only=True)
    documents = list(local.recall.documents())
    vectors = local.recall.vectors_by_ids([document.id for document in documents])
    store = open_store(uri, "passages", local.recall.embeddings)
    load(store, documents, np.stack([vectors[document.id] for document in documents]))
    retriever = RerankRetriever.load_local(bundle, recall=store.as_retriever(search_kwargs=SERVING))
    for document in retriever.invoke(question, fetch_k=FETCH_K):
        print(f"{document.metadata['relevance_score']:.3f} {document.id} {document.page_content[:80]}")


if __name__ == "__main__":
    main(*sys.argv[1:])
