"""Embed a corpus on a Ray cluster, or on this machine, and load it into a store; run it again after a crash.

    python examples/ray_encode.py corpus.jsonl encoded store --model sentence-transformers/all-MiniLM-L6-v2
    python examples/ray_encode.py corpus.jsonl encoded store --ray local
    python examples/ray_encode.py corpus.jsonl encoded store --ray 10.0.0.5:6379 --workers 8 --gpus 1

The corpus is JSONL or Parquet (a file, or a folder of them) with the columns `id` and `text`; other columns become
metadata. On a cluster, the corpus, `encoded` and the model's folder must be seen by all nodes.
"""

from pathlib import Path
from typing import Annotated

import typer

from langchain_rerank_retriever import FaissStore, PooledEmbeddings
from langchain_rerank_retriever.distributed import RayCluster, encode_corpus, load_shards


def main(
    corpus: Path,
    encoded: Path,
    store: Path,
    model: Annotated[
        str, typer.Option(help="A folder or hub name.")
    ] = "sentence-transformers/all-MiniLM-L6-v2",
    ray: Annotated[str | None, typer.Option(help="'local', or the address of a cluster.")] = None,
    workers: Annotated[int | None, typer.Option(help="How many; left out: what there is room for.")] = None,
    gpus: Annotated[float, typer.Option(help="Of each worker.")] = 0.0,
) -> None:
    """Encode, then load."""
    cluster = None
    if ray is not None:
        cluster = RayCluster(address=None if ray == "local" else ray, workers=workers, gpus=gpus)
    with PooledEmbeddings(model) as embeddings:
        made = encode_corpus(corpus, embeddings, encoded, cluster=cluster)
        print(
            f"{made.rows} documents in {made.shards} shards, {made.written} of them made in {made.seconds:.0f} s"
        )
        with FaissStore(embeddings, path=store, index="auto") as opened:
            loaded = load_shards(encoded, opened)
            print(f"{loaded.added} documents added, {len(opened)} in the store")


if __name__ == "__main__":
    typer.run(main)
