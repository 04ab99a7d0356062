"""The forms of a blend, fitted and held against each other on queries that they were not fitted on.

The standard form finds its weights on a grid over the simplex: with two stages that is exhaustive, cannot get stuck,
and optimises nDCG@10 itself.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from langchain_rerank_retriever.blend import BlendVariant, Feature, Scaling
from langchain_rerank_retriever.recall.fusion import Floats, standardise
from langchain_rerank_retriever.training.proof.pool import Pool, Weights

FOLDS = 5

STANDARD = "standard"
LOGISTIC = "logistic"
RECIPROCAL_RANK = "reciprocal rank"
FORM_OF: Mapping[Scaling, str] = {
    "standard": STANDARD,
    "raw": LOGISTIC,
    "reciprocal_rank": RECIPROCAL_RANK,
}

#: A weight below this is none.
LEAST_WEIGHT = 0.05

#: The stages of the richest blend, and those of its logistic form. Recall's own score has no scale of its own: it is a
#: sum of standardised scores.
RICHEST: tuple[Feature, ...] = ("rerank", "recall")
RICHEST_RAW: tuple[Feature, ...] = ("rerank", "dense", "lexical")


def fit_standard(pool: Pool, features: Sequence[Feature], keys: Sequence[str]) -> BlendVariant:
    """Find weights of standardised scores; not yet calibrated.

    They are the mean of two answers: of the grid, which optimises nDCG@10 itself but follows chance where queries are
    few, and of a logistic regression, which learns from every candidate and is steadier. Cross-fitted on scifact with
    one cross-encoder, the mean of the two gained a little more than either, above all with as few as 80 queries.
    """
    if len(features) == 1:
        return BlendVariant({features[0]: 1.0}, 1.0, 0.0)
    weights = best_weights(*pool.grid(features, keys))
    likely = likely_weights(pool, features, keys)
    if likely is not None:
        weights = {name: (weights[name] + likely[name]) / 2 for name in weights}
    return BlendVariant(_without_traces(weights), 1.0, 0.0)


def likely_weights(pool: Pool, features: Sequence[Feature], keys: Sequence[str]) -> Weights | None:
    """Weigh stages by a logistic regression over their standardised scores; a stage that speaks against gets nothing.

    Returns:
        Weights that add up to one; None where nothing or everything is relevant, or no stage speaks for it.
    """
    from sklearn.linear_model import LogisticRegression

    scores, relevant = pool.stacked(features, keys, scale=standardise)
    if relevant.size == 0 or relevant.min() == relevant.max():
        return None
    spoken = np.maximum(LogisticRegression(C=1e3).fit(scores, relevant).coef_[0], 0.0)
    if spoken.sum() == 0.0:
        return None
    return dict(zip(features, (spoken / spoken.sum()).tolist(), strict=True))


def _without_traces(weights: Weights) -> Weights:
    """Give weights that are too small to matter to the others: for them, too, every pair has to be read."""
    kept = {name: weight if weight >= LEAST_WEIGHT else 0.0 for name, weight in weights.items()}
    return {name: weight / sum(kept.values()) for name, weight in kept.items()}


def fit_logistic(pool: Pool, keys: Sequence[str]) -> BlendVariant | None:
    """Fit a logistic regression over raw scores; None where nothing or everything is relevant."""
    from sklearn.linear_model import LogisticRegression

    scores, relevant = pool.stacked(RICHEST_RAW, keys)
    if relevant.size == 0 or relevant.min() == relevant.max():
        return None
    # This solver does not care that the stages are on different scales.
    fitted = LogisticRegression(C=1e3, solver="newton-cholesky").fit(scores, relevant)
    weights = {name: float(weight) for name, weight in zip(RICHEST_RAW, fitted.coef_[0], strict=True)}
    return BlendVariant(weights, 1.0, 0.0, "raw")


def fit_reciprocal_rank() -> BlendVariant:
    """Fuse recall's order and the cross-encoder's by rank: nothing to fit."""
    return BlendVariant(dict.fromkeys(RICHEST, 1.0), 1.0, 0.0, "reciprocal_rank")


def best_form(
    pool: Pool, keys: Sequence[str], *, seed: int
) -> tuple[BlendVariant | None, Mapping[str, float]]:
    """Fit every form of the richest blend and keep the best.

    Another form replaces the standard one only if its cross-fitted mean is higher by more than one standard error:
    the standard form depends least on the scale that scores happen to have.

    Args:
        pool: Candidates with the scores of every stage.
        keys: The queries to fit on.
        seed: Of the division into folds.

    Returns:
        The winner, fitted on all of the queries and calibrated, None where no form could be; and nDCG@10 of every
        form, each query answered with weights that were fitted without it.
    """
    fits: dict[str, Callable[[Sequence[str]], BlendVariant | None]] = {
        STANDARD: lambda some: fit_standard(pool, RICHEST, some),
        LOGISTIC: lambda some: fit_logistic(pool, some),
        RECIPROCAL_RANK: lambda _: fit_reciprocal_rank(),
    }
    values = {name: _cross_fitted(pool, keys, fit, seed) for name, fit in fits.items()}
    judged = {name: value for name, value in values.items() if value is not None}
    for name in _preferred(judged):
        variant = fits[name](keys)
        final = None if variant is None else pool.calibrate(variant, keys)
        if final is not None:
            return final, {name: float(value.mean()) for name, value in judged.items()}
    return None, {name: float(value.mean()) for name, value in judged.items()}


def divided(keys: Sequence[str], *, seed: int) -> Iterator[tuple[list[str], list[str]]]:
    """Divide queries into folds: yield those to fit on and those to answer, so that each is answered once."""
    shuffled = [str(key) for key in np.random.default_rng(seed).permutation(sorted(keys))]
    for fold in range(FOLDS):
        inside = set(shuffled[fold::FOLDS])
        yield [key for key in shuffled if key not in inside], shuffled[fold::FOLDS]


def best_weights(grid: Sequence[Weights], values: Floats) -> Weights:
    """Take the best grid point; among points that are as good within noise, their mean.

    The optimum of a few hundred queries is a plateau, and its middle carries over to other queries better than
    whichever of its edges happens to be highest. The cross-encoder, the dear stage, gets weight only where that
    gains more than one standard error over leaving it out: below that, the gain is as likely chance.

    Args:
        grid: The points, of length ``g``.
        values: nDCG@10 of every point and query, shape ``(g, queries)``.
    """
    means = values.mean(axis=1)
    without = [place for place, weights in enumerate(grid) if weights.get("rerank") == 0.0]
    if without:
        gain = values[means.argmax()] - values[max(without, key=lambda place: means[place])]
        if not beyond_chance(gain):
            grid, means = [grid[place] for place in without], means[without]
    # A tenth of a point of nDCG is far below what so few queries can tell apart.
    near = [weights for weights, mean in zip(grid, means, strict=True) if mean >= means.max() - 0.001]
    return {name: float(np.mean([weights[name] for weights in near])) for name in grid[0]}


def beyond_chance(gain: Floats) -> bool:
    """Tell whether the mean of gains, one a query, is above its standard error."""
    return bool(gain.mean() > gain.std(ddof=1) / np.sqrt(gain.size))


def _cross_fitted(
    pool: Pool,
    keys: Sequence[str],
    fit: Callable[[Sequence[str]], BlendVariant | None],
    seed: int,
) -> Floats | None:
    """Judge every query with what was fitted without it; None where that cannot be fitted."""
    found: dict[str, float] = {}
    for outside, inside in divided(keys, seed=seed):
        variant = fit(outside)
        if variant is None:
            return None
        found.update(zip(inside, pool.quality(variant, inside).tolist(), strict=True))
    return np.array([found[key] for key in keys])


def _preferred(values: Mapping[str, Floats]) -> list[str]:
    """Order the forms: the winner, then the standard one."""
    better = [
        name for name, value in values.items() if name != STANDARD and beyond_chance(value - values[STANDARD])
    ]
    return [*([max(better, key=lambda name: values[name].mean())] if better else []), STANDARD]
