"""Whether training on scored sentence pairs made the bi-encoder better at them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import bootstrap, spearmanr

from langchain_rerank_retriever.protocols import Encoder
from langchain_rerank_retriever.recall.fusion import Floats
from langchain_rerank_retriever.training.proof.promote import (
    LEAST_TO_TELL,
    ROUNDING,
    TOLERATED_LOSS,
    Decision,
)
from langchain_rerank_retriever.training.proof.signal import LEVEL
from langchain_rerank_retriever.training.proof.systems import BASE, TUNED

RESAMPLES = 1_000


@dataclass(frozen=True, slots=True)
class PairOutcome:
    """The decision and its figures.

    Attributes:
        measures: System to Pearson and Spearman correlation on the held-out pairs.
        decision: Its `difference` and `lower_bound` are of Spearman's correlation.
    """

    measures: Mapping[str, Mapping[str, float]]
    decision: Decision


def decide_pairs(before: Floats, after: Floats, scores: Sequence[float], *, seed: int) -> PairOutcome:
    """Keep the tuned bi-encoder where its Spearman correlation is higher and a loss of 0.01 is ruled out at 95 %.

    It must also be above zero at the 1 % level: the rule against scores that are random or shuffled.

    Args:
        before: Cosines of the held-out pairs by the untuned bi-encoder, shape ``(n,)``.
        after: By the tuned one.
        scores: How alike people said they are.
        seed: Of the paired bootstrap (scipy's, percentile).
    """
    gold = np.asarray(scores, float)
    measures = {BASE: correlations(before, gold), TUNED: correlations(after, gold)}
    difference = measures[TUNED]["Spearman"] - measures[BASE]["Spearman"]

    def gain(one: Floats, other: Floats, right: Floats) -> float:
        return correlations(other, right)["Spearman"] - correlations(one, right)["Spearman"]

    bound = -2.0  # correlations cannot differ by more
    if gold.size >= LEAST_TO_TELL:
        resampled = bootstrap(
            (before, after, gold),
            gain,
            paired=True,
            vectorized=False,
            n_resamples=RESAMPLES,
            confidence_level=0.95,
            alternative="greater",
            method="percentile",
            rng=np.random.default_rng(seed),
        )
        bound = float(resampled.confidence_interval.low)
    reason = _reason(difference, bound, after, gold)
    return PairOutcome(measures, Decision(TUNED, BASE, difference, bound, reason == "better", reason))


def _reason(difference: float, bound: float, after: Floats, gold: Floats) -> str:
    if difference <= ROUNDING:
        return "not better"
    if bound <= -TOLERATED_LOSS:
        return "not enough pairs to tell"
    # Scores at random are learned by nobody, so on other pairs nobody agrees with them.
    chance = spearmanr(after, gold, alternative="greater").pvalue
    return "better" if chance < LEVEL else "the scores are predicted no better than chance"


def cosines(encoder: Encoder, first: Sequence[str], second: Sequence[str]) -> Floats:
    """Give the cosine similarity of each pair of sentences, both embedded as documents.

    Returns:
        Shape ``(n,)``; 0.0 where a vector is zero.
    """
    texts = list(dict.fromkeys([*first, *second]))
    places = {text: place for place, text in enumerate(texts)}
    vectors = encoder.encode(texts).astype(np.float64)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    left, right = (vectors[[places[text] for text in side]] for side in (first, second))
    products: Floats = (left * right).sum(axis=1)
    return products


def correlations(similarities: Floats, scores: Sequence[float] | Floats) -> dict[str, float]:
    """Correlate the cosine similarities of sentence pairs with their scores.

    Args:
        similarities: Of each pair, shape ``(n,)``, at least two.
        scores: How alike people said they are; higher is more alike.

    Returns:
        `"Pearson"`, of the values, and `"Spearman"`, of their ranks with ties at their mean rank; 0.0 where one side
        does not vary, which scipy calls undefined.
    """
    from scipy.stats import pearsonr, spearmanr

    # Cosines of float32 vectors that differ by less are equal.
    if np.ptp(similarities) < 1e-6 or np.ptp(scores) == 0:
        return {"Pearson": 0.0, "Spearman": 0.0}
    return {
        "Pearson": float(pearsonr(similarities, scores).statistic),
        "Spearman": float(spearmanr(similarities, scores).statistic),
    }
