"""G19: a tuning run killed at any moment goes on from its newest complete checkpoint, and ends as an unbroken one."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.training.conftest import bi_encoder, language_model

from . import killed_tuning
from .scale import at_scale

__all__ = ["bi_encoder", "language_model"]

KILLS = at_scale(4, 4, 50)


@pytest.mark.slow
@pytest.mark.timeout(at_scale(900, 900, 7200))
def test_killed_runs_go_on_and_end_as_unbroken_ones(
    bi_encoder: Path, tmp_path: Path, goal: Any, seed: int
) -> None:
    killed_tuning.CONTEXT.set_forkserver_preload(
        ["langchain_rerank_retriever.training", "sentence_transformers"]
    )
    with goal("G19") as count:

        def say(counts: Counter[str]) -> None:
            count.done = counts["kills"]

        counts = killed_tuning.run(KILLS, bi_encoder, tmp_path, say=say, seed=seed)
        count.note = (
            f"{counts['killed while training']} while an encoder trained, {counts['runs ended']} runs ended"
        )
        assert counts["kills"] == KILLS
        assert counts["runs ended"] >= 1
        assert counts["the earlier bundle"] >= 1
