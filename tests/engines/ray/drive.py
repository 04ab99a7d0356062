"""A driver in a process of its own, as users have one, and to be killed: python -m tests.engines.ray.drive JSON"""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from langchain_core.embeddings import Embeddings

from langchain_rerank_retriever.distributed import RayCluster, ShardsResult
from langchain_rerank_retriever.errors import RerankError
from tests.conftest import HashEmbeddings
from tests.engines.ray.models import BrokenEmbeddings, DeadlyEmbeddings, PacedEmbeddings


def pooled(told: dict[str, Any]) -> Embeddings:
    from langchain_rerank_retriever import PooledEmbeddings

    return PooledEmbeddings(told["folder"], precision="float32", backend="torch")


MODELS: dict[str, Callable[[dict[str, Any]], Embeddings]] = {
    "hash": lambda _: HashEmbeddings(),
    "paced": lambda told: PacedEmbeddings(told["seconds"]),
    "deadly": lambda _: DeadlyEmbeddings(),
    "broken": lambda _: BrokenEmbeddings(),
    "pooled": pooled,
}


def encode(told: dict[str, Any], cluster: RayCluster) -> ShardsResult:
    from langchain_rerank_retriever.distributed import encode_corpus

    model = MODELS[told["model"]](told)
    return encode_corpus(told["source"], model, told["output"], rows_per_shard=told["rows"], cluster=cluster)


def mine(told: dict[str, Any], cluster: RayCluster) -> ShardsResult:
    from langchain_rerank_retriever.distributed import mine_negatives

    queries, qrels, store = told["queries"], told["qrels"], told["store"]
    model = MODELS[told["model"]](told)
    return mine_negatives(
        queries, qrels, store, model, told["output"], queries_per_shard=told["rows"], cluster=cluster
    )


def rerank(told: dict[str, Any], cluster: RayCluster) -> ShardsResult:
    from langchain_rerank_retriever import CrossEncoderScorer
    from langchain_rerank_retriever.distributed import rerank_candidates

    with CrossEncoderScorer(told["folder"], precision="float32", backend="torch") as scorer:
        return rerank_candidates(
            told["source"],
            told["store"],
            scorer,
            told["output"],
            queries_per_shard=told["rows"],
            cluster=cluster,
        )


JOBS = {"encode": encode, "mine": mine, "rerank": rerank}


def main() -> None:
    told = json.loads(sys.argv[1])
    try:
        done = JOBS[told["job"]](told, RayCluster(**told["cluster"]))
        said: dict[str, Any] = {**asdict(done), "folder": str(done.folder)}
    except RerankError as error:
        said = {"error": type(error).__name__, "message": str(error)}
    Path(told["said"]).write_text(json.dumps(said), encoding="utf-8")


if __name__ == "__main__":
    main()
