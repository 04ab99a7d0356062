"""`langchain-rerank verify`."""

from pathlib import Path

import typer

from langchain_rerank_retriever.cli.output import print_json
from langchain_rerank_retriever.retriever import RerankRetriever
from langchain_rerank_retriever.store import FaissStore


def run(folder: Path, *, deep: bool, as_json: bool) -> bool:
    """Open a bundle, which checks its models, then check its store; tell whether all is well."""
    retriever = RerankRetriever.load_local(folder, read_only=True)
    problems: tuple[str, ...] = ()
    if isinstance(retriever.recall, FaissStore):
        problems = tuple(retriever.recall.verify(deep=deep).problems)
    if as_json:
        print_json({"ok": not problems, "problems": list(problems)})
    else:
        typer.echo("\n".join(problems) if problems else f"{folder} is whole.")
    return not problems
