"""Re-rankers one after the other: what each is given, what is left, and which of them left out what."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.cross_encoders import BaseCrossEncoder
from langchain_core.documents import BaseDocumentCompressor, Document

from langchain_rerank_retriever import CrossEncoderReranker
from langchain_rerank_retriever.answering.rescore import Rescored, gives_scores
from langchain_rerank_retriever.answering.stages import arerank, rerank, stages_of
from langchain_rerank_retriever.errors import InvalidArgumentError


class Scripted(BaseCrossEncoder):
    """Scores a passage by its name, and remembers what it was asked."""

    def __init__(self, score: Callable[[str], float]) -> None:
        self.score_of = score
        self.asked: list[list[str]] = []

    def score(self, text_pairs: Sequence[tuple[str, str]]) -> list[float]:  # type: ignore[override]
        self.asked.append([passage for _, passage in text_pairs])
        return [self.score_of(passage) for _, passage in text_pairs]


class Shouting(BaseDocumentCompressor):
    """Keeps all but those it dislikes, as they came, and rewrites them."""

    dislikes: tuple[str, ...] = ()

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Any = None
    ) -> list[Document]:
        return [
            Document(id=one.id, page_content=one.page_content.upper(), metadata=one.metadata)
            for one in documents
            if one.page_content not in self.dislikes
        ]


def documents(names: str) -> list[Document]:
    return [Document(id=name, page_content=name, metadata={"of": name}) for name in names]


def both(stages: Sequence[Any], found: Sequence[Document], **fields: Any) -> Rescored:
    """Re-rank sync and async, see that they agree."""
    result = rerank(stages, "q", found, **fields)
    other = asyncio.run(arerank(stages, "q", found, **fields))
    assert result is not None
    assert other is not None
    assert (result.order, result.dropped, result.is_final) == (other.order, other.dropped, other.is_final)
    assert result.documents == other.documents
    np.testing.assert_array_equal(result.scores, other.scores)  # type: ignore[arg-type]
    return result


def test_nothing_and_one_and_many() -> None:
    model, filter_ = Scripted(len), Shouting()
    assert stages_of(None) == ()
    assert stages_of(model) == (model,)
    assert stages_of([filter_, model]) == stages_of((filter_, model)) == (filter_, model)
    assert stages_of([model]) == (model,)
    assert stages_of([filter_, filter_]) == (filter_, filter_)
    assert gives_scores(model)
    assert not gives_scores(filter_)
    assert rerank((), "q", documents("ab")) is None
    assert asyncio.run(arerank((), "q", documents("ab"))) is None


@pytest.mark.parametrize("wrong", ["a name", Scripted, lambda pairs: pairs, 3, {}, [3], [Shouting(), "name"]])
def test_what_is_no_reranker(wrong: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"must be a LangChain BaseCrossEncoder .*; got"):
        stages_of(wrong)


def test_all_but_the_last_say_how_many_they_leave() -> None:
    with pytest.raises(InvalidArgumentError, match="must not be an empty list; None is for recall only"):
        stages_of([])
    with pytest.raises(
        InvalidArgumentError,
        match=r"Stage 2 of 3 of reranker must say how many.*Scripted only scores. Wrap it: CrossEncoderReranker",
    ):
        stages_of([Shouting(), Scripted(len), Scripted(len)])


def test_each_stage_gets_what_the_one_before_left_in_its_order() -> None:
    cheap, dear = Scripted(ord), Scripted(lambda name: -ord(name))
    result = both([CrossEncoderReranker(model=cheap, top_n=3), dear], documents("abcdef"))
    assert dear.asked == [["f", "e", "d"]] * 2
    assert result.order == (5, 4, 3)
    assert not result.is_final
    assert result.dropped == {0: 1, 1: 1, 2: 1}
    np.testing.assert_array_equal(result.scores, [np.nan] * 3 + [-100.0, -101.0, -102.0])  # type: ignore[arg-type]


def test_three_stages() -> None:
    cheap, dear = Scripted(lambda name: ord(name.lower())), Scripted(lambda name: -ord(name))
    stages = [
        Shouting(dislikes=("b",)),
        CrossEncoderReranker(model=cheap, top_n=3),
        Shouting(dislikes=("D",)),
        dear,
    ]
    result = both(stages, documents("abcde"))
    assert dear.asked[0] == ["E", "C"]
    assert result.order == (4, 2)
    assert result.dropped == {1: 1, 0: 2, 3: 3}
    assert [one.page_content for one in result.documents] == ["A", "b", "C", "D", "E"]
    assert [one.id for one in result.documents] == list("abcde")


def test_a_compressor_that_comes_last_gives_the_final_order() -> None:
    reverse = CrossEncoderReranker(model=Scripted(lambda name: -ord(name.lower())), top_n=2)
    result = both([Shouting(dislikes=("a",)), reverse], documents("dacb"))
    assert result.is_final
    assert result.order == (3, 2)
    assert result.dropped == {1: 1, 0: 2}
    np.testing.assert_array_equal(result.scores, [-100.0, np.nan, -99.0, -98.0])  # type: ignore[arg-type]


def test_nothing_is_left() -> None:
    dear = Scripted(len)
    result = both([Shouting(dislikes=("a", "b")), dear], documents("ab"))
    assert dear.asked == []
    assert result.order == ()
    assert result.dropped == {0: 1, 1: 1}
    assert np.isnan(result.scores).all()  # type: ignore[arg-type]
    assert both([Shouting(), dear], []).documents == ()


def test_what_the_time_does_not_suffice_for_stays_in_the_order_of_the_stage_before() -> None:
    cheap, dear = Scripted(ord), Scripted(ord)
    stages = [CrossEncoderReranker(model=cheap, top_n=2), dear]
    result = rerank(stages, "q", documents("abc"), deadline=0.0)
    assert result is not None
    assert cheap.asked == dear.asked == []  # our own compressor keeps the deadline, too
    assert (result.order, result.unscored) == ((0, 1), "timeout")
    late = time.monotonic() + 0.5
    waiting = Scripted(lambda name: time.sleep(0.2) or float(ord(name)))
    result = rerank(
        [CrossEncoderReranker(model=waiting, top_n=2), dear], "q", documents("abc"), deadline=late
    )
    assert result is not None
    assert waiting.asked == [["a", "b", "c"]]
    assert dear.asked == []
    assert (result.order, result.unscored, result.dropped) == ((2, 1), "timeout", {0: 1})


@given(st.lists(st.integers(-3, 3), max_size=12), st.integers(1, 14), st.none() | st.integers(-3, 3))
def test_our_own_compressor_keeps_what_it_keeps_by_itself(
    scores: list[int], kept: int, threshold: int | None
) -> None:
    names = "abcdefghijkl"[: len(scores)]
    model = Scripted(lambda name: float(scores[names.index(name)]))
    own = CrossEncoderReranker(model=model, top_n=kept, score_threshold=threshold)
    result = rerank([own], "q", documents(names))
    assert result is not None
    expected = own.compress_documents(documents(names), "q")
    assert [result.documents[place].id for place in result.order] == [one.id for one in expected]
    assert set(result.order).isdisjoint(result.dropped)
    assert len(result.order) + len(result.dropped) == len(names)


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=12),
    st.lists(st.integers(0, 5), min_size=12, max_size=12),
    st.integers(1, 12),
)
def test_a_cascade_is_two_sorts(first: list[int], second: list[int], kept: int) -> None:
    names = "abcdefghijkl"[: len(first)]
    cheap = Scripted(lambda name: float(first[names.index(name)]))
    dear = Scripted(lambda name: float(second[names.index(name)]))
    result = rerank([CrossEncoderReranker(model=cheap, top_n=kept), dear], "q", documents(names))
    assert result is not None
    expected = sorted(range(len(names)), key=lambda place: -first[place])[:kept]
    assert list(result.order) == expected
    assert result.scores is not None
    assert [result.scores[place] for place in expected] == [second[place] for place in expected]
    assert set(result.dropped) == set(range(len(names))) - set(expected)
