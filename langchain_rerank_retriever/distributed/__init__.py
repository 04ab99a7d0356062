"""The same work for corpora beyond one machine's memory, or beyond one machine.

A job cuts its source into slices and makes one shard of each: a Parquet file that appears whole or not at all. Whatever
is killed, the same call goes on where it was. In one process shards are made one after the other; with
``cluster=RayCluster(...)`` (extra `ray`) by the workers of Ray, on this machine or on a cluster.

* `encode_corpus` embeds a corpus; `load_shards` puts the result into a vector store.
* `mine_negatives` draws training lists for `tune`.
* `rerank_candidates` scores what was recalled for many queries.

The names load on first use: only `mine_negatives` needs torch before a model is given.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_rerank_retriever.distributed.encoding import encode_corpus
    from langchain_rerank_retriever.distributed.job import ShardsResult
    from langchain_rerank_retriever.distributed.loading import (
        EncodedShard,
        LoadResult,
        encoded_shards,
        load_shards,
    )
    from langchain_rerank_retriever.distributed.mining import mine_negatives
    from langchain_rerank_retriever.distributed.ray_cluster import RayCluster
    from langchain_rerank_retriever.distributed.reranking import rerank_candidates

__all__ = [
    "EncodedShard",
    "LoadResult",
    "RayCluster",
    "ShardsResult",
    "encode_corpus",
    "encoded_shards",
    "load_shards",
    "mine_negatives",
    "rerank_candidates",
]

_HOME = {
    "EncodedShard": "loading",
    "LoadResult": "loading",
    "RayCluster": "ray_cluster",
    "ShardsResult": "job",
    "encode_corpus": "encoding",
    "encoded_shards": "loading",
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
