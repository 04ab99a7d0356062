"""The worker with a backend of words."""

import asyncio
import gc
import multiprocessing
import os
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError

import numpy as np
import pytest

from langchain_rerank_retriever.errors import ClosedError
from langchain_rerank_retriever.runtime.backend import Row
from langchain_rerank_retriever.runtime.serving.worker import Worker
from tests.runtime.words import WordBackend, texts, values


@pytest.fixture
def backend() -> WordBackend:
    return WordBackend()


@pytest.fixture
def worker(backend: WordBackend) -> Iterator[Worker]:
    worker = Worker(backend, budget=16, max_rows=4, chunk=8)
    yield worker
    backend.gate.release(10**6)
    worker.close()


def test_values_come_back_in_the_order_of_the_inputs(worker: Worker, backend: WordBackend) -> None:
    lengths = [3, 1, 7, 2, 9, 1, 30, 4, 4, 5, 11, 2, 6]
    assert values(worker.submit(texts("a", *lengths))) == lengths
    assert all(len(batch) <= 4 for batch in backend.batches)


def test_a_long_job_is_tokenised_in_chunks(worker: Worker, backend: WordBackend) -> None:
    assert len(values(worker.submit(["a"] * 100))) == 100
    assert max(backend.tokenised) <= 8


def test_requests_that_wait_together_share_a_batch(worker: Worker, backend: WordBackend) -> None:
    backend.hold()
    first = worker.submit(["first"])
    backend.entered.acquire(timeout=5)
    waiting = [worker.submit([name]) for name in ("b", "c", "d")]
    backend.gate.release(100)
    assert [values(future) for future in (first, *waiting)] == [[1]] * 4
    assert backend.batches == [["first"], ["b", "c", "d"]]


def test_kinds_do_not_share_a_batch(worker: Worker, backend: WordBackend) -> None:
    backend.hold()
    worker.submit(["first"])
    backend.entered.acquire(timeout=5)
    waiting = [worker.submit([kind], kind) for kind in ("query", "document", "query")]
    backend.gate.release(100)
    for future in waiting:
        values(future)
    assert sorted(backend.batches[1:]) == [["document"], ["query", "query"]]


def test_a_query_goes_ahead_of_a_bulk_job(worker: Worker, backend: WordBackend) -> None:
    backend.hold()
    bulk = worker.submit(["bulk"] * 40)
    backend.entered.acquire(timeout=5)
    query = worker.submit(["query"], urgent=True)
    backend.gate.release(100)
    values(query)
    values(bulk)
    assert backend.batches.index(["query"]) == 1
    assert len(backend.batches) == 11


def test_a_query_does_not_wait_until_more_of_a_bulk_job_is_read(worker: Worker, backend: WordBackend) -> None:
    backend.hold()
    bulk = worker.submit(["bulk"] * 16)
    backend.entered.acquire(timeout=5)
    backend.gate.release()
    backend.entered.acquire(timeout=5)
    # The last batch of what was read is running.
    query = worker.submit(["query"] * 3, urgent=True)
    backend.gate.release()
    backend.entered.acquire(timeout=5)
    assert backend.tokenised == [8, 3]
    backend.gate.release(100)
    assert values(query) == [1] * 3
    assert values(bulk) == [1] * 16
    assert backend.tokenised == [8, 3, 8]


def test_queries_do_not_starve_a_bulk_job(worker: Worker, backend: WordBackend) -> None:
    backend.hold()
    bulk = worker.submit(["bulk"])
    backend.entered.acquire(timeout=5)
    second = worker.submit(["second"])
    queries = [worker.submit([f"q{number}"] * 5, str(number), urgent=True) for number in range(20)]
    backend.gate.release(1000)
    for future in (bulk, second, *queries):
        values(future)
    assert backend.batches.index(["second"]) <= 6


def test_a_small_job_does_not_wait_for_a_large_one(worker: Worker, backend: WordBackend) -> None:
    backend.hold()
    large = worker.submit(["large"] * 200)
    backend.entered.acquire(timeout=5)
    small = worker.submit(["small"])
    backend.gate.release(1000)
    values(small)
    values(large)
    assert backend.batches.index(["small"]) <= 4


def test_a_cancelled_request_is_dropped(worker: Worker, backend: WordBackend) -> None:
    backend.hold()
    bulk = worker.submit(["bulk"] * 100)
    backend.entered.acquire(timeout=5)
    unstarted = worker.submit(["never"])
    assert bulk.cancel()
    assert unstarted.cancel()
    backend.gate.release(1000)
    assert values(worker.submit(["after"])) == [1]
    assert backend.batches == [["bulk"] * 4, ["after"]]
    with pytest.raises(CancelledError):
        bulk.result(timeout=1)


async def test_cancelling_a_task_cancels_its_request(worker: Worker, backend: WordBackend) -> None:
    backend.hold()
    future = worker.submit(["bulk"] * 100)
    task = asyncio.ensure_future(asyncio.wrap_future(future))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    # The loop tells the other future in its next round.
    await asyncio.sleep(0)
    assert future.cancelled()
    backend.gate.release(1000)


def test_an_error_goes_only_to_its_own_request(worker: Worker, backend: WordBackend) -> None:
    backend.hold()
    worker.submit(["first"])
    backend.entered.acquire(timeout=5)
    good = worker.submit(["one", "two words"])
    bad = worker.submit(["poison"])
    unreadable = worker.submit(["untokenisable"])
    backend.gate.release(1000)
    assert values(good) == [1, 2]
    with pytest.raises(RuntimeError, match="poisoned"):
        bad.result(timeout=5)
    with pytest.raises(TypeError, match="cannot tokenise"):
        unreadable.result(timeout=5)
    assert values(worker.submit(["the worker lives"])) == [3]


def test_a_batch_too_large_for_the_memory_is_halved() -> None:
    backend = WordBackend(largest=3)
    worker = Worker(backend, budget=1000, chunk=64)
    assert values(worker.submit(texts("a", *range(1, 17)))) == list(range(1, 17))
    assert min(len(batch) for batch in backend.batches) == 2
    worker.close()


def test_several_rows_of_one_input_give_the_largest_value(worker: Worker, backend: WordBackend) -> None:
    def windows(items: Sequence[str], kind: str) -> list[Row]:
        rows = [(place, part) for place, item in enumerate(items) for part in item.split("|")]
        return [Row(place, len(part.split()), part, (kind, None), place == 1) for place, part in rows]

    backend.tokenise = windows  # type: ignore[method-assign]
    output = worker.submit(["a|a a a|a a", "a", "a a|a"]).result(timeout=5)
    assert output.values.tolist() == [3, 1, 2]
    assert output.truncated.tolist() == [False, True, False]


def test_progress_counts_every_row(worker: Worker) -> None:
    seen: list[int] = []
    values(worker.submit(["a"] * 30, progress=seen.append))
    assert sum(seen) == 30


def test_a_progress_callback_that_raises_fails_only_its_request(worker: Worker) -> None:
    def broken(count: int) -> None:
        raise OSError("stderr is closed")

    with pytest.raises(OSError, match="stderr is closed"):
        worker.submit(["a"], progress=broken).result(timeout=5)
    assert values(worker.submit(["b"])) == [1]


def test_a_backend_that_cannot_start_fails_its_callers_and_may_start_later(
    worker: Worker, backend: WordBackend
) -> None:
    start = backend.start

    def fail() -> None:
        raise RuntimeError("no such device")

    backend.start = fail  # type: ignore[method-assign]
    for _ in range(2):
        with pytest.raises(RuntimeError, match="no such device"):
            worker.submit(["a"]).result(timeout=5)
    backend.start = start  # type: ignore[method-assign]
    assert values(worker.submit(["a b"])) == [2]


def test_close_fails_what_waits_and_refuses_more(backend: WordBackend) -> None:
    worker = Worker(backend, budget=16, max_rows=4)
    backend.hold()
    running = worker.submit(["a"] * 100)
    backend.entered.acquire(timeout=5)
    waiting = worker.submit(["b"])
    closing = threading.Thread(target=worker.close)
    closing.start()
    time.sleep(0.05)
    backend.gate.release(1000)
    closing.join(timeout=5)
    for future in (running, waiting):
        with pytest.raises(ClosedError, match="closed before the request was done"):
            future.result(timeout=5)
    with pytest.raises(ClosedError, match="Make a new one"):
        worker.submit(["c"])
    worker.close()


def test_a_closed_worker_lets_go_of_the_model() -> None:
    backend = WordBackend()
    gone = weakref.ref(backend)
    worker = Worker(backend, budget=16)
    values(worker.submit(["a"]))
    worker.close()
    del backend
    gc.collect()
    assert gone() is None


def test_a_wake_up_that_ctrl_c_interrupted_costs_no_other(worker: Worker) -> None:
    """`Condition.notify` wakes a thread and takes it out of its queue; an exception can come between the two."""
    assert values(worker.submit(texts("a", 3, 1))) == [3, 1]
    queue = worker._ready._waiters  # type: ignore[attr-defined]
    deadline = time.monotonic() + 10
    while not queue and time.monotonic() < deadline:
        time.sleep(0.001)
    woken = threading.Lock()
    woken.acquire()
    queue.appendleft(woken)
    assert values(worker.submit(texts("a", 2))) == [2]


def test_one_thread_drives_the_model(worker: Worker, backend: WordBackend) -> None:
    callers = [threading.Thread(target=lambda: values(worker.submit(["a b"] * 20))) for _ in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(timeout=10)
    assert len(backend.threads) == 1


def test_many_callers_get_their_own_values(worker: Worker) -> None:
    rng = np.random.default_rng(0)
    jobs = [rng.integers(1, 12, size=rng.integers(1, 30)).tolist() for _ in range(60)]
    futures = [worker.submit(texts("w", *job), urgent=place % 3 == 0) for place, job in enumerate(jobs)]
    assert [values(future) for future in futures] == jobs


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_a_child_process_can_use_the_model(worker: Worker, backend: WordBackend) -> None:
    backend.gate = threading.Semaphore(10**6)
    bulk = worker.submit(["bulk"] * 400)
    children = []
    for _ in range(5):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            answer = b"no"
            try:
                answer = b"yes" if values(worker.submit(texts("a", 2, 5))) == [2, 5] else b"wrong"
            finally:
                os.write(writer, answer)
                os._exit(0)
        os.close(writer)
        children.append((child, reader))
    for child, reader in children:
        assert os.read(reader, 10) == b"yes"
        os.close(reader)
        os.waitpid(child, 0)
    assert len(values(bulk)) == 400
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("runs", [False, True])
def test_ctrl_c_while_the_thread_starts(
    worker: Worker, backend: WordBackend, monkeypatch: pytest.MonkeyPatch, runs: bool
) -> None:
    """Whether or not it runs by then, the next request is answered, by one thread."""
    start = threading.Thread.start

    def pressed(thread: threading.Thread) -> None:
        if runs:
            start(thread)
        raise KeyboardInterrupt

    before = threading.active_count()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", pressed)
        with pytest.raises(KeyboardInterrupt):
            worker.submit(["lost"])
    assert values(worker.submit(["a", "b c"])) == [1, 2]
    assert threading.active_count() == before + 1
    worker.close()


@pytest.mark.parametrize("runs", [False, True])
def test_closed_where_ctrl_c_came_while_the_thread_started(
    backend: WordBackend, monkeypatch: pytest.MonkeyPatch, runs: bool
) -> None:
    start, started = threading.Thread.start, []

    def pressed(thread: threading.Thread) -> None:
        started.append(thread)
        if runs:
            start(thread)
        raise KeyboardInterrupt

    worker = Worker(backend, budget=16, max_rows=4, chunk=8)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", pressed)
        with pytest.raises(KeyboardInterrupt):
            worker.submit(["lost"])
    worker.close()
    if runs:
        started[0].join(10)
        assert not started[0].is_alive()
