"""Statistics of queries, and of paired differences: the same queries, two systems. Pure functions of arrays.

Many columns of differences share their resamples, so that a p-value or an interval does not change when
another system or measure is compared along.
"""

import math
from collections.abc import Iterator
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Of a test or a bootstrap, unless a caller says otherwise. A p of 0.05 then has a standard error of 0.002.
RESAMPLES = 10_000

#: If none of n queries shows something, at most 3/n of all queries do, with 95 % confidence ("rule of
#: three"). An interval from few queries that happen to agree would otherwise be far too sure of itself.
RULE_OF_THREE = 3.0

#: Resampled matrices are made in pieces of about this many numbers, to keep thousands of queries in little
#: memory.
_PIECE = 2_000_000

#: A mean difference that is only what floats leave of zero.
_ROUNDING = 1e-12


def sign_flip_p_values(differences: Floats, *, resamples: int, seed: int) -> Floats:
    """Two-sided paired randomisation test of a mean difference of 0.

    If the two systems are exchangeable, each query's difference is as likely to have the other sign. With m
    random assignments of signs, b of them with a mean at least as far from 0, p = (b + 1) / (m + 1): the
    observed assignment is one of those possible, and p is never 0 (Phipson and Smyth, 2010).

    Exchangeable is more than equal on average: where one system gains a little often and loses much seldom, fewer than
    about 100 queries may show no loss, and p is too small. A t-test and the bootstrap err more often there.

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
    values: Floats, *, resamples: int, seed: int, confidence: float = 0.95
) -> tuple[Floats, Floats]:
    """Percentile bootstrap interval of each column's mean; whole queries are drawn, so pairs stay together.

    Args:
        values: Of a measure, or differences, shape `(queries, columns)`.
        resamples: How many samples of as many queries are drawn.
        seed: Of the draws.
        confidence: Of the interval.

    Returns:
        Lower and upper bounds, each of shape `(columns,)`.
    """
    queries = len(values)
    rng = np.random.default_rng([seed, 1])
    means = []
    for size in _pieces(resamples, queries):
        drawn = rng.integers(queries, size=(size, queries)) + queries * np.arange(size)[:, None]
        times_drawn = np.bincount(drawn.ravel(), minlength=size * queries).reshape(size, queries)
        means.append(times_drawn @ values / queries)
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


def queries_needed(
    differences: Floats, *, small: float, fewest_alike: int, significance: float, power: float = 0.8
) -> int | None:
    """How many queries would do to tell, if those to come are like those at hand.

    There is something to tell where the difference is significant, or where its 95 % interval lies within
    +-`small`. With mean d and standard deviation s of the differences at hand, z the quantiles of the normal
    distribution and a the level of significance, this is the smallest of:

    * ((z(1 - a/2) + z(power)) s / d)^2: a true difference of d would be significant with that power (Cohen,
      "Statistical Power Analysis for the Behavioral Sciences", 1988; for retrieval: Webber, Moffat and Zobel,
      "Statistical power in retrieval experimentation", CIKM 2008).
    * ((z(0.975) + z((1 + power) / 2)) s / (small - |d|))^2, where |d| is smaller than `small`: the interval of a true
      difference of d would lie within +-`small` with that power (Julious, "Sample sizes for clinical trials with
      normal data", Statistics in Medicine 2004).
    * ((z(1 - a/2) + z(0.975)) s / small)^2: the interval is then so narrow that it either leaves out 0 or lies
      within +-`small`, whatever the true difference is (planning by the width of the interval: Sakai, "Topic set
      size design", Information Retrieval Journal 2016).

    The first two take the difference at hand for the true one, which is rough where there are few queries.

    Args:
        differences: Shape `(queries,)`.
        small: A difference that does not matter, above 0.
        fewest_alike: Fewer queries never bound a difference, however much they agree.
        significance: The level that the p-value has to be below.
        power: Probability with which more queries should settle it.

    Returns:
        More than there are; None where there is but one query, which tells nothing of the spread.
    """
    if len(differences) < 2:
        return None
    mean, spread = abs(float(differences.mean())), float(differences.std(ddof=1))
    significant, within = _z(1 - significance / 2), _z(0.975)
    # Signs of n equal differences all fall alike in 2 of 2^n cases.
    fewest_significant = math.floor(math.log2(2 / significance)) + 1
    needed = [max(((significant + within) * spread / small) ** 2, fewest_alike)]
    if mean > _ROUNDING:
        needed.append(max(((significant + _z(power)) * spread / mean) ** 2, fewest_significant))
    if mean < small:
        needed.append(max(((within + _z((1 + power) / 2)) * spread / (small - mean)) ** 2, fewest_alike))
    return max(math.ceil(min(needed)), len(differences) + 1)


def _z(probability: float) -> float:
    return NormalDist().inv_cdf(probability)


def _pieces(resamples: int, queries: int) -> Iterator[int]:
    size = max(1, _PIECE // queries)
    for start in range(0, resamples, size):
        yield min(size, resamples - start)
