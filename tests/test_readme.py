"""What the README shows is true: its examples run and print what their comments say."""

import re
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
RUNNABLE = [block for block in BLOCKS if "get_model_path" in block]


def test_there_is_an_english_and_a_korean_example():
    assert len(RUNNABLE) == 2


@pytest.mark.parametrize("block", RUNNABLE, ids=["english", "korean"])
def test_example_prints_what_its_comment_says(block, capsys):
    promised = re.findall(r"print\(.*\)  # (.+)", block)
    exec(compile(block, "README.md", "exec"), {"__name__": "readme"})
    assert capsys.readouterr().out.splitlines() == promised


@pytest.mark.parametrize("block", BLOCKS)
def test_every_block_is_python_of_names_that_exist(block):
    compile(block, "README.md", "exec")
    for names in re.findall(r"from langchain_rerank_retriever import (.+)", block):
        import langchain_rerank_retriever

        for name in names.split(", "):
            assert name in langchain_rerank_retriever.__all__


@pytest.mark.parametrize("command", sorted(set(re.findall(r"langchain-rerank ([a-z]+)", README))))
def test_every_command_exists(command):
    from typer.testing import CliRunner

    from langchain_rerank_retriever.cli.app import app

    assert CliRunner().invoke(app, [command, "--help"]).exit_code == 0
