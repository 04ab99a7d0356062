"""Which system is good enough to ship: do no harm.

A more complex system replaces a simpler one only where its mean over held-out queries is higher and the one-sided
95 % bound of a loss is below 0.01. So with few queries, or without a gain, the simpler one stays; with fewer than
five it always does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from langchain_rerank_retriever.recall.fusion import Floats

#: A loss of nDCG@10 that nobody would notice.
TOLERATED_LOSS = 0.01
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
    queries = sorted(per_query[incumbent])
    decisions = []
    for candidate in order[1:]:
        differences = np.array([per_query[candidate][q] - per_query[incumbent][q] for q in queries])
        decision = _decide(candidate, incumbent, differences, seed)
        decisions.append(decision)
        if decision.promoted:
            incumbent = candidate
    return incumbent, decisions


def _decide(candidate: str, incumbent: str, differences: Floats, seed: int) -> Decision:
    mean = float(differences.mean())
    rng = np.random.default_rng(seed)
    means = rng.choice(differences, (RESAMPLES, differences.size)).mean(axis=1)
    bound = float(np.quantile(means, 0.05))
    promoted = False
    if mean <= ROUNDING:
        reason = "not better"
    elif bound <= -TOLERATED_LOSS or differences.size < LEAST_TO_TELL:
        reason = "not enough queries to tell"
    else:
        promoted = True
        reason = "better" if bound > 0 else "better on average, and a loss of 0.01 is ruled out"
    return Decision(candidate, incumbent, mean, bound, promoted, reason)
