"""Threads and processes on one store."""

import multiprocessing
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from langchain_rerank_retriever.store import FaissStore, indexing, snapshots, upkeep
from tests.reliability.fork_children import in_fork

from .helpers import FastEmbeddings


def keep_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a snapshot written, and mapped, and a graph built all the time."""
    monkeypatch.setattr(snapshots, "MIN_ROWS", 1)
    monkeypatch.setattr(snapshots, "DRIFT", 0.0)
    monkeypatch.setattr(snapshots, "MAPPED_BYTES", 1)
    monkeypatch.setattr(upkeep, "QUIET", 0.0)
    monkeypatch.setattr(indexing, "GRAPH_ROWS", 2)


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
