"""A vector store for LangChain: SQLite holds the truth, FAISS and FTS5 make it searchable.

`FaissStore` is a LangChain `VectorStore` that does not lose a document. Use it where LangChain's `FAISS` or
`InMemoryVectorStore` would stand, and wherever documents change while they are searched.

```python
from langchain_rerank_retriever import FaissStore

with FaissStore.from_documents(documents, any_embeddings, path="my-store") as store:
    found = store.similarity_search("gift cards", k=1, filter={"topic": "money", "year": {"$lt": 2025}})
    print(found[0].id)  # payment
    print(store.lexical_search("working days")[0].id)  # delivery
    store.delete(["payment"])

with FaissStore.load_local("my-store", any_embeddings) as store:
    print(len(store), store.verify(deep=True).ok)  # 2 True
```

**Durable.** Documents, vectors, lexical index and the identity of the model change in one SQLite transaction: when a
call returns, it is on the disk, and when it raises or the process is killed, nothing of it has happened. Adding is an
upsert by id; a text that is there already is not embedded again. Any number of threads and processes may read while
one writes. Without `path` all is in memory.

**The folder** holds the database, the only file that counts, and from 20,000 documents on a snapshot of the vectors
(and graph), from which large stores open at once. The snapshot is checked before it is believed, and made anew where
it is missing, old or damaged. `save_local` copies the whole store as it is at one moment. No file is ever unpickled.

**Whole or not.** `FaissStore.verify` says what is wrong, each problem with what helps; with `deep=True` it reads
every document and vector. `FaissStore.repair` makes anew all that is derived. Results: `VerifyResult`,
`RepairResult`.

**Filters** hold before the search, so that `k` matching documents come back whenever there are so many. `{"key":
value}` is equality; operators are `$eq $ne $lt $lte $gt $gte $in $nin $exists`, combined by `$and $or $not`; several
keys must all hold. Dots lead into nested dicts. A list matches if any element does, kinds never mix (`True` is not
1), and a missing key matches nothing but `$ne`, `$nin` and `{"$exists": False}`. Unknown operators raise
`FilterError`.

**Lexical search** is BM25 over English stems, and over pairs of characters for Korean, Chinese, Japanese, Thai, Lao,
Khmer and Burmese. `lexical="german"` (extra `stemming`) stems another language, `lexical="korean"` (extra `korean`)
takes morphemes.

**Exact or approximate.** `index="flat"` compares with every vector, `"hnsw"` builds a graph in the background from
10,000 documents on, `"auto"` does from 256 MiB of vectors on. `IndexInfo` tells what searches use now, and how much
they find.

**The right model.** The vectors of three probe sentences are kept: other embeddings than those that filled the store
are refused with `ModelMismatchError`, and `FaissStore.reembed` moves all documents to another model in one step.

The retriever over it: `langchain_rerank_retriever.retriever`. Filling it from many machines:
`langchain_rerank_retriever.distributed`. The models: `langchain_rerank_retriever.embeddings`.
"""

from .faiss_store import FaissStore
from .indexing import IndexInfo
from .repair import RepairResult
from .verify import VerifyResult

__all__ = ["FaissStore", "IndexInfo", "RepairResult", "VerifyResult"]
