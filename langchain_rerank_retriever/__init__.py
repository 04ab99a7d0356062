"""Recall with a bi-encoder through FAISS, re-rank with a cross-encoder, tune both on your own data.

A query goes through two stages. A bi-encoder and BM25 *recall* some hundred candidates in milliseconds; a
cross-encoder, which reads query and passage together, *re-ranks* them. `tune` trains both on your own documents and
questions, and proves on questions that were held out that the result is better, or says that it is not.

```python
from langchain_rerank_retriever import CrossEncoderScorer, PooledEmbeddings, RerankRetriever

retriever = RerankRetriever.from_documents(
    documents,  # LangChain Documents
    embeddings=PooledEmbeddings("sentence-transformers/all-MiniLM-L6-v2"),
    reranker=CrossEncoderScorer("cross-encoder/ms-marco-MiniLM-L6-v2"),
    k=2,
)
found = retriever.invoke("How long does delivery take?")
print(len(found), found[0].metadata["relevance_kind"])  # 2 rerank_score
```

The names of this module, by purpose:

* search: `RerankRetriever`, a LangChain retriever; `FaissStore`, a LangChain vector store;
* models: `PooledEmbeddings`, LangChain embeddings; `CrossEncoderScorer`, a LangChain cross-encoder;
  `CrossEncoderReranker`, a LangChain document compressor;
* training: `tune`;
* measuring: `evaluate` and `compare`, for any LangChain retriever.

They load on first use, so that importing the package loads neither torch, transformers nor faiss.

Each of these modules explains a part, and `help()` shows it:

* `langchain_rerank_retriever.retriever`: what a query goes through, and every setting of it;
* `langchain_rerank_retriever.recall`: what candidates may come from: any vector store, any retriever, several;
* `langchain_rerank_retriever.blend`: how the scores of the stages become one probability;
* `langchain_rerank_retriever.store`: a vector store that loses nothing: files, filters, lexical search, repair;
* `langchain_rerank_retriever.embeddings`: language models with a pooling layer;
* `langchain_rerank_retriever.cross_encoder` and `langchain_rerank_retriever.reranker`: scoring pairs;
* `langchain_rerank_retriever.runtime`: backends, precision and batches: how models run fast here;
* `langchain_rerank_retriever.training`: your data to better models, with proof;
* `langchain_rerank_retriever.evaluation`: measures, comparisons, gates, and who lost the document;
* `langchain_rerank_retriever.bundle`: one folder with all of it;
* `langchain_rerank_retriever.benchmark`: how fast a retriever is on this machine;
* `langchain_rerank_retriever.distributed`: corpora beyond one machine;
* `langchain_rerank_retriever.testing`: fakes, and tests for your own stores;
* `langchain_rerank_retriever.protocols`: the shapes by which the parts know each other;
* `langchain_rerank_retriever.errors`: every error there is;
* `langchain_rerank_retriever.cli`: the command `langchain-rerank`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_rerank_retriever.cross_encoder import CrossEncoderScorer
    from langchain_rerank_retriever.embeddings import PooledEmbeddings
    from langchain_rerank_retriever.evaluation import compare, evaluate
    from langchain_rerank_retriever.reranker import CrossEncoderReranker
    from langchain_rerank_retriever.retriever import RerankRetriever
    from langchain_rerank_retriever.store import FaissStore
    from langchain_rerank_retriever.training import tune

__version__ = "0.1.0"

__all__ = [
    "CrossEncoderReranker",
    "CrossEncoderScorer",
    "FaissStore",
    "PooledEmbeddings",
    "RerankRetriever",
    "__version__",
    "compare",
    "evaluate",
    "tune",
]

_HOME = {
    "CrossEncoderReranker": "reranker",
    "CrossEncoderScorer": "cross_encoder",
    "FaissStore": "store",
    "PooledEmbeddings": "embeddings",
    "RerankRetriever": "retriever",
    "compare": "evaluation",
    "evaluate": "evaluation",
    "tune": "training",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
