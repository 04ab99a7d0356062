"""How fast a retriever is on this machine: by stage, by the machine's own limit, and next to LangChain's recipe.

Use it to find out what a query waits for, whether another `fetch_k`, `precision` or `backend` pays, and what a
machine is good for: `RerankRetriever.load_local` takes the last two. The same as a command:
`langchain-rerank bench my-bundle --precision int8`.

```python
from langchain_rerank_retriever import CrossEncoderScorer, PooledEmbeddings, RerankRetriever
from langchain_rerank_retriever.benchmark import profile

retriever = RerankRetriever.from_documents(
    documents,
    embeddings=PooledEmbeddings("sentence-transformers/all-MiniLM-L6-v2"),
    reranker=CrossEncoderScorer("cross-encoder/ms-marco-MiniLM-L6-v2"),
)
measured = profile(retriever, queries=2, rounds=1, compare=False)
print(sorted(measured.stages), measured.candidates)  # ['blend', 'recall', 'rerank', 'total'] 3
```

* `profile` asks queries made of the documents, then has each model do bulk work, and gives a `Profile`. Times are
  medians and quartiles, each a `Spread`.
* A `ModelSpeed` tells of a model how many inputs a second it does, how many operations that takes, and which share of
  the machine's own matrix products that is: the rest is what a better runtime could still gain.
* `Compared` is the same work beside FAISS, HuggingFaceEmbeddings, ContextualCompressionRetriever and
  CrossEncoderReranker with the same weights (extra `bench`); the two take turns, so that what disturbs the machine
  disturbs both.

How good a retriever is says `langchain_rerank_retriever.evaluation`; how models run,
`langchain_rerank_retriever.runtime`.
"""

from langchain_rerank_retriever.benchmark.against import Compared
from langchain_rerank_retriever.benchmark.profile import Profile, profile
from langchain_rerank_retriever.benchmark.speed import ModelSpeed
from langchain_rerank_retriever.benchmark.timing import Spread

__all__ = ["Compared", "ModelSpeed", "Profile", "Spread", "profile"]
