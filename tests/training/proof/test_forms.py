"""The forms of the blend: each against scikit-learn or by hand, and which of them wins."""

from collections.abc import Mapping

import numpy as np
import pytest
from scipy.stats import rankdata, zscore
from sklearn.linear_model import LogisticRegression

from langchain_rerank_retriever.blend import BlendVariant
from langchain_rerank_retriever.evaluation.judge import judge
from langchain_rerank_retriever.training.proof import forms as forms_module
from langchain_rerank_retriever.training.proof.fit_blend import BlendFitter, fit_fusion
from langchain_rerank_retriever.training.proof.forms import (
    LOGISTIC,
    RECIPROCAL_RANK,
    STANDARD,
    best_form,
    beyond_chance,
    divided,
    fit_logistic,
    fit_reciprocal_rank,
    fit_standard,
)
from langchain_rerank_retriever.training.proof.pool import Pool, simplex
from langchain_rerank_retriever.training.proof.stages import StageTable, System, served_order
from langchain_rerank_retriever.training.proof.systems import BLENDED, systems
from tests.training.proof.test_fit_blend import Qrels, Tables, synthetic

SIGNAL = {"dense": 2.0, "lexical": 1.0, "rerank": 3.0}
FUSION = {"dense": 0.6, "lexical": 0.4}


def full(depth: int = 30) -> System:
    return System("", mode="hybrid", depth=depth, reranked=True, fusion=FUSION)


def pool_of(tables: Tables, qrels: Qrels) -> Pool:
    return Pool(tables, qrels, full())


def sometimes_unsure(tables: Tables, seed: int = 0) -> Tables:
    """Some queries' cross-encoder scores all lie near each other: it says that it does not know."""
    rng = np.random.default_rng(seed)
    changed = {}
    for place, (key, table) in enumerate(tables.items()):
        rerank = rng.normal(size=len(table.ids)) * 0.02 if place % 2 else table.rerank
        changed[key] = StageTable(table.ids, table.dense, table.lexical, rerank)
    return changed


def test_the_logistic_form_is_that_of_scikit_learn() -> None:
    tables, qrels = synthetic(SIGNAL)
    keys = list(tables)[:40]
    variant = fit_logistic(pool_of(tables, qrels), keys)
    assert variant is not None
    rows, labels = [], []
    for key in keys:
        table = tables[key]
        assert table.rerank is not None
        recall = 0.6 * zscore(table.dense) + 0.4 * zscore(table.lexical)
        for place in np.argsort(-recall)[:30]:
            rows.append([table.rerank[place], table.dense[place], table.lexical[place]])
            labels.append(table.ids[place] in qrels[key])
    fitted = LogisticRegression(C=1e3, tol=1e-8, max_iter=10_000).fit(np.array(rows), labels)
    assert variant.scaling == "raw"
    assert list(variant.weights) == ["rerank", "dense", "lexical"]
    np.testing.assert_allclose(list(variant.weights.values()), fitted.coef_[0], rtol=1e-3)
    # Its own calibration is then nearly the regression's: slope 1, and the regression's intercept.
    calibrated = pool_of(tables, qrels).calibrate(variant, keys)
    assert calibrated is not None
    assert calibrated.slope == pytest.approx(1, rel=1e-2)
    assert calibrated.intercept == pytest.approx(fitted.intercept_[0], rel=1e-2)


def test_nothing_to_regress() -> None:
    tables, _ = synthetic(SIGNAL)
    elsewhere = {key: {"not recalled": 1} for key in tables}
    assert fit_logistic(pool_of(tables, elsewhere), list(tables)) is None
    variant, judged = best_form(pool_of(tables, elsewhere), list(tables), seed=0)
    assert variant is None
    assert judged == {STANDARD: 0.0, RECIPROCAL_RANK: 0.0}


def test_reciprocal_rank_fusion_by_hand() -> None:
    tables, qrels = synthetic(SIGNAL, queries=3)
    variant = fit_reciprocal_rank()
    for key, table in tables.items():
        recall = 0.6 * zscore(table.dense) + 0.4 * zscore(table.lexical)
        places = np.argsort(-recall)[:30]
        assert table.rerank is not None
        fused = 1 / (60 + rankdata(-recall[places])) + 1 / (60 + rankdata(-table.rerank[places]))
        expected = [table.ids[places[place]] for place in np.argsort(-fused, kind="stable")]
        system = System("", "serving", "hybrid", 30, reranked=True, fusion=FUSION, variant=variant)
        assert served_order(table, system) == expected
        scores, _ = pool_of(tables, qrels).scores(variant, [key])
        np.testing.assert_allclose(scores, fused)


def test_quality_is_that_of_what_is_served() -> None:
    tables, qrels = synthetic(SIGNAL)
    keys = list(tables)[5:25]
    for variant in (
        BlendVariant({"rerank": 0.35, "recall": 0.65}, 1.0, 0.0),
        BlendVariant({"rerank": 2.0, "dense": 1.0, "lexical": 0.1}, 1.0, 0.0, "raw"),
        fit_reciprocal_rank(),
    ):
        system = System("", "serving", "hybrid", 30, reranked=True, fusion=FUSION, variant=variant)
        orders = {key: served_order(tables[key], system) for key in keys}
        judged = judge(orders, {key: qrels[key] for key in keys}, ("nDCG@10",)).per_query["nDCG@10"]
        found = pool_of(tables, qrels).quality(variant, keys)
        np.testing.assert_allclose(found, [judged[key] for key in keys])


def test_the_grid_of_a_part_is_the_part_of_the_grid() -> None:
    tables, qrels = synthetic(SIGNAL, queries=20)
    pool, keys = pool_of(tables, qrels), list(tables)[3:11]
    points, values = pool.grid(("rerank", "recall"), keys)
    assert points == simplex(("rerank", "recall"))
    assert values.shape == (21, 8)
    for point, row in zip(points, values, strict=True):
        np.testing.assert_allclose(row, pool.quality(BlendVariant(point, 1.0, 0.0), keys))
    alone = Pool({key: tables[key] for key in keys}, qrels, full())
    assert fit_standard(alone, ("rerank", "recall"), keys) == fit_standard(pool, ("rerank", "recall"), keys)


def test_folds_answer_every_query_once_with_the_others() -> None:
    keys = [f"q{place}" for place in range(23)]
    parts = list(divided(keys, seed=1))
    assert sorted(key for _, inside in parts for key in inside) == sorted(keys)
    for outside, inside in parts:
        assert sorted([*outside, *inside]) == sorted(keys)
        assert len(inside) in (4, 5)
    assert parts == list(divided(keys[::-1], seed=1))


def test_every_form_is_judged_without_the_queries_it_was_fitted_on(monkeypatch: pytest.MonkeyPatch) -> None:
    tables, qrels = synthetic(SIGNAL)
    fitted: list[set[str]] = []
    judged: list[set[str]] = []
    pool = pool_of(tables, qrels)
    pool.grid(("rerank", "recall"), list(tables))  # judged once, before any fold
    original = pool.quality
    logistic = forms_module.fit_logistic

    def spy(pool: Pool, keys: list[str]) -> BlendVariant | None:
        fitted.append(set(keys))
        return logistic(pool, keys)

    def quality(variant: BlendVariant, keys: list[str]) -> np.ndarray:
        if variant.scaling == "raw":
            judged.append(set(keys))
        return original(variant, keys)

    monkeypatch.setattr(forms_module, "fit_logistic", spy)
    monkeypatch.setattr(pool, "quality", quality, raising=False)
    best_form(pool, list(tables), seed=0)
    assert len(judged) == 5
    for some, others in zip(fitted, judged, strict=False):
        assert not some & others
        assert some | others == set(tables)


def test_the_standard_form_stays_where_forms_are_alike() -> None:
    for seed in range(5):
        tables, qrels = synthetic(SIGNAL, queries=80, seed=seed)
        variant, judged = best_form(pool_of(tables, qrels), list(tables), seed=0)
        assert variant is not None
        assert set(judged) == {STANDARD, LOGISTIC, RECIPROCAL_RANK}
        assert judged[LOGISTIC] == pytest.approx(judged[STANDARD], abs=0.03)
        if max(judged[LOGISTIC], judged[RECIPROCAL_RANK]) <= judged[STANDARD]:
            pool = pool_of(tables, qrels)
            standard = fit_standard(pool, ("rerank", "recall"), list(tables))
            assert variant == pool.calibrate(standard, list(tables))


def test_raw_scores_win_where_their_size_says_how_sure_they_are() -> None:
    tables, qrels = synthetic({"dense": 1.0, "lexical": 0.5, "rerank": 5.0}, queries=120)
    tables = sometimes_unsure(tables)
    fusion = fit_fusion(tables, qrels)
    fitted = BlendFitter(tables, qrels, depth=30, fusion=fusion, seed=0).fit(tuple(tables))
    assert fitted is not None
    assert max(fitted.forms, key=lambda name: fitted.forms[name]) == LOGISTIC
    full = fitted.blend.variants[1]
    assert full.scaling == "raw"
    assert full.features == {"rerank", "dense", "lexical"}
    # It is what the blended system serves, and the richest that the retriever finds.
    assert systems(fitted.blend, depth=30, reranked=True)[BLENDED].variant == full
    assert fitted.blend.variant_for({"rerank", "dense", "lexical", "recall"}) == full


@pytest.mark.parametrize(
    ("values", "winner"),
    [
        ({STANDARD: 0.0, LOGISTIC: 0.005, RECIPROCAL_RANK: -0.1}, STANDARD),
        ({STANDARD: 0.0, LOGISTIC: 0.02, RECIPROCAL_RANK: -0.1}, LOGISTIC),
        ({STANDARD: 0.0, LOGISTIC: 0.02, RECIPROCAL_RANK: 0.03}, RECIPROCAL_RANK),
        ({STANDARD: 0.0, RECIPROCAL_RANK: -0.02}, STANDARD),
    ],
)
def test_another_form_needs_more_than_one_standard_error(values: Mapping[str, float], winner: str) -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=100)
    # Deviation 0.1 over a hundred queries: a standard error of 0.01.
    noise = (noise - noise.mean()) / noise.std(ddof=1) * 0.1
    columns = {
        name: value + (0.0 if name == STANDARD else 1.0) * noise + 0.5 for name, value in values.items()
    }
    columns = {name: np.broadcast_to(column, 100) for name, column in columns.items()}
    order = forms_module._preferred(columns)
    assert order[0] == winner
    assert order[-1] == STANDARD


def test_beyond_chance() -> None:
    assert beyond_chance(np.array([0.0, 1.0, 1.0, 1.0]))  # mean 0.75, standard error 0.25
    assert not beyond_chance(np.array([-1.0, 1.0, 0.0, 0.5]))  # mean 0.125, standard error 0.43
    assert not beyond_chance(np.zeros(5))


def test_calibrated_anew_for_fewer_candidates() -> None:
    tables, qrels = synthetic(SIGNAL, queries=60)
    keys = tuple(tables)
    fitter = BlendFitter(tables, qrels, depth=40, fusion=FUSION, seed=0)
    whole, few = fitter.blend(keys, 40), fitter.blend(keys, 10)
    assert whole is not None
    assert few is not None
    for before, after in zip(whole.variants, few.variants, strict=True):
        assert (before.weights, before.scaling) == (after.weights, after.scaling)
        assert (before == after) == ("rerank" not in before.features)
    system = System("", "serving", "hybrid", 10, reranked=True, fusion=FUSION)
    scores, relevant = Pool(tables, qrels, system).scores(few.variants[1], keys)
    # Platt's fit is right on average.
    assert few.variants[1].probability(scores).mean() == pytest.approx(relevant.mean(), rel=1e-3)
