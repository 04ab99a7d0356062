"""Stage one: from a query to `fetch_k` candidates, each with the stage scores that later stages ask for.

What a `RerankRetriever` recalls from may be a `FaissStore`, any LangChain vector store, any LangChain retriever, or a
list of those:

```python
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_rerank_retriever import FaissStore, RerankRetriever

ours = FaissStore.from_documents(documents, any_embeddings)
theirs = InMemoryVectorStore.from_documents(documents, any_embeddings)
retriever = RerankRetriever([ours, theirs.as_retriever(search_kwargs={"k": 50})], k=2)
print(len(retriever.invoke("gift cards")))  # 2
```

A `FaissStore` knows dense and lexical scores, so that it recalls by either or both, fills in what a blend needs, and
filters before it searches. Of any other source only the order is believed, since some stores give distances and some
similarities; filters go to it as they are, and its errors come back as `RecallError` with the source's name. Several
are asked side by side and fused by reciprocal rank. `langchain_rerank_retriever.testing` has tests for a source of
yours; `langchain_rerank_retriever.retriever` says what happens to the candidates next.

For those who write a stage one of their own, or work with one:

* `source_of` turns what a user hands in into a `RecallSource`. Sources hold no state of their own, so that making one
  anew for every query costs nothing; `with_queries` has one asked with further wordings.
* A `RecallRequest` goes in, each `Candidate` comes out.
* `recall_score_is_fitted` tells whether the order is by fitted weights; `embedding_store` and `vectors_of` give the
  vectors of candidates, for diversity.
"""

from langchain_rerank_retriever.recall.candidate import Candidate, RecallRequest, RecallSource
from langchain_rerank_retriever.recall.fused import with_queries
from langchain_rerank_retriever.recall.source import recall_score_is_fitted, source_of
from langchain_rerank_retriever.recall.vectors import embedding_store, vectors_of

__all__ = [
    "Candidate",
    "RecallRequest",
    "RecallSource",
    "embedding_store",
    "recall_score_is_fitted",
    "source_of",
    "vectors_of",
    "with_queries",
]
