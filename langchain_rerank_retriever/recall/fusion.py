"""Joining ranked lists: pure functions of arrays."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Cormack, Clarke and Buettcher 2009, "Reciprocal rank fusion outperforms Condorcet and individual rank learning
#: methods": 1 / (60 + rank), rank counted from 1.
RRF_CONSTANT = 60


def standardise(scores: Floats) -> Floats:
    """Bring the scores of one query's candidates to mean 0 and standard deviation 1.

    Args:
        scores: Shape ``(n,)``.

    Returns:
        Shape ``(n,)``; all zero where the scores do not differ, so that such a stage decides nothing.
    """
    if scores.size == 0:
        return scores
    spread = scores.std()
    # Below this the differences are rounding noise of float32 scores, not an opinion.
    if spread < 1e-6 * max(1.0, float(np.abs(scores).max())):
        return np.zeros_like(scores)
    return np.asarray((scores - scores.mean()) / spread)


def as_it_is(scores: Floats) -> Floats:
    """Leave scores on their own scale."""
    return scores


def reciprocal_ranks(scores: Floats) -> Floats:
    """Replace the scores of one query's candidates by 1 / (60 + rank).

    Args:
        scores: Shape ``(n,)``, higher is better.

    Returns:
        Shape ``(n,)``; rank counts from 1, and equal scores share the best of their ranks, so that the order in
        which the candidates come does not matter.
    """
    higher = scores.size - np.searchsorted(np.sort(scores), scores, side="right")
    return np.asarray(1.0 / (RRF_CONSTANT + 1 + higher))


def weighted_sum(
    stage_scores: Mapping[str, Floats],
    weights: Mapping[Any, float],
    scale: Callable[[Floats], Floats] = standardise,
) -> Floats:
    """Add up stage scores.

    Args:
        stage_scores: One array of shape ``(n,)`` a stage, higher is better; NaN where there is none yet.
        weights: The weight of every stage to use; each must be a key of `stage_scores`.
        scale: What is done to each stage's scores before they are weighted; it sees only those that are there.

    Returns:
        Shape ``(n,)``, higher is better; NaN where a stage has none.
    """
    terms = [
        weight * scaled(np.asarray(stage_scores[name], float), scale) for name, weight in weights.items()
    ]
    return np.asarray(np.sum(terms, axis=0))


def scaled(scores: Floats, scale: Callable[[Floats], Floats]) -> Floats:
    """Scale the scores that are there, and leave NaN where there are none."""
    there = ~np.isnan(scores)
    if there.all():
        return scale(scores)
    result = np.full(scores.shape, np.nan)
    result[there] = scale(scores[there])
    return result


def reciprocal_rank_scores(lists: Sequence[Sequence[str]]) -> dict[str, float]:
    """Fuse ranked lists of keys by reciprocal rank.

    Args:
        lists: Each list best first; a key that a list lacks gets nothing from it.

    Returns:
        The score of every key, higher is better, in order of first appearance.
    """
    scores: dict[str, float] = {}
    for keys in lists:
        for rank, key in enumerate(keys, start=1):
            scores[key] = scores.get(key, 0.0) + 1.0 / (RRF_CONSTANT + rank)
    return scores


def best_first(scores: Floats) -> NDArray[np.intp]:
    """Give the indices that sort scores from high to low; ties keep their order.

    Args:
        scores: Shape ``(n,)``, finite.
    """
    return np.argsort(-scores, kind="stable")
