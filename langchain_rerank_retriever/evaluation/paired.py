"""Statistics of paired differences: the same queries, two systems. Pure functions of arrays.

Many columns of differences share their resamples, so that a p-value or an interval does not change when
another system or measure is compared along.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Resampled matrices are made in pieces of about this many numbers, to keep thousands of queries in little
#: memory.
_PIECE = 2_000_000


def sign_flip_p_values(differences: Floats, *, resamples: int, seed: int) -> Floats:
    """Two-sided paired randomisation test of a mean difference of 0.

    If the two systems are exchangeable, each query's difference is as likely to have the other sign. With m
    random assignments of signs, b of them with a mean at least as far from 0, p = (b + 1) / (m + 1): the
    observed assignment is one of those possible, and p is never 0 (Phipson and Smyth, 2010).

    Args:
        differences: Shape `(queries, columns)`.
        resamples: m.
        seed: Of the random signs.

    Returns:
        Shape `(columns,)`, each in (0, 1]; 1 where all differences are 0.
    """
    observed = np.abs(differences.sum(axis=0))
    # Sums of the same numbers in another order differ in their last digits and still count as equal.
    slack = 1e-12 * np.abs(differences).sum(axis=0)
    beyond = np.zeros(differences.shape[1], dtype=np.int64)
    rng = np.random.default_rng([seed, 0])
    for size in _pieces(resamples, len(differences)):
        signs = 2.0 * rng.integers(0, 2, size=(size, len(differences)), dtype=np.int8) - 1.0
        beyond += (np.abs(signs @ differences) >= observed - slack).sum(axis=0)
    return (beyond + 1) / (resamples + 1)


def bootstrap_intervals(
    differences: Floats, *, resamples: int, seed: int, confidence: float = 0.95
) -> tuple[Floats, Floats]:
    """Percentile bootstrap interval of each column's mean; whole queries are drawn, so pairs stay together.

    Args:
        differences: Shape `(queries, columns)`.
        resamples: How many samples of as many queries are drawn.
        seed: Of the draws.
        confidence: Of the interval.

    Returns:
        Lower and upper bounds, each of shape `(columns,)`.
    """
    queries = len(differences)
    rng = np.random.default_rng([seed, 1])
    means = []
    for size in _pieces(resamples, queries):
        drawn = rng.integers(queries, size=(size, queries)) + queries * np.arange(size)[:, None]
        times_drawn = np.bincount(drawn.ravel(), minlength=size * queries).reshape(size, queries)
        means.append(times_drawn @ differences / queries)
    tail = (1 - confidence) / 2
    lower, upper = np.quantile(np.concatenate(means), [tail, 1 - tail], axis=0)
    return lower, upper


def holm(p_values: Floats) -> Floats:
    """Correct several p-values so that all comparisons together err as seldom as one (Holm, 1979).

    Args:
        p_values: Shape `(comparisons,)`.

    Returns:
        In the same order: with the smallest first, each times the number of comparisons not yet passed, never
        below the one before it and never above 1.
    """
    order = np.argsort(p_values, kind="stable")
    scaled = p_values[order] * np.arange(len(p_values), 0, -1)
    corrected = np.empty_like(p_values)
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return corrected


def _pieces(resamples: int, queries: int) -> Iterator[int]:
    size = max(1, _PIECE // queries)
    for start in range(0, resamples, size):
        yield min(size, resamples - start)
