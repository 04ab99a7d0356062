"""The commands and what they take; what they do is in the modules of their names."""

import errno
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from langchain_rerank_retriever import __version__
from langchain_rerank_retriever.cli.filling import index, tune
from langchain_rerank_retriever.cli.judging import compare, evaluate
from langchain_rerank_retriever.cli.options import Backend, BatchSize, Count, Device, Json, Precision
from langchain_rerank_retriever.cli.output import printable, say, warnings_in_lines
from langchain_rerank_retriever.errors import RerankError

USER_MISTAKE = 2
BROKEN_PIPE = 141  # 128 + SIGPIPE, what a shell reports for a program that a closed pipe ended

#: How a disk says that it takes no more.
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)

#: What typer raises for what was typed; it has no other public name.
_UsageError: Any = typer.BadParameter.__base__


class PlainErrors(TyperGroup):
    """Tells a mistake in what was typed in one plain line, in place of a box around several."""

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **how: Any) -> Any:
        """Read the options before the name of a command."""
        with _mistakes_in_a_line():
            return super().make_context(info_name, args, *rest, **how)

    def invoke(self, ctx: Any) -> Any:
        """Find the command, read its options and run it."""
        with _mistakes_in_a_line(ctx):
            return super().invoke(ctx)


@contextmanager
def _mistakes_in_a_line(group: Any = None) -> Iterator[None]:
    try:
        yield
    except _UsageError as error:
        message = printable(error.format_message())
        if not message:
            raise  # Without arguments help is shown.
        command = "langchain-rerank"
        if error.ctx is not None:
            command = error.ctx.command_path
        elif group is not None:  # a missing value, of which the parser does not say whose it is
            command = f"{group.command_path} {group.invoked_subcommand}"
        say(f"langchain-rerank: {message.rstrip('.')}. Try '{command} --help'.", err=True)
        sys.exit(USER_MISTAKE)


app = typer.Typer(
    name="langchain-rerank",
    help="Recall with a bi-encoder, re-rank with a cross-encoder, tune both on your own data.",
    no_args_is_help=True,
    cls=PlainErrors,
    add_completion=True,
    pretty_exceptions_enable=False,
)


def _version(value: bool) -> None:  # typer's callback signature
    if value:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[  # handled by its callback
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def demo(  # one parameter an option
    packages: Annotated[
        str | None,
        typer.Option(help="Packages to walk, separated by commas; without it, numpy,scipy,sklearn,pandas."),
    ] = None,
    query: Annotated[
        str | None, typer.Option(help="Ask this of the saved bundle instead of training anew.")
    ] = None,
    minutes: Annotated[float, typer.Option(help="Budget for tuning and judging.")] = 8.0,
    output: Annotated[Path, typer.Option(help="Folder of the bundle.")] = Path("demo-bundle"),
    k: Count = 3,
    json_: Json = False,
) -> None:
    """Tune on the documentation of the Python packages installed here, and answer questions from it.

    Example: langchain-rerank demo --query "invert a matrix"
    """
    from langchain_rerank_retriever.cli import demo as command

    if query is not None:
        command.ask(query, output, k=k, as_json=json_)
    else:
        names = None if packages is None else [name.strip() for name in packages.split(",")]
        command.run(names, minutes=minutes, output=output, k=k, as_json=json_)


app.command()(index)
app.command()(tune)


@app.command()
def search(
    bundle: Annotated[Path, typer.Argument(help="Folder that tune or save_local wrote.")],
    query: Annotated[str, typer.Argument(help="What to search for.")],
    k: Count = 4,
    fetch_k: Annotated[int | None, typer.Option(min=1, help="How many candidates to re-rank.")] = None,
    recall_mode: Annotated[
        str | None, typer.Option(help="dense, lexical or hybrid; without it, as the bundle was tuned.")
    ] = None,
    collapse: Annotated[
        str | None,
        typer.Option(help="Metadata key of which each value comes once: parent, for the best chunk of each."),
    ] = None,
    precision: Precision = None,
    backend: Backend = None,
    device: Device = None,
    batch_size: BatchSize = None,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Show every candidate with its scores, and whether the cross-encoder read it in part.",
        ),
    ] = False,
    json_: Json = False,
) -> None:
    """Search a bundle.

    Example: langchain-rerank search demo-bundle "invert a matrix" --explain
    """
    from langchain_rerank_retriever.bundled_model import Placed
    from langchain_rerank_retriever.cli import search as command

    placed = Placed(precision=precision, backend=backend, device=device, batch_size=batch_size)
    asked = command.Asked(k=k, fetch_k=fetch_k, recall_mode=recall_mode, collapse=collapse)
    command.run(bundle, query, asked, placed, explain=explain, as_json=json_)


@app.command()
def info(
    bundle: Annotated[Path, typer.Argument(help="Folder that tune or save_local wrote.")], json_: Json = False
) -> None:
    """Say what a bundle holds.

    Example: langchain-rerank info demo-bundle
    """
    from langchain_rerank_retriever.cli import info as command

    command.run(bundle, as_json=json_)


@app.command()
def verify(
    bundle: Annotated[Path, typer.Argument(help="Folder that tune or save_local wrote.")],
    deep: Annotated[bool, typer.Option("--deep", help="Check every vector as well.")] = False,
    json_: Json = False,
) -> None:
    """Check a bundle; exits with 1 where something is wrong.

    Example: langchain-rerank verify demo-bundle --deep
    """
    from langchain_rerank_retriever.cli import verify as command

    if not command.run(bundle, deep=deep, as_json=json_):
        raise typer.Exit(1)


@app.command()
def repair(
    bundle: Annotated[Path, typer.Argument(help="Folder that tune or save_local wrote.")], json_: Json = False
) -> None:
    """Make anew what is derived from a bundle's documents, where it is wrong; exits with 1 where that is not enough.

    Example: langchain-rerank repair demo-bundle
    """
    from langchain_rerank_retriever.cli import repair as command

    if not command.run(bundle, as_json=json_):
        raise typer.Exit(1)


app.command()(evaluate)
app.command()(compare)


@app.command()
def bench(  # one parameter an option
    bundle: Annotated[
        Path | None,
        typer.Argument(help="Folder that tune or save_local wrote; without one, the demo's small model."),
    ] = None,
    queries: Annotated[int, typer.Option(min=1, help="How many queries to ask, made of its documents.")] = 20,
    rounds: Annotated[int, typer.Option(min=1, help="How often bulk work is repeated.")] = 3,
    seed: Annotated[int, typer.Option(help="Of the draw of documents.")] = 0,
    langchain: Annotated[
        bool, typer.Option(help="Compare with LangChain's recipe where it is installed; takes longer.")
    ] = True,
    precision: Precision = None,
    backend: Backend = None,
    device: Device = None,
    batch_size: BatchSize = None,
    json_: Json = False,
) -> None:
    """Measure how fast a bundle is on this machine, and next to LangChain's usual recipe. Changes nothing.

    Example: langchain-rerank bench demo-bundle --precision int8
    """
    from langchain_rerank_retriever.bundled_model import Placed
    from langchain_rerank_retriever.cli import bench as command

    placed = Placed(precision=precision, backend=backend, device=device, batch_size=batch_size)
    command.run(bundle, placed, queries=queries, rounds=rounds, seed=seed, compare=langchain, as_json=json_)


def main() -> None:
    """Run the command line; a mistake of the user's is one line on standard error and exit code 2."""
    # Bars of libraries that load models would mix with ours, and say nothing that a user of a command needs.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    logging.getLogger("sentence_transformers").setLevel(logging.WARNING)
    try:
        with warnings_in_lines():
            app(prog_name="langchain-rerank")
    except RerankError as error:
        say(f"langchain-rerank: {printable(str(error))}", err=True)
        sys.exit(USER_MISTAKE)
    except SystemExit as ended:
        # typer makes exit code 1 of a closed pipe, which here would say that the answer is "no".
        if isinstance(ended.__context__, BrokenPipeError):
            _give_up_output()
            sys.exit(BROKEN_PIPE)
        raise
    except OSError as error:
        if error.errno not in _DISK_FULL:
            raise
        _give_up_output()
        say(f"langchain-rerank: The output cannot be written: {error}.", err=True)
        sys.exit(USER_MISTAKE)


def _give_up_output() -> None:
    """Have the interpreter not complain once more when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
