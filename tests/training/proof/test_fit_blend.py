"""Fitted weights where the right ones are known, and the calibration against scikit-learn."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from langchain_rerank_retriever.blend import Blend, BlendVariant, Feature
from langchain_rerank_retriever.recall.fusion import standardise
from langchain_rerank_retriever.training.proof import systems as systems_module
from langchain_rerank_retriever.training.proof.fit_blend import (
    LEAST_QUERIES,
    BlendFitter,
    fit_fusion,
)
from langchain_rerank_retriever.training.proof.forms import best_weights, fit_standard
from langchain_rerank_retriever.training.proof.pool import Pool, simplex
from langchain_rerank_retriever.training.proof.stages import StageTable, System, served_order
from langchain_rerank_retriever.training.proof.systems import (
    BASE,
    BLENDED,
    BM25,
    CROSS_ENCODER,
    HYBRID,
    ORDER,
    TUNED,
    TUNED_HYBRID,
    HeldOut,
    at_depth,
    best_depth,
    blend_of,
    cross_fitted,
    depth_curve,
    rankings,
    systems,
)

CANDIDATES = 60

Tables = dict[str, StageTable]
Qrels = dict[str, dict[str, int]]


def synthetic(signal: Mapping[str, float], *, queries: int = 60, seed: int = 0) -> tuple[Tables, Qrels]:
    """Tables in which each stage's score is noise plus `signal` for the three relevant documents."""
    rng = np.random.default_rng(seed)
    tables, qrels = {}, {}
    for number in range(queries):
        relevant = np.zeros(CANDIDATES)
        relevant[rng.permutation(CANDIDATES)[:3]] = 1
        scores = {
            name: rng.normal(size=CANDIDATES) + signal.get(name, 0.0) * relevant
            for name in ("dense", "lexical", "rerank")
        }
        ids = tuple(f"d{place}" for place in range(CANDIDATES))
        # BM25 is never negative, and 0 is no match.
        lexical = scores["lexical"] - scores["lexical"].min() + 0.1
        rerank = scores["rerank"] if "rerank" in signal else None
        tables[f"q{number}"] = StageTable(ids, scores["dense"], lexical, rerank)
        qrels[f"q{number}"] = {key: 1 for key, one in zip(ids, relevant, strict=True) if one}
    return tables, qrels


def fit_variant(
    tables: Tables, qrels: Qrels, features: Sequence[Feature], system: System
) -> BlendVariant | None:
    pool = Pool(tables, qrels, system)
    return pool.calibrate(fit_standard(pool, features, list(tables)), list(tables))


def fit_blend(
    tables: Tables, qrels: Qrels, *, depth: int, fusion: Mapping[str, float] | None
) -> Blend | None:
    return BlendFitter(tables, qrels, depth=depth, fusion=fusion, seed=0).blend(tuple(tables), depth)


def fit_systems(
    held_out: HeldOut, *, depth: int, reranked: bool, fusion: Mapping[str, float] | None
) -> tuple[Blend | None, dict[str, System]]:
    blend = fit_blend(dict(held_out.serving), dict(held_out.qrels), depth=depth, fusion=fusion)  # type: ignore[arg-type]
    return blend, systems(blend, depth=depth, reranked=reranked)


def test_simplex() -> None:
    grid = simplex(("rerank", "dense", "lexical"))
    assert len(grid) == 231
    assert all(sum(weights.values()) == pytest.approx(1) for weights in grid)
    assert {"rerank": 0.0, "dense": 1.0, "lexical": 0.0} in grid
    assert simplex(("dense",)) == [{"dense": 1.0}]


@pytest.mark.parametrize(
    ("signal", "least_dense", "most_dense"),
    [
        ({"lexical": 4.0}, 0.0, 0.15),
        ({"dense": 4.0}, 0.85, 1.0),
        ({"dense": 2.0, "lexical": 2.0}, 0.35, 0.65),
    ],
)
def test_fusion(signal: Mapping[str, float], least_dense: float, most_dense: float) -> None:
    fusion = fit_fusion(*synthetic(signal))
    assert fusion is not None
    assert sum(fusion.values()) == pytest.approx(1)
    assert least_dense <= fusion["dense"] <= most_dense


def test_a_cross_encoder_of_noise_gets_no_weight() -> None:
    tables, qrels = synthetic({"rerank": 0.0, "dense": 4.0})
    variant = fit_variant(tables, qrels, ("rerank", "dense"), System("", depth=30, reranked=True))
    assert variant is not None
    assert variant.weights["rerank"] <= 0.1
    assert variant.weights["dense"] >= 0.9


def test_only_what_is_informative_gets_weight() -> None:
    tables, qrels = synthetic({"rerank": 5.0, "dense": 0.0, "lexical": 0.0})
    features = ("rerank", "dense", "lexical")
    variant = fit_variant(tables, qrels, features, System("", mode="hybrid", depth=60, reranked=True))
    assert variant is not None
    assert variant.weights["rerank"] >= 0.7
    tables, qrels = synthetic({"rerank": 0.0, "dense": 0.0, "lexical": 4.0})
    variant = fit_variant(tables, qrels, features, System("", mode="hybrid", depth=60, reranked=True))
    assert variant is not None
    assert variant.weights["lexical"] >= 0.8


def test_the_calibration_is_that_of_scikit_learn() -> None:
    tables, qrels = synthetic({"dense": 1.5, "lexical": 1.0})
    variant = fit_variant(tables, qrels, ("dense", "lexical"), System("", mode="hybrid"))
    assert variant is not None
    points, labels = [], []
    for key, table in tables.items():
        weights = variant.weights
        blended = weights["dense"] * standardise(table.dense) + weights["lexical"] * standardise(
            table.lexical
        )
        points.extend(blended)
        labels.extend(one in qrels[key] for one in table.ids)
    fitted = LogisticRegression(C=np.inf).fit(np.array(points)[:, None], labels)
    assert variant.slope == pytest.approx(fitted.coef_[0, 0], rel=5e-3)
    assert variant.intercept == pytest.approx(fitted.intercept_[0], rel=5e-3)
    expected = fitted.predict_proba(np.array([[-1.0], [0.0], [3.0]]))[:, 1]
    np.testing.assert_allclose(variant.probability(np.array([-1.0, 0.0, 3.0])), expected, rtol=2e-2)
    # A calibrated probability is right on average.
    assert variant.probability(np.array(points)).mean() == pytest.approx(np.mean(labels), rel=1e-2)


def test_nothing_to_calibrate() -> None:
    tables, _ = synthetic({"dense": 1.0})
    elsewhere = {key: {"not recalled": 1} for key in tables}
    assert fit_variant(tables, elsewhere, ("dense",), System("")) is None
    # Relevance that falls with the score: no probability may turn the order around.
    tables, qrels = synthetic({"dense": -3.0})
    assert fit_variant(tables, qrels, ("dense",), System("")) is None


@pytest.mark.parametrize(("reranked", "variants"), [(True, 5), (False, 2)])
def test_blend(reranked: bool, variants: int) -> None:
    tables, qrels = synthetic({"dense": 2.0, "lexical": 2.0} | ({"rerank": 2.0} if reranked else {}))
    fusion = {"dense": 0.5, "lexical": 0.5}
    blend = fit_blend(tables, qrels, depth=30, fusion=fusion)
    assert blend is not None
    assert len(blend.variants) == variants
    assert blend.fusion == fusion
    full = blend.variant_for(("rerank", "recall", "dense", "lexical"))
    assert full is not None
    assert full.features == frozenset({"rerank", "recall"} if reranked else {"recall"})


def test_too_few_queries_fit_nothing() -> None:
    tables, qrels = synthetic({"dense": 3.0}, queries=LEAST_QUERIES - 1)
    assert fit_fusion(tables, qrels) is None
    assert fit_blend(tables, qrels, depth=30, fusion=None) is None
    tables, qrels = synthetic({"dense": 3.0}, queries=LEAST_QUERIES)
    assert fit_fusion(tables, qrels) is not None
    assert fit_blend(tables, qrels, depth=30, fusion=None) is not None


# ---------------------------------------------------------------- systems


def held_out(signal: Mapping[str, float], *, queries: int = 40) -> HeldOut:
    base, qrels = synthetic({"dense": 0.5, "lexical": 1.0}, queries=queries)
    tuned, _ = synthetic({"dense": 2.0, "lexical": 1.0}, queries=queries)
    serving, _ = synthetic(signal, queries=queries)
    return HeldOut(qrels, base, tuned, serving)


SIGNAL = {"dense": 2.0, "lexical": 1.0, "rerank": 3.0}


def test_systems() -> None:
    blend, found = fit_systems(
        held_out(SIGNAL), depth=30, reranked=True, fusion={"dense": 0.6, "lexical": 0.4}
    )
    assert blend is not None
    assert tuple(found) == ORDER
    assert (found[BM25].mode, found[HYBRID].mode, found[TUNED].encoder) == ("lexical", "hybrid", "tuned")
    assert found[BASE].encoder == "base"
    assert found[HYBRID].fusion is None
    assert found[BLENDED].variant is not None
    assert found[CROSS_ENCODER].depth == found[BLENDED].depth == 30
    assert blend_of(BASE, None) is None
    for name in ORDER:
        part = blend_of(name, blend)
        assert part is not None
        # The bundle of a system that recalls by rank has no weights to recall by.
        assert (part.fusion is not None) == (name in (TUNED_HYBRID, BLENDED))
    assert list(systems(None, depth=10, reranked=False)) == [BASE, BM25, HYBRID, TUNED]
    assert BLENDED not in systems(None, depth=10, reranked=True)


def test_rankings_come_from_the_encoder_they_name() -> None:
    data = held_out(SIGNAL)
    _, found = fit_systems(data, depth=30, reranked=True, fusion=None)
    ranked = rankings(found, data)
    for name, tables in ((BASE, data.base), (TUNED, data.tuned), (CROSS_ENCODER, data.serving)):
        assert ranked[name] == {key: served_order(table, found[name]) for key, table in tables.items()}
    assert all(len(one) == 30 for one in ranked[CROSS_ENCODER].values())


def spy(
    seen: list[HeldOut], found: Callable[[HeldOut], Mapping[str, System]]
) -> Callable[[HeldOut], Mapping[str, System]]:
    def fit(part: HeldOut) -> Mapping[str, System]:
        seen.append(part)
        return found(part)

    return fit


def test_cross_fitting_never_fits_on_what_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    data = held_out(SIGNAL, queries=43)
    fitted: list[HeldOut] = []
    answered: list[Sequence[str]] = []
    original = systems_module.rankings

    def watched(found: Mapping[str, System], part: HeldOut) -> dict[str, dict[str, list[str]]]:
        answered.append(list(part.qrels))
        return original(found, part)

    monkeypatch.setattr(systems_module, "rankings", watched)
    merged = cross_fitted(
        data,
        spy(fitted, lambda _: {BASE: System(BASE), TUNED: System(TUNED, "tuned")}),
        unfitted={},
        seed=3,
    )
    assert len(fitted) == len(answered) == 5
    for part, keys in zip(fitted, answered, strict=True):
        for known in (part.qrels, part.base, part.tuned, part.serving):
            assert not known.keys() & set(keys)
            assert known.keys() | set(keys) == data.qrels.keys()
        assert len(keys) in (8, 9)
    assert sorted(key for keys in answered for key in keys) == sorted(data.qrels)
    assert merged == original({BASE: System(BASE), TUNED: System(TUNED, "tuned")}, data)


def test_cross_fitting_answers_with_the_weights_of_its_fold() -> None:
    data = held_out(SIGNAL, queries=40)

    def fit(part: HeldOut) -> Mapping[str, System]:
        # Re-ranks nothing but what it was not fitted on.
        return {BASE: System(BASE, depth=len(part.qrels))}

    assert all(len(ranked) == 32 for ranked in cross_fitted(data, fit, unfitted={}, seed=0)[BASE].values())


@pytest.mark.parametrize("queries", [6, LEAST_QUERIES - 1, LEAST_QUERIES + 2])
def test_few_queries_are_answered_without_fitted_weights(queries: int) -> None:
    data = held_out(SIGNAL, queries=queries)
    unfitted = systems(None, depth=30, reranked=True)
    fit = partial(fit_systems, depth=30, reranked=True, fusion=None)
    merged = cross_fitted(data, lambda part: fit(part)[1], unfitted=unfitted, seed=0)
    assert list(merged) == [BASE, BM25, HYBRID, TUNED, CROSS_ENCODER]
    assert merged == systems_module.rankings(unfitted, data)


def test_a_system_that_some_folds_lack_is_left_out() -> None:
    data = held_out(SIGNAL, queries=40)
    calls: list[HeldOut] = []

    def fit(part: HeldOut) -> Mapping[str, System]:
        calls.append(part)
        return {BASE: System(BASE)} | ({HYBRID: System(HYBRID)} if len(calls) > 1 else {})

    assert list(cross_fitted(data, fit, unfitted={}, seed=0)) == [BASE]


def test_depth_curve() -> None:
    data = held_out(SIGNAL)
    system = System("", "serving", depth=30, reranked=True)
    curve = depth_curve(system, data)
    assert list(curve) == [10, 15, 20, 30]
    # A good cross-encoder gains from every candidate it is given.
    assert list(curve.values()) == sorted(curve.values())
    assert curve[30] > curve[10] + 0.05
    assert depth_curve(System("", "serving"), data) == {}
    assert list(depth_curve(at_depth(system, 10), data)) == [10]
    variant = BlendVariant({"dense": 1.0}, 1.0, 0.0)
    flat = depth_curve(System("", "serving", depth=30, reranked=True, variant=variant), data)
    assert len(set(flat.values())) == 1
    assert best_depth(flat) == 10


@pytest.mark.parametrize(
    ("curve", "best"),
    [
        ({10: 0.70, 15: 0.75, 20: 0.80, 30: 0.8029}, 20),
        ({10: 0.70, 15: 0.75, 20: 0.80, 30: 0.8031}, 30),
        ({10: 0.80, 15: 0.79, 20: 0.78}, 10),
        ({30: 0.1}, 30),
    ],
)
def test_best_depth(curve: Mapping[int, float], best: int) -> None:
    assert best_depth(curve) == best


# ---------------------------------------------------------------- one standard error


@pytest.mark.parametrize(("gain", "earned"), [(0.05, True), (0.001, False)])
def test_the_cross_encoder_gets_weight_only_for_a_gain_that_chance_does_not_explain(
    gain: float, earned: bool
) -> None:
    rng = np.random.default_rng(0)
    grid = [{"rerank": 0.0, "recall": 1.0}, {"rerank": 0.5, "recall": 0.5}, {"rerank": 1.0, "recall": 0.0}]
    base = rng.random(200)
    # The standard error of this difference is 0.1 / sqrt(200) = 0.007.
    difference = rng.standard_normal(200) * 0.1
    better = base + difference - difference.mean() + gain
    best = best_weights(grid, np.array([base, better, base - 0.2]))
    assert best == ({"rerank": 0.5, "recall": 0.5} if earned else {"rerank": 0.0, "recall": 1.0})
