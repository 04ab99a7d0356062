"""The commands that judge, and what they take; what they do is in the modules of their names."""

from pathlib import Path
from typing import Annotated

import typer

from langchain_rerank_retriever.cli.options import (
    Backend,
    BatchSize,
    Device,
    Json,
    Markdown,
    Precision,
)


def evaluate(  # noqa: PLR0913, PLR0917 - one parameter an option
    system: Annotated[
        Path, typer.Argument(help="A bundle, which is asked, or a run file of TREC, which is only judged.")
    ],
    beir: Annotated[
        Path | None, typer.Option(help="BEIR folder with queries and judgements.", rich_help_panel="Data")
    ] = None,
    split: Annotated[str, typer.Option(help="Which of its judgements.", rich_help_panel="Data")] = "test",
    queries: Annotated[
        Path | None,
        typer.Option(help="Instead: JSON lines with _id and text, or .tsv.", rich_help_panel="Data"),
    ] = None,
    qrels: Annotated[
        Path | None,
        typer.Option(help="And their judgements, as TREC or BEIR have them.", rich_help_panel="Data"),
    ] = None,
    k: Annotated[
        int | None,
        typer.Option(
            "--k",
            "-k",
            min=1,
            help="How many are returned; what is below them counts as lost.",
            rich_help_panel="Asking a bundle",
        ),
    ] = None,
    fetch_k: Annotated[
        int | None,
        typer.Option(min=1, help="How many candidates to re-rank.", rich_help_panel="Asking a bundle"),
    ] = None,
    recall_mode: Annotated[
        str | None, typer.Option(help="dense, lexical or hybrid.", rich_help_panel="Asking a bundle")
    ] = None,
    run_file: Annotated[
        Path | None,
        typer.Option(
            help="Keep answers here; an interrupted run goes on from them, if it is the same bundle.",
            rich_help_panel="Asking a bundle",
        ),
    ] = None,
    precision: Precision = None,
    backend: Backend = None,
    device: Device = None,
    batch_size: BatchSize = None,
    measures: Annotated[
        str | None,
        typer.Option(
            help="Separated by commas; without it those of the baseline, or nDCG@10,RR@10,Success@10,R@100."
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="What to call it; without it, by the name of bundle or file.")
    ] = None,
    fail_below: Annotated[
        list[str] | None,
        typer.Option(help="Exit with 1 below this mean: nDCG@10=0.70.", rich_help_panel="Gate"),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            help="Exit with 1 when significantly worse than this saved one.", rich_help_panel="Gate"
        ),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(help="Keep everything as JSON, for compare and --against.", rich_help_panel="Output"),
    ] = None,
    trec_run: Annotated[
        Path | None, typer.Option(help="Write the rankings as a run file of TREC.", rich_help_panel="Output")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write a report with plots.", rich_help_panel="Output")
    ] = None,
    markdown: Markdown = False,
    json_: Json = False,
) -> None:
    """Measure how well and how fast a bundle finds what is known to be relevant, and who lost the rest.

    Exits with 1 where the gate fails.

    Example: langchain-rerank evaluate my-bundle --beir scifact --save baseline.json

    What int8 costs: langchain-rerank evaluate my-bundle --beir scifact --precision int8 --against baseline.json

    In a build: langchain-rerank evaluate my-bundle --beir scifact --against baseline.json --fail-below nDCG@10=0.70
    """
    from langchain_rerank_retriever.bundled_model import Placed
    from langchain_rerank_retriever.cli import evaluate as command

    placed = Placed(precision=precision, backend=backend, device=device, batch_size=batch_size)
    asking = command.Asking(k=k, fetch_k=fetch_k, recall_mode=recall_mode, run_file=run_file, placed=placed)
    data = command.Data(beir=beir, split=split, queries=queries, qrels=qrels)
    wanted = command.Wanted.of(measures, fail_below or [], against)
    output = command.Output(save=save, trec_run=trec_run, html=html, markdown=markdown, as_json=json_)
    if not command.run(system, data, asking, wanted, output, name=name):
        raise typer.Exit(1)


def compare(
    evaluations: Annotated[list[Path], typer.Argument(help="What evaluate --save wrote, two or more.")],
    baseline: Annotated[
        str | None, typer.Option(help="Name of the one to compare with; without it, the first.")
    ] = None,
    pairwise: Annotated[
        bool, typer.Option("--pairwise", help="Compare the others with each other, too.")
    ] = False,
    html: Annotated[Path | None, typer.Option(help="Write a report with plots.")] = None,
    markdown: Markdown = False,
    json_: Json = False,
) -> None:
    """Say which of several systems is better, by how much, and whether there are enough queries to tell.

    Example: langchain-rerank compare base.json tuned.json --html report.html
    """
    from langchain_rerank_retriever.cli import compare as command

    command.run(
        evaluations, baseline=baseline, pairwise=pairwise, html=html, markdown=markdown, as_json=json_
    )
