"""A toy task that a tiny model can learn in seconds."""

import pytest

from tests.training.conftest import PLACES, SUBJECTS

#: Query and relevant passage: one pair for each animal and place.
PAIRS = [
    (f"where is {one} with {other}", f"The {one} lives in the {other} and sleeps number {number}.")
    for number, (one, other) in enumerate((one, other) for one in SUBJECTS for other in PLACES)
]


@pytest.fixture
def pairs() -> list[tuple[str, str]]:
    return list(PAIRS)
