"""From blended scores to probabilities, how true these are, and which threshold keeps the relevant candidates."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from langchain_rerank_retriever.blend import BlendVariant
from langchain_rerank_retriever.recall.fusion import Floats

BINS = 10

#: Shares of the relevant candidates to keep.
KEPT = (0.95, 0.99)


@dataclass(frozen=True, slots=True)
class Threshold:
    """A lowest probability, and what it costs and saves.

    Attributes:
        threshold: As `score_threshold`: candidates below it are dropped.
        dropped: The share of all candidates that is below it.
    """

    threshold: float
    dropped: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """How true the probabilities are, over all candidates of queries that they were not fitted on.

    Attributes:
        ece: Expected calibration error, 0 to 1; see `expected_calibration_error`.
        queries: How many queries the candidates are of.
        thresholds: By the share of the relevant candidates that is kept, `"0.95"` and `"0.99"`.
    """

    ece: float
    queries: int
    thresholds: Mapping[str, Threshold]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return asdict(self)


def calibrated(variant: BlendVariant, scores: Floats, relevant: Floats) -> BlendVariant | None:
    """Fit the logistic of a variant (Platt 1999).

    Args:
        variant: The variant; only its slope and intercept are fitted.
        scores: Its blended scores, shape ``(n,)``.
        relevant: 1.0 or 0.0 for each.

    Returns:
        The variant, or None where the scores do not tell relevant from not relevant.
    """
    from sklearn.linear_model import LogisticRegression

    spread = float(scores.std()) if scores.size else 0.0
    if spread == 0 or relevant.min() == relevant.max():
        return None
    # Two parameters on thousands of pairs need no regularisation; C only keeps separable data finite. It is fitted on
    # scores of deviation 1: those of reciprocal ranks differ by hundredths, for which C would be a strong hold.
    fitted = LogisticRegression(C=1e3).fit(scores[:, None] / spread, relevant)
    slope, intercept = float(fitted.coef_[0, 0]) / spread, float(fitted.intercept_[0])
    return replace(variant, slope=slope, intercept=intercept) if slope > 0 else None


def calibration_of(probability: Floats, relevant: Floats, *, queries: int) -> Calibration | None:
    """Judge probabilities.

    Args:
        probability: Of candidates of queries that the probabilities were not fitted on, shape ``(n,)``.
        relevant: 1.0 or 0.0 for each.
        queries: How many queries they are of.

    Returns:
        None where no candidate is relevant: no threshold could keep any.
    """
    if not relevant.any():
        return None
    kept = {f"{share:g}": threshold_keeping(probability, relevant, share) for share in KEPT}
    return Calibration(expected_calibration_error(probability, relevant), queries, kept)


def expected_calibration_error(probability: Floats, relevant: Floats, *, bins: int = BINS) -> float:
    """Give the expected calibration error (Naeini et al. 2015) over equal-mass bins (Nguyen and O'Connor 2015).

    Args:
        probability: Shape ``(n,)``.
        relevant: 1.0 or 0.0 for each.
        bins: Each holds as many candidates as any other, as far as ties allow.

    Returns:
        The mean over all candidates of the difference, within the candidate's bin, of the mean probability and the
        share that is relevant.
    """
    from sklearn.calibration import calibration_curve

    share, mean = calibration_curve(relevant, probability, n_bins=bins, strategy="quantile")
    # The curve leaves out how many candidates each bin holds, and bins that ties leave empty: as it divides them.
    # As scikit-learn computes them: the last bit decides on which side of an edge its equals fall.
    edges = np.percentile(probability, np.linspace(0, 1, bins + 1) * 100)
    held = np.bincount(np.searchsorted(edges[1:-1], probability), minlength=bins)
    return float(np.average(np.abs(share - mean), weights=held[held > 0]))


def threshold_keeping(probability: Floats, relevant: Floats, share: float) -> Threshold:
    """Find the highest threshold that keeps a share of the relevant candidates.

    Args:
        probability: Shape ``(n,)``.
        relevant: 1.0 or 0.0 for each, at least one of them 1.0.
        share: How many of the relevant ones to keep at least, above 0 and at most 1.
    """
    best_first = np.sort(probability[relevant > 0])[::-1]
    # A little less than the product, which floats may put just above a whole number.
    threshold = float(best_first[math.ceil(share * best_first.size - 1e-9) - 1])
    return Threshold(threshold, float(np.mean(probability < threshold)))
