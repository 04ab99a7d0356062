"""Event loops: many calls at once, some of which are given up, late or wrong."""

import asyncio
import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document

from langchain_rerank_retriever import FaissStore, RerankRetriever
from langchain_rerank_retriever.answering import turns
from langchain_rerank_retriever.errors import ClosedError

from . import asyncio_served as served
from .asyncio_loop import run_watched, side_by_side
from .scale import SCALE, at_scale

QUERIES = [f"what is {number}" for number in range(40)]
#: Goal: nothing else of the loop waits longer, by processor time of its thread.
LONGEST_BLOCK = 0.05
#: Threads of the default executor of one loop, as Python has it.
EXECUTOR = min(32, (os.cpu_count() or 1) + 4)


@pytest.fixture
def retriever() -> Iterator[RerankRetriever]:
    made = served.served()
    yield made
    served.close(made)


class Caller:
    """One loop's calls: each whole, late, given up or wrong, at random, and each checked.

    Args:
        retriever: What is asked.
        seed: Decides which call is what.
        calls: How many in all.
        at_once: How many of them are under way at the same time.
    """

    def __init__(self, retriever: RerankRetriever, seed: int, *, calls: int, at_once: int) -> None:
        self.retriever = retriever
        self.hurried = retriever.model_copy(update={"timeout": 0.02})
        self.random = random.Random(seed)
        self.calls, self.at_once = calls, at_once
        self.done = 0
        self.cancelled = 0
        self.most_threads = 0
        self.expected = {query: retriever.explain(query) for query in QUERIES}

    async def run(self) -> None:
        """Make all calls."""
        while self.done < self.calls:
            wave = min(self.at_once, self.calls - self.done)
            # They arrive one after the other, and are under way together: that is what a server sees.
            await asyncio.gather(*(self._one(self.random.uniform(0, wave / 500)) for _ in range(wave)))
            self.done += wave

    async def _one(self, arrival: float) -> None:
        kind = self.random.choices(["whole", "given up", "late", "wrong"], (50, 20, 20, 10))[0]
        query = self.random.choice(QUERIES)
        patience = self.random.expovariate(1 / 0.3)
        await asyncio.sleep(arrival)
        self.most_threads = max(self.most_threads, threading.active_count())
        if kind == "wrong":
            with pytest.raises(served.Poisoned):
                await self.retriever.ainvoke(f"{query} {served.POISON}")
        elif kind == "late":
            self._check_late(query, await self.hurried.ainvoke(query))
        elif kind == "whole":
            assert await self.retriever.ainvoke(query) == list(self.expected[query].documents)
        else:
            await self._given_up(query, patience)

    async def _given_up(self, query: str, patience: float) -> None:
        task = asyncio.ensure_future(self.retriever.ainvoke(query))
        await asyncio.wait([task], timeout=patience)
        if task.cancel():
            self.cancelled += 1
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            assert task.result() == list(self.expected[query].documents)

    def _check_late(self, query: str, found: list[Document]) -> None:
        """What is scored comes first, by its true scores; the rest follows in the order of recall."""
        candidates = {one.document.id: one for one in self.expected[query].candidates}
        scored = [one for one in found if "rerank_score" in one.metadata]
        rest = found[len(scored) :]
        assert len(found) == 5
        assert all("rerank_score" not in one.metadata for one in rest)
        ranks = [(-one.metadata["rerank_score"], one.metadata["recall_rank"]) for one in scored]
        assert ranks == sorted(ranks)
        assert all(one.metadata["rerank_score"] == candidates[one.id].rerank_score for one in scored)
        places = [one.metadata["recall_rank"] for one in rest]
        assert places == sorted(places)


def test_many_calls_in_two_loops(goal: Any, seed: int, retriever: RerankRetriever) -> None:
    calls = at_scale(300, 3_000, 100_000)
    with goal("G9") as count:
        callers = [
            Caller(retriever, seed + number, calls=calls // 2, at_once=at_scale(150, 500, 500))
            for number in range(2)
        ]
        # With the threads of the two models, which have answered by now, and the one that finishes awaited queries.
        asyncio.run(retriever.ainvoke(QUERIES[0]))
        before = threading.active_count()
        longest = side_by_side([caller.run for caller in callers])
        count.done += sum(caller.done for caller in callers)
        assert sum(caller.cancelled for caller in callers) > calls / 20
        most = max(caller.most_threads for caller in callers)
        assert most <= before + 2 + 2 * EXECUTOR
        count.note = f"longest block of a loop {longest * 1000:.0f} ms, {most} threads"
        assert SCALE != "nightly" or longest <= LONGEST_BLOCK
        assert turns._lines == {}
        wait_until(lambda: served.waiting(retriever) == 0)
        assert threading.active_count() <= before
        assert retriever.invoke(QUERIES[0]) == list(callers[0].expected[QUERIES[0]].documents)


def wait_until(holds: Any, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_writes_that_are_given_up_are_whole_or_did_not_happen(goal: Any, seed: int, tmp_path: Path) -> None:
    writes, size = at_scale(40, 400, 4_000), 12
    model = served.embeddings()
    store = FaissStore(model, path=tmp_path / "store")
    rng = random.Random(seed)
    ended: dict[int, bool] = {}

    async def write(number: int, patience: float) -> None:
        texts = [f"write {number} part {part}" for part in range(size)]
        some = [
            Document(id=f"{number} {part}", page_content=text, metadata={"write": number})
            for part, text in enumerate(texts)
        ]
        task = asyncio.ensure_future(store.aadd_documents(some))
        await asyncio.wait([task], timeout=patience)
        task.cancel()
        ended[number] = not (await asyncio.gather(task, return_exceptions=True) and task.cancelled())

    async def main() -> None:
        for first in range(0, writes, 40):
            patiences = [rng.choice([0.0, rng.uniform(0, 1), 60.0]) for _ in range(40)]
            await asyncio.gather(*(write(first + n, patience) for n, patience in enumerate(patiences)))

    with goal("G9") as count:
        # The end of the loop waits for the threads whose callers have gone.
        run_watched(main)
        found: dict[int, int] = {}
        for document in store.documents():
            number = document.metadata["write"]
            assert document.page_content.startswith(f"write {number} part ")
            found[number] = found.get(number, 0) + 1
        assert set(found.values()) == {size}
        assert {number for number, done in ended.items() if done} <= set(found)
        assert 0 < len(found) < writes
        assert store.verify(deep=True).ok
        count.done += writes
        count.note = f"{writes - sum(ended.values())} writes given up, {len(found)} of all done"
    store.close()
    model.close()


def test_calls_that_wait_when_the_model_is_closed_end(goal: Any) -> None:
    """Nobody waits for ever: what waits fails, and what has not come to the model yet is refused."""
    backend = served.NoWeights(pairs=True)
    retriever = served.served(reranker=served.scorer(backend))
    calls = at_scale(30, 200, 1_000)
    backend.open.clear()

    async def main() -> None:
        tasks = [asyncio.ensure_future(retriever.ainvoke(query)) for query in QUERIES[:1] * calls]
        while served.waiting(retriever) < 20:  # noqa: ASYNC110 - a thread of no loop counts them
            await asyncio.sleep(0.01)
        closing = asyncio.ensure_future(asyncio.to_thread(retriever.reranker.close))
        while not retriever.reranker._worker._closed:  # noqa: ASYNC110 - likewise
            await asyncio.sleep(0.01)
        backend.open.set()
        await closing
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        # A batch that is on its way through the model is the one exception: it comes to its end.
        kinds = {type(one) for one in outcomes}
        assert ClosedError in kinds
        assert kinds <= {ClosedError, list}

    with goal("G9") as count:
        run_watched(main)
        count.done += calls
    assert served.waiting(retriever) == 0
    served.close(retriever)


def test_real_models_in_two_loops(
    goal: Any, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from langchain_rerank_retriever import CrossEncoderScorer, PooledEmbeddings
    from langchain_rerank_retriever.runtime.choosing.clock import Clock
    from tests.runtime import tiny

    monkeypatch.setattr(Clock, "best", lambda _, runs: dict.fromkeys(runs, 1.0))
    language_model = tiny.save_language_model(tmp_path / "bi", "bert")
    classifier = tiny.save_classifier(tmp_path / "cross", "bert")
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(tiny.WORDS, size)) for size in rng.integers(3, 60, 50)]
    calls = at_scale(30, 300, 3_000)
    with (
        PooledEmbeddings(language_model, precision="float32") as model,
        CrossEncoderScorer(classifier, precision="float32") as scorer,
        FaissStore.from_texts(texts, model) as store,
        goal("G9") as count,
    ):
        retriever = RerankRetriever(store, reranker=scorer, fetch_k=20, k=20)
        queries = texts[:6]
        expected = {query: retriever.invoke(query) for query in queries}

        async def ask(number: int) -> None:
            query = queries[number % len(queries)]
            task = asyncio.ensure_future(retriever.ainvoke(query))
            if number % 5 == seed % 5:
                await asyncio.sleep(0.01)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                return
            # By id, since scores of near equals may change places with the batch they are in.
            found = {one.id: one.metadata["relevance_score"] for one in await task}
            for one in expected[query]:
                assert found[one.id] == pytest.approx(one.metadata["relevance_score"], abs=1e-4)

        async def main() -> None:
            for first in range(0, calls // 2, 50):
                await asyncio.gather(*(ask(number) for number in range(first, min(first + 50, calls // 2))))

        side_by_side([main, main])
        count.done += 2 * (calls // 2)
        wait_until(lambda: scorer._worker._admission._waiting == 0)
