"""Every example runs with the small model and prints what it promises; none is longer than a page."""

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FOLDER = Path(__file__).parents[1] / "examples"
#: Tested below, with real servers by tests/engines, and in tests/distributed.
ELSEWHERE = {"compression_retriever", "milvus", "pgvector", "ray_encode"}

Example = Callable[[str], ModuleType]


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Example:
    """Import an example as its own folder's scripts do each other, and work in an empty folder."""
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.chdir(tmp_path)
    return importlib.import_module


#: What each is called with, and some of what it prints.
CASES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "quick_start": (
        {"question": "How long may I keep it before returning it?"},
        ["returns: ", "about money: returns"],
    ),
    "rag_chain": (
        {"question": "Can I pay in instalments?"},
        ["We take all credit and debit cards", "[1] faq-12", "[3] "],
    ),
    "agent_tool": (
        {"question": "Do you ship abroad?"},
        ["ai: calls shop_faq", "tool: ", "ai: That is what", "'faq-4'"],
    ),
    "tune_faq": (
        {"steps": 1},
        ["held-out queries", "How long do I have to return something? -> Parcels can"],
    ),
    "faq_korean": (
        {"steps": 1},
        ["학습 전: 로그인 화면에서", "held-out queries", "답: 결제 화면에서 쿠폰을"],
    ),
    "language_model": ({"steps": 1}, ["cls:", "mean:", "max:", "Spearman"]),
    "compare_retrievers": ({"html": Path("report.html")}, ["in memory", "dense + BM25", "among the first 1"]),
    "long_documents": (
        {"question": "How does a program read its command line?"},
        ["argparse (", "best in argparse:"],
    ),
}


#: Those that train.
SLOW = {"tune_faq", "faq_korean", "language_model"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in CASES]
)
def test_it_prints_what_it_promises(name: str, example: Example, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, promised = CASES[name]
    example(name).main(**arguments)
    printed = capsys.readouterr().out
    for text in promised:
        assert text in printed
    if "html" in arguments:
        assert "</html>" in arguments["html"].read_text(encoding="utf-8")


def test_the_swapped_in_reranker_orders_and_keeps_two(
    example: Example, capsys: pytest.CaptureFixture[str]
) -> None:
    module = example("compression_retriever")
    module.main()
    lines = [line.split(" ", 1) for line in capsys.readouterr().out.splitlines()]
    scores = [float(score) for score, _ in lines]
    assert len(lines) == 2
    assert {text for _, text in lines} < set(module.TEXTS)
    assert scores == sorted(scores, reverse=True)


def test_none_is_forgotten_and_none_is_long() -> None:
    found = {path.stem: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.py")}
    assert found.keys() == CASES.keys() | ELSEWHERE
    assert {name: text.count("\n") for name, text in found.items() if text.count("\n") > 60} == {}


@pytest.mark.parametrize("name", ["faq", "faq_ko"])
def test_the_faqs_are_whole(name: str, example: Example) -> None:
    documents, questions = example("tune_faq").read(FOLDER / "data" / f"{name}.csv")
    assert {row["document_id"] for row in questions} == {document.id for document in documents}
    assert len(documents) >= 20
    assert len(questions) >= 3 * len(documents) - 3
    assert all(document.page_content.strip() and len(document.page_content) > 20 for document in documents)
