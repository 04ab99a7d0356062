"""What is done by the deadline comes back, the head of the list first, and nobody waits longer."""

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_rerank_retriever.errors import ClosedError
from langchain_rerank_retriever.runtime.backend import Output, Row
from langchain_rerank_retriever.runtime.serving.answer import Answer
from langchain_rerank_retriever.runtime.serving.batching import slices
from langchain_rerank_retriever.runtime.serving.worker import Worker
from tests.runtime.words import WordBackend, texts, values

#: A busy machine may let a thread wait this long before it runs.
SLACK_SECONDS = 2.0


@pytest.fixture
def backend() -> WordBackend:
    return WordBackend()


@pytest.fixture
def worker(backend: WordBackend) -> Iterator[Worker]:
    worker = Worker(backend, budget=16, max_rows=4, chunk=64)
    yield worker
    backend.gate.release(10**6)
    worker.close()


def soon(seconds: float = 0.2) -> float:
    return time.monotonic() + seconds


def nothing(output: Output, count: int) -> bool:
    empty = not output.done.any() and not output.truncated.any()
    return bool(empty and np.isnan(output.values).all() and output.values.shape == (count,))


def test_a_deadline_that_is_far_away_changes_nothing(worker: Worker) -> None:
    lengths = [3, 1, 7, 2, 9, 1, 30, 4, 4, 5]
    output = worker.submit(texts("a", *lengths), deadline=soon(60)).wait()
    assert output.values.tolist() == lengths
    assert output.done.all()


def test_a_deadline_that_never_comes(worker: Worker) -> None:
    output = worker.submit(texts("a", 3, 1, 7), deadline=float("inf")).wait()
    assert output.values.tolist() == [3, 1, 7]
    assert output.done.all()


def test_what_has_run_by_then_comes_back_and_the_rest_never_runs(
    worker: Worker, backend: WordBackend
) -> None:
    backend.hold()
    backend.gate.release(2)
    deadline = soon()
    # Four rows a batch. The first slice has 32 tokens: four rows of 4, which go first, and eight of 2.
    lengths = np.array([2, 2, 4] * 8)
    output = worker.submit(texts("a", *lengths), deadline=deadline).wait()
    assert time.monotonic() - deadline < SLACK_SECONDS
    assert np.flatnonzero(output.done).tolist() == [0, 1, 2, 3, 4, 5, 8, 11]
    np.testing.assert_array_equal(output.values, np.where(output.done, lengths, np.nan))
    backend.gate.release(100)
    assert values(worker.submit(["after"])) == [1]
    # The third batch was running when the time was over; it is the last of this request.
    assert len(backend.batches) == 4


def test_the_head_of_the_list_runs_first_and_is_sorted_only_within_slices(
    worker: Worker, backend: WordBackend
) -> None:
    # A slice is two batches, 32 tokens; the first of them ends where the nines begin.
    lengths = [1, 2, 3, 4] * 3 + [1, 1] + [9] * 4
    worker.submit(texts("a", *lengths), deadline=soon(60)).wait()
    order = [len(text.split()) for batch in backend.batches for text in batch]
    assert order[-4:] == [9] * 4
    backend.batches.clear()
    worker.submit(texts("a", *lengths)).wait()
    order = [len(text.split()) for batch in backend.batches for text in batch]
    assert order == sorted(lengths, reverse=True)


@given(lengths=st.lists(st.integers(1, 50), max_size=60), size=st.integers(1, 200))
def test_slices(lengths: list[int], size: int) -> None:
    # By another way: walk over the tokens, one at a time.
    expected, tokens = [], 0
    for length in lengths:
        expected.append(tokens // size)
        tokens += length
    assert slices(lengths, size) == expected


def test_the_caller_does_not_wait_for_the_batch_of_another(worker: Worker, backend: WordBackend) -> None:
    backend.hold()
    bulk = worker.submit(["bulk"] * 10)
    backend.entered.acquire(timeout=5)
    deadline = soon()
    output = worker.submit(["a", "b"], urgent=True, deadline=deadline).wait()
    assert 0 <= time.monotonic() - deadline < SLACK_SECONDS
    assert nothing(output, 2)
    backend.gate.release(100)
    assert len(values(bulk)) == 10
    assert ["a", "b"] not in backend.batches


async def test_the_loop_does_not_wait_either(worker: Worker, backend: WordBackend) -> None:
    backend.hold()
    worker.submit(["bulk"] * 10)
    backend.entered.acquire(timeout=5)
    deadline = soon()
    results = await asyncio.gather(*(worker.submit(["a"], deadline=deadline).wait_async() for _ in range(20)))
    assert time.monotonic() - deadline < SLACK_SECONDS
    assert all(nothing(output, 1) for output in results)


def test_who_only_holds_the_future_waits_at_most_one_batch(worker: Worker, backend: WordBackend) -> None:
    backend.hold()
    bulk = worker.submit(["bulk"] * 40)
    backend.entered.acquire(timeout=5)
    late = worker.submit(["late"] * 3, deadline=soon(0))
    backend.gate.release(1)
    assert nothing(late.result(timeout=5), 3)
    assert not bulk.done()


def test_a_deadline_that_has_passed(worker: Worker, backend: WordBackend) -> None:
    assert nothing(worker.submit(["a"] * 5, deadline=soon(-1)).wait(), 5)
    assert values(worker.submit(["b"])) == [1]
    assert backend.batches == [["b"]]


def test_an_input_of_several_rows_is_done_only_with_all_of_them(worker: Worker, backend: WordBackend) -> None:
    def windows(items: Sequence[str], kind: str) -> list[Row]:
        rows = [(place, part) for place, item in enumerate(items) for part in item.split("|")]
        return [Row(place, 1, part, (kind, None), truncated=True) for place, part in rows]

    backend.tokenise = windows  # type: ignore[method-assign]
    backend.hold()
    backend.gate.release(1)
    output = worker.submit(["a", "a|a", "a|a|a", "a"], deadline=soon()).wait()
    assert output.done.tolist() == [True, True, False, False]
    assert output.truncated.tolist() == [True, True, False, False]
    assert np.isnan(output.values).tolist() == [False, False, True, True]


def test_a_request_without_a_deadline_beside_one_with_it(worker: Worker, backend: WordBackend) -> None:
    backend.hold()
    first = worker.submit(["first"])
    backend.entered.acquire(timeout=5)
    patient = worker.submit(texts("a", 1, 2, 3, 4, 5))
    hurried = worker.submit(texts("b", 1, 2, 3), deadline=soon())
    output = hurried.wait()
    assert nothing(output, 3)
    backend.gate.release(100)
    assert values(first) == [1]
    assert values(patient) == [1, 2, 3, 4, 5]


def test_errors_and_closing_come_through(worker: Worker, backend: WordBackend) -> None:
    with pytest.raises(RuntimeError, match="poisoned"):
        worker.submit(["poison"], deadline=soon(60)).wait()
    backend.entered.acquire()
    backend.hold()
    running = worker.submit(["a"] * 10, deadline=soon(60))
    backend.entered.acquire(timeout=5)
    closing = threading.Thread(target=worker.close)
    closing.start()
    time.sleep(0.05)
    backend.gate.release()
    closing.join(timeout=5)
    with pytest.raises(ClosedError, match="closed before"):
        running.wait()
    with pytest.raises(ClosedError):
        worker.submit(["b"], deadline=soon())


def test_what_was_handed_out_does_not_change_any_more() -> None:
    answer = Answer(2, deadline=soon(-1))
    rows = [Row(0, 1, "a"), Row(1, 1, "b")]
    answer.expect(rows)
    answer.deliver(rows[:1], np.array([5.0], dtype=np.float32))
    output = answer.wait()
    answer.deliver(rows[1:], np.array([7.0], dtype=np.float32))
    np.testing.assert_array_equal(output.values, [5.0, np.nan])
    assert output.done.tolist() == [True, False]
    assert answer.result() is output


def test_delivery_and_deadline_at_the_same_moment_resolve_once() -> None:
    rows = [Row(0, 1, "a")]
    for _ in range(300):
        answer = Answer(1, deadline=soon(0))
        answer.expect(rows)
        delivery = threading.Thread(target=answer.deliver, args=(rows, np.ones(1, dtype=np.float32)))
        delivery.start()
        output = answer.wait()
        delivery.join()
        assert output.done[0] == (output.values[0] == 1)
