"""The arithmetic of joining lists, against numbers worked out by hand and plain numpy."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import rankdata

from langchain_rerank_retriever.recall.fusion import (
    RRF_CONSTANT,
    as_it_is,
    best_first,
    reciprocal_rank_scores,
    reciprocal_ranks,
    scaled,
    standardise,
    weighted_sum,
)

finite = st.floats(-1e6, 1e6, width=32)
columns = st.integers(0, 30).flatmap(lambda size: arrays(np.float64, size, elements=finite))


def test_reciprocal_ranks_by_hand() -> None:
    scores = reciprocal_rank_scores([["a", "b", "c"], ["c", "a"]])
    assert scores == pytest.approx({"a": 1 / 61 + 1 / 62, "b": 1 / 62, "c": 1 / 63 + 1 / 61})
    assert list(scores) == ["a", "b", "c"]


def test_reciprocal_ranks_are_those_of_the_paper() -> None:
    """Cormack, Clarke and Buettcher 2009: the sum of 1 / (k + r(d)), k = 60, r from 1; as decimal numbers by hand."""
    assert RRF_CONSTANT == 60
    scores = reciprocal_rank_scores([["a", "b", "c", "d"], ["b", "d", "a"], ["d"]])
    # 1/61 = 0.0163934426, 1/62 = 0.0161290323, 1/63 = 0.0158730159, 1/64 = 0.0156250000
    by_hand = {"a": 0.0322664585, "b": 0.0325224749, "c": 0.0158730159, "d": 0.0481474749}
    assert scores == pytest.approx(by_hand, abs=1e-10)
    assert sorted(scores, key=lambda key: -scores[key]) == ["d", "b", "a", "c"]


def test_reciprocal_ranks_of_nothing() -> None:
    assert reciprocal_rank_scores([]) == {}
    assert reciprocal_rank_scores([[], ["a"], []]) == {"a": 1 / 61}


@given(st.lists(st.permutations("abcdef"), min_size=1, max_size=4))
def test_reciprocal_ranks_do_not_depend_on_the_order_of_the_lists(lists: list[list[str]]) -> None:
    assert reciprocal_rank_scores(lists) == pytest.approx(reciprocal_rank_scores(lists[::-1]))


def test_standardise_by_hand() -> None:
    np.testing.assert_allclose(standardise(np.array([1.0, 2.0, 3.0])), [-np.sqrt(1.5), 0, np.sqrt(1.5)])


@pytest.mark.parametrize(
    "scores", [[5.0], [0.0, 0.0], [-3.5] * 4, [1e8, 1e8], [0.7, 0.7 + 1e-9], [1e6, 1e6 + 1e-3]]
)
def test_scores_that_do_not_differ_decide_nothing(scores: list[float]) -> None:
    assert standardise(np.array(scores)).tolist() == [0.0] * len(scores)


@given(columns)
def test_standardised_scores_keep_the_order_and_have_mean_0_and_deviation_1(scores: np.ndarray) -> None:
    before = scores.copy()
    result = standardise(scores)
    assert result.shape == scores.shape
    np.testing.assert_array_equal(scores, before)
    if result.any():
        assert result.mean() == pytest.approx(0, abs=1e-6)
        assert result.std() == pytest.approx(1)
        assert (np.diff(result[np.argsort(scores, kind="stable")]) >= 0).all()


@given(columns, st.floats(0.1, 100), st.floats(-100, 100))
def test_a_change_of_scale_changes_nothing(scores: np.ndarray, factor: float, shift: float) -> None:
    if scores.size and scores.std() > 1e-2 * max(1, np.abs(scores).max()):
        np.testing.assert_allclose(standardise(scores * factor + shift), standardise(scores), atol=1e-5)


def test_weighted_sum_is_numpys() -> None:
    rng = np.random.default_rng(3)
    stages = {"dense": rng.normal(size=20), "lexical": rng.exponential(size=20), "other": rng.normal(size=20)}
    weights = {"lexical": 0.3, "dense": -1.2}
    expected = sum(
        weight * (stages[name] - np.mean(stages[name])) / np.std(stages[name])
        for name, weight in weights.items()
    )
    np.testing.assert_allclose(weighted_sum(stages, weights), expected)


def test_weighted_sum_on_other_scales_by_hand() -> None:
    stages = {"dense": np.array([0.5, 0.25, 0.75]), "lexical": np.array([4.0, 9.0, 0.0])}
    raw = weighted_sum(stages, {"dense": 2.0, "lexical": -0.5}, as_it_is)
    np.testing.assert_allclose(raw, [1.0 - 2.0, 0.5 - 4.5, 1.5])
    fused = weighted_sum(stages, {"dense": 1.0, "lexical": 1.0}, reciprocal_ranks)
    np.testing.assert_allclose(fused, [1 / 62 + 1 / 62, 1 / 63 + 1 / 61, 1 / 61 + 1 / 63])
    # Reciprocal rank fusion of the two lists, best first.
    lists = reciprocal_rank_scores([["c", "a", "b"], ["b", "a", "c"]])
    np.testing.assert_allclose(fused, [lists["a"], lists["b"], lists["c"]])


@given(st.lists(st.integers(-3, 3), max_size=30))
def test_reciprocal_ranks_are_those_of_scipy(scores: list[int]) -> None:
    expected = 1 / (60 + rankdata(-np.array(scores, float), method="min"))
    np.testing.assert_allclose(reciprocal_ranks(np.array(scores, float)), expected)


@pytest.mark.parametrize("scale", [standardise, as_it_is, reciprocal_ranks])
def test_weighted_sum_of_nothing_is_empty(scale: Any) -> None:
    assert weighted_sum({"dense": np.zeros(0)}, {"dense": 1.0}, scale).shape == (0,)


@pytest.mark.parametrize("scale", [standardise, as_it_is, reciprocal_ranks])
@given(st.lists(st.none() | st.integers(-3, 3), max_size=12))
def test_what_is_not_there_is_left_out_of_the_scale(scale: Any, given_: list[int | None]) -> None:
    scores = np.array([np.nan if one is None else one for one in given_], float)
    there = ~np.isnan(scores)
    expected = np.full(scores.size, np.nan)
    expected[there] = scale(scores[there])
    np.testing.assert_array_equal(scaled(scores, scale), expected)
    stages = {"rerank": scores, "dense": np.arange(scores.size, dtype=float)}
    total = weighted_sum(stages, {"rerank": 2.0, "dense": 1.0}, scale)
    # The other stage is scaled over all of its own.
    np.testing.assert_allclose(total, 2 * expected + scale(stages["dense"]))


def test_a_constant_stage_leaves_the_order_to_the_other() -> None:
    stages = {"dense": np.array([0.2, 0.9, 0.4]), "lexical": np.zeros(3)}
    assert best_first(weighted_sum(stages, {"dense": 0.1, "lexical": 0.9})).tolist() == [1, 2, 0]


@given(st.lists(st.integers(-2, 2), max_size=30))
def test_best_first_is_pythons_stable_sort(scores: list[int]) -> None:
    expected = sorted(range(len(scores)), key=lambda place: -scores[place])
    assert best_first(np.array(scores, float)).tolist() == expected
