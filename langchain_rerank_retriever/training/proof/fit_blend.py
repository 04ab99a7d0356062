"""Fit the weights of the stages and the calibration, on queries that trained no model.

Weights are found on a grid over the simplex: with two or three stages that is exhaustive, cannot get stuck, and
optimises nDCG@10 itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product

import numpy as np

from langchain_rerank_retriever.blend import Blend, BlendVariant, Feature
from langchain_rerank_retriever.evaluation.judge import Judge
from langchain_rerank_retriever.recall.fusion import Floats
from langchain_rerank_retriever.training.proof.stages import StageTable, System, blended_scores, served_order

#: Below this many queries, fitted weights follow chance more than the data.
LEAST_QUERIES = 20
GRID_STEPS = 10
MEASURE = "nDCG@10"

Tables = Mapping[str, StageTable]
Qrels = Mapping[str, Mapping[str, int]]


def simplex(names: Sequence[Feature]) -> list[dict[Feature, float]]:
    """List all weights that are multiples of a tenth and add up to one."""
    return [
        {name: count / GRID_STEPS for name, count in zip(names, counts, strict=True)}
        for counts in product(range(GRID_STEPS + 1), repeat=len(names))
        if sum(counts) == GRID_STEPS
    ]


def fit_fusion(tables: Tables, qrels: Qrels) -> dict[str, float] | None:
    """Find the weights of dense and lexical scores with which hybrid recall orders best.

    Returns:
        Weights that add up to 1, or None (fuse by rank) where there are fewer than `LEAST_QUERIES` queries.
    """
    if len(tables) < LEAST_QUERIES:
        return None
    judge = Judge({key: qrels[key] for key in tables}, (MEASURE,))
    grid: list[dict[Feature, float]] = simplex(("dense", "lexical"))

    def quality(weights: Mapping[Feature, float]) -> list[float]:
        system = System("", mode="hybrid", fusion={str(name): weight for name, weight in weights.items()})
        judged = judge({key: served_order(table, system) for key, table in tables.items()})
        return [judged.per_query[MEASURE][key] for key in tables]

    best = _best(grid, np.array([quality(weights) for weights in grid]))
    return {str(name): weight for name, weight in best.items()}


def fit_variant(
    tables: Tables, qrels: Qrels, features: Sequence[Feature], system: System
) -> BlendVariant | None:
    """Find the weights of some stages over the candidates that a system recalls, and calibrate their sum.

    Args:
        tables: Query id to candidates.
        qrels: Judgements of at least those queries.
        features: The stages to weigh.
        system: Recall mode, depth and fusion of the candidates; its own variant is not looked at.

    Returns:
        The variant, or None where the blended score does not tell relevant from not relevant.
    """
    judge = Judge({key: qrels[key] for key in tables}, (MEASURE,))
    grid = simplex(features)
    values = []
    for weights in grid:
        tried = _with(system, BlendVariant(weights, 1.0, 0.0))
        judged = judge({key: served_order(table, tried) for key, table in tables.items()})
        values.append([judged.per_query[MEASURE][key] for key in tables])
    weights = _best(grid, np.array(values))
    scores, relevant = _labelled(tables, qrels, _with(system, BlendVariant(weights, 1.0, 0.0)))
    return _calibrated(weights, scores, relevant)


def fit_blend(
    tables: Tables, qrels: Qrels, *, depth: int, fusion: Mapping[str, float] | None
) -> Blend | None:
    """Fit every variant that the available scores allow.

    Args:
        tables: Query id to candidates, with or without cross-encoder scores.
        qrels: Judgements of at least those queries.
        depth: How many candidates are re-ranked.
        fusion: Weights of hybrid recall, with which the candidates to score were chosen.

    Returns:
        The blend, or None where there are fewer than `LEAST_QUERIES` queries.
    """
    if len(tables) < LEAST_QUERIES:
        return None
    hybrid = System("", mode="hybrid", fusion=fusion)
    wanted: list[tuple[tuple[Feature, ...], System]] = []
    if all(table.rerank is not None for table in tables.values()):
        dense = System("", depth=depth, reranked=True)
        wanted += [(("rerank",), dense), (("rerank", "dense"), dense)]
        # Before the other one over two stages: where both can be used, the first is.
        wanted.insert(1, (("rerank", "recall"), replace(hybrid, depth=depth, reranked=True)))
    wanted += [(("recall",), hybrid), (("dense",), System(""))]
    variants = [fit_variant(tables, qrels, features, system) for features, system in wanted]
    return Blend(tuple(variant for variant in variants if variant is not None), fusion)


def _with(system: System, variant: BlendVariant) -> System:
    return replace(system, variant=variant)


def _best(grid: Sequence[dict[Feature, float]], values: Floats) -> dict[Feature, float]:
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
        if gain.mean() <= gain.std(ddof=1) / np.sqrt(gain.size):
            grid, means = [grid[place] for place in without], means[without]
    # A tenth of a point of nDCG is far below what so few queries can tell apart.
    near = [weights for weights, mean in zip(grid, means, strict=True) if mean >= means.max() - 0.001]
    return {name: float(np.mean([weights[name] for weights in near])) for name in grid[0]}


def _labelled(tables: Tables, qrels: Qrels, system: System) -> tuple[Floats, Floats]:
    scores, relevant = [], []
    for key, table in tables.items():
        ids, blended = blended_scores(table, system)
        scores.append(blended)
        relevant.append(np.array([qrels[key].get(one, 0) > 0 for one in ids], float))
    return np.concatenate(scores), np.concatenate(relevant)


def _calibrated(weights: dict[Feature, float], scores: Floats, relevant: Floats) -> BlendVariant | None:
    from sklearn.linear_model import LogisticRegression

    if relevant.min() == relevant.max():
        return None
    # Two parameters on thousands of pairs need no regularisation; C only keeps separable data finite.
    fitted = LogisticRegression(C=1e3).fit(scores[:, None], relevant)
    slope, intercept = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
    return BlendVariant(weights, slope, intercept) if slope > 0 else None
