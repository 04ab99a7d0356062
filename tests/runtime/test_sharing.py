"""Calls that come at the same time share forward passes, and nothing else."""

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from langchain_rerank_retriever.runtime.serving.worker import Worker
from tests.runtime.words import WordBackend, values


@pytest.fixture
def backend() -> WordBackend:
    return WordBackend()


@pytest.fixture
def worker(backend: WordBackend) -> Iterator[Worker]:
    worker = Worker(backend, budget=64, chunk=256)
    yield worker
    backend.gate.release(10**6)
    worker.close()


def wait_until_queued(worker: Worker, count: int) -> None:
    end = time.monotonic() + 10
    while len(worker._inbox) < count:
        assert time.monotonic() < end
        time.sleep(0.005)


def test_thirty_two_threads(worker: Worker, backend: WordBackend) -> None:
    backend.hold()
    first = worker.submit(["first"])
    backend.entered.acquire(timeout=5)
    with ThreadPoolExecutor(32) as pool:
        calls = [
            pool.submit(lambda n=number: worker.submit(["a"] * (n % 3 + 1), urgent=True).wait())
            for number in range(32)
        ]
        wait_until_queued(worker, 32)
        backend.gate.release(1000)
        outputs = [call.result(timeout=10) for call in calls]
    assert [len(output.values) for output in outputs] == [number % 3 + 1 for number in range(32)]
    assert values(first) == [1]
    # 63 rows of one word fit one batch of 64.
    assert worker.counts.batches == 2
    assert len(backend.batches[1]) == 63


async def test_thirty_two_tasks(worker: Worker, backend: WordBackend) -> None:
    backend.hold()
    tasks = [
        asyncio.create_task(worker.submit(["a b"] * (number % 3 + 1), urgent=True).wait_async())
        for number in range(32)
    ]
    await asyncio.sleep(0.05)
    backend.gate.release(1000)
    outputs = await asyncio.gather(*tasks)
    assert all((output.values == 2).all() for output in outputs)
    # 63 rows of two words; the first request may have been alone.
    assert worker.counts.batches <= 3


async def test_of_tasks_that_share_a_batch_one_is_cancelled_one_fails_one_is_late(
    worker: Worker, backend: WordBackend
) -> None:
    backend.hold()
    worker.submit(["first"])
    await asyncio.to_thread(backend.entered.acquire, timeout=5)
    good = [asyncio.create_task(worker.submit(["good one"] * 3).wait_async()) for _ in range(20)]
    cancelled = asyncio.create_task(worker.submit(["cancelled"]).wait_async())
    poisoned = asyncio.create_task(worker.submit(["poison"]).wait_async())
    unreadable = asyncio.create_task(worker.submit(["untokenisable"]).wait_async())
    late = asyncio.create_task(worker.submit(["late"], deadline=time.monotonic()).wait_async())
    await asyncio.sleep(0.05)
    cancelled.cancel()
    # The loop tells the request in its next rounds.
    await asyncio.sleep(0.05)
    assert np.isnan((await late).values).all()
    backend.gate.release(1000)
    for output in await asyncio.gather(*good):
        assert output.values.tolist() == [2, 2, 2]
    with pytest.raises(RuntimeError, match="poisoned"):
        await poisoned
    with pytest.raises(TypeError, match="cannot tokenise"):
        await unreadable
    assert cancelled.cancelled()
    assert not {"cancelled", "late"} & {text for batch in backend.batches for text in batch}


def test_threads_that_stop_and_start_again(worker: Worker) -> None:
    """Every caller gets its own values while others are cancelled, late or wrong all the time."""

    def call(number: int) -> None:
        rng = np.random.default_rng(number)
        for _ in range(30):
            count = int(rng.integers(1, 40))
            kind = rng.choice(["plain", "cancelled", "late", "poison"])
            items = [" ".join(["w"] * int(length)) for length in rng.integers(1, 9, size=count)]
            if kind == "poison":
                items.append("poison")
            deadline = time.monotonic() + float(rng.uniform(0, 0.002)) if kind == "late" else None
            answer = worker.submit(items, urgent=bool(rng.random() < 0.5), deadline=deadline)
            if kind == "cancelled" and answer.cancel():
                continue
            if kind == "poison":
                with pytest.raises(RuntimeError, match="poisoned"):
                    answer.wait()
                continue
            output = answer.wait()
            expected = np.array([len(item.split()) for item in items], dtype=np.float32)
            assert kind == "late" or output.done.all()
            np.testing.assert_array_equal(output.values[output.done], expected[output.done])
            assert np.isnan(output.values[~output.done]).all()

    before = threading.active_count()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(call, range(8)))
    assert worker._admission._waiting == 0
    # The worker's own, and none of those that asked.
    assert threading.active_count() <= before + 1
