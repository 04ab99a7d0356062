"""When the scoring of a query's candidates may end before all are scored: what was fitted for it.

Only the fitted form lives here; how it is fitted, and how often it errs, is the training room's business.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

#: Calibration of blended scores: slope, intercept.
Logistic = tuple[float, float]


@dataclass(frozen=True, slots=True)
class EarlyStop:
    """Where to look on the way, and how far ahead the best must be for the rest to be left unscored.

    Attributes:
        fetch_k: How many candidates there were at most when this was fitted; with more it says nothing.
        margins: For 1, 2, ... returned documents: the lead over what is unscored (see `BlendVariant.leads`) at which
            scoring ends. None where no margin keeps what was promised.
        looks: After how many scored candidates to look, and the calibration of blended scores when scoring ends
            there: standardised over fewer candidates, they spread differently.
    """

    fetch_k: int
    margins: tuple[float | None, ...]
    looks: Mapping[int, Logistic]

    def margin(self, place: int) -> float | None:
        """Return the margin for what stands at a place of the order, counted from 1; None where there is none."""
        return self.margins[place - 1] if place <= len(self.margins) else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {
            "fetch_k": self.fetch_k,
            "margins": list(self.margins),
            "looks": {str(count): list(logistic) for count, logistic in self.looks.items()},
        }

    @classmethod
    def from_dict(cls, data: Any) -> "EarlyStop":
        """Read what `to_dict` wrote.

        Raises:
            ValueError: If the numbers cannot be what was fitted; also KeyError, TypeError or AttributeError for data
                of another shape.
        """
        margins = tuple(None if margin is None else float(margin) for margin in data["margins"])
        looks = {int(count): (float(slope), float(shift)) for count, (slope, shift) in data["looks"].items()}
        numbers = [margin for margin in margins if margin is not None]
        numbers += [number for logistic in looks.values() for number in logistic]
        if not np.isfinite(numbers).all() or any(slope <= 0 for slope, _ in looks.values()):
            raise ValueError(f"margins and calibrations must be finite and slopes positive, got {data}")
        if any(count < 1 for count in looks) or int(data["fetch_k"]) < 1:
            raise ValueError(f"looks and fetch_k must be at least 1, got {data}")
        return cls(int(data["fetch_k"]), margins, dict(sorted(looks.items())))
