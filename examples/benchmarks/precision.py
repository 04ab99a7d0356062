"""What each backend and number type does to the speed and the quality of a tuned bundle, one after the other.

    python examples/benchmarks/quality.py scifact --minutes 10 --keep scifact-bundle
    python examples/benchmarks/precision.py scifact-bundle

Dense recall is judged by itself, after all documents were embedded again, and then the whole retriever with its blend,
each with the bi-encoder or the cross-encoder in that number type and the other in the bundle's own.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from beir import DATA, documents, qrels, queries
from langchain_core.documents import Document

from langchain_rerank_retriever import (
    CrossEncoderScorer,
    FaissStore,
    PooledEmbeddings,
    RerankRetriever,
    evaluate,
)
from langchain_rerank_retriever.runtime.choosing.select import BackendName, Precision

WAYS: tuple[tuple[BackendName, Precision], ...] = (
    ("torch", "float32"),
    ("torch", "bfloat16"),
    ("openvino", "float32"),
    ("openvino", "bfloat16"),
    ("openvino", "int8"),
)
MEASURE = "nDCG@10"


@dataclass(frozen=True)
class Judged:
    """A data set: documents, and the queries that are asked of them."""

    documents: list[Document]
    queries: dict[str, str]
    qrels: dict[str, dict[str, int]]

    def value(self, retriever: RerankRetriever) -> float:
        """What the retriever is worth."""
        return evaluate(retriever, self.queries, self.qrels, measures=(MEASURE,))[MEASURE]


def dense(folder: Path, judged: Judged, backend: BackendName, precision: Precision) -> None:
    """Speed and quality of the bi-encoder alone."""
    with PooledEmbeddings(folder, backend=backend, precision=precision) as model:
        started = time.perf_counter()
        store = FaissStore.from_documents(judged.documents, model)
        speed = len(store) / (time.perf_counter() - started)
        value = judged.value(RerankRetriever(store, k=10))
        print_row("bi-encoder", model, f"{speed:.0f} texts/s", value)


def reranked(bundle: Path, folder: Path, judged: Judged, backend: BackendName, precision: Precision) -> None:
    """Speed of the cross-encoder, and quality of what is served with it."""
    with CrossEncoderScorer(folder, backend=backend, precision=precision) as model:
        retriever = RerankRetriever.load_local(bundle, reranker=model, read_only=True)
        value = judged.value(retriever.model_copy(update={"k": 10}))
        retriever.recall.close()
        print_row("cross-encoder", model, f"{model.counts.rows / model.counts.seconds:.0f} pairs/s", value)


def print_row(name: str, model: PooledEmbeddings | CrossEncoderScorer, speed: str, value: float) -> None:
    close = "" if model.quantisation is None else f"{model.quantisation.correlation:.4f}"
    print(f"| {name} | {model.backend} | {model.precision} | {speed} | {value:.4f} | {close} |", flush=True)


def main(
    bundle: Annotated[Path, typer.Argument(help="What tune wrote for this data set.")],
    name: Annotated[str, typer.Option(help="Folder of the data set.")] = "scifact",
    split: str = "test",
    data: Annotated[Path, typer.Option(help="Folder of the data sets.")] = DATA,
) -> None:
    qrels_ = qrels(data / name, split)
    asked = {query_id: text for query_id, text in queries(data / name).items() if query_id in qrels_}
    judged = Judged(documents(data / name), asked, qrels_)
    opened = RerankRetriever.load_local(bundle, read_only=True)
    bi_encoder = opened.recall.embeddings.folder
    cross_encoder = None if opened.reranker is None else opened.reranker.folder
    opened.recall.close()
    print(f"| model | backend | precision | speed | {MEASURE} | correlation with float32 |")
    print("|---|---|---|---|---|---|")
    for backend, precision in WAYS:
        dense(bi_encoder, judged, backend, precision)
    for backend, precision in WAYS if cross_encoder is not None else ():
        reranked(bundle, cross_encoder, judged, backend, precision)


if __name__ == "__main__":
    typer.run(main)
