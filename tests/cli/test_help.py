"""Help: an example for each command that can be typed as it stands, and completion of the shell."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator

import pytest
import typer

from langchain_rerank_retriever.cli.app import app

#: From its name up to the next paragraph.
EXAMPLE = re.compile(r"langchain-rerank (.+?)(?:\n\n|$)", re.DOTALL)

#: As the console script is called.
CODE = "import sys; sys.argv[0] = 'langchain-rerank'; from langchain_rerank_retriever.cli import main; main()"
COMMANDS = (
    "bench",
    "compare",
    "demo",
    "evaluate",
    "index",
    "info",
    "repair",
    "search",
    "tune",
    "verify",
)

group = typer.main.get_command(app)


def examples() -> Iterator[tuple[str, str]]:
    for name, command in sorted(group.commands.items()):
        for found in EXAMPLE.findall(command.help):
            yield name, " ".join(found.split())


def test_every_command_has_an_example() -> None:
    assert sorted(group.commands) == sorted(COMMANDS)
    assert {name for name, _ in examples()} == set(COMMANDS)


@pytest.mark.parametrize(("name", "example"), list(examples()))
def test_an_example_can_be_typed(name: str, example: str) -> None:
    """Its options exist, their values are of the right kind, and nothing that is needed is missing."""
    typed, *arguments = shlex.split(example)
    assert typed == name
    context = group.commands[name].make_context(name, arguments, parent=group.context_class(group))
    assert context.args == []


def test_documents_and_training_data_are_told_apart() -> None:
    def parameters(*arguments: str) -> tuple[list[str], str]:
        given = group.commands["tune"].make_context("tune", list(arguments)).params
        return [str(path) for path in given["documents"] or []], str(given["training_data"])

    assert parameters("a", "b", "train") == (["a", "b"], "train")
    assert parameters("train", "--bundle", "x") == ([], "train")


@pytest.mark.parametrize("name", COMMANDS)
def test_help_prints_nothing_but_help(name: str) -> None:
    options = {option for one in group.commands[name].params for option in one.opts}
    assert "--json" in options
    assert all(one.help for one in group.commands[name].params), name


def ended(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CODE, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "80", **environment},
    )


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_completion(shell: str) -> None:
    """A shell that is not the one this runs in is named, as a packager does it."""
    done = ended("--show-completion", shell, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"complete_{shell}" in done.stdout
    assert "langchain-rerank" in done.stdout
    assert "_LANGCHAIN_RERANK_COMPLETE" in done.stdout


def test_completion_of_commands_and_options() -> None:
    asked = {"_LANGCHAIN_RERANK_COMPLETE": "complete_bash"}
    done = ended(COMP_WORDS="langchain-rerank in", COMP_CWORD="1", **asked)
    assert done.stdout.split() == ["index", "info"]
    done = ended(COMP_WORDS="langchain-rerank tune --re", COMP_CWORD="2", **asked)
    assert done.stdout.split() == ["--reranker", "--resume"]


def test_help_fits_a_terminal_and_has_no_colours_where_none_are_wanted() -> None:
    for name in ("index", "tune"):
        done = ended(name, "--help", NO_COLOR="1", FORCE_COLOR="1")
        assert done.returncode == 0
        assert max(map(len, re.sub("\x1b\\[[0-9;]*m", "", done.stdout).splitlines())) == 80
        assert "\x1b[3" not in done.stdout
