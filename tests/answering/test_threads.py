"""What is left to do for a query that is scored waits for no other query's recall, and a deadline holds in a crowd."""

import asyncio
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from langchain_core.cross_encoders import BaseCrossEncoder

from langchain_rerank_retriever import FaissStore, RerankRetriever
from langchain_rerank_retriever import retriever as retrieving
from langchain_rerank_retriever.answering.scoring import ascore
from langchain_rerank_retriever.answering.threads import Threads
from langchain_rerank_retriever.protocols import PairScores
from tests.conftest import HashEmbeddings
from tests.reliability.fork_children import in_fork
from tests.test_retriever import DOCUMENTS, QUERY, Longest, Waiting, ids, many


class Held(HashEmbeddings):
    """Does not know one query before it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.go_on = threading.Event(), threading.Event()

    def embed_query(self, text: str) -> list[float]:
        if text == "held":
            self.asked.set()
            assert self.go_on.wait(60)
        return super().embed_query(text)


class Awaited(Longest):
    """Scores without a thread; a pair takes a while, and what does not fit before a deadline is left."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds, self.calls = seconds, 0
        self.may_go_on: asyncio.Event | None = None

    def score_pairs(
        self, text_pairs: Sequence[tuple[str, str]], *, deadline: float | None = None
    ) -> PairScores:
        return PairScores(np.array(self.score(text_pairs), np.float32), np.zeros(len(text_pairs), bool))

    async def ascore_pairs(
        self, text_pairs: Sequence[tuple[str, str]], *, deadline: float | None = None
    ) -> PairScores:
        self.calls += 1
        if self.may_go_on is not None:
            await self.may_go_on.wait()
        left = np.inf if deadline is None else deadline - time.monotonic()
        fitting = (
            len(text_pairs) if not self.seconds else int(np.clip(left / self.seconds, 0, len(text_pairs)))
        )
        await asyncio.sleep(self.seconds * fitting)
        scores = np.full(len(text_pairs), np.nan, np.float32)
        scores[:fitting] = self.score(text_pairs[:fitting])
        return PairScores(scores, np.zeros(len(text_pairs), bool))


@pytest.mark.parametrize("lambda_mult", [None, 0.5])
async def test_a_scored_query_does_not_wait_for_the_recall_of_another(lambda_mult: float | None) -> None:
    """Here of one that comes to no end before the first is answered, and has the only thread of the loop."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    model, reranker = Held(), Awaited()
    with FaissStore.from_documents(DOCUMENTS, model) as store:
        retriever = RerankRetriever(store, reranker=reranker, lambda_mult=lambda_mult)
        expected = retriever.invoke(QUERY)
        reranker.may_go_on = asyncio.Event()
        first, held = (asyncio.create_task(retriever.ainvoke(query)) for query in (QUERY, "held"))
        try:
            while not model.asked.is_set():  # noqa: ASYNC110 - a thread sets it
                await asyncio.sleep(0.001)
            reranker.may_go_on.set()
            assert await asyncio.wait_for(first, 5) == expected
            assert not held.done()
        finally:
            model.go_on.set()
        assert len(await held) == 4


async def test_no_turn_is_held_while_a_query_is_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others come and are scored meanwhile."""
    begun, go_on = threading.Event(), threading.Event()
    explanation = retrieving.explanation

    def slowly(*arguments: Any) -> Any:
        begun.set()
        assert go_on.wait(60)
        return explanation(*arguments)

    monkeypatch.setattr(retrieving, "explanation", slowly)
    reranker = Awaited()
    retriever = RerankRetriever(Waiting(documents=many(20), seconds=0.0), reranker=reranker)
    first = asyncio.create_task(retriever.ainvoke(QUERY))
    try:
        while not begun.is_set():  # noqa: ASYNC110 - a thread sets it
            await asyncio.sleep(0.001)
        second = asyncio.create_task(retriever.ainvoke(QUERY))
        async with asyncio.timeout(5):
            while reranker.calls < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
    finally:
        go_on.set()
    assert await first == await second


async def test_in_a_crowd_a_query_is_late_by_its_recall_alone() -> None:
    """Recalls stand in line for two threads, a second and more in all; each answer comes when its own time is over."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2))
    source, timeout = Waiting(documents=many(80), seconds=0.06), 0.2
    retriever = RerankRetriever(source, reranker=Awaited(0.02), k=80, timeout=timeout)
    answers = await asyncio.gather(*(retriever.aexplain(QUERY) for _ in range(40)))
    recalled = [one.seconds["recall"] for one in answers]
    assert max(recalled) > 1.1
    assert all(one.timed_out for one in answers)
    for seconds, one in zip(recalled, answers, strict=True):
        assert one.seconds["total"] < max(timeout, seconds) + 0.3
        assert one.scored <= max(0.0, (timeout - seconds) / 0.02)
        assert [row.recall_rank for row in one.candidates][one.scored :] == list(range(one.scored + 1, 81))


async def test_pairs_that_waited_too_long_for_a_thread_are_not_scored() -> None:
    """A cross-encoder that cannot be awaited is asked in a thread of the loop, which others may have."""
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(1))
    calls: list[int] = []

    class Counted(BaseCrossEncoder):
        def score(self, text_pairs: Sequence[tuple[str, str]]) -> list[float]:  # type: ignore[override]
            calls.append(len(text_pairs))
            return [1.0] * len(text_pairs)

    pairs = [("q", "p")] * 40
    taken = loop.run_in_executor(None, time.sleep, 0.3)
    scored = await ascore(Counted(), pairs, deadline=time.monotonic() + 0.1)
    await taken
    assert (calls, scored.unscored) == ([], "timeout")
    assert np.isnan(scored.scores).all()
    in_time = await ascore(Counted(), pairs, deadline=time.monotonic() + 60)
    assert (calls, in_time.unscored) == ([16, 16, 8], None)
    assert in_time.scores.tolist() == [1.0] * 40


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_a_forked_child_has_threads_of_its_own() -> None:
    with FaissStore.from_documents(DOCUMENTS, HashEmbeddings()) as store:
        retriever = RerankRetriever(store, reranker=Longest(), lambda_mult=0.5)

        def answer() -> list[str | None]:
            return ids(asyncio.run(retriever.ainvoke(QUERY)))

        expected = answer()
        assert any(one.name.startswith("langchain-rerank-finish") for one in threading.enumerate())
        assert in_fork(answer) == expected
        assert answer() == expected


async def test_who_comes_first_goes_first_and_who_leaves_in_time_is_never_done() -> None:
    threads, gate, done = Threads("test", 1), threading.Event(), list[int]()
    waiting = asyncio.create_task(threads.run(gate.wait, 60))
    rest = [asyncio.create_task(threads.run(done.append, number)) for number in range(5)]
    await asyncio.sleep(0.01)
    rest[2].cancel()
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(waiting, *rest, return_exceptions=True)
    assert done == [0, 1, 3, 4]
