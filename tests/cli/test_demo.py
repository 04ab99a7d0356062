"""The demo: on a part of numpy with a small random model, and as it is on all of numpy."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from langchain_rerank_retriever import RerankRetriever
from langchain_rerank_retriever.cli import corpus, demo

from .conftest import Finished

Run = Callable[..., Finished]

DOCUMENTS = 220


@pytest.fixture(scope="module")
def tuned() -> list[Any]:
    """What the first run tuned, for the second."""
    return []


@pytest.fixture
def small_demo(bi_encoder: Path, monkeypatch: pytest.MonkeyPatch, tuned: list[Any]) -> None:
    real = demo.tune

    def once(*arguments: Any, **kwargs: Any) -> Any:
        if not tuned:
            tuned.append(real(*arguments, **kwargs))
        else:
            tuned[0].retriever.save_local(kwargs["output_dir"])
        return tuned[0]

    monkeypatch.setattr(demo, "tune", once)
    monkeypatch.setattr(demo, "_language_model", lambda: str(bi_encoder))
    monkeypatch.setattr(demo, "HELD_OUT_QUERIES", 30)
    monkeypatch.setattr(demo, "walk_packages", lambda names: corpus.walk_packages(names, limit=DOCUMENTS))


@pytest.mark.usefixtures("small_demo")
@pytest.mark.parametrize("as_json", [True, False])
def test_a_small_demo(run: Run, tmp_path: Path, as_json: bool) -> None:
    target = tmp_path / "bundle"
    arguments: list[Any] = ["demo", "--packages", "numpy", "--minutes", "0.1", "--output", target, "-k", "2"]
    finished = run(*arguments, *(["--json"] if as_json else []))
    assert finished.code == 0
    assert finished.err == ""  # progress is for a terminal
    if as_json:
        check_json(json.loads(finished.out), k=2)
    else:
        assert all(name in finished.out for name in ("nDCG@10", "BM25", "base recall", "tuned recall"))
        assert all(question in finished.out for question in demo.QUESTIONS)
        assert "30 held-out queries" in finished.out or "held-out queries" in finished.out
    retriever = RerankRetriever.load_local(target, read_only=True)
    assert len(retriever.recall) == DOCUMENTS
    asked = run("demo", "--query", demo.QUESTIONS[0], "--output", target, "-k", "2", "--json")
    found = [one["id"] for one in json.loads(asked.out)["documents"]]
    assert found == [str(one.id) for one in retriever.invoke(demo.QUESTIONS[0], k=2)]
    assert all(f"{name}" in finished.out for name in found)


def check_json(data: dict[str, Any], *, k: int) -> None:
    names = [system["name"] for system in data["systems"]]
    assert names[0] == "base"
    assert data["chosen"] in names
    for system in data["systems"]:
        assert {"nDCG@10", "Success@10", "RR@10", "R@100"} <= set(system["measures"])
        assert set(system["latency_ms"]) == {"p50", "p95"}
    assert data["held_out_queries"] > 10
    assert list(data["answers"]) == list(demo.QUESTIONS)
    assert all(len(documents) == k for documents in data["answers"].values())


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.timeout(900)  # without AVX-512 its two indexings alone take some minutes
def test_the_demo_on_numpy(minilm_folder: Path, tmp_path: Path) -> None:
    code = "from langchain_rerank_retriever.cli import main; main()"
    target = tmp_path / "bundle"
    arguments = ["demo", "--packages", "numpy", "--minutes", "1", "--output", str(target), "--json"]
    finished = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    data = json.loads(finished.stdout)
    check_json(data, k=3)
    by_name = {system["name"]: system["measures"]["nDCG@10"] for system in data["systems"]}
    assert by_name[data["chosen"]] > by_name["base"] > 0.3
