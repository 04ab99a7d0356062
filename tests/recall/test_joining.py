"""Which documents of several lists are one, by hand and for any lists."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.documents import Document

from langchain_rerank_retriever import FaissStore, RerankRetriever
from langchain_rerank_retriever.recall.candidate import Candidate
from langchain_rerank_retriever.recall.joining import fuse
from tests.conftest import HashEmbeddings
from tests.recall.test_foreign import TEXTS, ListRetriever

#: A text, and the id that a source gives it, or None.
Given = tuple[str, str | None]


def listed(*given_: Given) -> list[Candidate]:
    return [Candidate(Document(id=name, page_content=text)) for text, name in given_]


def fused(*lists: Sequence[Given], fetch_k: int = 99) -> dict[Given, float]:
    found = fuse([listed(*one) for one in lists], fetch_k)
    scores = {(one.document.page_content, one.document.id): one.recall_score or 0.0 for one in found}
    assert len(scores) == len(found)
    assert list(scores.values()) == sorted(scores.values(), reverse=True)
    return scores


def by_hand(lists: Sequence[Sequence[str]]) -> dict[str, float]:
    scores: dict[str, float] = {}
    for texts in lists:
        for place, text in enumerate(texts):
            scores[text] = scores.get(text, 0.0) + 1 / (61 + place)
    return scores


def test_one_without_an_id_is_the_one_that_has_its_text() -> None:
    ours: list[Given] = [("x", "1"), ("y", "2"), ("z", "3")]
    theirs: list[Given] = [("z", None), ("q", None), ("x", None)]
    expected = {
        ("z", "3"): 1 / 63 + 1 / 61,
        ("x", "1"): 1 / 61 + 1 / 63,
        ("y", "2"): 1 / 62,
        ("q", None): 1 / 62,
    }
    assert fused(ours, theirs) == pytest.approx(expected, rel=1e-12)
    assert fused(theirs, ours) == pytest.approx(expected, rel=1e-12)
    assert list(fused(ours, theirs, fetch_k=2)) == [("x", "1"), ("z", "3")]
    assert list(fused(theirs, ours, fetch_k=2)) == [("z", "3"), ("x", "1")]


def test_two_ids_stay_two_and_the_best_of_them_is_joined() -> None:
    ours: list[Given] = [("same", "a"), ("other", "b"), ("same", "c")]
    theirs: list[Given] = [("same", None)]
    expected = {("same", "a"): 2 / 61, ("other", "b"): 1 / 62, ("same", "c"): 1 / 63}
    assert fused(ours, theirs) == pytest.approx(expected, rel=1e-12)
    assert fused(theirs, ours) == pytest.approx(expected, rel=1e-12)


def test_the_best_is_the_best_of_all_lists_together() -> None:
    one: list[Given] = [("same", "a"), ("same", "c")]
    two: list[Given] = [("other", "b"), ("same", "c")]
    expected = {("same", "c"): 2 / 62 + 1 / 61, ("same", "a"): 1 / 61, ("other", "b"): 1 / 61}
    assert fused(one, two, [("same", None)]) == pytest.approx(expected, rel=1e-12)
    assert fused([("same", None)], two, one) == pytest.approx(expected, rel=1e-12)


def test_of_equal_ones_the_first_is_joined() -> None:
    assert fused([("same", "a")], [("same", "c")], [("same", None)]) == pytest.approx(
        {("same", "a"): 2 / 61, ("same", "c"): 1 / 61}, rel=1e-12
    )


def test_a_list_that_names_only_some_counts_a_document_once() -> None:
    mixed: list[Given] = [("x", None), ("x", "1"), ("y", "2"), ("y", None), ("z", None)]
    assert fused(mixed) == pytest.approx(
        {("x", "1"): 1 / 61, ("y", "2"): 1 / 62, ("z", None): 1 / 63}, rel=1e-12
    )


def test_the_document_is_the_named_one_with_the_scores_that_any_has() -> None:
    bare, full = (
        Document(page_content="x", metadata={"of": "theirs"}),
        Document(id="1", page_content="x", metadata={"of": "ours"}),
    )
    found = fuse([[Candidate(bare, 7.0)], [Candidate(full, 0.5, dense_score=0.5, lexical_score=2.0)]], 9)
    assert found == [Candidate(full, pytest.approx(2 / 61), 0.5, 2.0)]
    assert found[0].document.metadata == {"of": "ours"}


def test_a_store_with_ids_and_a_retriever_without(hash_embeddings: HashEmbeddings) -> None:
    """The same passages in both: each comes once, is scored once, and has the store's id."""
    theirs = ListRetriever(documents=[Document(page_content=text) for text in reversed(TEXTS)])
    with FaissStore.from_texts(TEXTS, hash_embeddings) as store:  # which makes the ids
        ours = [one.page_content for one in store.similarity_search("red apple", k=5)]
        expected = by_hand([ours, TEXTS[::-1]])
        for recall in ([store, theirs], [theirs, store]):
            found = RerankRetriever(recall, k=9).explain("red apple").documents
            assert {one.page_content: one.metadata["recall_score"] for one in found} == pytest.approx(
                expected
            )
            assert len(found) == len(TEXTS)
            assert {one.id for one in found} == {one.id for one in store.documents()}


TEXT = st.sampled_from("uvwxyz")


@given(
    st.lists(st.lists(st.tuples(TEXT, st.booleans()), unique_by=lambda one: one[0]), min_size=1, max_size=5)
)
def test_whoever_gives_the_names_the_scores_are_those_of_the_texts(
    lists: list[list[tuple[str, bool]]],
) -> None:
    given_ = [[(text, f"id-{text}" if is_named else None) for text, is_named in one] for one in lists]
    named = {text for one in lists for text, is_named in one if is_named}
    scores = fused(*given_)
    assert {text: score for (text, _), score in scores.items()} == pytest.approx(
        by_hand([[text for text, _ in one] for one in lists])
    )
    assert {text for text, name in scores if name is not None} == named
    assert len(scores) == len({text for text, _ in scores})


@given(
    st.lists(st.lists(st.tuples(TEXT, st.sampled_from([None, "1", "2"])), max_size=9), min_size=1, max_size=5)
)
def test_no_text_comes_twice_unless_two_ids_name_it(lists: list[list[Given]]) -> None:
    given_: list[list[Given]] = [[(text, name and text + name) for text, name in one] for one in lists]
    scores = fused(*given_)
    for text in {text for one in given_ for text, _ in one}:
        names = {name for one in given_ for other, name in one if other == text and name is not None}
        assert {name for other, name in scores if other == text} == (names or {None})
    for permuted in (given_[::-1], given_[1:] + given_[:1]):
        assert set(fused(*permuted)) == set(scores)
