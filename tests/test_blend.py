"""The fitted blend: its arithmetic against scipy and numpy, and what it does with damaged data."""

import json
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit
from scipy.stats import rankdata, zscore

from langchain_rerank_retriever.blend import Blend, BlendVariant
from langchain_rerank_retriever.early_stop import EarlyStop
from langchain_rerank_retriever.errors import FormatError

weight = st.floats(-5, 5)
scalings = st.sampled_from(["standard", "raw", "reciprocal_rank"])
stops = st.builds(
    EarlyStop,
    st.integers(1, 100),
    st.lists(st.none() | st.floats(-5, 5), max_size=10).map(tuple),
    st.dictionaries(st.integers(1, 99), st.tuples(st.floats(1e-3, 100), st.floats(-9, 9)), max_size=4),
)
variants = st.builds(
    BlendVariant,
    st.dictionaries(st.sampled_from(["rerank", "dense", "lexical"]), weight, min_size=1),
    st.floats(1e-3, 100),
    st.floats(-100, 100),
    scalings,
) | st.builds(
    BlendVariant,
    st.fixed_dictionaries({"rerank": weight, "dense": weight}),
    st.floats(1e-3, 100),
    st.floats(-100, 100),
    scalings,
    st.none() | stops,
)
blends = st.builds(
    Blend,
    st.lists(variants, max_size=3).map(tuple),
    st.none() | st.fixed_dictionaries({"dense": weight, "lexical": weight}),
)

RERANK = BlendVariant({"rerank": 1.0}, 1.0, 0.0)
TWO = BlendVariant({"rerank": 0.7, "dense": 0.3}, 2.0, -1.0)
THREE = BlendVariant({"rerank": 0.5, "dense": 0.3, "lexical": 0.2}, 3.0, -2.0)
BLEND = Blend((RERANK, TWO, THREE), {"dense": 0.4, "lexical": 0.6})


def test_blended_and_probability_by_scipy() -> None:
    rng = np.random.default_rng(0)
    stages = {"rerank": rng.normal(size=9) * 8, "dense": rng.random(9), "lexical": rng.exponential(size=9)}
    blended = THREE.blended(stages)
    expected = (
        0.5 * zscore(stages["rerank"]) + 0.3 * zscore(stages["dense"]) + 0.2 * zscore(stages["lexical"])
    )
    np.testing.assert_allclose(blended, expected)
    np.testing.assert_allclose(THREE.probability(blended), expit(3.0 * expected - 2.0))


@pytest.mark.parametrize(
    ("scaling", "scaled"),
    [
        ("standard", zscore),
        ("raw", np.asarray),
        ("reciprocal_rank", lambda scores: 1 / (60 + rankdata(-scores))),
    ],
)
def test_every_scaling(scaling: Any, scaled: Any) -> None:
    rng = np.random.default_rng(1)
    stages = {"rerank": rng.normal(size=9) * 8, "dense": rng.random(9), "lexical": rng.exponential(size=9)}
    variant = BlendVariant({"rerank": 0.2, "lexical": 1.5}, 3.0, -2.0, scaling)
    expected = 0.2 * scaled(stages["rerank"]) + 1.5 * scaled(stages["lexical"])
    np.testing.assert_allclose(variant.blended(stages), expected)
    np.testing.assert_allclose(variant.probability(variant.blended(stages)), expit(3.0 * expected - 2.0))


def test_a_blend_of_before_there_was_a_choice_is_standard() -> None:
    data = BLEND.to_dict()
    for one in data["variants"]:
        assert one.pop("scaling") == "standard"
    assert Blend.from_dict(data) == BLEND


@given(st.floats(1e-3, 1e3), st.floats(-1e3, 1e3), st.lists(st.floats(-1e6, 1e6), max_size=20))
def test_probability_is_monotone_and_between_0_and_1(
    slope: float, intercept: float, scores: list[float]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        probability = BlendVariant({"rerank": 1.0}, slope, intercept).probability(np.sort(scores))
    assert ((probability >= 0) & (probability <= 1)).all()
    assert (np.diff(probability) >= 0).all()


def test_a_stage_of_weight_0_decides_nothing() -> None:
    variant = BlendVariant({"rerank": 0.0, "dense": 1.0}, 1.0, 0.0)
    dense = np.array([0.3, 0.1, 0.2])
    for rerank in ([1.0, 2.0, 3.0], [9.0, -9.0, 0.0]):
        blended = variant.blended({"rerank": np.array(rerank), "dense": dense})
        np.testing.assert_allclose(blended, zscore(dense))


@pytest.mark.parametrize(
    ("available", "expected"),
    [
        ({"rerank", "dense", "lexical"}, THREE),
        ({"rerank", "dense"}, TWO),
        ({"rerank", "lexical"}, RERANK),
        (["rerank"], RERANK),
        ({"dense", "lexical"}, None),
        (set(), None),
    ],
)
def test_the_richest_variant_is_picked(available: Any, expected: BlendVariant | None) -> None:
    assert BLEND.variant_for(available) is expected
    assert Blend((THREE, TWO, RERANK)).variant_for(available) is expected
    assert Blend(()).variant_for(available) is None


@given(blends)
def test_there_and_back_through_json(blend: Blend) -> None:
    assert Blend.from_dict(json.loads(json.dumps(blend.to_dict(), allow_nan=False))) == blend


STOP = EarlyStop(30, (0.5, None, 2.0), {8: (1.5, -2.0), 16: (1.25, -3.0)})


def test_a_blend_of_before_there_was_an_early_stop_has_none() -> None:
    assert all("early_stop" not in one for one in BLEND.to_dict()["variants"])
    assert {one.early_stop for one in Blend.from_dict(BLEND.to_dict()).variants} == {None}
    data = Blend((replace(TWO, early_stop=STOP),)).to_dict()
    assert data["variants"][0]["early_stop"] == {
        "fetch_k": 30,
        "margins": [0.5, None, 2.0],
        "looks": {"8": [1.5, -2.0], "16": [1.25, -3.0]},
    }


def test_margins_are_by_place() -> None:
    assert [STOP.margin(place) for place in (1, 2, 3, 4, 99)] == [0.5, None, 2.0, None, None]


def test_the_probability_of_where_scoring_ended() -> None:
    blended = np.array([-1.0, 0.0, 2.0])
    variant = replace(TWO, early_stop=STOP)
    np.testing.assert_allclose(variant.probability(blended), expit(2 * blended - 1))
    np.testing.assert_allclose(variant.probability(blended, scored=16), expit(1.25 * blended - 3))
    # Nothing was fitted for these.
    np.testing.assert_allclose(variant.probability(blended, scored=7), expit(2 * blended - 1))
    np.testing.assert_allclose(TWO.probability(blended, scored=16), expit(2 * blended - 1))


# ---------------------------------------------------------------- leads

scores = st.lists(
    st.tuples(st.none() | st.integers(-9, 9), st.integers(-9, 9), st.integers(0, 9)), min_size=1, max_size=9
).filter(lambda rows: any(rerank is not None for rerank, _, _ in rows))


@given(scores, st.sampled_from(["standard", "raw"]), st.sampled_from([0.0, 0.5, 2.0]))
def test_a_lead_is_what_the_best_unscored_would_need(
    rows: list[tuple[int | None, int, int]], scaling: Any, rerank_weight: float
) -> None:
    """The first unscored candidate with a re-rank score so far above the mean would tie with the scored one."""
    rerank = np.array([np.nan if row[0] is None else row[0] for row in rows], float)
    stages = {"rerank": rerank, "dense": np.array([row[1] for row in rows], float)}
    stages["lexical"] = np.array([row[2] for row in rows], float)
    variant = BlendVariant({"rerank": rerank_weight, "dense": 0.25, "lexical": -0.5}, 1.0, 0.0, scaling)
    there = ~np.isnan(rerank)
    leads = variant.leads(stages)
    assert leads.shape == (there.sum(),)
    if there.all():
        assert np.isposinf(leads).all()
        return

    def z(column: np.ndarray) -> np.ndarray:
        return (column - column.mean()) / column.std() if np.ptp(column) else np.zeros(column.size)

    scale = z if scaling == "standard" else np.asarray
    known = 0.25 * scale(stages["dense"]) - 0.5 * scale(stages["lexical"])
    best = sorted(known[there] + rerank_weight * scale(rerank[there]), reverse=True)
    mean, deviation = rerank[there].mean(), rerank[there].std()
    unit = deviation if scaling == "raw" else float(deviation > 0)
    centre = mean if scaling == "raw" else 0.0
    for blended, lead in zip(best, leads):
        if rerank_weight * unit == 0:
            assert np.isinf(lead)
            assert (lead > 0) == (blended >= known[~there].max() + rerank_weight * centre)
        else:
            caught_up = known[~there].max() + rerank_weight * (centre + lead * unit)
            assert caught_up == pytest.approx(blended, abs=1e-9)


def test_to_dict_is_a_copy() -> None:
    data = BLEND.to_dict()
    data["variants"][0]["weights"]["rerank"] = 99
    data["fusion"]["dense"] = 99
    assert BLEND.variants[0].weights == {"rerank": 1.0}
    assert BLEND.fusion == {"dense": 0.4, "lexical": 0.6}


def damaged(**changes: Any) -> dict[str, Any]:
    return {**BLEND.to_dict(), **changes}


def with_variant(**changes: Any) -> dict[str, Any]:
    return damaged(variants=[{**THREE_DATA, **changes}])


THREE_DATA = BLEND.to_dict()["variants"][2]
STOP_DATA = STOP.to_dict()


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        "blend",
        3,
        {},
        {"format": 1},
        {key: value for key, value in BLEND.to_dict().items() if key != "fusion"},
        damaged(variants=None),
        damaged(variants=5),
        damaged(variants={"a": 1}),
        damaged(variants=[None]),
        damaged(variants=[[]]),
        damaged(fusion=[]),
        damaged(fusion="dense"),
        damaged(fusion={}),
        damaged(fusion={"rerank": 1.0}),
        damaged(fusion={"dense": float("nan"), "lexical": 1.0}),
        with_variant(slope=0.0),
        with_variant(slope=-1.0),
        with_variant(slope=float("nan")),
        with_variant(slope=None),
        with_variant(slope=10**400),
        with_variant(intercept=float("inf")),
        with_variant(intercept="high"),
        with_variant(weights={}),
        with_variant(weights=[1.0]),
        with_variant(weights=None),
        with_variant(weights={"rerank": "much"}),
        with_variant(weights={"rerank": float("-inf")}),
        with_variant(weights={"magic": 1.0}),
        with_variant(scaling="percentile"),
        with_variant(scaling=None),
        with_variant(scaling=["raw"]),
        with_variant(early_stop=5),
        with_variant(early_stop={}),
        with_variant(early_stop={**STOP_DATA, "margins": None}),
        with_variant(early_stop={**STOP_DATA, "margins": ["much"]}),
        with_variant(early_stop={**STOP_DATA, "margins": [float("nan")]}),
        with_variant(early_stop={**STOP_DATA, "looks": {"0": [1.0, 0.0]}}),
        with_variant(early_stop={**STOP_DATA, "looks": {"8": [0.0, 0.0]}}),
        with_variant(early_stop={**STOP_DATA, "looks": {"8": [1.0]}}),
        with_variant(early_stop={**STOP_DATA, "looks": {"8": [1.0, float("inf")]}}),
        with_variant(early_stop={**STOP_DATA, "looks": [8]}),
        with_variant(early_stop={**STOP_DATA, "fetch_k": 0}),
        with_variant(early_stop={**STOP_DATA, "fetch_k": None}),
        with_variant(early_stop=STOP_DATA, weights={"dense": 1.0}),
    ],
)
def test_damaged_data(data: Any) -> None:
    with pytest.raises(FormatError, match=r"The blend cannot be read: .* Fit it anew with tune\(\)"):
        Blend.from_dict(data)


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_format(version: Any) -> None:
    with pytest.raises(FormatError, match=r"has format .*; this version reads format 1. Install a newer"):
        Blend.from_dict(damaged(format=version))
