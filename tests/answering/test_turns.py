"""Many queries at once leave the event loop to others."""

import asyncio
import time
from collections.abc import Sequence

import numpy as np
import pytest
from langchain_core.cross_encoders import BaseCrossEncoder

from langchain_rerank_retriever import RerankRetriever
from langchain_rerank_retriever.answering import turns
from langchain_rerank_retriever.answering.turns import turn
from langchain_rerank_retriever.protocols import PairScores
from tests.conftest import HashEmbeddings

QUERIES = 48
CANDIDATES = 200


class AllAtOnce(BaseCrossEncoder):
    """Scores nobody before all have asked, then all in the same pass of the loop, as shared batches do."""

    def __init__(self) -> None:
        self.waiting: list[asyncio.Future[None]] = []

    def score(self, text_pairs: Sequence[tuple[str, str]]) -> list[float]:  # type: ignore[override]
        return [float(len(passage)) for _, passage in text_pairs]

    def score_pairs(
        self, text_pairs: Sequence[tuple[str, str]], *, deadline: float | None = None
    ) -> PairScores:
        return PairScores(np.array(self.score(text_pairs), np.float32), np.zeros(len(text_pairs), bool))

    async def ascore_pairs(
        self, text_pairs: Sequence[tuple[str, str]], *, deadline: float | None = None
    ) -> PairScores:
        self.waiting.append(asyncio.get_running_loop().create_future())
        mine = self.waiting[-1]
        if len(self.waiting) == QUERIES:
            for future in self.waiting:
                future.set_result(None)
        await mine
        return self.score_pairs(text_pairs)


async def longest_pass(scorer: AllAtOnce) -> float:
    """Processor seconds of the loop's thread in its longest pass after the queries were scored.

    Not wall time, in which other processes and the collector of garbage take part.
    """
    longest, ended = 0.0, False
    while not ended:
        used = time.thread_time()
        try:
            # Not in every pass of the loop: that would keep the interpreter from the queries' threads.
            await asyncio.sleep(0.001)
        except asyncio.CancelledError:
            ended = True  # what kept the loop until then counts, too
        if len(scorer.waiting) == QUERIES:
            longest = max(longest, time.thread_time() - used)
    return longest


async def test_queries_that_are_scored_at_the_same_moment_are_finished_one_by_one() -> None:
    texts = [f"passage {place} of about ten words that say something or other" for place in range(CANDIDATES)]
    scorer = AllAtOnce()
    retriever = RerankRetriever.from_texts(
        texts,
        [{"place": place, "tags": ["a", "b"]} for place in range(CANDIDATES)],
        embeddings=HashEmbeddings(),
        reranker=scorer,
        fetch_k=CANDIDATES,
    )
    expected = [document.id for document in retriever.invoke("a query")]
    watch = asyncio.create_task(longest_pass(scorer))
    answers = await asyncio.gather(*(retriever.ainvoke("a query") for _ in range(QUERIES)))
    watch.cancel()
    longest = await watch
    assert [[document.id for document in answer] for answer in answers] == [expected] * QUERIES
    # One query's last step takes some milliseconds; all in one pass took more than two hundred.
    assert 0 < longest < 0.05


async def test_turns_come_in_order_and_one_at_a_time() -> None:
    begun: list[int] = []
    inside = 0

    async def take(number: int) -> None:
        nonlocal inside
        async with turn():
            inside += 1
            assert inside == 1
            begun.append(number)
            await asyncio.sleep(0.001)
            inside -= 1

    await asyncio.gather(*(take(number) for number in range(20)))
    assert begun == list(range(20))
    assert turns._lines == {}


async def test_who_fails_or_leaves_gives_the_turn_on() -> None:
    release = asyncio.Event()

    async def fail() -> None:
        async with turn():
            await release.wait()
            raise ValueError("theirs")

    async def succeed() -> str:
        async with turn():
            return "done"

    failing, leaving, last = (asyncio.create_task(one) for one in (fail(), succeed(), succeed()))
    await asyncio.sleep(0)
    leaving.cancel()
    release.set()
    with pytest.raises(ValueError, match="theirs"):
        await failing
    assert await last == "done"
    assert leaving.cancelled()
    assert turns._lines == {}


def test_each_loop_has_a_line_of_its_own() -> None:
    async def crowd() -> None:
        async def take() -> None:
            async with turn():
                await asyncio.sleep(0)

        await asyncio.gather(take(), take(), take())

    for _ in range(2):
        asyncio.run(crowd())
    assert turns._lines == {}
