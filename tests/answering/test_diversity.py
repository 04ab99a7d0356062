"""Maximal marginal relevance, against LangChain's function and the definition."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.vectorstores.utils import maximal_marginal_relevance

from langchain_rerank_retriever.answering.diversity import diversified, marginal_order, pool
from langchain_rerank_retriever.answering.explaining import explained
from langchain_rerank_retriever.answering.ranking import Ranking, rank
from tests.answering.test_ranking import candidates, compressed, options, outcomes, rescored

NAN = float("nan")
mults = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]) | st.floats(0, 1)


def unit(rows: Any) -> np.ndarray:
    table = np.asarray(rows, float)
    return table / np.linalg.norm(table, axis=1, keepdims=True)


def by_definition(relevance: Sequence[float], vectors: np.ndarray, k: int, mult: float) -> list[int]:
    chosen = [int(np.argmax(relevance))]
    while len(chosen) < min(k, len(relevance)):
        worth = {
            place: mult * relevance[place]
            - (1 - mult) * max(float(vectors[place] @ vectors[one]) for one in chosen)
            for place in range(len(relevance))
            if place not in chosen
        }
        chosen.append(max(worth, key=lambda place: worth[place]))
    return chosen


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 20), st.integers(2, 8), st.integers(1, 25), mults, st.integers(0, 10_000))
def test_with_cosines_it_is_langchains(size: int, width: int, k: int, mult: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    query, vectors = unit(rng.normal(size=(1, width)))[0], unit(rng.normal(size=(size, width)))
    expected = maximal_marginal_relevance(query, vectors.tolist(), lambda_mult=mult, k=k)
    assert marginal_order(vectors @ query, vectors, k=k, lambda_mult=mult) == expected


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(1, 14), mults, st.integers(0, 10_000))
def test_with_any_relevance_it_is_the_definition(size: int, k: int, mult: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    relevance, vectors = rng.uniform(size=size), unit(rng.normal(size=(size, 5)))
    before = relevance.copy()
    assert marginal_order(relevance, vectors, k=k, lambda_mult=mult) == by_definition(
        relevance, vectors, k, mult
    )
    np.testing.assert_array_equal(relevance, before)


def test_edges() -> None:
    vectors = np.eye(3)
    assert marginal_order(np.zeros(0), np.zeros((0, 3)), k=3, lambda_mult=0.5) == []
    assert marginal_order(np.array([0.5]), vectors[:1], k=3, lambda_mult=0.5) == [0]
    # Relevance alone is the order of relevance; of equals, the first is first.
    assert marginal_order(np.array([0.1, 0.3, 0.2]), vectors, k=3, lambda_mult=1.0) == [1, 2, 0]
    assert marginal_order(np.array([0.3, 0.3, 0.3]), vectors, k=3, lambda_mult=0.5) == [0, 1, 2]
    # Diversity alone: the most relevant, then whatever is unlike it.
    twins = unit([[1, 0], [1, 0.01], [0, 1]])
    assert marginal_order(np.array([0.9, 0.8, 0.1]), twins, k=2, lambda_mult=0.0) == [0, 2]
    assert marginal_order(np.array([0.9, 0.8, 0.1]), twins, k=2, lambda_mult=0.9) == [0, 1]


def ranking(relevance: Sequence[float], **fields: Any) -> Ranking:
    values = np.array(relevance, float)
    return Ranking(
        tuple(np.argsort(-values, kind="stable").tolist()),
        values,
        fields.pop("kind", "rerank_score"),
        **fields,
    )


def test_the_chosen_go_in_front_and_the_others_keep_their_order() -> None:
    before = ranking([4.0, 10.0, 9.0, 0.0], kind="rerank_score")
    vectors = unit([[1, 0], [1, 0.05], [0, 1], [0.5, 1]])  # of the places 1, 2, 0 and 3
    after = diversified(before, [1, 2, 0, 3], vectors, k=2, lambda_mult=0.5, as_it_is=False)
    assert after.order == (1, 0, 2, 3)
    assert before.order == (1, 2, 0, 3)
    np.testing.assert_array_equal(after.relevance, before.relevance)


def test_scores_of_any_scale_are_brought_to_that_of_cosines() -> None:
    rng = np.random.default_rng(5)
    relevance, vectors = rng.uniform(size=10), unit(rng.normal(size=(10, 4)))
    relevance = (relevance - relevance.min()) / np.ptp(relevance)
    expected = by_definition(relevance, vectors, 5, 0.6)
    for factor, shift in ((1.0, 0.0), (22.0, -11.0), (1e-3, 5.0)):
        before = ranking((factor * relevance + shift).tolist())
        places = list(before.order)
        after = diversified(before, places, vectors[places], k=5, lambda_mult=0.6, as_it_is=False)
        assert list(after.order[:5]) == expected
    # Where they do not differ, only likeness counts.
    same = ranking([2.0] * 10)
    after = diversified(same, range(10), vectors, k=4, lambda_mult=0.6, as_it_is=False)
    assert list(after.order[:4]) == by_definition([0.0] * 10, vectors, 4, 0.6)


def test_probabilities_are_taken_as_they_are() -> None:
    rng = np.random.default_rng(6)
    relevance, vectors = 0.2 * rng.uniform(size=10), unit(rng.normal(size=(10, 4)))
    before = ranking(relevance.tolist(), kind="probability")
    places = list(before.order)
    after = diversified(before, places, vectors[places], k=5, lambda_mult=0.6, as_it_is=True)
    assert list(after.order[:5]) == by_definition(relevance, vectors, 5, 0.6)


def test_who_can_be_chosen() -> None:
    found = candidates([0.5] * 6)
    scores = rescored(found, [5.0, 4.0, 3.0, 2.0, 1.0, NAN])
    for place, parent in enumerate("aabbcc"):
        found[place].document.metadata["of"] = parent
    order = rank(found, scores, None)
    documents = [one.document for one in found]
    assert pool(order, documents, options(k=1)) == [0, 1, 2, 3, 4]
    assert pool(order, documents, options(k=1, score_threshold=2.5)) == [0, 1, 2]
    assert pool(order, documents, options(k=1, collapse="of")) == [0, 2, 4]
    kept = compressed(found, (3, 1), scores=np.array([NAN, 1.0, NAN, 2.0, NAN, NAN]))
    assert pool(rank(found, kept, None), documents, options(k=9)) == [3, 1]


@pytest.mark.parametrize("collapse", [None, "of"])
def test_what_is_returned_are_the_chosen(collapse: str | None) -> None:
    rng = np.random.default_rng(8)
    found = candidates([0.5] * 8)
    for place, parent in enumerate("aabbccdd"):
        found[place].document.metadata["of"] = parent
    scores = rescored(found, [*rng.uniform(size=7).tolist(), NAN])
    asked, order = options(k=3, collapse=collapse, score_threshold=0.05), rank(found, scores, None)
    places = pool(order, [one.document for one in found], asked)
    vectors = unit(rng.normal(size=(len(places), 4)))
    after = diversified(order, places, vectors, k=3, lambda_mult=0.3, as_it_is=True)
    expected = [places[one] for one in by_definition(order.relevance[places], vectors, 3, 0.3)]
    rows = explained(found, scores, after, asked)
    assert [row.document.id for row in rows if row.outcome == "returned"] == [
        f"d{place}" for place in expected
    ]
    assert [row.recall_rank - 1 for row in rows[:3]] == expected
    assert sorted(row.rank for row in rows) == list(range(1, 9))
    fates = set(outcomes(rows).values())
    assert fates == {"returned", "below_k", "below_threshold"} | ({"collapsed"} if collapse else set())


def test_fewer_scored_than_asked_for_and_the_rest_follows() -> None:
    found = candidates([0.5] * 5)
    scores = rescored(found, [1.0, 2.0, NAN, NAN, NAN], unscored="timeout")
    order = rank(found, scores, None)
    places = pool(order, [one.document for one in found], options(k=4))
    assert places == [1, 0]
    after = diversified(order, places, np.eye(2), k=4, lambda_mult=0.5, as_it_is=False)
    rows = explained(found, scores, after, options(k=4))
    assert [row.recall_rank for row in rows if row.outcome == "returned"] == [2, 1, 3, 4]
