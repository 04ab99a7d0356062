"""Processes that begin as a copy of one that is at work: they answer, and as their parent does."""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from langchain_rerank_retriever.runtime.serving import forking
from langchain_rerank_retriever.runtime.serving.worker import Worker
from langchain_rerank_retriever.store import FaissStore, indexing, upkeep
from tests.store.helpers import FastEmbeddings

from . import asyncio_served as served
from .fork_children import answers_of, fork, in_fork
from .scale import at_scale

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")

CHILDREN = at_scale(6, 20, 200)


@contextlib.contextmanager
def kept_busy(*actions: Callable[[], object]) -> Iterator[None]:
    """Threads that do something all the time; what they raise is raised at the end."""
    stop, problems = threading.Event(), list[BaseException]()

    def work(action: Callable[[], object]) -> None:
        try:
            while not stop.is_set():
                action()
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
    assert not any(thread.is_alive() for thread in threads), "a thread of the parent hangs"
    if problems:
        raise problems[0]


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_forked_child_goes_on(goal: Any, tmp_path: Path, in_memory: bool) -> None:
    store = FaissStore(FastEmbeddings(64), path=None if in_memory else tmp_path / "s")
    size, children = at_scale(4_000, 20_000, 20_000), at_scale(4, 8, 30)
    vectors = np.random.default_rng(0).standard_normal((size, 64))
    store.add_embeddings([f"t{i}" for i in range(size)], vectors)
    expected = store.similarity_search_with_score("t77", k=5)

    def child() -> None:
        # SQLite forbids the use of a connection that came through a fork, though it often works.
        assert in_memory or not store._engine.connections._open
        assert store.similarity_search_with_score("t77", k=5) == expected
        store.add_texts(["from a child"], ids=[f"child {os.getpid()}"])
        assert store.similarity_search("from a child", k=1)[0].page_content == "from a child"

    with goal("G11") as count, kept_busy(lambda: store.similarity_search("t77", k=5)):
        for _ in range(children):
            in_fork(child)
            count.done += 1
    assert len(store) == (size if in_memory else size + children)
    assert store.similarity_search_with_score("t77", k=5) == expected
    store.add_texts(["after"])
    store.close()


def test_a_fork_while_a_graph_is_built(goal: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "QUIET", 0.0)
    monkeypatch.setattr(indexing, "GRAPH_ROWS", 2)
    vectors = np.random.default_rng(0).standard_normal((8_000, 64))
    with FaissStore(FastEmbeddings(64), path=tmp_path / "s", index="hnsw") as store, goal("G11") as count:
        store.add_embeddings([f"t{i}" for i in range(8_000)], vectors)
        assert store.index_info.busy

        def child() -> None:
            assert store.similarity_search_by_vector(vectors[7], k=1)[0].page_content == "t7"
            store.add_texts(["from a child"])
            store.close()

        in_fork(child)
        assert store.wait_until_ready(120).kind == "hnsw"
        assert store.similarity_search_by_vector(vectors[7], k=1)[0].page_content == "t7"
        in_fork(child)
        assert len(store) == 8_002
        count.done += 2


def test_forks_while_queries_run_batches_are_scored_and_documents_are_written(
    goal: Any, seed: int, tmp_path: Path
) -> None:
    """Whatever a thread of the parent holds, the child does not wait for it."""
    model = served.embeddings()
    store = FaissStore(model, path=tmp_path / "store")
    store.add_documents(served.documents(60))
    retriever = served.RerankRetriever(store, reranker=served.scorer(), k=5, fetch_k=20)
    query = "what is this"
    expected = [one.id for one in retriever.invoke(query, filter={"number": {"$gte": 0}})]
    written = iter(range(10**9))

    def write() -> None:
        number = next(written)
        store.add_texts([f"written {number}"], [{"number": -1}], ids=[f"w{number % 20}"])

    def answers() -> list[str | None]:
        return [one.id for one in retriever.invoke(query, filter={"number": {"$gte": 0}})]

    pairs = [(query, f"passage {number} " * 20) for number in range(64)]
    busy = (write, answers, answers, lambda: retriever.reranker.score(pairs))
    with goal("G11") as count:
        slowest = 0.0
        with kept_busy(*busy):
            for _ in range(CHILDREN):
                child = fork(answers)
                assert child.answer() == expected
                slowest = max(slowest, child.seconds)
                count.done += 1
        count.note = f"slowest answer of a child {slowest:.1f} s"
    assert answers() == expected
    served.close(retriever)


def test_threads_that_fork_side_by_side_leave_the_models_free(goal: Any) -> None:
    workers = [Worker(served.NoWeights(pairs=True), budget=16) for _ in range(4)]
    each, threads = max(3, CHILDREN // 8), 4

    def forks() -> None:
        for _ in range(each):
            fork(lambda: None).answer()

    with goal("G11") as count:
        forking_threads = [threading.Thread(target=forks, daemon=True) for _ in range(threads)]
        for thread in forking_threads:
            thread.start()
        for thread in forking_threads:
            thread.join(60)
            assert not thread.is_alive(), "a fork waits for a model that nobody lets go of"
        for worker in workers:
            worker.submit(["a"]).result(timeout=30)
            worker.close()
        count.done += each * threads


def test_a_model_that_comes_beside_a_fork_waits_for_it(goal: Any) -> None:
    """The list of models must not change while a fork goes through it: the hook would fail, and the fork go on."""
    made: list[Worker] = []

    def make() -> None:
        made.append(Worker(served.NoWeights(pairs=True), budget=16))

    with goal("G11") as count:
        forking._before_fork()
        try:
            coming = threading.Thread(target=make)
            coming.start()
            coming.join(0.3)
            assert made == []
        finally:
            forking._after_fork_in_parent()
        coming.join(30)
        assert len(made) == 1
        assert in_fork(lambda: made[0].submit(["a"]).result(timeout=10).values.shape) == [1]
        count.done += 1


def test_a_batch_is_never_cut_in_two_by_a_fork(goal: Any) -> None:
    """The child's copy of the model is as it was between two batches."""
    backend = served.NoWeights(pairs=True)
    inside: list[int] = []
    run = backend.run

    def noted(rows: Any) -> Any:
        inside.append(1)
        time.sleep(0.002)
        values = run(rows)
        inside.pop()
        return values

    backend.run = noted  # type: ignore[method-assign]
    worker = Worker(backend, budget=64)
    with goal("G11") as count, kept_busy(lambda: worker.submit(["a pair"] * 40).result(timeout=30)):
        for _ in range(CHILDREN):
            assert in_fork(lambda: list(inside)) == []
            count.done += 1
    worker.close()


def test_a_loaded_retriever_serves_in_four_children(goal: Any) -> None:
    """As a web server does that loads its application once and forks its workers from it."""
    import asyncio

    retriever = served.served()
    queries = [f"what is {number}" for number in range(6)]
    expected = [[one.id for one in retriever.invoke(query)] for query in queries]

    def serve() -> Any:
        async def main() -> Any:
            return await retriever.abatch(queries)

        threads = retriever.batch(queries, config={"max_concurrency": 3})
        return [[[one.id for one in found] for found in way] for way in (threads, asyncio.run(main()))]

    with goal("G11") as count:
        assert answers_of([fork(serve) for _ in range(4)]) == [[expected, expected]] * 4
        count.done += 4
    served.close(retriever)
