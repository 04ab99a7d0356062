"""Loading without its short measurement, for tests that ask for a backend and look at its values."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from langchain_rerank_retriever.runtime.choosing.clock import Clock

Script = Callable[[Mapping[str, float]], None]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("LANGCHAIN_RERANK_CACHE", str(folder))
    return folder


@pytest.fixture
def speeds(monkeypatch: pytest.MonkeyPatch) -> Iterator[Script]:
    """Nothing is timed: what is not named in the script takes a second, on one core."""
    script: dict[str, float] = {}

    def best(self: Clock, runs: Mapping[str, Any]) -> dict[str, float]:
        return {name: script.get(name, 1.0) for name in runs}

    monkeypatch.setattr(Clock, "best", best)
    monkeypatch.setattr("langchain_rerank_retriever.runtime.choosing.choice.cores", lambda: 1)
    return script.update
