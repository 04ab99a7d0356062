"""Judging by scored sentence pairs: correlations against sentence-transformers' evaluator and scipy's."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr

from langchain_rerank_retriever import PooledEmbeddings
from langchain_rerank_retriever.training.proof.pairs import correlations, cosines, decide_pairs
from langchain_rerank_retriever.training.proof.promote import Decision
from tests.conftest import HashEmbeddings
from tests.training.fit.test_sentence_pairs import evaluator_says, scored


class Encoder:
    """An encoder whose vectors are not of length one."""

    dimension, fingerprint = 32, "hash"

    def encode(self, texts: Any, *, kind: str = "document") -> np.ndarray:
        assert kind == "document"
        rows = [[len(text) * x for x in HashEmbeddings().embed_query(text)] for text in texts]
        return np.array(rows, np.float32)


@pytest.mark.parametrize("pooling", ["cls", "mean", "max"])
def test_correlations_are_those_of_the_evaluator(language_model: Path, pooling: str) -> None:
    encoder = PooledEmbeddings(language_model, pooling=pooling, precision="float32")
    first, second, scores = scored(60)
    expected = evaluator_says(encoder.load_trainable(), first, second, scores)
    assert correlations(cosines(encoder, first, second), scores) == pytest.approx(expected, abs=1e-5)


def test_correlations_by_their_formulas() -> None:
    from scipy.stats import rankdata

    first, second, scores = scored(40)
    vectors = [np.array([HashEmbeddings().embed_query(text) for text in side]) for side in (first, second)]
    expected = (vectors[0] * vectors[1]).sum(1)  # of length one each
    found = correlations(cosines(Encoder(), first, second), scores)
    assert found["Pearson"] == pytest.approx(np.corrcoef(expected, scores)[0, 1], abs=1e-5)
    # Float32 may order two nearly equal cosines otherwise.
    assert found["Spearman"] == pytest.approx(
        np.corrcoef(rankdata(expected), rankdata(scores))[0, 1], abs=1e-3
    )


def test_what_does_not_vary_correlates_with_nothing() -> None:
    nothing = {"Pearson": 0.0, "Spearman": 0.0}
    assert correlations(cosines(Encoder(), ["a", "b"], ["a", "b"]), [0, 1]) == nothing
    assert correlations(np.array([0.1, 0.2]), [1.0, 1.0]) == nothing


def decided(before: np.ndarray, after: np.ndarray, gold: np.ndarray) -> Decision:
    outcome = decide_pairs(before, after, gold.tolist(), seed=0)
    assert outcome.measures["base"]["Spearman"] == pytest.approx(spearmanr(before, gold).statistic)
    assert outcome.measures["tuned"]["Pearson"] == pytest.approx(pearsonr(after, gold).statistic)
    assert outcome.decision.difference == pytest.approx(
        spearmanr(after, gold).statistic - spearmanr(before, gold).statistic
    )
    return outcome.decision


def test_a_clear_gain_is_promoted_and_a_loss_is_not() -> None:
    rng = np.random.default_rng(0)
    gold = rng.random(300)
    good, bad = gold + 0.1 * rng.standard_normal(300), gold + 1.0 * rng.standard_normal(300)
    gain, loss = decided(bad, good, gold), decided(good, bad, gold)
    assert (gain.promoted, gain.reason) == (True, "better")
    assert 0 < gain.lower_bound < gain.difference
    assert (loss.promoted, loss.reason) == (False, "not better")


def test_the_bound_is_that_of_resampled_pairs() -> None:
    rng = np.random.default_rng(1)
    gold = rng.random(80)
    one, other = gold + 0.5 * rng.standard_normal(80), gold + 0.4 * rng.standard_normal(80)
    differences = []
    for _ in range(2000):
        places = rng.integers(80, size=80)
        differences.append(
            spearmanr(other[places], gold[places]).statistic - spearmanr(one[places], gold[places]).statistic
        )
    assert decided(one, other, gold).lower_bound == pytest.approx(np.quantile(differences, 0.05), abs=0.01)


def test_few_pairs_cannot_tell() -> None:
    gold = np.array([0.0, 0.3, 0.6, 1.0])
    decision = decided(gold[::-1].copy(), gold, gold)
    assert (decision.promoted, decision.reason) == (False, "not enough pairs to tell")
