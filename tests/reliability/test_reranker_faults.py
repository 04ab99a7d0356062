"""What comes of a re-ranker that fails: an error for its own query, or an order that is whole and the same again."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.cross_encoders import BaseCrossEncoder
from langchain_core.documents import Document

from langchain_rerank_retriever import CrossEncoderReranker, FaissStore, RerankRetriever
from langchain_rerank_retriever.answering import plan, scoring
from langchain_rerank_retriever.errors import ScoringError
from langchain_rerank_retriever.runtime.backend import BatchTooLargeError, Row
from langchain_rerank_retriever.testing import HashEmbeddings, ScriptedCrossEncoder

from . import asyncio_served as served
from .reranker_faults import (
    ALLOWED,
    COMPRESSORS,
    CROSS_ENCODERS,
    Compressing,
    Failing,
    Returning,
    right_score,
)
from .scale import at_scale

QUERY = "green tea"
TEXTS = [f"{'green ' * (number % 4)}tea number {number}" for number in range(12)]


@pytest.fixture(scope="module")
def store() -> Iterator[FaissStore]:
    with FaissStore.from_texts(
        TEXTS,
        HashEmbeddings(),
        [{"number": number, "tags": ["x"]} for number in range(12)],
        ids=[str(number) for number in range(12)],
    ) as made:
        yield made


def both(retriever: RerankRetriever, **arguments: Any) -> list[Document]:
    """Ask twice and await once; all are to give the same."""
    found = retriever.invoke(QUERY, **arguments)
    assert retriever.invoke(QUERY, **arguments) == found
    assert asyncio.run(asyncio.wait_for(retriever.ainvoke(QUERY, **arguments), 60)) == found
    return found


def check_fails(retriever: RerankRetriever, fault: Failing) -> None:
    with pytest.raises(fault.error, match=fault.message):
        retriever.invoke(QUERY)
    with pytest.raises(fault.awaited or fault.error, match=fault.message):
        asyncio.run(asyncio.wait_for(retriever.ainvoke(QUERY), 60))
    # Recall is what it was, and nothing is locked.
    assert len(retriever.model_copy(update={"reranker": None}).invoke(QUERY)) == 4


WAYS: dict[str, Callable[[BaseCrossEncoder], Any]] = {
    "alone": lambda model: model,
    "in our compressor": lambda model: CrossEncoderReranker(model=model, top_n=5),
    "as the second stage": lambda model: [Compressing(change=lambda given: given[:8]), model],
}


@pytest.mark.parametrize("way", WAYS)
def test_a_cross_encoder_that_fails_fails_its_query(goal: Any, store: FaissStore, way: str) -> None:
    with goal("G16") as count:
        for fault in CROSS_ENCODERS.values():
            check_fails(RerankRetriever(store, reranker=WAYS[way](Returning(fault.change))), fault)
            count.done += 1


def test_a_compressor_that_fails_fails_its_query(goal: Any, store: FaissStore) -> None:
    with goal("G16") as count:
        for fault in COMPRESSORS.values():
            check_fails(RerankRetriever(store, reranker=Compressing(change=fault.change)), fault)
            count.done += 1


def test_what_a_compressor_may_do(goal: Any, store: FaissStore) -> None:
    recalled = RerankRetriever(store, k=5, fetch_k=5).invoke(QUERY)
    with goal("G16") as count:
        for name, (change, places) in ALLOWED.items():
            retriever = RerankRetriever(store, reranker=Compressing(change=change), k=5, fetch_k=5)
            found = both(retriever)
            assert [one.id for one in found] == [recalled[place].id for place in places], name
            assert [one.metadata["recall_rank"] for one in found] == [place + 1 for place in places], name
            assert all("_langchain_rerank_retriever_place" not in one.metadata for one in found), name
            count.done += 1
    assert [one.page_content for one in store.documents()] == TEXTS


def test_nothing_to_rank_does_not_ask(goal: Any, store: FaissStore) -> None:
    model = Returning(lambda scores: 1 / 0)
    with goal("G16") as count:
        for way in WAYS.values():
            assert both(RerankRetriever(store, reranker=way(model)), filter={"number": -1}) == []
            count.done += 1
    assert model.asked == 0


# ---------------------------------------------------------------- some of many


def test_of_a_batch_only_the_queries_fail_that_the_reranker_fails_on(goal: Any, store: FaissStore) -> None:
    def score(query: str, passage: str) -> float:
        if "bad" in query:
            raise ValueError(query)
        return right_score(passage)

    retriever = RerankRetriever(store, reranker=ScriptedCrossEncoder(score))
    queries = [f"{'bad' if number % 3 == 0 else 'good'} {number}" for number in range(12)]
    expected = [None if "bad" in query else retriever.invoke(query) for query in queries]
    with goal("G16") as count:
        ways = (
            retriever.batch(queries, return_exceptions=True),
            asyncio.run(retriever.abatch(queries, return_exceptions=True)),
        )
        for outcomes in ways:
            for query, found, right in zip(queries, outcomes, expected, strict=True):
                if right is None:
                    assert isinstance(found, ValueError)
                    assert str(found) == query
                else:
                    assert found == right
            count.done += 1
        with pytest.raises(ValueError, match="bad 0"):
            retriever.batch(queries)


class Faulty(served.NoWeights):
    """A model in which something gives way: at a text, or at more than so many tokens in a batch."""

    def __init__(self, *, tokens: int = 10**9, at: str = "", error: BaseException | None = None) -> None:
        super().__init__(pairs=True)
        self.tokens, self.at, self.error = tokens, at, error
        self.too_large = 0

    def tokenise(self, items: Sequence[Any], kind: str) -> list[Row]:
        if self.at == "reading" and any("bad" in query for query, _ in items) and self.error:
            raise self.error
        return super().tokenise(items, kind)

    def run(self, rows: Sequence[Row]) -> Any:
        if len(rows) * max(row.length for row in rows) > self.tokens:
            self.too_large += 1
            raise BatchTooLargeError("no more memory")
        if self.at == "running" and any("bad" in row.payload for row in rows) and self.error:
            raise self.error
        return super().run(rows)


class Panic(BaseException):
    """As a library in Rust raises where it meets what cannot be: no ``Exception``."""


ERRORS: dict[str, tuple[BaseException, type[BaseException]]] = {
    "an exception": (ValueError("of its own"), ValueError),
    "a panic": (Panic("of its own"), ScoringError),
    "an exhausted iterator": (StopIteration("of its own"), ScoringError),
    "an exit": (SystemExit("of its own"), ScoringError),
    "a cancellation": (asyncio.CancelledError("of its own"), ScoringError),
    "an interrupt": (KeyboardInterrupt("of its own"), ScoringError),
}


@pytest.mark.parametrize("at", ["reading", "running"])
def test_a_model_that_fails_on_one_query_answers_the_others(goal: Any, at: str) -> None:
    with goal("G16") as count:
        for error, expected in ERRORS.values():
            retriever = served.served(12, reranker=served.scorer(Faulty(at=at, error=error)))
            right = [one.id for one in retriever.invoke("good")]
            with pytest.raises(expected, match="of its own"):
                retriever.invoke("bad")

            async def main(retriever: RerankRetriever = retriever) -> list[Any]:
                queries = ["good", "bad", "good"]
                asked = [asyncio.wait_for(retriever.ainvoke(query), 60) for query in queries]
                return await asyncio.gather(*asked, return_exceptions=True)

            first, bad, last = asyncio.run(main())
            assert type(bad) is expected
            assert [one.id for one in first] == [one.id for one in last] == right
            served.close(retriever)
            count.done += 1


@pytest.mark.parametrize("tokens", [200, 100, 30])
def test_batches_that_do_not_fit_are_halved_and_give_the_same(goal: Any, tokens: int) -> None:
    whole = served.served(60, fetch_k=60, k=60)
    backend = Faulty(tokens=tokens)
    tight = served.served(60, fetch_k=60, k=60, reranker=served.scorer(backend, budget=2048))
    with goal("G16") as count:
        for number in range(3):
            query = f"what is {number}"
            assert tight.invoke(query) == whole.invoke(query)
            assert asyncio.run(tight.ainvoke(query)) == whole.invoke(query)
        assert 0 < backend.too_large < 20  # what did not fit once is not tried again and again
        count.done += 1
    served.close(whole)
    served.close(tight)


def test_a_document_that_never_fits_fails_its_query_alone(goal: Any) -> None:
    retriever = served.served(12, reranker=served.scorer(Faulty(tokens=100)))
    right = [one.id for one in retriever.invoke("small")]
    with goal("G16") as count:
        with pytest.raises(BatchTooLargeError):
            retriever.invoke("huge " * 200)
        assert [one.id for one in retriever.invoke("small")] == right
        count.done += 1
    served.close(retriever)


# ---------------------------------------------------------------- order


class Clock:
    """Time that passes only where a test says so; stands for the module ``time``."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    perf_counter = monotonic


class Slow(BaseCrossEncoder):
    """Takes a second a call."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def score(self, text_pairs: Sequence[tuple[str, str]]) -> list[float]:  # type: ignore[override]
        self.clock.now += 1
        return [right_score(passage) for _, passage in text_pairs]


@pytest.mark.parametrize("ours", [False, True])
@pytest.mark.parametrize(("timeout", "scored"), [(0.5, 16), (1.5, 32), (3.5, 64), (60.0, 64)])
def test_after_a_time_out_what_is_scored_comes_first_and_the_rest_as_recalled(
    goal: Any, monkeypatch: pytest.MonkeyPatch, ours: bool, timeout: float, scored: int
) -> None:
    texts = [f"tea {number}" for number in range(64)]
    clock = Clock()
    for module in (scoring, plan):
        monkeypatch.setattr(module, "time", clock)
    reranker: Any = Slow(clock)
    reranker = CrossEncoderReranker(model=reranker, top_n=64) if ours else reranker
    with FaissStore.from_texts(texts, HashEmbeddings(), ids=texts) as store, goal("G16") as count:
        retriever = RerankRetriever(store, k=64, fetch_k=64)
        recalled = [one.id for one in retriever.invoke(QUERY)]
        retriever = RerankRetriever(store, reranker=reranker, k=64, fetch_k=64, timeout=timeout)
        explained = retriever.explain(QUERY)
        assert explained.scored == scored
        assert explained.timed_out == (scored < 64)
        head = sorted(recalled[:scored], key=lambda name: -right_score(str(name)))
        assert [one.id for one in explained.documents] == head + recalled[scored:]
        assert [one.id for one in asyncio.run(retriever.ainvoke(QUERY))] == head + recalled[scored:]
        count.done += 1


@settings(max_examples=at_scale(20, 150, 1_000), deadline=None, print_blob=True)
@given(
    scores=st.lists(
        st.one_of(
            st.sampled_from([0.0, -0.0, 1.0, 5e-324, -1e-30, 3e38, 1e300, -1e300]),
            st.floats(allow_nan=False, allow_infinity=False),
        ),
        min_size=12,
        max_size=12,
    ),
    k=st.integers(1, 12),
    ours=st.booleans(),
)
def test_the_order_is_total_and_ties_keep_the_order_of_recall(
    store: FaissStore, scores: list[float], k: int, ours: bool
) -> None:
    recalled = [one.page_content for one in RerankRetriever(store, k=12).invoke(QUERY)]
    by_text = dict(zip(recalled, scores, strict=True))
    model: Any = ScriptedCrossEncoder(lambda _, passage: by_text[passage])
    reranker = CrossEncoderReranker(model=model, top_n=12) if ours else model
    retriever = RerankRetriever(store, reranker=reranker, k=k)
    found = retriever.invoke(QUERY)
    expected = sorted(range(12), key=lambda place: (-scores[place], place))[:k]
    assert [one.page_content for one in found] == [recalled[place] for place in expected]
    assert [one.metadata["relevance_score"] for one in found] == [scores[place] for place in expected]
    assert asyncio.run(retriever.ainvoke(QUERY)) == found
    assert retriever.invoke(QUERY) == found


def test_scores_that_all_say_the_same_change_nothing(goal: Any, store: FaissStore) -> None:
    recalled = [one.id for one in RerankRetriever(store, k=12).invoke(QUERY)]
    with goal("G16") as count:
        for value in (0.0, -3.5, np.float32(1e-30), 10**6):
            model = Returning(lambda scores, value=value: [value for _ in scores])
            assert [one.id for one in both(RerankRetriever(store, reranker=model, k=12))] == recalled
            count.done += 1
