"""After millions of operations a process takes no more of the machine than after the first thousands."""

import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

from langchain_rerank_retriever.store import snapshots, upkeep

from .operations_loop import FAST
from .scale import at_scale
from .soak import Use, growth, size

#: Growth that is asked for, and what any process may move by without a leak.
BYTES_PER_OPERATION, UNEVEN = 5 * 2**20 / 100_000, 8 * 2**20
SAMPLES = 20


def test_nothing_grows(goal: Any, seed: int) -> None:
    operations, limit = at_scale(1_200, 5_000, 2_000_000), at_scale(120.0, 120.0, 3_600.0)
    with (
        goal("G21") as count,
        # So that snapshots are written over and over.
        patch.object(snapshots, "MIN_ROWS", 1_000),
        patch.object(snapshots, "DRIFT", 0.5),
        patch.object(upkeep, "QUIET", 0.05),
        patch.object(upkeep, "PATIENCE", 1.0),
        tempfile.TemporaryDirectory(dir=FAST) as folder,
    ):
        use = Use(Path(folder) / "store", seed, documents=at_scale(1_000, 5_000, 20_000))
        started, samples = time.monotonic(), []
        while use.operations < operations and time.monotonic() < started + limit:
            use.step()
            count.done += 1
            # Whichever ends the run, it is looked at so often.
            gone = max(use.operations / operations, (time.monotonic() - started) / limit)
            if gone * SAMPLES >= len(samples) + 1:
                samples.append(use.sample())
        use.store.save_local(Path(folder) / "copy")
        use.store.close()
        taken, live = size(Path(folder) / "store"), size(Path(folder) / "copy")
        # The first quarter is for warming up.
        warm = samples[len(samples) // 4 :]
        slope = growth(warm)
        count.note = (
            f"{slope * 100_000 / 2**20:.2f} MB per 100,000 operations, {taken / live:.2f} times the live size"
        )
        assert slope * (warm[-1].operations - warm[0].operations) < max(
            UNEVEN, BYTES_PER_OPERATION * (warm[-1].operations - warm[0].operations)
        )
        assert len({each.files for each in warm}) == 1, samples
        assert len({each.threads for each in warm}) == 1, samples
        assert max(each.log for each in samples) < 64 * 2**20
        assert taken <= 2.2 * live
