"""The final order and what is said of each candidate, from stage scores given by hand."""

from collections.abc import Sequence
from datetime import UTC, datetime
from numbers import Number
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.documents import Document
from scipy.special import expit
from scipy.stats import zscore

from langchain_rerank_retriever import FaissStore
from langchain_rerank_retriever.answering.collapse import belonging
from langchain_rerank_retriever.answering.explaining import explained, returned_documents
from langchain_rerank_retriever.answering.options import Options
from langchain_rerank_retriever.answering.ranking import rank
from langchain_rerank_retriever.answering.rescore import Rescored
from langchain_rerank_retriever.blend import BlendVariant
from langchain_rerank_retriever.protocols import SCORE_KEYS, ExplainedCandidate, Explanation
from langchain_rerank_retriever.recall import Candidate
from tests.conftest import HashEmbeddings

NAN = float("nan")


def candidates(recall: Sequence[float | None], **columns: Sequence[float]) -> list[Candidate]:
    return [
        Candidate(
            Document(id=f"d{place}", page_content=f"text {place}", metadata={"place": place}),
            score,
            *(columns[name][place] if name in columns else None for name in ("dense", "lexical")),
        )
        for place, score in enumerate(recall)
    ]


def rescored(found: list[Candidate], scores: Sequence[float], **fields: Any) -> Rescored:
    order = tuple(range(len(found)))
    return Rescored(tuple(one.document for one in found), order, scores=np.array(scores, float), **fields)


def compressed(found: list[Candidate], order: tuple[int, ...], **fields: Any) -> Rescored:
    dropped = {place: 1 for place in range(len(found)) if place not in order}
    return Rescored(tuple(one.document for one in found), order, True, dropped=dropped, **fields)


def options(**fields: Any) -> Options:
    unset = dict.fromkeys(("score_threshold", "collapse", "lambda_mult", "recall_mode"))
    return Options(**{"fetch_k": 100, "early_stop": False, **unset, **fields})


def outcomes(rows: Sequence[ExplainedCandidate]) -> dict[str | None, str]:
    return {row.document.id: row.outcome for row in rows}


# ---------------------------------------------------------------- the order


def test_recall_only_keeps_the_order_of_recall_whatever_its_scores() -> None:
    ranking = rank(candidates([0.1, None, 0.9]), None, None)
    assert ranking.order == (0, 1, 2)
    assert ranking.kind == "recall_score"
    np.testing.assert_array_equal(ranking.relevance, [0.1, NAN, 0.9])


@given(st.lists(st.integers(-3, 3), max_size=20))
def test_the_reranker_orders_and_ties_keep_the_recall_order(scores: list[int]) -> None:
    found = candidates([0.5] * len(scores))
    ranking = rank(found, rescored(found, scores), None)
    assert list(ranking.order) == sorted(range(len(scores)), key=lambda place: -scores[place])
    assert ranking.kind == "rerank_score"


@given(
    st.lists(st.tuples(*[st.integers(-40, 40)] * 3), min_size=2, max_size=12),
    st.tuples(*[st.floats(0, 1)] * 3),
)
def test_the_blend_orders(scores: list[tuple[float, ...]], weights: tuple[float, ...]) -> None:
    dense, lexical, logits = (list(column) for column in zip(*scores, strict=True))
    found = candidates(dense, dense=dense, lexical=lexical)
    variant = BlendVariant(dict(zip(("dense", "lexical", "rerank"), weights)), 2.0, -1.0)
    ranking = rank(found, rescored(found, logits), variant)
    z = [np.nan_to_num(zscore(column)) if np.ptp(column) else np.zeros(len(found)) for column in zip(*scores)]
    blended = sum(weight * column for weight, column in zip(weights, z))
    assert ranking.kind == "probability"
    np.testing.assert_allclose(ranking.blended, blended, atol=1e-9)
    np.testing.assert_allclose(ranking.relevance, expit(2 * blended - 1), atol=1e-9)
    assert (np.diff(ranking.blended[list(ranking.order)]) <= 0).all()


def test_the_blend_without_a_reranker() -> None:
    found = candidates([0.3, 0.2, 0.1], dense=[0.3, 0.2, 0.1], lexical=[0.0, 1.0, 9.0])
    ranking = rank(found, None, BlendVariant({"dense": 0.1, "lexical": 0.9}, 1.0, 0.0))
    assert ranking.order == (2, 1, 0)
    assert ranking.kind == "probability"


def test_what_a_deadline_left_unscored_follows_in_recall_order() -> None:
    found = candidates([0.9, 0.8, 0.7, 0.6], dense=[0.9, 0.8, 0.7, 0.6])
    scores = rescored(found, [-1.0, 5.0, NAN, NAN])
    for variant in (None, BlendVariant({"rerank": 1.0, "dense": 0.0}, 1.0, 0.0)):
        ranking = rank(found, scores, variant)
        assert ranking.order == (1, 0, 2, 3)
        assert np.isnan(ranking.relevance[2:]).all()
    # Standardised over what was scored: mean 2, deviation 3.
    np.testing.assert_allclose(ranking.blended, [-1, 1, NAN, NAN])


@pytest.mark.parametrize("variant", [None, BlendVariant({"rerank": 1.0, "dense": 1.0}, 1.0, 0.0)])
def test_no_candidate_and_nothing_scored(variant: BlendVariant | None) -> None:
    assert rank([], rescored([], []), variant).order == ()
    assert rank([], None, None).order == ()
    found = candidates([0.9, 0.8], dense=[0.9, 0.8])
    assert rank(found, rescored(found, [NAN, NAN]), variant).order == (0, 1)


def test_a_compressors_order_is_kept_and_what_it_dropped_is_last() -> None:
    found = candidates([0.9, 0.8, 0.7, 0.6])
    ranking = rank(found, compressed(found, (3, 1)), None)
    assert ranking.order == (3, 1, 0, 2)
    assert ranking.dropped == {0: 1, 2: 1}
    assert ranking.kind == "recall_score"
    np.testing.assert_array_equal(ranking.relevance, [0.9, 0.8, 0.7, 0.6])


# ---------------------------------------------------------------- outcomes


def test_outcomes_of_k_and_threshold() -> None:
    found = candidates([0.4, 0.3, 0.2, 0.1])
    scores = rescored(found, [1.0, 4.0, 3.0, 2.0], truncated=np.array([True, False, False, True]))
    rows = explained(found, scores, rank(found, scores, None), options(k=2, score_threshold=1.5))
    assert outcomes(rows) == {"d1": "returned", "d2": "returned", "d3": "below_k", "d0": "below_threshold"}
    assert [row.rank for row in rows] == [1, 2, 3, 4]
    assert [row.recall_rank for row in rows] == [2, 3, 4, 1]
    assert [row.truncated for row in rows] == [False, False, True, True]
    assert [row.rerank_score for row in rows] == [row.relevance_score for row in rows] == [4.0, 3.0, 2.0, 1.0]
    assert {row.blended_score for row in rows} == {None}


def test_a_threshold_includes_its_own_value_and_leaves_k_to_those_that_pass() -> None:
    found = candidates([0.1, 0.9, None, 0.5, 0.7])
    rows = explained(found, None, rank(found, None, None), options(k=2, score_threshold=0.5))
    assert list(outcomes(rows).values()) == [
        "below_threshold",
        "returned",
        "below_threshold",
        "returned",
        "below_k",
    ]


def test_a_dropped_candidate_says_so() -> None:
    found = candidates([0.9, 0.8])
    scores = compressed(found, (1,))
    rows = explained(found, scores, rank(found, scores, None), options(k=5, score_threshold=None))
    assert outcomes(rows) == {"d1": "returned", "d0": "dropped_by_reranker"}
    assert {row.rerank_score for row in rows} == {None}
    assert {row.truncated for row in rows} == {None}


# ---------------------------------------------------------------- parents


def with_parents(parents: Sequence[Any]) -> list[Candidate]:
    return [
        Candidate(Document(id=f"d{place}", page_content="", metadata={"source": {"file": parent}}), 0.5)
        for place, parent in enumerate(parents)
    ]


def test_of_each_parent_the_best_is_returned() -> None:
    found = with_parents(["a", "a", "b", "a", "c", "b"])
    scores = rescored(found, [1.0, 5.0, 3.0, 6.0, 2.0, 4.0])
    rows = explained(
        found, scores, rank(found, scores, None), options(k=2, score_threshold=None, collapse="source.file")
    )
    assert outcomes(rows) == {
        "d3": "returned",
        "d1": "collapsed",
        "d5": "returned",
        "d2": "collapsed",
        "d4": "below_k",
        "d0": "collapsed",
    }
    assert [row.rank for row in rows] == [1, 2, 3, 4, 5, 6]


def test_what_does_not_come_out_stands_for_nobody() -> None:
    found = with_parents(["a", "a", "b", "b"])
    dropping = compressed(found, (1, 3, 2))
    rows = explained(
        found,
        dropping,
        rank(found, dropping, None),
        options(k=9, score_threshold=None, collapse="source.file"),
    )
    assert outcomes(rows) == {
        "d1": "returned",
        "d3": "returned",
        "d2": "collapsed",
        "d0": "dropped_by_reranker",
    }
    # Recall alone is believed in its order, whatever the scores: here the first of "a" fails the threshold.
    low_first = [Candidate(one.document, score) for one, score in zip(found, [0.1, 0.9, 0.9, 0.1])]
    rows = explained(
        low_first,
        None,
        rank(low_first, None, None),
        options(k=9, score_threshold=0.5, collapse="source.file"),
    )
    assert list(outcomes(rows).values()) == ["below_threshold", "returned", "returned", "below_threshold"]


@given(
    st.lists(st.tuples(st.sampled_from("abc") | st.none(), st.integers(0, 5)), max_size=12),
    st.integers(1, 4),
    st.none() | st.integers(0, 5),
)
def test_parents_by_brute_force(rows: list[tuple[str | None, int]], k: int, threshold: int | None) -> None:
    found = with_parents([parent for parent, _ in rows])
    scores = rescored(found, [score for _, score in rows])
    told = explained(
        found,
        scores,
        rank(found, scores, None),
        options(k=k, score_threshold=threshold, collapse="source.file"),
    )
    expected: list[int] = []
    for place in sorted(range(len(rows)), key=lambda place: -rows[place][1]):
        parent, score = rows[place]
        known = {rows[one][0] for one in expected}
        if (threshold is None or score >= threshold) and (parent is None or parent not in known):
            expected.append(place)
    assert [row.recall_rank - 1 for row in told if row.outcome == "returned"] == expected[:k]
    assert [row.recall_rank - 1 for row in told if row.outcome == "below_k"] == expected[k:]


SAME = [
    ("a", "a", True),
    ("a", "A", False),
    (1, 1.0, True),
    (1, True, False),
    (0, False, False),
    (True, True, True),
    (1, "1", False),
    (np.float64(2), 2, True),
    (None, None, False),
    (float("nan"), float("nan"), False),
    ("", "", True),
    (["a", 1], ["a", 1], True),
    (["a"], ["b"], False),
    ({"x": 1, "y": 2}, {"y": 2, "x": 1}, True),
    (datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC), True),
    (datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 2, tzinfo=UTC), False),
]


@pytest.mark.parametrize(("one", "other", "same"), SAME)
def test_which_values_are_equal(one: Any, other: Any, same: bool) -> None:
    parents = [belonging({"source": value}, "source") for value in (one, other)]
    assert (parents[0] is not None and parents[0] == parents[1]) is same


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"a": {"b": {"c": "x"}}}, "x"),
        ({"a.b.c": "whole", "a": {"b": {"c": "x"}}}, "whole"),
        ({"a": {"b": "x"}}, None),
        ({"a": "x"}, None),
        ({"a": {"b": ["x"]}}, None),
        ({"a": {"b.c": "x"}}, None),
        ({}, None),
    ],
)
def test_where_a_dotted_key_is_looked_up(metadata: dict[str, Any], expected: str | None) -> None:
    assert belonging(metadata, "a.b.c") == (None if expected is None else (str, expected))


def test_keys_are_looked_up_as_filters_do() -> None:
    """The store's filters are the measure: what `$exists` finds has a parent, what does not has none."""
    metadatas: list[dict[str, Any]] = [
        {"a": {"b": 1}},
        {"a.b": 1},
        {"a": 1},
        {"a": {"b.c": 1}},
        {"a.b": 1, "a": {"b": 2}},
        {},
    ]
    with FaissStore.from_texts(["x"] * len(metadatas), HashEmbeddings(), metadatas) as store:
        for value in (1, 2):
            hits = store.similarity_search("x", k=9, filter={"a.b": value})
            filtered = sorted(str(one.metadata) for one in hits)
            expected = [one for one in metadatas if belonging(one, "a.b") == (Number, value)]
            assert filtered == sorted(map(str, expected))


# ---------------------------------------------------------------- documents


def test_metadata_of_what_is_returned() -> None:
    found = candidates([0.9, 0.8], dense=[0.9, 0.8], lexical=[1.5, 0.0])
    scores = rescored(found, [1.0, 3.0])
    variant = BlendVariant({"rerank": 1.0, "dense": 0.0, "lexical": 0.0}, 1.0, 0.0)
    ranking = rank(found, scores, variant)
    rows = explained(found, scores, ranking, options(k=1, score_threshold=None))
    (best,) = returned_documents(rows, ranking.kind)
    assert best.id == "d1"
    assert best.metadata == {
        "place": 1,
        "relevance_score": pytest.approx(expit(1.0)),
        "relevance_kind": "probability",
        "recall_score": 0.8,
        "recall_rank": 2,
        "dense_score": 0.8,
        "lexical_score": 0.0,
        "rerank_score": 3.0,
    }
    assert {type(best.metadata[key]) for key in ("relevance_score", "rerank_score", "dense_score")} == {float}


def test_what_was_not_scored_is_returned_by_its_recall_score() -> None:
    found = candidates([0.9, 0.8])
    scores = rescored(found, [NAN, 3.0])
    ranking = rank(found, scores, None)
    rows = explained(found, scores, ranking, options(k=2, score_threshold=None))
    _, last = returned_documents(rows, ranking.kind)
    expected = {
        "relevance_score": 0.9,
        "relevance_kind": "recall_score",
        "recall_score": 0.9,
        "recall_rank": 1,
    }
    assert last.metadata == {"place": 0, **expected}
    passed = explained(found, scores, ranking, options(k=2, score_threshold=0.5))
    assert outcomes(passed) == {"d1": "returned", "d0": "below_threshold"}


def test_what_was_not_scored_says_why() -> None:
    found = candidates([0.9, 0.8])
    scores = rescored(found, [NAN, 3.0], truncated=np.array([True, True]), unscored="timeout")
    rows = explained(found, scores, rank(found, scores, None), options(k=2, score_threshold=None))
    assert [(row.document.id, row.unscored, row.truncated) for row in rows] == [
        ("d1", None, True),
        ("d0", "timeout", None),
    ]
    explanation = Explanation("q", (), rows, {}, "rerank_score")
    assert (explanation.timed_out, explanation.scored, explanation.truncated) == (True, 1, 1)


@pytest.mark.parametrize(("truncated", "count"), [(None, None), ([False] * 3, 0), ([True, False, True], 2)])
def test_how_many_pairs_were_read_in_part(truncated: list[bool] | None, count: int | None) -> None:
    found = candidates([0.9, 0.8, 0.7])
    cut = None if truncated is None else np.array(truncated)
    scores = rescored(found, [1.0, 2.0, 3.0], truncated=cut)
    rows = explained(found, scores, rank(found, scores, None), options(k=1, score_threshold=None))
    explanation = Explanation("q", (), rows, {}, "rerank_score")
    assert (explanation.timed_out, explanation.scored, explanation.truncated) == (False, 3, count)


def test_without_a_reranker_nothing_is_scored() -> None:
    found = candidates([0.9])
    rows = explained(found, None, rank(found, None, None), options(k=1, score_threshold=None))
    explanation = Explanation("q", (), rows, {}, "recall_score")
    assert (explanation.timed_out, explanation.scored, explanation.truncated) == (False, 0, None)


def test_a_source_without_scores_still_says_the_kind_and_the_rank() -> None:
    found = candidates([None])
    ranking = rank(found, None, None)
    (document,) = returned_documents(
        explained(found, None, ranking, options(k=2, score_threshold=None)), ranking.kind
    )
    assert document.metadata == {"place": 0, "relevance_kind": "recall_score", "recall_rank": 1}


def test_old_scores_are_taken_out_and_documents_are_copies() -> None:
    metadata = {**dict.fromkeys(SCORE_KEYS, "old"), "tags": ["a"]}
    document = Document(id="x", page_content="text", metadata=metadata)
    found = [Candidate(document, 0.5)]
    ranking = rank(found, None, None)
    rows = explained(found, None, ranking, options(k=1, score_threshold=None))
    assert rows[0].document.metadata == {"tags": ["a"]}
    (copy,) = returned_documents(rows, ranking.kind)
    assert copy.metadata["relevance_score"] == 0.5
    assert "rerank_score" not in copy.metadata
    copy.metadata["tags"].append("b")
    assert document.metadata == {**dict.fromkeys(SCORE_KEYS, "old"), "tags": ["a"]}
