"""Early stops replayed on scored queries, against plain numpy and by trying every margin."""

import json
import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import zscore

from langchain_rerank_retriever.blend import BlendVariant
from langchain_rerank_retriever.training.proof.early_stop import (
    MOST_CHANGED,
    MOST_LOST,
    MOST_RETURNED,
    EarlyStopReport,
    Error,
    Replay,
    Stops,
    errors_of,
)
from langchain_rerank_retriever.training.proof.stages import StageTable, System

VARIANT = BlendVariant({"rerank": 0.5, "dense": 0.5}, 2.0, -1.0)
SYSTEM = System("", depth=30, reranked=True)
LOOKS = (8, 16, 24)


def tables(
    number: int, *, agreement: float, seed: int = 0, size: int = 60
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Queries with two relevant documents each, where the re-ranker agrees with recall to some degree."""
    rng = np.random.default_rng(seed)
    made, qrels = {}, {}
    for place in range(number):
        ids = tuple(f"d{one}" for one in range(size))
        relevant = np.zeros(size)
        relevant[rng.permutation(size)[:2]] = 1
        dense = rng.normal(size=size) + 2 * relevant
        rerank = 3 * (agreement * dense + rng.normal(size=size) + relevant)
        made[f"q{place}"] = StageTable(ids, dense, rng.random(size), rerank)
        qrels[f"q{place}"] = {key: 1 for key, one in zip(ids, relevant, strict=True) if one}
    return made, qrels


def ndcg(ids: list[str], qrels: dict[str, int], k: int) -> float:
    gain = sum(qrels.get(one, 0) / math.log2(1 + rank) for rank, one in enumerate(ids[:k], start=1))
    ideal = sum(1 / math.log2(1 + rank) for rank in range(1, 1 + min(k, len(qrels))))
    return gain / ideal


def ended(table: StageTable, look: int, depth: int) -> tuple[list[str], np.ndarray]:
    """One query, ended after so many candidates: the order of those, and every lead."""
    recalled = np.argsort(-table.dense, kind="stable")[:depth]
    known = 0.5 * zscore(table.dense[recalled])
    assert table.rerank is not None
    blended = known[:look] + 0.5 * zscore(table.rerank[recalled[:look]])
    order = np.argsort(-blended, kind="stable")
    leads = np.full(look, np.inf) if look >= depth else (blended[order] - known[look:].max()) / 0.5
    return [table.ids[recalled[place]] for place in order], leads


@pytest.fixture(scope="module")
def data() -> tuple[dict[str, Any], dict[str, Any]]:
    return tables(60, agreement=1.5)


@pytest.fixture(scope="module")
def replay(data: tuple[dict[str, Any], dict[str, Any]]) -> Replay:
    return Replay(*data, SYSTEM, VARIANT)


@pytest.mark.parametrize("k", [1, 4, 8, 10])
@pytest.mark.parametrize("margin", [None, -2.0, 0.0, 0.7, 1.5, 3.0])
def test_stops_by_brute_force(
    data: tuple[dict[str, Any], dict[str, Any]], replay: Replay, k: int, margin: float | None
) -> None:
    made, qrels = data
    stops = replay.stops(k, margin)
    for row, (key, table) in enumerate(made.items()):
        whole, _ = ended(table, 30, 30)
        found, read = whole, 30
        for look in LOOKS:
            order, leads = ended(table, look, 30)
            if margin is not None and k <= look and leads[k - 1] >= margin:
                found, read = order, look
                break
        assert stops.read[row] == read / 30
        assert stops.changed[row] == (set(found[:k]) != set(whole[:k]))
        expected = ndcg(whole, qrels[key], k) - ndcg(found, qrels[key], k)
        assert stops.lost[row] == pytest.approx(expected, abs=1e-9)


def test_queries_stop_at_different_looks(replay: Replay) -> None:
    assert len(set(replay.stops(4, 1.8).read)) > 2


def tolerable(stops: Stops) -> tuple[bool, bool]:
    n, changed = stops.changed.size, stops.changed.sum()
    share = (changed + 1) / (n + 2)
    return share + math.sqrt(share * (1 - share) / n) <= MOST_CHANGED, stops.lost.mean() <= MOST_LOST


@pytest.mark.parametrize("k", [1, 2, 5, 10])
def test_the_margin_by_trying_all(k: int) -> None:
    replay = Replay(*tables(150, agreement=2.0, seed=3), SYSTEM, VARIANT)
    margin = replay.margin(k)
    assert margin is not None
    assert tolerable(replay.stops(k, margin)) == (True, True)
    for larger in np.arange(margin, margin + 5, 0.01):
        assert tolerable(replay.stops(k, float(larger)))[0]
    # Just below, one more query stops at least, and something is more than it may be; or nothing is left to stop.
    for smaller in (margin - 0.2, margin - 0.5):
        stops = replay.stops(k, smaller)
        if tolerable(stops) == (True, True):
            between = [tolerable(replay.stops(k, float(one)))[0] for one in np.arange(smaller, margin, 0.005)]
            assert not all(between) or np.array_equal(stops.read, replay.stops(k, margin).read)
    assert replay.stops(k, margin).read.mean() < 1


def test_a_margin_found_on_some_queries_holds_on_others() -> None:
    replay = Replay(*tables(300, agreement=2.0, seed=5), SYSTEM, VARIANT)
    fresh = Replay(*tables(1000, agreement=2.0, seed=6), SYSTEM, VARIANT)
    for k, margin in enumerate(replay.margins(), start=1):
        stops = fresh.stops(k, margin)
        assert stops.changed.mean() <= MOST_CHANGED + 0.01
        assert stops.lost.mean() <= MOST_LOST + 0.003
    assert fresh.stops(1, replay.margin(1)).read.mean() < 0.5


def test_few_queries_promise_nothing() -> None:
    assert Replay(*tables(20, agreement=5.0), SYSTEM, VARIANT).margins() == (None,) * MOST_RETURNED


def test_a_reranker_that_disagrees_is_read_to_the_end() -> None:
    replay = Replay(*tables(200, agreement=-2.0), SYSTEM, VARIANT)
    for k, margin in enumerate(replay.margins(), start=1):
        assert replay.stops(k, margin).read.mean() > 0.8


def test_a_reranker_without_weight_need_not_be_read() -> None:
    made = tables(100, agreement=0.0)
    replay = Replay(*made, SYSTEM, BlendVariant({"rerank": 0.0, "dense": 1.0}, 1.0, 0.0))
    stops = replay.stops(1, 3.0)
    assert not stops.changed.any()
    assert set(stops.read) == {8 / 30}
    assert replay.margin(1) is None  # no finite lead, so that there is nothing to choose from


@pytest.mark.parametrize(("depth", "size"), [(8, 60), (5, 60), (30, 3), (30, 8)])
def test_too_few_candidates_to_stop(depth: int, size: int) -> None:
    replay = Replay(*tables(100, agreement=2.0, size=size), System("", depth=depth), VARIANT)
    assert replay.margins() == (None,) * MOST_RETURNED
    for k in range(1, MOST_RETURNED + 1):
        stops = replay.stops(k, -9.0)
        assert not stops.changed.any()
        assert set(stops.read) == {1.0}
        assert set(stops.lost) == {0.0}


def test_what_is_fitted(data: tuple[dict[str, Any], dict[str, Any]]) -> None:
    from sklearn.linear_model import LogisticRegression

    made, qrels = data
    replay = Replay(made, qrels, SYSTEM, VARIANT)
    fitted = replay.fitted([1.0, None])
    assert (fitted.fetch_k, fitted.margins, tuple(fitted.looks)) == (30, (1.0, None), LOOKS)
    for look, (slope, intercept) in fitted.looks.items():
        scores, labels = [], []
        for key, table in made.items():
            recalled = np.argsort(-table.dense, kind="stable")[:30]
            known = 0.5 * zscore(table.dense[recalled])
            scores.append(known[:look] + 0.5 * zscore(table.rerank[recalled[:look]]))
            labels += [qrels[key].get(table.ids[place], 0) for place in recalled[:look]]
        expected = LogisticRegression(C=1e4).fit(np.concatenate(scores)[:, None], labels)
        assert slope == pytest.approx(expected.coef_[0, 0], rel=0.01)
        assert intercept == pytest.approx(expected.intercept_[0], rel=0.01)


def test_errors_are_means_over_all_parts() -> None:
    def stops(changed: list[bool], lost: list[float], read: list[float]) -> Stops:
        return Stops(np.array(changed), np.array(lost), np.array(read))

    parts = [
        [stops([True, False], [0.1, 0.0], [0.5, 1.0]), stops([False, False], [0.0, 0.0], [1.0, 1.0])],
        [stops([False], [-0.01], [0.3]), stops([True], [0.03], [0.4])],
    ]
    errors = errors_of(parts)
    assert errors[0] == Error(pytest.approx(1 / 3), pytest.approx(0.03), pytest.approx(0.6))
    assert errors[1] == Error(pytest.approx(1 / 3), pytest.approx(0.01), pytest.approx(0.8))
    assert [one.tolerable for one in errors] == [False, False]
    assert Error(0.05, 0.002, 0.4).tolerable
    assert not Error(0.051, 0.0, 0.4).tolerable
    assert not Error(0.0, 0.0021, 0.4).tolerable
    report = EarlyStopReport(3, errors, (True, False))
    assert json.loads(json.dumps(report.to_dict()))["documents"]["2"] == {
        "changed": pytest.approx(1 / 3),
        "lost": pytest.approx(0.01),
        "read": pytest.approx(0.8),
        "offered": False,
    }
