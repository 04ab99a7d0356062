"""Curves from one run: against runs at each depth, against scikit-learn, and by hand."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from langchain_core.cross_encoders import BaseCrossEncoder
from langchain_core.documents import Document
from scipy.stats import norm
from sklearn.calibration import calibration_curve

from langchain_rerank_retriever import FaissStore, RerankRetriever
from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.evaluation import depth_curve, evaluate, reliability
from langchain_rerank_retriever.evaluation.curves.reliability import has_probabilities, reliability_of
from langchain_rerank_retriever.training.proof.calibration import expected_calibration_error

from .oracle import ndcg
from .traced import candidate, evaluated, trace


class Overlap(BaseCrossEncoder):
    """Scores by shared letters, ties broken by length: any fixed rule whose order is not that of recall."""

    def score(self, text_pairs: Any) -> list[float]:
        return [len(set(query) & set(text)) - len(text) / 100 for query, text in text_pairs]


@pytest.fixture
def collection(hash_embeddings: Any) -> tuple[RerankRetriever, dict[str, str], dict[str, dict[str, int]]]:
    rng = np.random.default_rng(5)
    words = ["alpha", "beta", "gamma", "delta", "omega", "sigma", "kappa", "theta"]
    texts = {f"d{number}": " ".join(rng.choice(words, size=4)) for number in range(40)}
    store = FaissStore.from_documents(
        [Document(id=name, page_content=text) for name, text in texts.items()], hash_embeddings
    )
    queries = {f"q{number}": " ".join(rng.choice(words, size=3)) for number in range(12)}
    qrels = {
        one: {str(name): int(rng.integers(1, 3)) for name in rng.choice(list(texts), size=6, replace=False)}
        for one in queries
    }
    return RerankRetriever(store, reranker=Overlap(), k=5, fetch_k=20), queries, qrels


@pytest.mark.parametrize("depth", [1, 3, 7, 12, 20])
def test_a_depth_is_what_re_ranking_so_many_gives(collection: Any, depth: int) -> None:
    retriever, queries, qrels = collection
    measures = [f"nDCG@{depth}", f"R@{depth}"]
    whole = evaluate(retriever, queries, qrels, measures=measures)
    # k would raise fetch_k; all that is recalled is ranked anyway.
    less = evaluate(retriever.bind(k=1, fetch_k=depth), queries, qrels, measures=measures)
    for measure in measures:
        (point, *_) = depth_curve(whole, measure, depths=[depth]).points
        assert (point.depth, point.value) == (depth, pytest.approx(less[measure]))


def test_the_ends_of_a_curve(collection: Any) -> None:
    retriever, queries, qrels = collection
    run = evaluate(retriever, queries, qrels, name="mine")
    curve = depth_curve(run)
    assert (curve.name, curve.measure) == ("mine", "nDCG@10")
    assert [point.depth for point in curve.points] == [0, 1, 2, 5, 10, 20]
    recall_only = RerankRetriever(retriever.recall, k=5, fetch_k=20)
    assert curve.points[0].value == pytest.approx(evaluate(recall_only, queries, qrels)["nDCG@10"])
    assert curve.points[-1].value == pytest.approx(run["nDCG@10"])
    assert curve.points[-1].interval == pytest.approx(run.intervals["nDCG@10"])
    assert curve.points[-1].milliseconds == pytest.approx(run.latency_ms["total"]["p50"])
    times = [point.milliseconds for point in curve.points]
    assert times == sorted(times)
    assert json.loads(json.dumps(curve.to_dict()))["points"][0]["depth"] == 0


def test_order_at_a_depth_by_hand() -> None:
    final = [candidate(name, recall_rank=rank) for name, rank in (("c", 3), ("a", 1), ("d", 4), ("b", 2))]
    run = evaluated({"q": trace(final)}, {"q": {"b": 1, "c": 2}})
    orders = {0: "abcd", 1: "abcd", 2: "abcd", 3: "cabd", 4: "cadb"}
    curve = depth_curve(run, "nDCG@4", depths=[*orders, 9])
    assert {point.depth: point.value for point in curve.points} == pytest.approx(
        {depth: ndcg(order, {"b": 1, "c": 2}, 4) for depth, order in orders.items()}
    )


def test_what_is_never_returned_is_missing_at_every_depth() -> None:
    final = [candidate("a", recall_rank=2), candidate("b", recall_rank=1, outcome="below_threshold")]
    curve = depth_curve(evaluated({"q": trace(final)}, {"q": {"b": 1}}))
    assert [point.value for point in curve.points] == [0.0, 0.0, 0.0]


def test_time_falls_with_the_pairs_that_are_scored() -> None:
    scored = [candidate(f"d{number}", rerank_score=0.0) for number in range(4)]
    skipped = [candidate(f"e{number}", unscored="early_stop") for number in range(6)]
    answer = trace([*scored, *skipped], recall=0.02, rerank=0.2, total=0.23)
    run = evaluated({"q": answer}, {"q": {"d0": 1}})
    points = depth_curve(run, depths=[0, 1, 2, 4, 8]).points
    assert [(point.depth, point.milliseconds) for point in points] == [
        (0, pytest.approx(30)),
        (1, pytest.approx(80)),
        (2, pytest.approx(130)),
        (4, pytest.approx(230)),
        (8, pytest.approx(230)),
        (10, pytest.approx(230)),
    ]
    swapped = trace([candidate("a", recall_rank=2), candidate("b", recall_rank=1)])
    by_compressor = evaluated({"q": swapped}, {"q": {"a": 1}})
    assert [point.milliseconds for point in depth_curve(by_compressor).points] == pytest.approx([10, 60, 110])
    in_batches = replace(run, seconds={"total": run.seconds["total"]})
    assert {point.milliseconds for point in depth_curve(in_batches).points} == {None}


def test_a_run_without_re_ranking_is_one_point() -> None:
    answers = {
        f"q{number}": trace([candidate("a")], total=0.1 * number, rerank=0.001) for number in (1, 2, 9)
    }
    run = evaluated(answers, {one: {"a": 1} for one in answers})
    (point,) = depth_curve(run).points
    assert (point.depth, point.value) == (0, 1.0)
    assert point.milliseconds == pytest.approx(200)  # the median


def test_a_curve_needs_traces() -> None:
    run = evaluated({"q": trace([candidate("a")])}, {"q": {"a": 1}}, name="other")
    with pytest.raises(InvalidArgumentError, match="'other' holds no traces"):
        depth_curve(replace(run, traces={}))
    for depths in ([-1], [1.5], [True]):
        with pytest.raises(InvalidArgumentError, match="depths must be whole numbers of at least 0"):
            depth_curve(run, depths=depths)
    with pytest.raises(InvalidArgumentError, match="Unknown measure 'nonsense'"):
        depth_curve(run, "nonsense")


probabilities = arrays(np.float64, st.integers(2, 200), elements=st.floats(0, 1, width=32))


@settings(deadline=None)
@given(probability=probabilities, bins=st.integers(1, 20), seed=st.integers(0, 2**32 - 1))
@example(probability=np.repeat([0.0, 1.0], [15, 76]), bins=6, seed=0)
def test_bins_are_those_of_scikit_learn(probability: np.ndarray, bins: int, seed: int) -> None:
    relevant = (np.random.default_rng(seed).random(probability.size) < probability).astype(float)
    mine = reliability_of(probability, relevant, bins=bins)
    with np.errstate(invalid="ignore"):
        share, mean = calibration_curve(relevant, probability, n_bins=bins, strategy="quantile")
    assert [one.share for one in mine.bins] == pytest.approx(share)
    assert [one.probability for one in mine.bins] == pytest.approx(mean)
    assert sum(one.count for one in mine.bins) == mine.candidates == probability.size
    assert all(one.interval[0] - 1e-12 <= one.share <= one.interval[1] + 1e-12 for one in mine.bins)


@settings(deadline=None)
@given(probability=probabilities, seed=st.integers(0, 2**32 - 1))
def test_the_error_is_the_one_that_tuning_reports(probability: np.ndarray, seed: int) -> None:
    relevant = (np.random.default_rng(seed).random(probability.size) < 0.5).astype(float)
    assert reliability_of(probability, relevant).expected_calibration_error == pytest.approx(
        expected_calibration_error(probability, relevant)
    )


def test_bins_hold_equally_many() -> None:
    mine = reliability_of(np.linspace(0, 1, 100) ** 3, np.zeros(100))
    assert [one.count for one in mine.bins] == [10] * 10
    assert len(reliability_of(np.linspace(0, 1, 5000), np.zeros(5000)).bins) == 25
    tied = reliability_of(np.array([0.5] * 90 + [0.9] * 10), np.zeros(100))
    assert [one.count for one in tied.bins] == [90, 10]


def test_intervals_are_those_of_wilson() -> None:
    (one,) = reliability_of(np.full(40, 0.3), np.array([1.0] * 10 + [0.0] * 30), bins=1).bins
    z = norm.ppf(0.975)
    centre, n = 0.25, 40
    middle = (centre + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(centre * (1 - centre) / n + z**2 / (4 * n**2))
    assert one.interval == pytest.approx((middle - half, middle + half))
    assert one.share == 0.25
    never = reliability_of(np.full(40, 0.3), np.zeros(40), bins=1)
    assert never.bins[0].interval[0] == 0
    assert never.bins[0].interval[1] > 0.05
    assert never.expected_calibration_error == pytest.approx(0.3)


def test_reliability_of_a_run() -> None:
    scored = [candidate(name, relevance_score=score) for name, score in (("a", 0.9), ("b", 0.8), ("c", 0.1))]
    late = candidate("d", unscored="timeout")
    answers = {"q": trace([*scored, late], kind="probability"), "r": trace([*scored], kind="recall_score")}
    run = evaluated(answers, {"q": {"a": 2, "b": 0}, "r": {"a": 1}}, name="mine")
    found = reliability(run, bins=3)
    assert has_probabilities(run)
    assert (found.name, found.candidates) == ("mine", 3)
    assert [(one.probability, one.share) for one in found.bins] == [(0.1, 0.0), (0.8, 0.0), (0.9, 1.0)]
    assert found.expected_calibration_error == pytest.approx((0.1 + 0.8 + 0.1) / 3)
    assert json.loads(json.dumps(found.to_dict()))["bins"][0]["count"] == 1


def test_what_has_no_probabilities() -> None:
    run = evaluated({"q": trace([candidate("a", relevance_score=3.0)])}, {"q": {"a": 1}}, name="logits")
    assert not has_probabilities(run)
    with pytest.raises(InvalidArgumentError, match="'logits' has no candidates with a probability"):
        reliability(run)
    with pytest.raises(InvalidArgumentError, match="got 0 bins, 1 probabilities and 1"):
        reliability_of(np.array([0.5]), np.array([1.0]), bins=0)
    with pytest.raises(InvalidArgumentError, match="0 probabilities"):
        reliability_of(np.array([]), np.array([]))
