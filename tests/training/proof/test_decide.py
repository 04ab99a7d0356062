"""The whole decision on simulated queries: what is chosen, what is reported of it, and what random labels do."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.training.proof.decide import Fallback, Outcome, decide
from langchain_rerank_retriever.training.proof.early_stop import Replay
from langchain_rerank_retriever.training.proof.fit_blend import fit_fusion
from langchain_rerank_retriever.training.proof.pool import Pool
from langchain_rerank_retriever.training.proof.signal import AT_CHANCE
from langchain_rerank_retriever.training.proof.stages import StageTable
from langchain_rerank_retriever.training.proof.systems import (
    BASE,
    BLENDED,
    BM25,
    CROSS_ENCODER,
    HYBRID,
    TUNED,
    TUNED_HYBRID,
    HeldOut,
    as_served,
    best_depth,
    depth_curve,
)
from tests.training.proof.test_fit_blend import CANDIDATES

DEPTH = 30


def queries(
    number: int, *, dense: float, tuned: float, lexical: float, rerank: float | None, seed: int = 0
) -> HeldOut:
    """Queries over a corpus of 500; each one's two positives are among its 60 candidates."""
    rng = np.random.default_rng(seed)
    tables: dict[str, dict[str, StageTable]] = {"base": {}, "tuned": {}, "serving": {}}
    qrels = {}
    for place in range(number):
        ids = tuple(f"d{one}" for one in rng.choice(500, CANDIDATES, replace=False))
        relevant = np.zeros(CANDIDATES)
        relevant[rng.permutation(CANDIDATES)[:2]] = 1
        bm25 = np.maximum(rng.normal(size=CANDIDATES) + lexical * relevant + 2, 0.01)
        scores = {
            name: rng.normal(size=CANDIDATES) + signal * relevant
            for name, signal in (("base", dense), ("tuned", tuned))
        }
        scores["serving"] = scores["tuned"]
        pairs = None if rerank is None else 3 * (rng.normal(size=CANDIDATES) + rerank * relevant)
        for name, table in tables.items():
            table[f"q{place}"] = StageTable(ids, scores[name], bm25, pairs if name == "serving" else None)
        qrels[f"q{place}"] = {key: 1 for key, one in zip(ids, relevant, strict=True) if one}
    return HeldOut(qrels, tables["base"], tables["tuned"], tables["serving"])


def shuffled(data: HeldOut, seed: int = 0) -> HeldOut:
    rng = np.random.default_rng(seed)
    labels = [data.qrels[key] for key in data.qrels]
    dealt = {key: labels[place] for key, place in zip(data.qrels, rng.permutation(len(labels)), strict=True)}
    return HeldOut(dealt, data.base, data.tuned, data.serving)


def decided(data: HeldOut, test: HeldOut | None = None, fallback: Fallback = None) -> Outcome:
    return decide(
        data,
        test,
        depth=DEPTH,
        reranked=next(iter(data.serving.values())).rerank is not None,
        fusion=fit_fusion(data.serving, data.qrels),
        seed=0,
        fallback=fallback,
    )


GOOD: dict[str, Any] = {"dense": 1.0, "tuned": 2.0, "lexical": 1.5, "rerank": 2.5}


@pytest.fixture(scope="module")
def good() -> tuple[HeldOut, Outcome]:
    data = queries(150, **GOOD)
    return data, decided(data)


def test_the_blend_is_chosen_and_reported(good: tuple[HeldOut, Outcome]) -> None:
    _, outcome = good
    assert outcome.chosen == BLENDED
    assert outcome.signal is not None
    assert outcome.signal.ok
    assert outcome.warnings == ()
    assert set(outcome.blend_forms) == {"standard", "logistic", "reciprocal rank"}
    assert outcome.blend is not None
    if outcome.blend.variants[1].scaling == "standard":
        # What is reported of the form is about what is reported of the system: both are cross-fitted.
        assert outcome.evaluations[BLENDED]["nDCG@10"] == pytest.approx(
            outcome.blend_forms["standard"], abs=0.01
        )
    assert outcome.systems[BLENDED].depth == best_depth(outcome.curve)
    assert list(outcome.evaluations) == list(outcome.systems)


def test_the_error_is_small_on_queries_that_nothing_was_fitted_on(good: tuple[HeldOut, Outcome]) -> None:
    _, outcome = good
    calibration = outcome.calibration
    assert calibration is not None
    assert calibration.queries == 150
    assert calibration.ece <= 0.02
    assert outcome.blend is not None
    fresh = queries(400, **GOOD, seed=99)
    system = as_served(outcome.systems[BLENDED], outcome.blend)
    assert system.variant == outcome.blend.variants[1]
    scores, relevant = Pool(fresh.tables(system), fresh.qrels, system).scores(
        outcome.blend.variants[1], list(fresh.qrels)
    )
    probability = outcome.blend.variants[1].probability(scores)
    # Among the ones that it is sure of, and among all: the share that is relevant is what it says.
    for low, high in ((0.0, 1.0), (0.3, 0.7), (0.7, 1.0)):
        inside = (probability >= low) & (probability <= high)
        assert relevant[inside].mean() == pytest.approx(probability[inside].mean(), abs=0.1)
    kept = probability[relevant > 0] >= calibration.thresholds["0.95"].threshold
    assert kept.mean() == pytest.approx(0.95, abs=0.03)
    dropped = np.mean(probability < calibration.thresholds["0.95"].threshold)
    assert dropped == pytest.approx(calibration.thresholds["0.95"].dropped, abs=0.08)


def test_an_early_stop_is_fitted_and_errs_as_often_as_is_told(good: tuple[HeldOut, Outcome]) -> None:
    _, outcome = good
    assert outcome.blend is not None
    assert outcome.early_stop is not None
    assert outcome.early_stop.queries == 150
    system = outcome.systems[BLENDED]
    variant = as_served(system, outcome.blend).variant
    assert variant is not None
    assert variant in outcome.blend.variants
    assert [one.early_stop is not None for one in outcome.blend.variants] == [
        one is variant for one in outcome.blend.variants
    ]
    stop = variant.early_stop
    assert stop is not None
    assert stop.fetch_k == system.depth
    assert outcome.early_stop.offered == tuple(margin is not None for margin in stop.margins)
    fresh = queries(400, **GOOD, seed=99)
    replay = Replay(fresh.tables(system), fresh.qrels, system, variant)
    for k, (margin, error) in enumerate(zip(stop.margins, outcome.early_stop.errors, strict=True), start=1):
        assert margin is None or error.tolerable
        stops = replay.stops(k, margin)
        assert stops.changed.mean() <= 0.05 + 0.03  # three standard errors of 400 queries
        assert stops.read.mean() <= 1
    data = json.loads(json.dumps(outcome.early_stop.to_dict(), allow_nan=False))
    assert list(data["documents"]) == [str(k) for k in range(1, 11)]


def test_what_does_not_rerank_is_not_stopped_early() -> None:
    outcome = decided(queries(60, dense=0.5, tuned=3.0, lexical=-1.0, rerank=None))
    assert outcome.early_stop is None
    assert outcome.blend is not None
    assert {one.early_stop for one in outcome.blend.variants} == {None}


@pytest.mark.parametrize("chosen", [CROSS_ENCODER, TUNED])
def test_whatever_is_served_with_a_probability_is_judged(chosen: str) -> None:
    if chosen == TUNED:
        data = queries(60, dense=0.5, tuned=3.0, lexical=-1.0, rerank=None)
    else:
        data = queries(60, dense=0.5, tuned=1.0, lexical=-1.0, rerank=4.0)
    outcome = decided(data)
    assert outcome.chosen in (chosen, BLENDED, TUNED_HYBRID)
    assert outcome.calibration is not None
    assert outcome.calibration.ece <= 0.05


def test_the_curve_is_there_when_another_system_is_chosen() -> None:
    data = queries(60, dense=0.5, tuned=3.0, lexical=0.0, rerank=0.0)
    outcome = decided(data)
    assert outcome.chosen in (TUNED, TUNED_HYBRID)
    assert list(outcome.curve) == [10, 15, 20, 30]
    blended = outcome.systems[BLENDED]
    assert outcome.curve == pytest.approx(depth_curve(blended, data))
    # It says how deep to go, and changes nothing of what was measured.
    assert blended.depth == outcome.systems[CROSS_ENCODER].depth == DEPTH
    assert outcome.systems[outcome.chosen].depth == 100


def test_without_a_cross_encoder() -> None:
    outcome = decided(queries(60, dense=0.5, tuned=2.0, lexical=2.0, rerank=None))
    assert outcome.chosen == TUNED_HYBRID
    assert outcome.curve == {}
    assert outcome.blend_forms == {}
    assert outcome.calibration is not None


def test_few_queries() -> None:
    outcome = decided(queries(12, **GOOD))
    assert outcome.chosen in (BM25, HYBRID, TUNED, CROSS_ENCODER)
    assert outcome.blend is None
    assert outcome.calibration is None
    assert outcome.blend_forms == {}
    assert decided(queries(3, **GOOD)).chosen == BASE


def test_reported_on_other_queries(good: tuple[HeldOut, Outcome]) -> None:
    data, outcome = good
    fresh = queries(40, **GOOD, seed=5)
    other = decided(data, fresh)
    assert (other.chosen, other.blend, other.calibration) == (
        outcome.chosen,
        outcome.blend,
        outcome.calibration,
    )
    assert other.evaluations[BLENDED].queries == 40
    assert other.evaluations[BLENDED]["nDCG@10"] == pytest.approx(
        outcome.evaluations[BLENDED]["nDCG@10"], abs=0.1
    )


# ---------------------------------------------------------------- labels at chance


@pytest.mark.parametrize(
    ("fallback", "chosen"), [(None, BASE), (BM25, BM25), (lambda: HYBRID, HYBRID), (lambda: BASE, BASE)]
)
def test_shuffled_labels_promote_nothing_trained(fallback: Fallback, chosen: str) -> None:
    outcome = decided(shuffled(queries(60, **GOOD)), fallback=fallback)
    assert outcome.chosen == chosen
    assert outcome.signal is not None
    assert not outcome.signal.ok
    assert outcome.blend is None  # no probability that was fitted on random labels
    assert outcome.calibration is None
    assert not any(one.promoted for one in outcome.decisions)
    assert {one.reason for one in outcome.decisions} == {AT_CHANCE}
    assert {one.incumbent for one in outcome.decisions} == {chosen}
    (warning,) = outcome.warnings
    assert "look random or shuffled" in warning
    assert set(outcome.systems) == set(outcome.evaluations) == {BASE, BM25, HYBRID, TUNED, CROSS_ENCODER}


def test_true_labels_never_ask_for_the_fallback() -> None:
    def fallback() -> str:
        raise AssertionError

    assert decided(queries(60, **GOOD), fallback=fallback).chosen == BLENDED


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_shuffled_labels_seldom_pass() -> None:
    """Fitting fusion and blend on them does not make them look better than they are."""
    chosen = [decided(shuffled(queries(30, **GOOD, seed=seed), seed)).chosen for seed in range(20)]
    assert sum(one != BASE for one in chosen) <= 2  # P(more than 2 of 20) is 0.001 at 1 %


def test_labels_that_only_a_tuned_system_finds_are_good_labels() -> None:
    outcome = decided(queries(60, dense=0.0, tuned=3.0, lexical=0.0, rerank=None))
    assert outcome.signal is not None
    assert outcome.signal.ok
    assert outcome.signal.system == TUNED
    assert outcome.chosen in (TUNED, TUNED_HYBRID)


@pytest.mark.parametrize("fallback", [TUNED, lambda: BLENDED, "magic"])
def test_no_fallback_that_was_tuned(fallback: str | Callable[[], str]) -> None:
    with pytest.raises(InvalidArgumentError, match=r"fallback must name one of .*'base', 'bm25', 'hybrid'"):
        decided(shuffled(queries(30, **GOOD)), fallback=fallback)


def test_the_outcome_is_json(good: tuple[HeldOut, Outcome]) -> None:
    _, outcome = good
    assert outcome.calibration is not None
    data: Mapping[str, Any] = json.loads(json.dumps(outcome.calibration.to_dict(), allow_nan=False))
    assert list(data["thresholds"]) == ["0.95", "0.99"]
    assert 0 <= data["thresholds"]["0.99"]["threshold"] <= data["thresholds"]["0.95"]["threshold"] <= 1
    assert data["thresholds"]["0.99"]["dropped"] <= data["thresholds"]["0.95"]["dropped"]
