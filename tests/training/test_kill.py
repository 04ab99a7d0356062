from pathlib import Path

import pytest

from . import kill


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_runs_go_on_and_end_as_unbroken_ones(bi_encoder: Path, tmp_path: Path) -> None:
    kill.CONTEXT.set_forkserver_preload(["langchain_rerank_retriever.training", "sentence_transformers"])
    counts = kill.run(4, bi_encoder, tmp_path, say=lambda _line: None)
    assert counts["kills"] == 4
    assert counts["runs ended"] >= 1
    assert counts["the earlier bundle"] >= 1
