"""Threads, forks and processes on one store."""

import multiprocessing
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from langchain_rerank_retriever.store import FaissStore, indexing, snapshots, upkeep

from .helpers import FastEmbeddings


def keep_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a snapshot written, and mapped, and a graph built all the time."""
    monkeypatch.setattr(snapshots, "MIN_ROWS", 1)
    monkeypatch.setattr(snapshots, "DRIFT", 0.0)
    monkeypatch.setattr(snapshots, "MAPPED_BYTES", 1)
    monkeypatch.setattr(upkeep, "QUIET", 0.0)
    monkeypatch.setattr(indexing, "GRAPH_ROWS", 2)


def in_fork(action: Callable[[], object]) -> None:
    """Run something in a forked child; fail where it hangs, raises or is killed."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            action()
            os.write(writer, b"+")
        finally:
            os._exit(0)
    os.close(writer)
    answered = select.select([reader], [], [], 20)[0] and os.read(reader, 1) == b"+"
    os.close(reader)
    if not answered:
        os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert answered, "the child hung or failed"


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_forked_child_goes_on(tmp_path: Path, in_memory: bool) -> None:
    store = FaissStore(FastEmbeddings(64), path=None if in_memory else tmp_path / "s")
    vectors = np.random.default_rng(0).standard_normal((20_000, 64))
    store.add_embeddings([f"t{i}" for i in range(20_000)], vectors)
    expected = store.similarity_search_with_score("t77", k=5)
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            store.similarity_search("t77", k=5)

    reading = threading.Thread(target=read)
    reading.start()

    def child() -> None:
        if not in_memory and store._engine.connections._open:
            # SQLite forbids the use of a connection that came through a fork, though it often works.
            sys.exit(1)
        if store.similarity_search_with_score("t77", k=5) != expected:
            sys.exit(1)
        store.add_texts(["from a child"], ids=[f"child {os.getpid()}"])
        if store.similarity_search("from a child", k=1)[0].page_content != "from a child":
            sys.exit(1)

    try:
        for _ in range(8):
            in_fork(child)
    finally:
        stop.set()
        reading.join()
    assert len(store) == (20_000 if in_memory else 20_008)
    assert store.similarity_search_with_score("t77", k=5) == expected
    store.add_texts(["after"])
    store.close()


def add_many(folder: Path, name: str, count: int) -> None:
    with FaissStore(FastEmbeddings(), path=folder) as store:
        for number in range(count):
            store.add_texts([f"{name} {number}"], ids=[f"{name} {number}"])
            if number % 10 == 9:
                store.delete([f"{name} {number - 5}"])
            if store.get_by_ids([f"{name} {number}"])[0].page_content != f"{name} {number}":
                sys.exit(1)


@pytest.mark.parametrize("method", ["fork", "spawn", "busy"])
def test_processes_on_one_folder_lose_nothing(
    tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if method == "busy":
        keep_busy(monkeypatch)
    context = multiprocessing.get_context("spawn" if method == "spawn" else "fork")
    processes = [context.Process(target=add_many, args=(tmp_path / "s", name, 100)) for name in "ab"]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    with FaissStore(FastEmbeddings(), path=tmp_path / "s") as store:
        expected = {f"{name} {n}" for name in "ab" for n in range(100) if n % 10 != 4}
        assert {document.id for document in store.documents()} == expected
        assert store.verify(deep=True).ok


def test_other_processes_see_every_kind_of_change(tmp_path: Path) -> None:
    with FaissStore(FastEmbeddings(), path=tmp_path / "s") as store:
        store.add_texts([f"t{i}" for i in range(1500)], ids=[str(i) for i in range(1500)])

        def in_other(action: Callable[[FaissStore], object]) -> None:
            def child() -> None:
                with FaissStore(FastEmbeddings(), path=tmp_path / "s") as other:
                    action(other)

            in_fork(child)

        in_other(lambda other: other.add_texts(["new"], ids=["3"]))
        assert store.similarity_search("new", k=1)[0].id == "3"
        in_other(lambda other: other.delete(["3"]))
        assert store.get_by_ids(["3"]) == []
        assert len(store.similarity_search("new", k=2000)) == 1499
        in_other(lambda other: other.delete([str(i) for i in range(1400)]))
        assert len(store.similarity_search("new", k=2000)) == 100
        in_other(lambda other: other.clear())
        assert store.similarity_search("new") == []
        in_other(lambda other: other.add_texts(["again"], ids=["1"]))
        assert store.similarity_search("again")[0].id == "1"
        assert store.verify(deep=True).ok


def test_two_first_writers_agree_on_one_model(tmp_path: Path) -> None:
    stores = [FaissStore(FastEmbeddings(16, seed=seed), path=tmp_path / "s") for seed in (0, 1)]
    barrier = threading.Barrier(2)
    outcomes: list[str] = []

    def add(store: FaissStore) -> None:
        barrier.wait()
        try:
            store.add_texts(["a"])
        except ValueError as error:
            outcomes.append(type(error).__name__)
        else:
            outcomes.append("added")

    threads = [threading.Thread(target=add, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["ModelMismatchError", "added"]
    assert len(stores[0]) == 1


def test_a_fork_while_a_graph_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "QUIET", 0.0)
    monkeypatch.setattr(indexing, "GRAPH_ROWS", 2)
    vectors = np.random.default_rng(0).standard_normal((8_000, 64))
    with FaissStore(FastEmbeddings(64), path=tmp_path / "s", index="hnsw") as store:
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


def test_a_process_that_ends_while_a_graph_is_built(tmp_path: Path) -> None:
    program = (
        "import sys, numpy as np\n"
        "from langchain_rerank_retriever.store import FaissStore, upkeep\n"
        "from tests.store.helpers import FastEmbeddings\n"
        "upkeep.QUIET = 0.0\n"
        "store = FaissStore(FastEmbeddings(64), path=sys.argv[1], index='hnsw')\n"
        "store.add_embeddings([f't{i}' for i in range(30_000)], np.random.default_rng(0).random((30_000, 64)))\n"
        "print(store.index_info.busy)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "s")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")
