"""Any number of threads read and change one store; every answer shows one state."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from langchain_rerank_retriever.store import FaissStore

from .operations_loop import pace
from .scale import SCALE, at_scale
from .threads import Crowd, History
from .threads_reads import EMBEDDINGS


@pytest.mark.parametrize("kind", ["in memory", "in a folder", "busy"])
def test_every_answer_shows_one_state(goal: Any, seed: int, tmp_path: Path, kind: str) -> None:
    """Writers keep pairs of documents that agree; a reader that sees half a pair has seen two states."""
    reads, limit = at_scale(640, 3_200, 333_600), at_scale(30.0, 60.0, 600.0)
    history, path = History(), None if kind == "in memory" else tmp_path / "store"
    with (
        goal("G8") as count,
        pace(busy=kind == "busy"),
        history.recording(),
        FaissStore(
            EMBEDDINGS, path=path, **({"index": "hnsw", "memory_map": True} if kind == "busy" else {})
        ) as store,
    ):
        crowd = Crowd(store, history, tmp_path / "copy", seed)
        crowd.fill()
        crowd.run(reads // 5, limit / 5, beside_writers=False)
        alone = crowd.seconds
        crowd.run(reads, limit, beside_writers=True)
        count.done = len(alone) + len(crowd.seconds)
        quiet, loud = (1000 * float(np.quantile(each, 0.99)) for each in (alone, crowd.seconds))
        count.note = f"{kind}: p99 {loud:.0f} ms beside {crowd.changed:,} changes, {quiet:.0f} ms without"
        count.failures = len(crowd.problems)
        assert crowd.problems[:3] == []
        assert crowd.changed > 20
        assert crowd.saved
        assert store.verify(deep=True).ok
        if kind == "busy":
            assert store.wait_until_ready(60).snapshot is not None
        if SCALE == "nightly" and path is not None:
            # In memory, where there is one connection, reads wait for writes.
            assert loud <= 3 * quiet
