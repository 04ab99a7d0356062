"""The same work for corpora beyond one machine's memory, or beyond one machine.

A job cuts its source into slices and makes one shard of each: a Parquet file that appears whole or not at all.
Whatever is killed, the same call goes on where it was. In one process shards are made one after the other; with
`cluster=RayCluster(...)` (extra `ray`) by the workers of Ray, on this machine or on a cluster.

```python
from langchain_rerank_retriever import FaissStore
from langchain_rerank_retriever.distributed import encode_corpus, load_shards

made = encode_corpus(documents, any_embeddings, "shards", rows_per_shard=2)
print(made.shards, made.rows)  # 2 3
again = encode_corpus(documents, any_embeddings, "shards", rows_per_shard=2)
print(again.written)  # 0
with FaissStore(any_embeddings, path="my-store") as store:
    print(load_shards("shards", store))  # LoadResult(documents=3, added=3)
```

The names by purpose:

* a corpus: `encode_corpus` embeds it; `load_shards` puts the result into a vector store and gives a `LoadResult`;
  `encoded_shards` reads it, an `EncodedShard` at a time; `copy_embeddings` fills LangChain's PostgreSQL store by COPY;
* training: `mine_negatives` draws lists for `tune`;
* scoring: `rerank_candidates` has a cross-encoder score what was recalled for many queries;
* each job gives a `ShardsResult`; a `RayCluster` says where its workers run.

The names load on first use: only `mine_negatives` needs torch before a model is given.

One process and one machine do for a million passages or so: `langchain_rerank_retriever.store`,
`langchain_rerank_retriever.training`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_rerank_retriever.distributed.encoded import EncodedShard, encoded_shards
    from langchain_rerank_retriever.distributed.encoding import encode_corpus
    from langchain_rerank_retriever.distributed.job import ShardsResult
    from langchain_rerank_retriever.distributed.loading import LoadResult, load_shards
    from langchain_rerank_retriever.distributed.mining import mine_negatives
    from langchain_rerank_retriever.distributed.postgres import copy_embeddings
    from langchain_rerank_retriever.distributed.ray_cluster import RayCluster
    from langchain_rerank_retriever.distributed.reranking import rerank_candidates

__all__ = [
    "EncodedShard",
    "LoadResult",
    "RayCluster",
    "ShardsResult",
    "copy_embeddings",
    "encode_corpus",
    "encoded_shards",
    "load_shards",
    "mine_negatives",
    "rerank_candidates",
]

_HOME = {
    "EncodedShard": "encoded",
    "LoadResult": "loading",
    "RayCluster": "ray_cluster",
    "ShardsResult": "job",
    "copy_embeddings": "postgres",
    "encode_corpus": "encoding",
    "encoded_shards": "encoded",
    "load_shards": "loading",
    "mine_negatives": "mining",
    "rerank_candidates": "reranking",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
