"""Calibration: error and thresholds on candidates counted by hand, and by brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from langchain_rerank_retriever.blend import BlendVariant
from langchain_rerank_retriever.training.proof.calibration import (
    calibrated,
    calibration_of,
    expected_calibration_error,
    threshold_keeping,
)


def test_error_by_hand() -> None:
    # Two bins of four: mean 0.1 and none relevant, mean 0.8 and half relevant.
    probability = np.array([0.05, 0.1, 0.1, 0.15, 0.7, 0.8, 0.8, 0.9])
    relevant = np.array([0, 0, 0, 0, 1, 0, 1, 0.0])
    assert expected_calibration_error(probability, relevant, bins=2) == pytest.approx((0.1 + 0.3) / 2)
    # One bin: mean 0.45, a quarter relevant.
    assert expected_calibration_error(probability, relevant, bins=1) == pytest.approx(0.45 - 0.25)


def test_bins_that_ties_make_unequal_count_by_what_they_hold() -> None:
    # Nine of ten have the same probability, and none is relevant; the tenth is certain and right.
    probability, relevant = np.array([0.2] * 9 + [1.0]), np.array([0.0] * 9 + [1.0])
    assert expected_calibration_error(probability, relevant, bins=10) == pytest.approx(0.9 * 0.2)


def test_all_probabilities_alike() -> None:
    assert expected_calibration_error(np.full(20, 0.3), np.array([1.0] * 5 + [0.0] * 15)) == pytest.approx(
        0.05
    )


@pytest.mark.parametrize("base", [-4.0, 0.0])
def test_right_probabilities_have_a_small_error_and_wrong_ones_a_large_one(base: float) -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=30_000) * 2 + base
    relevant = (rng.random(scores.size) < expit(scores)).astype(float)
    assert expected_calibration_error(expit(scores), relevant) < 0.01
    assert expected_calibration_error(expit(scores + 2), relevant) > 0.08


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=1, max_size=60))
def test_error_by_brute_force(points: list[tuple[int, bool]]) -> None:
    probability = np.array([point[0] / 20 for point in points])
    relevant = np.array([float(point[1]) for point in points])
    edges = [np.percentile(probability, 10 * place) for place in range(1, 10)]
    error = 0.0
    for place in range(10):
        inside = [sum(edge < one for edge in edges) == place for one in probability]
        if any(inside):
            error += sum(inside) * abs(probability[inside].mean() - relevant[inside].mean()) / len(points)
    assert expected_calibration_error(probability, relevant) == pytest.approx(error)


@pytest.mark.parametrize(
    ("share", "threshold", "dropped"),
    [(1.0, 0.1, 0.2), (0.75, 0.5, 0.6), (0.5, 0.8, 0.8), (0.25, 0.9, 0.9), (0.01, 0.9, 0.9)],
)
def test_threshold_by_hand(share: float, threshold: float, dropped: float) -> None:
    probability = np.array([0.01, 0.02, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 0.9])
    relevant = np.array([0, 0, 1, 0, 0, 0, 1, 0, 1, 1.0])
    found = threshold_keeping(probability, relevant, share)
    assert (found.threshold, found.dropped) == (threshold, pytest.approx(dropped))


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.booleans()), min_size=1, max_size=50).filter(
        lambda points: any(point[1] for point in points)
    ),
    st.sampled_from([0.5, 0.9, 0.95, 0.99, 1.0]),
)
def test_threshold_by_brute_force(points: list[tuple[int, bool]], share: float) -> None:
    probability = np.array([point[0] / 30 for point in points])
    relevant = np.array([float(point[1]) for point in points])
    positives = probability[relevant > 0]
    keeping = [one for one in probability if (positives >= one).sum() >= share * positives.size - 1e-9]
    found = threshold_keeping(probability, relevant, share)
    assert found.threshold == max(one for one in keeping if one in positives)
    assert found.dropped == pytest.approx(sum(one < found.threshold for one in probability) / len(points))


def test_calibration() -> None:
    rng = np.random.default_rng(3)
    scores = rng.normal(size=4000) - 3
    relevant = (rng.random(4000) < expit(scores)).astype(float)
    found = calibration_of(expit(scores), relevant, queries=40)
    assert found is not None
    assert found.to_dict() == {
        "ece": found.ece,
        "queries": 40,
        "thresholds": {
            key: {"threshold": one.threshold, "dropped": one.dropped} for key, one in found.thresholds.items()
        },
    }
    assert list(found.thresholds) == ["0.95", "0.99"]
    for key, one in found.thresholds.items():
        kept = expit(scores)[relevant > 0] >= one.threshold
        assert float(key) <= kept.mean() < float(key) + 1 / relevant.sum()
    assert calibration_of(expit(scores), np.zeros(4000), queries=40) is None


@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0])
def test_the_logistic_is_that_of_scikit_learn_on_any_scale(scale: float) -> None:
    rng = np.random.default_rng(5)
    scores = rng.normal(size=3000)
    relevant = (rng.random(3000) < expit(2 * scores - 3)).astype(float)
    variant = calibrated(BlendVariant({"rerank": 1.0}, 1.0, 0.0, "raw"), scores * scale, relevant)
    assert variant is not None
    assert (variant.weights, variant.scaling) == ({"rerank": 1.0}, "raw")
    expected = LogisticRegression(C=np.inf).fit(scores[:, None], relevant)
    assert variant.slope * scale == pytest.approx(expected.coef_[0, 0], rel=1e-2)
    assert variant.intercept == pytest.approx(expected.intercept_[0], rel=1e-2)


@pytest.mark.parametrize(
    ("scores", "relevant"),
    [
        ([], []),
        ([1.0, 2.0], [0.0, 0.0]),
        ([1.0, 2.0], [1.0, 1.0]),
        ([1.0, 1.0], [0.0, 1.0]),
        ([1, 2], [1, 0]),
    ],
)
def test_nothing_to_calibrate(scores: list[float], relevant: list[float]) -> None:
    variant = BlendVariant({"rerank": 1.0}, 1.0, 0.0)
    assert calibrated(variant, np.array(scores, float), np.array(relevant, float)) is None
