from pathlib import Path

import pytest

from .kill import run


@pytest.mark.parametrize("index", ["flat", "hnsw"])
def test_a_killed_writer_leaves_the_state_before_or_after_its_call(tmp_path: Path, index: str) -> None:
    counts = run(
        kills=12,
        documents=500,
        batch=60,
        seconds=0.4,
        seed=7,
        index=index,
        folder=tmp_path,
        say=lambda line: None,
    )
    assert counts["kills"] == 12
    assert counts["acknowledged"] > 0
    assert counts["interrupted, done"] + counts["interrupted, not done"] > 0
    assert counts["with a snapshot"] > 5
