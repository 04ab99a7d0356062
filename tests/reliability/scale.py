"""How much the tests of this folder do, by one setting.

`TEST_SCALE=everyday` (the default) takes seconds, `ci` minutes, and `nightly` runs the full numbers, which takes more
than an hour on two cores.
"""

import os
from typing import TypeVar

Amount = TypeVar("Amount", int, float)

SCALES = ("everyday", "ci", "nightly")
SCALE = os.environ.get("TEST_SCALE", "everyday")
if SCALE not in SCALES:
    raise ValueError(f"TEST_SCALE must be one of {', '.join(SCALES)}, got {SCALE!r}.")


def at_scale(everyday: Amount, ci: Amount, nightly: Amount) -> Amount:
    """The amount for this run."""
    return (everyday, ci, nightly)[SCALES.index(SCALE)]
