"""What becomes due while the thread is about to end is not forgotten."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from langchain_rerank_retriever.store import FaissStore
from langchain_rerank_retriever.store.upkeep import Upkeep

from .helpers import FastEmbeddings


def test_a_task_that_becomes_due_at_the_last_look_is_done() -> None:
    done: list[int] = []
    due, looking, noticed = {"value": 1}, threading.Event(), threading.Event()

    def task(_go_on: object) -> None:
        done.append(due["value"])
        due["value"] = 0

    def next_task():
        found = task if due["value"] else None
        if found is None and len(done) == 1 and threading.current_thread().name == "store-upkeep":
            # It has looked and found nothing; before it can say so, another change comes.
            looking.set()
            noticed.wait(0.3)
        return found

    upkeep = Upkeep(next_task, lambda: 0)
    upkeep.consider()
    upkeep._hurry.set()
    assert looking.wait(10)
    due["value"] = 2
    upkeep.consider()
    noticed.set()
    assert upkeep.wait(10)
    assert done == [1, 2]
    upkeep.close()


@pytest.mark.parametrize("runs", [False, True])
def test_ctrl_c_while_the_thread_starts(monkeypatch: pytest.MonkeyPatch, runs: bool) -> None:
    """Whether or not it runs by then, what is due is done by one thread, and closing does not fail."""
    done: list[str] = []
    due = [1, 2]

    def task(_go_on: object) -> None:
        done.append(threading.current_thread().name)
        due.pop()

    start = threading.Thread.start

    def pressed(thread: threading.Thread) -> None:
        if runs:
            start(thread)
        raise KeyboardInterrupt

    upkeep = Upkeep(lambda: task if due else None, lambda: 0)
    upkeep._hurry.set()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", pressed)
        with pytest.raises(KeyboardInterrupt):
            upkeep.consider()
    assert upkeep.wait(10)
    upkeep.close()
    assert done == ["store-upkeep"] * 2


def test_closed_where_ctrl_c_came_while_the_thread_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def pressed(_: threading.Thread) -> None:
        raise KeyboardInterrupt

    upkeep = Upkeep(lambda: lambda _: None, lambda: 0)
    monkeypatch.setattr(threading.Thread, "start", pressed)
    with pytest.raises(KeyboardInterrupt):
        upkeep.consider()
    upkeep.close()


def test_what_is_shown_never_falls_behind(tmp_path: Path) -> None:
    """A view that was made in the background of an earlier state is brought up to date before it is shown."""
    with FaissStore(FastEmbeddings(), path=tmp_path / "s") as store:
        store.add_texts(["a", "b"], ids=["a", "b"])
        views = store._engine.views
        earlier = views.current
        store.add_texts(["c"], ids=["c"])
        store.delete(["a"])
        with store._engine.snapshot() as snapshot:
            state = snapshot.state
        views._replace(earlier)
        assert (views.current.seq, len(views.current)) == (state.seq, 2)
        assert earlier.seq < state.seq
        # Of another line of changes it says nothing.
        views._replace(replace(earlier, generation=earlier.generation + 1))
        assert views.current.generation == state.generation
