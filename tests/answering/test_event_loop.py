"""A query that is awaited leaves the event loop alone, whatever its store is doing meanwhile."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from langchain_rerank_retriever import FaissStore, RerankRetriever
from langchain_rerank_retriever.store import views
from langchain_rerank_retriever.store.connections import Connections
from tests.conftest import HashEmbeddings
from tests.test_retriever import BLEND, DOCUMENTS, QUERY, Longest, ids

#: Seconds that the store keeps whoever reads it.
BUSY = 0.6


async def longest_gap(work: Callable[[], Any]) -> tuple[Any, float]:
    """Await work; tell what it gave, and the longest time in which nothing else of the loop ran, in wall seconds."""
    longest, before = 0.0, time.monotonic()
    task = asyncio.ensure_future(work())
    while not task.done():
        await asyncio.sleep(0.002)
        now = time.monotonic()
        longest, before = max(longest, now - before), now
    return await task, longest


@pytest.fixture
def readers(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The threads that have begun a read transaction."""
    begun: set[int] = set()
    reading = Connections.reading

    @contextmanager
    def noted(self: Connections) -> Iterator[Any]:
        begun.add(threading.get_ident())
        with reading(self) as connection:
            yield connection

    monkeypatch.setattr(Connections, "reading", noted)
    return begun


@pytest.mark.parametrize("call", ["ainvoke", "aexplain"])
async def test_a_stale_view_is_not_made_anew_on_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, readers: set[int], call: str
) -> None:
    caught_up = views._caught_up

    def slowly(connection: Any, state: Any, view: Any) -> Any:
        if view.seq != state.seq:
            time.sleep(BUSY)
        return caught_up(connection, state, view)

    with (
        FaissStore.from_documents(DOCUMENTS, HashEmbeddings(), path=tmp_path / "s") as store,
        FaissStore(HashEmbeddings(), path=tmp_path / "s") as other,
    ):
        retriever = RerankRetriever(store, reranker=Longest(), blend=BLEND, recall_mode="hybrid", k=7)
        await retriever.ainvoke(QUERY)
        other.add_texts(["a red sky that was written by somebody else"], ids=["new"])
        monkeypatch.setattr(views, "_caught_up", slowly)
        readers.clear()
        started = time.monotonic()
        answer, longest = await longest_gap(lambda: getattr(retriever, call)(QUERY))
        assert time.monotonic() - started >= BUSY
    assert longest < BUSY / 2
    assert "new" in ids(answer if call == "ainvoke" else answer.documents)
    assert threading.get_ident() not in readers


async def test_a_write_to_a_store_in_memory_is_not_waited_for_on_the_loop(readers: set[int]) -> None:
    """There is one connection then, and a write may take long."""
    held, release = threading.Event(), threading.Event()
    with FaissStore.from_documents(DOCUMENTS, HashEmbeddings()) as store:
        retriever = RerankRetriever(store, reranker=Longest(), blend=BLEND, k=6)
        expected = retriever.invoke(QUERY)
        assert all(one.metadata["lexical_score"] >= 0 for one in expected)

        def write() -> None:
            with store._engine.connections.writing():
                held.set()
                release.wait(BUSY)

        writer = threading.Thread(target=write)
        writer.start()
        held.wait()
        readers.clear()
        answer, longest = await longest_gap(lambda: retriever.ainvoke(QUERY))
        release.set()
        writer.join()
    assert longest < BUSY / 2
    assert answer == expected
    assert threading.get_ident() not in readers


def test_whether_there_is_a_lexical_index_follows_what_is_saved_over_the_store(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    with (
        FaissStore.from_documents(DOCUMENTS, HashEmbeddings(), path=folder, lexical=False) as store,
        FaissStore.from_documents(DOCUMENTS, HashEmbeddings()) as other,
    ):
        retriever = RerankRetriever(store, reranker=Longest(), blend=BLEND)
        assert (store.has_lexical, other.has_lexical) == (False, True)
        assert "lexical_score" not in retriever.invoke(QUERY)[0].metadata
        other.save_local(folder)
        retriever.invoke(QUERY)
        assert store.has_lexical
        assert "lexical_score" in retriever.invoke(QUERY)[0].metadata
