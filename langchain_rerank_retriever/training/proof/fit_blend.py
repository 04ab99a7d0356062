"""Fit the weights of the stages and the calibration, on queries that trained no model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from langchain_rerank_retriever.blend import Blend, BlendVariant, Feature
from langchain_rerank_retriever.evaluation.judge import Judge
from langchain_rerank_retriever.training.proof.forms import RICHEST, best_form, best_weights, fit_standard
from langchain_rerank_retriever.training.proof.pool import MEASURE, MEASURED_DEPTH, Pool, simplex
from langchain_rerank_retriever.training.proof.stages import StageTable, System, served_order

__all__ = ["LEAST_QUERIES", "MEASURE", "BlendFitter", "FittedBlend", "Qrels", "Tables", "fit_fusion"]

#: Below this many queries, fitted weights follow chance more than the data.
LEAST_QUERIES = 20

Tables = Mapping[str, StageTable]
Qrels = Mapping[str, Mapping[str, int]]


def fit_fusion(tables: Tables, qrels: Qrels) -> dict[str, float] | None:
    """Find the weights of dense and lexical scores with which hybrid recall orders best.

    Returns:
        Weights that add up to 1, or None (fuse by rank) where there are fewer than `LEAST_QUERIES` queries.
    """
    if len(tables) < LEAST_QUERIES:
        return None
    judge = Judge({key: qrels[key] for key in tables}, (MEASURE,))
    grid = simplex(("dense", "lexical"))

    def quality(weights: Mapping[Feature, float]) -> list[float]:
        fusion = {str(name): weight for name, weight in weights.items()}
        system = System("", mode="hybrid", depth=MEASURED_DEPTH, fusion=fusion)
        judged = judge({key: served_order(table, system) for key, table in tables.items()})
        return [judged.per_query[MEASURE][key] for key in tables]

    best = best_weights(grid, np.array([quality(weights) for weights in grid]))
    return {str(name): weight for name, weight in best.items()}


@dataclass(frozen=True, slots=True)
class FittedBlend:
    """What some queries gave.

    Attributes:
        blend: The variants.
        forms: nDCG@10 of the richest blend by its form, cross-fitted over those queries; empty without a
            cross-encoder.
    """

    blend: Blend
    forms: Mapping[str, float]


class BlendFitter:
    """Fits blends on any part of some held-out queries; what every part needs is computed once.

    Args:
        tables: Query id to candidates, with or without cross-encoder scores.
        qrels: Judgements of at least those queries.
        depth: How many candidates are re-ranked.
        fusion: Weights of hybrid recall, with which the candidates to score were chosen.
        seed: Of the folds in which the forms of a blend are compared.
    """

    def __init__(
        self,
        tables: Tables,
        qrels: Qrels,
        *,
        depth: int,
        fusion: Mapping[str, float] | None,
        seed: int,
    ) -> None:
        self._tables, self._qrels, self._fusion, self._seed = tables, qrels, fusion, seed
        self._depth = depth
        self._reranked = bool(tables) and all(table.rerank is not None for table in tables.values())
        self._pools: dict[tuple[bool, bool, int], Pool] = {}
        self._fitted: dict[tuple[str, ...], FittedBlend | None] = {}

    def fit(self, keys: Sequence[str]) -> FittedBlend | None:
        """Fit every variant that the available scores allow on some of the queries.

        Returns:
            The blend, or None where there are fewer than `LEAST_QUERIES` queries.
        """
        known = tuple(keys)
        if known not in self._fitted:
            self._fitted[known] = self._fit(known) if len(known) >= LEAST_QUERIES else None
        return self._fitted[known]

    def blend(self, keys: Sequence[str], depth: int) -> Blend | None:
        """Fit, and calibrate for a number of re-ranked candidates that may be smaller; the weights stay.

        Among fewer candidates more are relevant, and standardised scores spread differently.
        """
        fitted = self.fit(keys)
        if fitted is None or depth == self._depth:
            return None if fitted is None else fitted.blend
        variants = [
            self.pool(variant.features, depth).calibrate(variant, keys) or variant
            if "rerank" in variant.features
            else variant
            for variant in fitted.blend.variants
        ]
        return replace(fitted.blend, variants=tuple(variants))

    def pool(self, features: Sequence[Feature] | frozenset[Feature], depth: int) -> Pool:
        """Return the candidates over which some stages are weighed."""
        reranked, hybrid = "rerank" in features, bool({"recall", "lexical"} & set(features))
        wanted = (reranked, hybrid, depth if reranked else 0)
        if wanted not in self._pools:
            system = System("", mode="hybrid" if hybrid else "dense", fusion=self._fusion if hybrid else None)
            if reranked:
                system = replace(system, depth=depth, reranked=True)
            self._pools[wanted] = Pool(self._tables, self._qrels, system)
        return self._pools[wanted]

    def _fit(self, keys: Sequence[str]) -> FittedBlend:
        variants: list[BlendVariant | None] = []
        forms: Mapping[str, float] = {}
        if self._reranked:
            richest, forms = best_form(self.pool(RICHEST, self._depth), keys, seed=self._seed)
            # The richest before the other one over two stages: where both can be used, the first is.
            variants = [self._variant(("rerank",), keys), richest, self._variant(("rerank", "dense"), keys)]
        variants += [self._variant(("recall",), keys), self._variant(("dense",), keys)]
        return FittedBlend(Blend(tuple(one for one in variants if one is not None), self._fusion), forms)

    def _variant(self, features: tuple[Feature, ...], keys: Sequence[str]) -> BlendVariant | None:
        pool = self.pool(features, self._depth)
        return pool.calibrate(fit_standard(pool, features, keys), keys)
