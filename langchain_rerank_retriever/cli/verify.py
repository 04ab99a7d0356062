"""`langchain-rerank verify`."""

from pathlib import Path

import typer

from langchain_rerank_retriever.bundle_folder import MANIFEST
from langchain_rerank_retriever.cli.output import print_json, printable
from langchain_rerank_retriever.errors import FormatError, ModelLoadError, ModelMismatchError
from langchain_rerank_retriever.retriever import RerankRetriever
from langchain_rerank_retriever.store import FaissStore


def run(folder: Path, *, deep: bool, as_json: bool) -> bool:
    """Open a bundle, which checks its models, then check its store; tell whether all is well."""
    problems = _problems(folder, deep=deep)
    if as_json:
        print_json({"ok": not problems, "problems": list(problems)})
    else:
        typer.echo("\n".join(map(printable, problems)) if problems else f"{folder} is whole.")
    return not problems


def _problems(folder: Path, *, deep: bool) -> tuple[str, ...]:
    try:
        retriever = RerankRetriever.load_local(folder, read_only=True)
    except (FormatError, ModelLoadError, ModelMismatchError) as error:
        if not (folder / MANIFEST).is_file():
            raise  # Not a bundle at all is a mistake of the user's.
        return (str(error),)
    if not isinstance(retriever.recall, FaissStore):
        return ()
    return tuple(retriever.recall.verify(deep=deep).problems)
