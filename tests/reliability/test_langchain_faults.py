"""The faults of examples/benchmarks/langchain_faiss_faults.py, to FaissStore alone: none of them does any harm."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from .scale import SCALE, at_scale

BENCHMARKS = Path(__file__).parents[2] / "examples" / "benchmarks"


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script, which finds its other module beside it."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    import langchain_faiss_faults

    return langchain_faiss_faults


FAULTS: dict[str, Callable[[Any, int], Callable[[Any], Any]]] = {
    "killed saves": lambda script, seed: partial(script.killed_saves, folders=at_scale(2, 5, 40), seed=seed),
    "two processes": lambda script, _: partial(script.two_processes, adds=at_scale(8, 20, 200)),
    "threads": lambda script, _: partial(script.threads, seconds=at_scale(0.5, 1.0, 5.0)),
    "flipped bits": lambda script, seed: partial(script.flipped_bits, files=at_scale(0, 2, 40), seed=seed),
    "an existing id": lambda script, _: script.existing_id,
    "a rare filter": lambda script, _: script.rare_filter,
    "a wrong length": lambda script, _: script.wrong_length,
    "NaN": lambda script, _: script.nan_vector,
}


@pytest.mark.parametrize("name", FAULTS)
def test_no_harm(faults: Any, name: str, tmp_path: Path, seed: int) -> None:
    if name == "flipped bits" and SCALE == "everyday":
        pytest.skip("needs 20,000 documents")
    from langchain_faiss_sides import Trial, ours

    outcome = FAULTS[name](faults, seed)(Trial(ours(), tmp_path))
    assert outcome.wrong == 0, outcome.told
