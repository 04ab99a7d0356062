"""`langchain-rerank compare`."""

from dataclasses import replace
from pathlib import Path

from langchain_rerank_retriever.cli.output import print_json, print_text
from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.evaluation import Evaluation, html_report, load_evaluation
from langchain_rerank_retriever.evaluation import compare as compared


def run(
    files: list[Path],
    *,
    baseline: str | None,
    pairwise: bool,
    html: Path | None,
    markdown: bool,
    as_json: bool,
) -> None:
    """Compare saved evaluations and print what that says."""
    if len(files) < 2:
        raise InvalidArgumentError(
            f"Expected at least two files that evaluate --save wrote, got {len(files)}."
        )
    if markdown and as_json:
        raise InvalidArgumentError("Expected one of --markdown and --json, got both.")
    evaluations = _loaded(files)
    comparison = compared(evaluations, baseline=baseline, pairwise=pairwise)
    if as_json:
        print_json(comparison.to_dict())
    else:
        print_text(comparison.to_markdown() if markdown else str(comparison))
    if html is not None:
        html_report(evaluations, html, comparison=comparison)


def _loaded(files: list[Path]) -> list[Evaluation]:
    """Open evaluations; where some are called the same, all go by the names of their files."""
    evaluations = [load_evaluation(file) for file in files]
    if len({one.name for one in evaluations}) == len(evaluations):
        return evaluations
    return [replace(one, name=file.stem) for one, file in zip(evaluations, files, strict=True)]
