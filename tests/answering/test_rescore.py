"""Stage two with re-rankers of several makers: scores, orders, deadlines and refusals."""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from langchain_core.cross_encoders import BaseCrossEncoder
from langchain_core.documents import BaseDocumentCompressor, Document

from langchain_rerank_retriever import CrossEncoderReranker
from langchain_rerank_retriever.answering.rescore import (
    Rescored,
    arescore,
    rescore,
)
from langchain_rerank_retriever.answering.scoring import PAIRS_PER_DEADLINE_CHECK
from langchain_rerank_retriever.errors import ScoringError
from langchain_rerank_retriever.protocols import PairScores


class Foreign(BaseCrossEncoder):
    """Somebody else's cross-encoder: longer passages are better; returns them in the given shape."""

    def __init__(self, shape: Callable[[list[float]], Any] = list) -> None:
        self.shape = shape
        self.threads: list[int] = []
        self.sizes: list[int] = []

    def score(self, text_pairs: Sequence[tuple[str, str]]) -> Any:
        self.threads.append(threading.get_ident())
        self.sizes.append(len(text_pairs))
        return self.shape([float(len(passage)) for _, passage in text_pairs])


class Telling(Foreign):
    """One that tells which pairs it cut, and can be awaited."""

    def score_pairs(
        self, text_pairs: Sequence[tuple[str, str]], *, deadline: float | None = None
    ) -> PairScores:
        return PairScores(self.score(text_pairs), np.array([len(text) > 2 for _, text in text_pairs]))

    async def ascore_pairs(
        self, text_pairs: Sequence[tuple[str, str]], *, deadline: float | None = None
    ) -> PairScores:
        await asyncio.sleep(0)
        return self.score_pairs(text_pairs, deadline=deadline)


class Keeping(BaseCrossEncoder):
    """One that keeps deadlines as ours does: a pair takes 10 ms, the first ones come first."""

    seconds = 0.01

    def __init__(self) -> None:
        self.deadlines: list[float | None] = []
        self.threads: set[int] = set()

    def score(self, text_pairs: Sequence[tuple[str, str]]) -> Any:
        raise AssertionError

    def _answer(self, text_pairs: Sequence[tuple[str, str]], count: int) -> PairScores:
        scores = np.array([float(len(passage)) for _, passage in text_pairs])
        scores[count:] = np.nan
        return PairScores(scores, np.array([len(passage) > 2 for _, passage in text_pairs]))

    def _in_time(self, text_pairs: Sequence[tuple[str, str]], deadline: float | None) -> int:
        self.deadlines.append(deadline)
        self.threads.add(threading.get_ident())
        left = np.inf if deadline is None else max(0.0, deadline - time.monotonic())
        return int(min(len(text_pairs), left / self.seconds))

    def score_pairs(
        self, text_pairs: Sequence[tuple[str, str]], *, deadline: float | None = None
    ) -> PairScores:
        count = self._in_time(text_pairs, deadline)
        time.sleep(count * self.seconds)
        return self._answer(text_pairs, count)

    async def ascore_pairs(
        self, text_pairs: Sequence[tuple[str, str]], *, deadline: float | None = None
    ) -> PairScores:
        count = self._in_time(text_pairs, deadline)
        await asyncio.sleep(count * self.seconds)
        return self._answer(text_pairs, count)


class Compressor(BaseDocumentCompressor):
    """Does with the documents what it is told."""

    change: Callable[[list[Document]], Any]

    def compress_documents(self, documents: Sequence[Document], query: str, callbacks: Any = None) -> Any:
        return self.change(list(documents))


def documents(*contents: str, **metadata: Any) -> list[Document]:
    return [
        Document(id=f"id-{place}", page_content=content, metadata={"tags": ["x"], **metadata})
        for place, content in enumerate(contents)
    ]


def both(reranker: Any, given: list[Document]) -> Rescored:
    """Rescore sync and async, see that they agree and that nothing given is changed."""
    before = [document.model_copy(deep=True) for document in given]
    result = rescore(reranker, "q", given)
    other = asyncio.run(arescore(reranker, "q", given))
    assert given == before
    assert result.documents == other.documents
    assert result.order == other.order
    for name in ("scores", "truncated"):
        one, two = getattr(result, name), getattr(other, name)
        assert (one is None) == (two is None)
        if one is not None:
            np.testing.assert_array_equal(one, two)
    return result


# ---------------------------------------------------------------- cross-encoders


@pytest.mark.parametrize(
    "shape",
    [
        list,
        tuple,
        np.array,
        lambda scores: map(float, scores),
        lambda scores: [np.float16(score) for score in scores],
        lambda scores: np.array(scores, np.float32)[:, None],
    ],
    ids=["list", "tuple", "array", "map", "float16", "column"],
)
def test_what_foreign_models_return(shape: Callable[[list[float]], Any]) -> None:
    result = both(Foreign(shape), documents("aa", "a", "aaa"))
    assert result.scores is not None
    assert result.scores.tolist() == [2.0, 1.0, 3.0]
    assert result.truncated is None
    assert not result.is_final
    assert result.order == tuple(range(len(result.documents)))


BAD_SHAPES = [
    (lambda scores: [*scores[:-1], float("nan")], "gave nan for pair 2; a score must be a finite number"),
    (lambda scores: [float("inf"), *scores[1:]], "gave inf for pair 0"),
    (lambda scores: scores[:-1], r"scores of shape \(2,\) for 3 pairs"),
    (lambda scores: [*scores, 1.0], r"scores of shape \(4,\) for 3 pairs"),
    (lambda scores: [], r"scores of shape \(0,\) for 3 pairs"),
    (lambda scores: np.ones((3, 2)), r"shape \(3, 2\) .* several labels"),
    (lambda scores: np.ones((1, 3)), r"shape \(1, 3\)"),
    (lambda scores: ["high", "low", "low"], "expected as many numbers"),
    (lambda scores: [[1.0], [1.0, 2.0], [3.0]], "expected as many numbers"),
    (lambda scores: None, "gave None for 3 pairs"),
    (lambda scores: 1.0, r"gave 1\.0 for 3 pairs"),
]


@pytest.mark.parametrize("kind", [Foreign, Telling])
@pytest.mark.parametrize(("shape", "message"), BAD_SHAPES)
def test_what_is_no_score(kind: type[Foreign], shape: Callable[[list[float]], Any], message: str) -> None:
    given = documents("a", "b", "c")
    with pytest.raises(ScoringError, match=message) as caught:
        rescore(kind(shape), "q", given)
    assert str(caught.value).startswith(kind.__name__)
    with pytest.raises(ScoringError, match=message):
        asyncio.run(arescore(kind(shape), "q", given))
    if kind is Foreign or "nan" not in message:  # of what keeps deadlines, NaN is what it had no time for
        with pytest.raises(ScoringError, match=message):
            rescore(kind(shape), "q", given, deadline=time.monotonic() + 60)


def test_a_scorer_that_tells_what_it_cut() -> None:
    result = both(Telling(), documents("aaa", "a"))
    assert result.truncated is not None
    assert result.truncated.tolist() == [True, False]


async def test_async_awaits_what_can_be_awaited_and_runs_the_rest_in_a_thread() -> None:
    telling, foreign = Telling(), Foreign()
    await arescore(telling, "q", documents("a"))
    await arescore(foreign, "q", documents("a"))
    assert telling.threads == [threading.get_ident()]
    assert foreign.threads != [threading.get_ident()]


@pytest.mark.parametrize("kind", [Foreign, Telling])
def test_nothing_to_score_does_not_ask_the_model(kind: type[Foreign]) -> None:
    model = kind()
    result = both(model, [])
    assert model.sizes == []
    assert result.documents == ()
    assert result.scores is not None
    assert result.scores.shape == (0,)
    nothing = both(Compressor(change=lambda given: 1 / 0), [])
    assert nothing.scores is None


# ---------------------------------------------------------------- deadlines


def slow(scores: list[float]) -> list[float]:
    time.sleep(0.1)
    return scores


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_deadline_stops_a_foreign_model_between_batches(asynchronous: bool) -> None:
    def rescored(model: Foreign, some: list[Document], seconds: float) -> Rescored:
        deadline = time.monotonic() + seconds
        if asynchronous:
            return asyncio.run(arescore(model, "q", some, deadline=deadline))
        return rescore(model, "q", some, deadline=deadline)

    given = documents(*["a"] * (3 * PAIRS_PER_DEADLINE_CHECK + 1))
    model = Foreign(slow)
    result = rescored(model, given, 0.15)
    assert model.sizes == [PAIRS_PER_DEADLINE_CHECK] * 2
    assert result.scores is not None
    assert np.isnan(result.scores).tolist() == [place >= 32 for place in range(len(given))]
    assert result.unscored == "timeout"
    in_time = rescored(Foreign(slow), given[:3], 60)
    assert in_time.scores is not None
    assert in_time.scores.tolist() == [1.0] * 3
    assert in_time.unscored is None


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize(("seconds", "fewest", "most"), [(60, 9, 9), (0.055, 1, 5)])
def test_what_keeps_deadlines_is_asked_once(
    asynchronous: bool, seconds: float, fewest: int, most: int
) -> None:
    model, given = Keeping(), documents(*["a", "aaa"] * 4, "a")
    deadline = time.monotonic() + seconds
    if asynchronous:
        result = asyncio.run(arescore(model, "q", given, deadline=deadline))
        assert model.threads == {threading.get_ident()}  # awaited, in no thread
    else:
        result = rescore(model, "q", given, deadline=deadline)
    assert model.deadlines == [deadline]
    assert result.scores is not None
    scored = int(np.sum(~np.isnan(result.scores)))
    assert fewest <= scored <= most  # a busy machine may have had less time
    np.testing.assert_array_equal(
        result.scores[:scored], [1.0, 3.0, 1.0, 3.0, 1.0, 3.0, 1.0, 3.0, 1.0][:scored]
    )
    assert result.unscored == (None if scored == 9 else "timeout")
    assert result.truncated is not None
    assert (
        result.truncated[:scored].tolist()
        == [False, True, False, True, False, True, False, True, False][:scored]
    )


def test_without_a_deadline_none_is_handed_on() -> None:
    model = Keeping()
    assert rescore(model, "q", documents("a")).unscored is None
    assert model.deadlines == [None]


def test_nan_is_no_score_where_there_is_no_deadline() -> None:
    model = Telling(lambda scores: [float("nan"), *scores[1:]])
    with pytest.raises(ScoringError, match="gave nan for pair 0"):
        rescore(model, "q", documents("a", "b"))
    late = rescore(model, "q", documents("a", "b"), deadline=time.monotonic() + 60)
    assert late.unscored == "timeout"


async def test_a_deadline_that_has_passed() -> None:
    model = Telling()
    for result in (
        rescore(model, "q", documents("a", "b"), deadline=time.monotonic() - 1),
        await arescore(model, "q", documents("a", "b"), deadline=time.monotonic() - 1),
    ):
        assert result.scores is not None
        assert np.isnan(result.scores).all()
        assert result.unscored == "timeout"
    assert model.sizes == []


# ---------------------------------------------------------------- early stops


class Enough:
    """Has enough once so many are scored."""

    def __init__(self, count: int, looks: Sequence[int] = (2, 5)) -> None:
        self.count, self.looks = count, looks
        self.seen: list[int] = []

    def enough(self, scores: np.ndarray) -> bool:
        self.seen.append(int(np.sum(~np.isnan(scores))))
        return self.seen[-1] >= self.count


@pytest.mark.parametrize("kind", [Foreign, Telling])
@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize(
    ("count", "sizes", "seen"), [(1, [2], [2]), (3, [2, 3], [2, 5]), (9, [2, 3, 2], [2, 5])]
)
def test_scoring_ends_where_that_is_enough(
    kind: type[Foreign], asynchronous: bool, count: int, sizes: list[int], seen: list[int]
) -> None:
    model, stop, given = kind(), Enough(count), documents(*"abcdefg")
    if asynchronous:
        result = asyncio.run(arescore(model, "q", given, stop=stop))
    else:
        result = rescore(model, "q", given, stop=stop)
    assert (model.sizes, stop.seen) == (sizes, seen)
    assert result.scores is not None
    np.testing.assert_array_equal(np.isnan(result.scores), np.arange(7) >= sum(sizes))
    assert result.unscored == (None if sum(sizes) == 7 else "early_stop")


def test_looks_beyond_the_candidates_are_none() -> None:
    model, stop = Telling(), Enough(9, looks=(2, 3, 8))
    assert rescore(model, "q", documents(*"abc"), stop=stop).unscored is None
    assert (model.sizes, stop.seen) == ([2, 1], [2])


def test_a_deadline_and_an_early_stop() -> None:
    given = documents(*"abcdefg")
    both_ = rescore(Foreign(slow), "q", given, deadline=time.monotonic() + 60, stop=Enough(5))
    assert both_.unscored == "early_stop"
    late = rescore(Foreign(slow), "q", given, deadline=time.monotonic() + 0.05, stop=Enough(5))
    assert late.unscored == "timeout"
    # What keeps deadlines was cut short, and is not looked at.
    stop = Enough(1)
    assert rescore(Keeping(), "q", given, deadline=time.monotonic() + 0.015, stop=stop).unscored == "timeout"
    assert stop.seen == []


# ---------------------------------------------------------------- compressors


def test_one_that_drops_and_reorders() -> None:
    result = both(Compressor(change=lambda given: [given[2], given[0]]), documents("a", "b", "c"))
    assert result.order == (2, 0)
    assert result.scores is None
    assert list(result.documents) == documents("a", "b", "c")


def test_one_that_drops_all() -> None:
    result = both(Compressor(change=lambda given: []), documents("a", "b"))
    assert result.order == ()
    assert result.scores is None


def test_one_that_returns_a_document_twice() -> None:
    assert both(
        Compressor(change=lambda given: [given[1], given[0], given[1]]), documents("a", "b")
    ).order == (1, 0)


def test_one_that_rewrites() -> None:
    def shorten(given: list[Document]) -> list[Document]:
        return [Document(page_content=one.page_content[:1], metadata=one.metadata) for one in given]

    result = both(Compressor(change=shorten), documents("abc", "def"))
    assert [document.page_content for document in result.documents] == ["a", "d"]
    assert [document.id for document in result.documents] == ["id-0", "id-1"]
    assert {str(document.metadata) for document in result.documents} == {"{'tags': ['x']}"}


def test_one_that_changes_what_it_is_given() -> None:
    def spoil(given: list[Document]) -> list[Document]:
        for one in given:
            one.metadata["tags"].append("spoilt")
            one.page_content = "spoilt"
        return given

    assert both(Compressor(change=spoil), documents("a")).documents[0].metadata == {"tags": ["x", "spoilt"]}


@pytest.mark.parametrize("number", [int, float, np.float32, np.float64])
def test_one_that_scores(number: Callable[[float], Any]) -> None:
    def score(given: list[Document]) -> list[Document]:
        for place, one in enumerate(given):
            one.metadata["relevance_score"] = number(place)
        return given[::-1][:2]

    result = both(Compressor(change=score), documents("a", "b", "c"))
    assert result.order == (2, 1)
    assert result.scores is not None
    np.testing.assert_array_equal(result.scores, [np.nan, 1.0, 2.0])


def test_one_that_scores_some_is_believed_in_its_order_only() -> None:
    def score(given: list[Document]) -> list[Document]:
        given[0].metadata["relevance_score"] = 1.0
        return given[::-1]

    result = both(Compressor(change=score), documents("a", "b"))
    assert result.scores is None
    assert result.order == (1, 0)


def test_scores_of_an_earlier_retrieval_are_not_the_compressors() -> None:
    result = both(
        Compressor(change=lambda given: given[::-1]),
        documents("a", "b", relevance_score=0.7, rerank_score=3.0),
    )
    assert result.scores is None
    assert result.order == (1, 0)


def test_our_own_reranker_as_a_compressor() -> None:
    result = both(CrossEncoderReranker(model=Foreign(), top_n=2), documents("aa", "a", "aaa"))
    assert result.order == (2, 0)
    assert result.scores is not None
    np.testing.assert_array_equal(result.scores, [2.0, 1.0, 3.0])
    assert result.dropped == {1: 1}


@pytest.mark.parametrize(
    "metadata", [{}, {"_langchain_rerank_retriever_place": 7}, {"_langchain_rerank_retriever_place": "0"}]
)
def test_one_that_loses_the_metadata(metadata: dict[str, Any]) -> None:
    lossy = Compressor(change=lambda given: [Document(page_content="a", metadata=metadata)])
    with pytest.raises(ScoringError, match=r"without the metadata it was given.* must keep metadata"):
        rescore(lossy, "q", documents("a", "b"))
    with pytest.raises(ScoringError, match="without the metadata"):
        asyncio.run(arescore(lossy, "q", documents("a", "b")))
