"""Processes on one folder, some of which are killed: what was acknowledged is there, and others see it."""

from pathlib import Path
from typing import Any

import pytest

from .operations_loop import pace
from .processes import Family, Ledger, differences, ledgers
from .scale import at_scale


@pytest.mark.parametrize("busy", [False, True], ids=["quiet", "busy"])
def test_acknowledged_calls_add_up(goal: Any, seed: int, tmp_path: Path, busy: bool) -> None:
    family = Family(tmp_path, seed, index="hnsw" if busy else "flat")
    with goal("G10") as count, pace(busy=busy):
        try:
            family.run(
                kills=at_scale(2, 12, 100), calls=at_scale(60, 500, 10_000), pause=at_scale(0.1, 0.3, 2.0)
            )
        finally:
            count.done = family.kills
        found = list(differences(tmp_path))
        count.failures = len(found)
        count.note = f"{'busy' if busy else 'quiet'}: {family.calls:,} calls"
        assert found == []
        assert sum(Ledger.read(file).sightings for file in ledgers(tmp_path)) > 10
