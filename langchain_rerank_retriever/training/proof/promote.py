"""Which system is good enough to ship: do no harm.

A more complex system replaces a simpler one only where its mean over held-out queries is higher and the one-sided
95 % bound of a loss is below what is tolerated: 0.01, or a tenth of the simpler system's mean where that is less. So
with few queries, or without a gain, the simpler one stays; with fewer than five it always does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

#: A loss of nDCG@10 that nobody would notice; of a mean near zero, 0.01 would be everything.
TOLERATED_LOSS = 0.01
TOLERATED_SHARE = 0.1
RESAMPLES = 5_000

#: With fewer queries nothing is known with 95 % confidence, even if every one of them gains: a coin falls four times
#: on the same side once in 16 times.
LEAST_TO_TELL = 5

#: A mean difference that is only what floats leave of zero.
ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class Decision:
    """Why one system did or did not replace another.

    Attributes:
        candidate: The more complex system.
        incumbent: The one it was held against.
        difference: Mean difference of nDCG@10, candidate minus incumbent.
        lower_bound: One-sided 95 % bound of that difference, by paired bootstrap.
        promoted: Whether it took over.
        reason: In words.
    """

    candidate: str
    incumbent: str
    difference: float
    lower_bound: float
    promoted: bool
    reason: str


def promote(
    per_query: Mapping[str, Mapping[str, float]], order: Sequence[str], *, seed: int
) -> tuple[str, list[Decision]]:
    """Choose a system.

    Args:
        per_query: System name to {query id: nDCG@10}, each over the same held-out queries.
        order: System names from simple to complex; the first is the one to beat.
        seed: Of the bootstrap.

    Returns:
        The chosen name and every decision on the way.
    """
    incumbent = order[0]
    decisions = []
    for candidate in order[1:]:
        decision = compared(per_query, candidate, incumbent, seed=seed)
        decisions.append(decision)
        if decision.promoted:
            incumbent = candidate
    return incumbent, decisions


def tolerated_loss(incumbent_mean: float) -> float:
    """Return the loss of the mean that still counts as none."""
    return min(TOLERATED_LOSS, TOLERATED_SHARE * incumbent_mean)


def compared(
    per_query: Mapping[str, Mapping[str, float]], candidate: str, incumbent: str, *, seed: int
) -> Decision:
    """Hold one system against another; see `promote`."""
    old, new = per_query[incumbent], per_query[candidate]
    queries = sorted(old)
    differences = np.array([new[query] - old[query] for query in queries])
    mean = float(differences.mean())
    rng = np.random.default_rng(seed)
    means = rng.choice(differences, (RESAMPLES, differences.size)).mean(axis=1)
    bound = float(np.quantile(means, 0.05))
    tolerated = tolerated_loss(float(np.mean([old[query] for query in queries])))
    promoted = False
    if mean <= ROUNDING:
        reason = "not better"
    elif differences.size < LEAST_TO_TELL or (bound <= -tolerated and bound < -ROUNDING):
        reason = "not enough queries to tell"
    else:
        promoted = True
        ruled_out = f"better on average, and a loss of {tolerated:.2g} is ruled out"
        reason = "better" if bound > 0 else ruled_out
    return Decision(candidate, incumbent, mean, bound, promoted, reason)
