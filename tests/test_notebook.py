"""The notebook runs from top to bottom, and the one that is kept shows a real run and names nobody's folders."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

NOTEBOOK = Path(__file__).parents[1] / "examples" / "story.ipynb"
LARGEST = 1_500_000

#: How a path of some machine begins, and where packages lie.
PATH = re.compile(
    r"(?<![\w./])/(?:home|root|tmp|usr|work|opt|var|Users|private)/|[A-Z]:\\\\Users|site-packages"
)

#: What the cells show, by the beginning of a line of their source: a kind of output, and a pattern in it.
SHOWN = {
    'print(f"{len(documents)} documents': (
        "text/plain",
        r"\d+ documents of \d+ modules\n\d+ questions to tune on",
    ),
    "base\n": ("text/html", r"<caption>base: \d+ queries</caption>"),
    "retriever.explain(": ("text/html", r"8 candidates</caption>.*<th[^>]*>dense</th>"),
    "attribute(base)": ("text/html", r"among the first 10 \(lost by their order\)"),
    "plot_means(poolings)": ("image/png", ""),
    "plot_means([base, lexical, hybrid])": ("image/png", ""),
    "result\n": ("text/html", r"held-out queries; \* is what the bundle serves.*95% interval"),
    "comparison\n": ("text/html", r"nDCG@10 over \d+ queries.*verdict"),
    "plot_means([base, lexical, hybrid, served])": ("image/png", ""),
    "plot_attribution(": ("image/png", ""),
    "plot_similarities(": ("image/png", ""),
    "plot_latency(": ("image/png", ""),
    "plot_depth(": ("image/png", ""),
    "page = html_report(": ("text/plain", r"report.html: \d+ KiB"),
    "opened = RerankRetriever.load_local(": ("text/plain", r"(\d\.\d{3}  [\w.]+\n){3}"),
    "print(chain.invoke(": ("text/plain", r"^\[1\] [\w.]+: .* \.\.\.\n"),
}


def outputs_of(cell: Any) -> dict[str, str]:
    """What a cell shows, by kind; what it prints is plain text."""
    shown: dict[str, str] = {}
    for output in cell.outputs:
        data = {"text/plain": output.text} if output.output_type == "stream" else output.get("data", {})
        for kind, text in data.items():
            shown[kind] = shown.get(kind, "") + text
    return shown


def check_shown(notebook: Any) -> None:
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for beginning, (kind, pattern) in SHOWN.items():
        (cell,) = [one for one in cells if f"\n{beginning}" in f"\n{one.source}\n"]
        shown = outputs_of(cell)
        assert kind in shown, beginning
        assert re.search(pattern, shown[kind], re.DOTALL | re.MULTILINE), (beginning, shown[kind][:500])


@pytest.fixture
def kept() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)


def test_the_kept_one_has_been_run_in_order_without_an_error(kept: Any) -> None:
    cells = [cell for cell in kept.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert {output.output_type for cell in cells for output in cell.outputs} <= {"stream", "execute_result"}
    assert not [output for cell in cells for output in cell.outputs if output.get("name") == "stderr"]
    check_shown(kept)


def test_the_kept_one_is_small_and_names_no_folder(kept: Any) -> None:
    nbformat.validate(kept)
    assert NOTEBOOK.stat().st_size < LARGEST
    # Pictures are letters in which anything may occur.
    text = re.sub(r'"image/png": "[^"]*"', "", json.dumps(kept, ensure_ascii=False))
    assert not PATH.findall(text)


@pytest.mark.parametrize(
    "text",
    [
        "in /home/ann/x",
        '"/root/.venv"',
        r"C:\\Users\\ann",
        "lib/site-packages/x.py",
        "(/tmp/tmpab1/docs-bundle)",
    ],
)
def test_folders_are_found(text: str) -> None:
    assert PATH.search(text)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_it_runs(tmp_path: Path, kept: Any) -> None:
    """In a process of its own, which speaks to the notebook's over loopback; tests may not open sockets."""
    for cell in kept.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    copy = tmp_path / NOTEBOOK.name
    nbformat.write(kept, copy)
    ended = subprocess.run(
        [sys.executable, "-c", "from nbclient.cli import main; main()", "--inplace", "--timeout=600", copy],
        env={**os.environ, "STORY_MINUTES": "0", "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    check_shown(nbformat.read(copy, as_version=4))
