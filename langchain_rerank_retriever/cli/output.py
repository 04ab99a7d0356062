"""What every command prints with."""

import json
import sys
import unicodedata
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from langchain_core.documents import Document
from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

#: Characters of a document's text that are shown.
PREVIEW = 160


def printable(text: str) -> str:
    """Make a document's text safe for a terminal: control, escape and text-direction characters become spaces."""
    return " ".join(_harmless(text).split())


def say(text: str, *, lead: str = "", err: bool = False) -> None:
    """Print prose; a terminal gets it broken between words, wide characters counted as two, a pipe as it is.

    Args:
        text: What is safe to print.
        lead: Before the first line; the others are indented by as much.
        err: On standard error.
    """
    console = Console(stderr=err)
    lines = [text]
    if console.is_terminal and text:
        indent = cell_len(lead)
        lines = [line.plain.rstrip() for line in Text(text).wrap(console, max(1, console.width - indent))]
        lines[1:] = [" " * indent + line for line in lines[1:]]
    typer.echo(lead + "\n".join(lines), err=err)


def print_text(text: str) -> None:
    """Print several lines as they are aligned, made safe like `printable`."""
    say("\n".join(_harmless(line).rstrip() for line in text.split("\n")))


def _harmless(text: str) -> str:
    return "".join(" " if _is_control(one) else one for one in text)


def _is_control(one: str) -> bool:
    """Whether a character could move the cursor, change the terminal, or the direction or lines of a text."""
    return unicodedata.category(one) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")


def _escaped(one: str) -> str:
    """Write a character as JSON does without it; beyond 16 bits that takes two."""
    return json.dumps(one)[1:-1] if _is_control(one) and one != "\n" else one


def note(text: str) -> None:
    """Say on standard error what is being done; say nothing to a pipe."""
    if sys.stderr.isatty():
        say(printable(text), err=True)


@contextmanager
def warnings_in_lines() -> Iterator[None]:
    """Within the block a warning is a line on standard error, without the code that it came from."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        say(f"langchain-rerank: warning: {printable(str(message))}", err=True)

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        # For the authors of a library, not for who runs a command.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.showwarning = show
        yield


def print_json(data: Any) -> None:
    """Print data as JSON, in which control characters of a document stand as their numbers."""
    # JSON itself asks for that below U+0020 only; a terminal obeys some of the others, too.
    typer.echo("".join(map(_escaped, json.dumps(data, ensure_ascii=False, indent=2))))


def print_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Print names and what is to say of each."""
    for name, value in facts:
        say(printable(value), lead=f"{printable(name):<12}")


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, title: str | None = None) -> None:
    """Print a table; the first column is text, of which a narrow terminal gets several lines, the rest are numbers."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, show_edge=False, padding=0)
    table.add_column(header[0], overflow="fold")
    for name in header[1:]:
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*(escape(printable(cell)) for cell in row))
    # A pipe has no width: there, as wide as the table is.
    console = Console()
    Console(width=None if console.is_terminal else 200).print(table)


def print_documents(documents: Sequence[Document]) -> None:
    """Print documents with name, score and the beginning of the text."""
    if not documents:
        typer.echo("(nothing found)")
    for place, document in enumerate(documents, start=1):
        score = document.metadata.get("relevance_score")
        shown = "" if score is None else f"  {score:.3f} ({document.metadata['relevance_kind']})"
        typer.echo(f"{place}. {printable(str(document.id))}{shown}")
        say(_beginning(printable(document.page_content)), lead="   ")


def _beginning(text: str) -> str:
    return text if len(text) <= PREVIEW else text[:PREVIEW].rstrip() + "…"


def as_data(documents: Sequence[Document]) -> list[dict[str, Any]]:
    """Turn documents into JSON data."""
    return [{"id": one.id, "page_content": one.page_content, "metadata": one.metadata} for one in documents]
