"""What no other test notices as directly: each of these was written for a bug that seeded_bugs/ puts in."""

import asyncio
import random
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from langchain_rerank_retriever import RerankRetriever
from langchain_rerank_retriever.errors import StorageError
from langchain_rerank_retriever.runtime.backend import Row
from langchain_rerank_retriever.runtime.serving.worker import Worker
from langchain_rerank_retriever.store import FaissStore, beside_sqlite, rows, snapshots, upkeep, view_writing
from tests.runtime.words import WordBackend
from tests.store.helpers import FastEmbeddings, content


class FailingConnection(beside_sqlite.Connection):
    """A connection on a disk that is full whenever a statement begins as `failing` says."""

    failing: str | None = None

    def _check(self, statement: str) -> None:
        if self.failing is not None and statement.startswith(self.failing):
            raise sqlite3.OperationalError("database or disk is full")

    def execute(self, statement: str, *arguments: Any) -> sqlite3.Cursor:
        self._check(statement)
        return super().execute(statement, *arguments)

    def executemany(self, statement: str, *arguments: Any) -> sqlite3.Cursor:
        self._check(statement)
        return super().executemany(statement, *arguments)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[FailingConnection]]:
    connect = sqlite3.connect
    monkeypatch.setattr(
        sqlite3,
        "connect",
        lambda target, **keywords: connect(target, **{**keywords, "factory": FailingConnection}),
    )
    yield FailingConnection
    FailingConnection.failing = None


# Who sees a change that is not there may look for it for ever.
@pytest.mark.timeout(30)
@pytest.mark.parametrize("statement", ["INSERT INTO document", "INSERT INTO vector", "COMMIT"])
@pytest.mark.parametrize("in_memory", [True, False])
def test_a_change_that_is_not_committed_is_never_seen(
    tmp_path: Path, failing: type[FailingConnection], statement: str, in_memory: bool
) -> None:
    """The next change gets the number that this one had: who has seen one takes the other for it."""
    path = None if in_memory else tmp_path / "s"
    with FaissStore(FastEmbeddings(), path=path) as store:
        store.add_texts(["kept", "replaced"], ids=["kept", "replaced"])
        before = content(store)
        failing.failing = statement
        with pytest.raises(StorageError):
            store.add_texts(["lost", "in vain"], ids=["lost", "replaced"])
        failing.failing = None
        assert content(store) == before
        assert {one.id for one in store.similarity_search("lost", k=9)} == {"kept", "replaced"}
        store.add_texts(["after"], ids=["after"])
        for text, name in (("after", "after"), ("replaced", "replaced"), ("kept", "kept")):
            ((found, score),) = store.similarity_search_with_score(text, k=1)
            assert (found.id, found.page_content) == (name, text)
            assert score == pytest.approx(1.0)
        assert len(store) == 3
        assert store.verify(deep=True).ok


def test_of_two_that_write_a_snapshot_at_once_only_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each removes all but its own, and would remove what the other is about to name in the database."""
    monkeypatch.setattr(snapshots, "MIN_ROWS", 1)
    monkeypatch.setattr(upkeep, "QUIET", 3600.0)
    one, other = (FaissStore(FastEmbeddings(), path=tmp_path / "s") for _ in range(2))
    one.add_texts([f"text {number}" for number in range(50)])
    assert other.similarity_search("text 7", k=1)[0].page_content == "text 7"
    write, writers = view_writing.write, []

    def writing(*arguments: Any, **keywords: Any) -> Any:
        record = write(*arguments, **keywords)
        writers.append(record.file)
        if len(writers) == 1:
            other.close()
        return record

    monkeypatch.setattr(view_writing, "write", writing)
    one.close()
    assert len(writers) == 1
    with FaissStore(FastEmbeddings(), path=tmp_path / "s") as store:
        assert store.similarity_search("text 7", k=1)[0].page_content == "text 7"
        assert store.index_info.snapshot == writers[0]
        assert store.verify(deep=True).ok


class NumberBackend(WordBackend):
    """The value of a text is the number that it begins with, whatever its length."""

    def __init__(self) -> None:
        super().__init__()
        self.mixed = 0

    def run(self, rows: Sequence[Row]) -> np.ndarray:
        super().run(rows)
        self.mixed += len({row.length for row in rows}) > 1
        return np.array([float(row.payload.split()[0]) for row in rows], dtype=np.float32)


def test_each_row_of_a_batch_gets_its_own_value(seed: int) -> None:
    """Rows of one request and of different lengths are in one batch, and not in the order of the request."""
    rng, backend = random.Random(seed), NumberBackend()
    worker = Worker(backend, budget=600, max_rows=16, chunk=64)
    try:
        requests = [range(start, start + rng.randint(1, 90)) for start in range(0, 2000, 100)]
        answers = [
            worker.submit([f"{number}" + " word" * rng.randint(0, 40) for number in numbers])
            for numbers in requests
        ]
        for numbers, answer in zip(requests, answers):
            assert answer.result(timeout=60).values.tolist() == list(numbers)
    finally:
        worker.close()
    assert backend.mixed > 10


def test_a_search_shows_the_store_at_one_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another changes the documents after the vectors were searched, and before the texts are read."""
    texts = {"kept": "some text", "deleted": "another text", "changed": "a third text"}
    with (
        FaissStore(FastEmbeddings(), path=tmp_path / "s") as store,
        FaissStore(FastEmbeddings(), path=tmp_path / "s") as other,
    ):
        store.add_texts(list(texts.values()), ids=list(texts))
        read = rows.by_pks

        def after_changes(*arguments: Any) -> list[rows.Stored]:
            monkeypatch.setattr(rows, "by_pks", read)
            other.delete(["deleted"])
            other.add_texts(["new text"], ids=["changed"])
            return read(*arguments)

        monkeypatch.setattr(rows, "by_pks", after_changes)
        found = store.similarity_search("another text", k=3)
        assert {one.id: one.page_content for one in found} == texts
        found = store.similarity_search("another text", k=3)
        assert {one.id: one.page_content for one in found} == {"kept": "some text", "changed": "new text"}


class WaitingEmbeddings(FastEmbeddings):
    """Embeds a query when somebody else lets it go on."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.go_on = threading.Event(), threading.Event()

    def embed_query(self, text: str) -> list[float]:
        self.asked.set()
        assert self.go_on.wait(10), "nobody could let it go on"
        return super().embed_query(text)


async def test_recall_leaves_the_event_loop_free() -> None:
    """However long the model takes for the query: here until the loop has done something else."""
    embeddings = WaitingEmbeddings()
    with FaissStore(embeddings) as store:
        store.add_texts(["one", "two"], ids=["1", "2"])
        query = asyncio.create_task(RerankRetriever(store, k=1).ainvoke("two"))
        assert await asyncio.to_thread(embeddings.asked.wait, 10)
        embeddings.go_on.set()
        assert [one.id for one in await query] == ["2"]
