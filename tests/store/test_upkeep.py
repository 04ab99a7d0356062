"""What becomes due while the thread is about to end is not forgotten, and what fails is tried again."""

import gc
import math
import os
import signal
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from langchain_rerank_retriever.errors import FormatError, StorageError
from langchain_rerank_retriever.store import FaissStore, IndexInfo, snapshots, view_writing, views
from langchain_rerank_retriever.store import upkeep as upkeep_module
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


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing waits for quiet, and pauses are short."""
    monkeypatch.setattr(upkeep_module, "QUIET", 0.0)
    monkeypatch.setattr(upkeep_module, "PAUSE", 0.1)


class Failing:
    """A task that is due until it was done, and fails as often as it is told."""

    def __init__(self, failures: float, error: Exception | None = None) -> None:
        self.failures = failures
        self.error = error or StorageError("the disk is full")
        self.times: list[float] = []
        self.pauses: list[float] = []
        self.due = True
        self.upkeep = Upkeep(lambda: self.run if self.due else None, lambda: 0)

    def run(self, _go_on: object) -> None:
        self.upkeep._tried.clear()
        self.times.append(time.monotonic())
        self.pauses.append(self.upkeep._pause.seconds)
        if len(self.times) <= self.failures:
            raise self.error
        self.due = False

    def tried(self, count: int) -> None:
        """Wait until it was tried so often, and until the last failure was noted."""
        deadline = time.monotonic() + 10
        while len(self.times) < count or not self.upkeep._tried.is_set():
            assert time.monotonic() < deadline
            time.sleep(0.005)


@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize("error", [StorageError("the disk is full"), MemoryError()])
def test_what_fails_is_tried_again(
    quick: None, caplog: pytest.LogCaptureFixture, error: Exception, waits: bool
) -> None:
    task = Failing(2, error)
    task.upkeep.consider()
    if waits:
        assert task.upkeep.wait(10)
    else:
        task.tried(3)
    first, second, third = task.times
    assert not task.due
    assert second - first >= 0.1
    assert third - second >= 0.1
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2
    assert all(f"is tried again in 0 s: {str(error) or 'MemoryError'}" in each for each in told)
    task.upkeep.close()


@pytest.mark.parametrize("waits", [True, False])
def test_pauses_double_up_to_a_bound_and_begin_anew(
    quick: None, monkeypatch: pytest.MonkeyPatch, waits: bool
) -> None:
    """Also while somebody waits: only who comes during a pause ends it."""
    monkeypatch.setattr(upkeep_module, "LONGEST_PAUSE", 0.3)
    task = Failing(4)
    task.upkeep.consider()
    if waits:
        assert task.upkeep.wait(10)
    task.tried(5)
    assert task.pauses == [0.0, 0.1, 0.2, 0.3, 0.3]
    gaps = [later - earlier for earlier, later in pairwise(task.times)]
    assert all(gap >= pause for gap, pause in zip(gaps, task.pauses[1:], strict=True))
    assert task.upkeep.wait(10)
    task.due, task.failures = True, 6
    task.upkeep.consider()
    task.tried(7)
    assert task.pauses[5:] == [0.0, 0.1]
    task.upkeep.close()


def test_waiting_is_not_over_while_another_try_is_due(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep_module, "PAUSE", 1.0)
    task = Failing(1)
    task.upkeep.consider()
    task.tried(1)
    begun, used = time.monotonic(), time.process_time()
    assert not task.upkeep.wait(0.2)
    assert time.monotonic() - begun >= 0.2
    assert task.upkeep.wait(10)
    assert len(task.times) == 2
    assert task.times[1] - task.times[0] >= 1.0
    # Everybody sleeps meanwhile.
    assert time.process_time() - used < 0.3
    task.upkeep.close()


def test_who_waits_ends_a_long_pause(quick: None) -> None:
    task = Failing(1)
    task.upkeep._pause.seconds = 300.0
    begun = time.monotonic()
    assert task.upkeep.wait(10)
    assert len(task.times) == 2
    assert time.monotonic() - begun < 3
    task.upkeep.close()


def test_however_many_wait_it_is_not_tried_without_a_pause(quick: None) -> None:
    task = Failing(math.inf)
    begun = time.monotonic()
    while time.monotonic() < begun + 1:
        assert not task.upkeep.wait(0.002)
    assert 2 <= len(task.times) <= 11
    assert min(later - earlier for earlier, later in pairwise(task.times)) >= 0.1
    task.upkeep.close()


@pytest.mark.parametrize("pause", [60.0, 0.1])
def test_closing_ends_a_pause(quick: None, monkeypatch: pytest.MonkeyPatch, pause: float) -> None:
    monkeypatch.setattr(upkeep_module, "PAUSE", pause)
    task = Failing(math.inf)
    task.upkeep.consider()
    task.tried(1)
    # With a short pause: the part of a long one that who waits may end.
    if pause < 1:
        task.upkeep._pause.seconds = 60.0
    time.sleep(0.3)
    (thread,) = [each for each in threading.enumerate() if each is task.upkeep._thread]
    tries, begun = len(task.times), time.monotonic()
    task.upkeep.close()
    assert time.monotonic() - begun < 1
    assert not thread.is_alive()
    assert len(task.times) == tries
    task.upkeep.consider()
    assert task.upkeep._thread is None


def test_damage_is_not_waited_for(quick: None, caplog: pytest.LogCaptureFixture) -> None:
    """Only a repair helps; the next that waits, or changes something, has it tried again."""
    task = Failing(2, FormatError("The store is damaged"))
    begun = time.monotonic()
    assert not task.upkeep.wait(60)
    assert not task.upkeep.wait(60)
    assert len(task.times) == 2
    assert task.times[1] - task.times[0] >= 0.1
    task.upkeep.consider()
    assert task.upkeep.wait(60)
    assert len(task.times) == 3
    assert time.monotonic() - begun < 10
    assert "tried again" not in caplog.text
    task.upkeep.close()


def test_waiting_for_one_try_only(quick: None) -> None:
    task = Failing(2)
    begun = time.monotonic()
    assert not task.upkeep.wait(60, again=False)
    assert len(task.times) == 1
    assert not task.upkeep.wait(60, again=False)
    assert len(task.times) == 2
    # The thread goes on, though nobody waits.
    task.tried(3)
    assert task.upkeep.wait(60, again=False)
    assert len(task.times) == 3
    assert time.monotonic() - begun < 10
    task.upkeep.close()


def test_a_store_that_nobody_has_is_not_kept_by_a_pause(
    quick: None, caplog: pytest.LogCaptureFixture
) -> None:
    task = Failing(math.inf)
    task.upkeep.consider()
    task.tried(1)
    thread, known = task.upkeep._thread, weakref.ref(task.upkeep)
    assert thread is not None
    task.error.__traceback__ = None
    del task
    gc.collect()
    deadline = time.monotonic() + 10
    # While it is tried the thread has it, too.
    while known() is not None and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.005)
    assert known() is None
    assert len(caplog.records) >= 1
    thread.join(10)
    assert not thread.is_alive()


def in_fork(right: Callable[[], bool]) -> bool:
    child = os.fork()
    if not child:
        try:
            # pytest's own handler would have the child go on with other tests.
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(20)
            os._exit(0 if right() else 3)
        finally:
            os._exit(4)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_a_fork_during_a_pause(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The child has no such thread, whatever that held, and begins another."""
    monkeypatch.setattr(upkeep_module, "PAUSE", 60.0)
    task = Failing(1)
    task.upkeep.consider()
    task.tried(1)
    # As a thread that goes to sleep holds it for a moment.
    held = [event._cond for event in (task.upkeep._stop, task.upkeep._hurry, task.upkeep._tried)]

    def right() -> bool:
        done = task.upkeep.wait(10) and len(task.times) == 2
        task.upkeep.close()
        return done

    for each in held:
        each.acquire()
    try:
        assert in_fork(right)
    finally:
        for each in held:
            each.release()
    assert len(task.times) == 1
    task.upkeep.close()

    def still_closed() -> bool:
        task.upkeep.consider()
        return task.upkeep._thread is None

    assert in_fork(still_closed)


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The disk is full for as many snapshots as there are elements."""
    failures: list[str] = []
    write = view_writing.write

    def written(*arguments: Any, **keywords: Any) -> Any:
        if failures:
            raise StorageError(f"No space left for {failures.pop()}")
        return write(*arguments, **keywords)

    monkeypatch.setattr(view_writing, "write", written)
    monkeypatch.setattr(snapshots, "MIN_ROWS", 1)
    return failures


def settled(store: FaissStore) -> IndexInfo:
    """Wait through failures, without hurrying anything."""
    deadline = time.monotonic() + 20
    while store.index_info.busy and time.monotonic() < deadline:
        time.sleep(0.01)
    return store.index_info


def test_a_disk_that_is_full_for_a_moment(quick: None, full: list[str], tmp_path: Path) -> None:
    with FaissStore(FastEmbeddings(), path=tmp_path / "s") as store:
        full += ["one", "two"]
        store.add_texts(["a", "b"], ids=["a", "b"])
        info = settled(store)
        assert full == []
        assert (info.busy, info.changes) == (False, 0)
        assert [file.name for file in (tmp_path / "s").glob("*.snapshot")] == [info.snapshot]
        # By itself, too.
        full += ["three"]
        store.add_texts(["c"])
        settled(store)
        assert full == []
        assert store.index_info.changes == 0


def test_a_repair_does_not_wait_for_the_disk(quick: None, full: list[str], tmp_path: Path) -> None:
    """The documents and what searches read are mended, and the snapshot only saves time."""
    with FaissStore(FastEmbeddings(), path=tmp_path / "s") as store:
        store.add_texts(["a", "b"], ids=["a", "b"])
        assert not store.wait_until_ready(20).busy
        full += ["it"] * 1000
        begun = time.monotonic()
        store._engine.views.remake()
        assert time.monotonic() - begun < 5
        assert len(full) >= 990
        assert store.index_info.busy
        # Nor does anybody else, though no time was set.
        assert store.wait_until_ready().busy
        assert time.monotonic() - begun < 10
        del full[:]
        assert not store.wait_until_ready(20).busy


def test_a_damaged_snapshot_stays_to_be_replaced_until_it_is(
    quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is mapped and damaged is not taken for right because reading the database failed for a moment."""
    monkeypatch.setattr(snapshots, "MIN_ROWS", 1)
    with FaissStore(FastEmbeddings(), path=tmp_path / "s") as store:
        store.add_texts(["a", "b"], ids=["a", "b"])
        right = store.vectors_by_ids(["a", "b"])
    (file,) = (tmp_path / "s").glob("*.snapshot")
    data = bytearray(file.read_bytes())
    place = data.index(right["a"].tobytes())
    data[place : place + 64] = right["b"].tobytes()
    file.write_bytes(data)
    failures, rebuilt = [1, 2], views._rebuilt

    def failing(*arguments: Any) -> Any:
        if failures:
            raise StorageError(f"locked {failures.pop()}")
        return rebuilt(*arguments)

    monkeypatch.setattr(views, "_rebuilt", failing)
    with FaissStore(FastEmbeddings(), path=tmp_path / "s", memory_map=True, read_only=True) as store:
        assert not settled(store).busy
        assert failures == []
        found = store.similarity_search_with_score_by_vector(right["a"], k=2)
        assert [document.id for document, _ in found] == ["a", "b"]
        assert found[0][1] == pytest.approx(1.0)
        assert found[1][1] == pytest.approx(float(right["a"] @ right["b"]), abs=1e-6)


def test_a_damaged_store_is_not_waited_for(
    quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "MIN_ROWS", 1)

    def damaged(*_: Any, **__: Any) -> Any:
        raise FormatError("The store is damaged")

    with FaissStore(FastEmbeddings(), path=tmp_path / "s") as store:
        monkeypatch.setattr(view_writing, "write", damaged)
        store.add_texts(["a"])
        begun = time.monotonic()
        assert store.wait_until_ready().busy
        assert time.monotonic() - begun < 5
