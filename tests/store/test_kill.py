from pathlib import Path

from .kill import run


def test_a_killed_writer_leaves_the_state_before_or_after_its_call(tmp_path: Path) -> None:
    counts = run(
        kills=15, documents=500, batch=60, seconds=0.25, seed=7, folder=tmp_path, say=lambda line: None
    )
    assert counts["kills"] == 15
    assert counts["acknowledged"] > 15
    assert counts["interrupted, done"] + counts["interrupted, not done"] > 0
    assert counts["with a snapshot"] > 5
