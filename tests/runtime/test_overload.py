"""More than fits: into the queue, into the memory."""

import logging
import threading
from collections.abc import Sequence

import numpy as np
import pytest

from langchain_rerank_retriever.errors import OverloadedError, RerankError
from langchain_rerank_retriever.runtime.backend import BatchTooLargeError, Row
from langchain_rerank_retriever.runtime.serving.admission import MAX_WAITING
from langchain_rerank_retriever.runtime.serving.budget import GOOD_BATCHES, MOST_GOOD_BATCHES, BatchBudget
from langchain_rerank_retriever.runtime.serving.counts import Counts
from langchain_rerank_retriever.runtime.serving.worker import Worker
from tests.runtime.words import WordBackend, texts, values

# ---------------------------------------------------------------- the queue


@pytest.fixture
def held() -> WordBackend:
    """Is inside its first batch until its gate is opened."""
    backend = WordBackend()
    backend.hold()
    return backend


def test_more_than_the_bound_is_refused_before_anything_is_queued(held: WordBackend) -> None:
    worker = Worker(held, budget=16, chunk=8, max_waiting=20)
    answers = [worker.submit(["a"] * 5, urgent=True) for _ in range(4)]
    with pytest.raises(
        OverloadedError, match=r"20 inputs waiting and keeps at most 20; 1 more .*concurrency"
    ) as caught:
        worker.submit(["refused"], urgent=True)
    assert caught.value.waiting == 20
    assert isinstance(caught.value, RerankError)
    held.gate.release(1000)
    assert [len(values(answer)) for answer in answers] == [5] * 4
    assert values(worker.submit(["a"] * 20)) == [1] * 20
    assert all("refused" not in batch for batch in held.batches)
    worker.close()


def test_what_ends_in_whatever_way_makes_room(held: WordBackend) -> None:
    worker = Worker(held, budget=16, chunk=8, max_waiting=4)
    running = worker.submit(["a", "b"])
    held.entered.acquire(timeout=5)
    waiting = worker.submit(["c", "d"])
    with pytest.raises(OverloadedError):
        worker.submit(["e"])
    assert waiting.cancel()
    bad = worker.submit(["untokenisable"])
    late = worker.submit(["late"], deadline=0.0)
    assert np.isnan(late.wait().values).all()
    late = worker.submit(["late"], deadline=0.0)
    held.gate.release(1000)
    values(running)
    with pytest.raises(TypeError):
        bad.result(timeout=5)
    assert values(worker.submit(["f", "g", "h", "i"])) == [1] * 4
    worker.close()


def test_a_bulk_job_counts_no_more_than_a_chunk_and_always_fits_alone(held: WordBackend) -> None:
    worker = Worker(held, budget=16, chunk=8, max_waiting=20)
    jobs = [worker.submit(["a"] * 1000), worker.submit(["b"] * 1000)]
    worker.submit(["c"] * 4)
    with pytest.raises(OverloadedError):
        worker.submit(["d"])
    for job in jobs:
        job.cancel()
    held.gate.release(1000)
    worker.close()
    tight = Worker(WordBackend(), budget=16, chunk=8, max_waiting=2)
    assert values(tight.submit(["a"] * 30)) == [1] * 30
    tight.close()


def test_many_threads_never_make_it_lose_count() -> None:
    worker = Worker(WordBackend(), budget=16, chunk=8, max_waiting=40)
    refused = []

    def call() -> None:
        for _ in range(50):
            try:
                assert values(worker.submit(["a"] * 7)) == [1] * 7
            except OverloadedError as error:
                refused.append(error)

    callers = [threading.Thread(target=call) for _ in range(12)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(timeout=30)
    # Empty again: what counts a whole chunk five times over fits exactly.
    held = worker._backend
    assert isinstance(held, WordBackend)
    held.hold()
    answers = [worker.submit(["b"] * 8) for _ in range(5)]
    with pytest.raises(OverloadedError):
        worker.submit(["c"])
    held.gate.release(10**6)
    assert all(values(answer) == [1] * 8 for answer in answers)
    worker.close()


def test_a_thousand_queries_at_once_fit() -> None:
    assert MAX_WAITING >= 1000 * 100


# ---------------------------------------------------------------- the memory


class SmallMemory(WordBackend):
    """Holds so many padded tokens at a time."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.tokens = tokens
        self.failed: list[int] = []

    def run(self, rows: Sequence[Row]) -> np.ndarray:
        cost = len(rows) * max(row.length for row in rows)
        if cost > self.tokens:
            self.failed.append(cost)
            raise BatchTooLargeError(f"{cost} tokens")
        return super().run(rows)


def test_what_does_not_fit_is_remembered(caplog: pytest.LogCaptureFixture) -> None:
    backend = SmallMemory(20)
    worker = Worker(backend, budget=64, chunk=1000, name="small")
    with caplog.at_level(logging.WARNING):
        assert values(worker.submit(texts("a", *[2] * 300))) == [2] * 300
    # 64 does not fit and 32 does not; 16 does, for all that was packed before and comes after.
    assert backend.failed == [64, 32]
    assert (
        "small: a batch of 32 tokens does not fit the memory; for now batches hold at most 16." in caplog.text
    )
    caplog.clear()
    assert values(worker.submit(texts("b", *[4] * 100))) == [4] * 100
    assert backend.failed == [64, 32]
    assert not caplog.records
    assert {len(batch) for batch in backend.batches if "b b b b" in batch} == {4}
    worker.close()


def ask(worker: Worker, requests: int) -> None:
    """Send so many times what fills the whole budget of 64 tokens, each when the one before is answered."""
    for _ in range(requests):
        assert values(worker.submit(texts("a", *[2] * 32))) == [2] * 32


def test_batches_grow_again_once_there_is_memory(caplog: pytest.LogCaptureFixture) -> None:
    backend = SmallMemory(20)
    worker = Worker(backend, budget=64, chunk=1000, name="small")
    ask(worker, 1)
    backend.tokens = 1000
    with caplog.at_level(logging.INFO):
        ask(worker, 15 + 32 + 100)
    # Of 16 tokens and then of 32 as many batches as it takes, and from there on what was packed at first.
    assert [len(batch) for batch in backend.batches] == [8] * GOOD_BATCHES + [16] * GOOD_BATCHES + [32] * 100
    assert [record.message for record in caplog.records if record.levelno == logging.INFO] == [
        "small: batches hold up to 32 tokens again.",
        "small: batches hold up to 64 tokens again.",
    ]
    assert backend.failed == [64, 32]
    worker.close()


def test_where_memory_stays_small_attempts_to_grow_become_rare() -> None:
    backend = SmallMemory(20)
    worker = Worker(backend, budget=64, chunk=1000)
    fitted_before = []

    def run(rows: Sequence[Row]) -> np.ndarray:
        fitted = len(backend.batches)
        try:
            return SmallMemory.run(backend, rows)
        except BatchTooLargeError:
            fitted_before.append(fitted)
            raise

    backend.run = run  # type: ignore[method-assign]
    ask(worker, 800)
    assert backend.failed == [64] + [32] * (len(fitted_before) - 1)
    assert np.diff(fitted_before).tolist() == [0, 64, 128, 256, 512, 1024, 1024]
    assert MOST_GOOD_BATCHES == 1024
    worker.close()


def test_small_batches_do_not_show_that_there_is_memory() -> None:
    backend = SmallMemory(20)
    worker = Worker(backend, budget=64, chunk=1000)
    ask(worker, 1)
    for _ in range(300):
        assert values(worker.submit(texts("b", 2, 2, 2, 2))) == [2] * 4
    backend.batches.clear()
    ask(worker, 1)
    assert [len(batch) for batch in backend.batches] == [8] * 4
    assert backend.failed == [64, 32]
    worker.close()


def fit(budget: BatchBudget, tokens: int) -> int:
    """Return after how many good batches of so many tokens the bound was another one."""
    before = budget.tokens
    for count in range(1, 2 * MOST_GOOD_BATCHES):
        budget.fitted(tokens)
        if budget.tokens != before:
            return count
    return 0


def test_a_growth_that_held_makes_the_next_attempt_as_early_as_at_first() -> None:
    budget = BatchBudget(100, name="small")
    budget.failed(60)
    assert (budget.tokens, fit(budget, 30), budget.tokens) == (30, 64, 60)
    budget.failed(60)
    assert (budget.tokens, fit(budget, 30), budget.tokens) == (30, 128, 60)
    # Never beyond what it began with, though twice 60 is.
    assert (fit(budget, 60), budget.tokens) == (128, 100)
    assert (fit(budget, 100), budget.tokens) == (0, 100)
    budget.failed(100)
    assert (budget.tokens, fit(budget, 50), budget.tokens) == (50, 64, 100)


def test_only_batches_in_a_row_count() -> None:
    budget = BatchBudget(64, name="small")
    budget.failed(64)
    for _ in range(GOOD_BATCHES - 1):
        budget.fitted(32)
    budget.failed(32)
    assert (budget.tokens, fit(budget, 16), budget.tokens) == (16, GOOD_BATCHES, 32)


def test_one_row_that_does_not_fit_fails_alone_and_changes_nothing() -> None:
    backend = SmallMemory(20)
    worker = Worker(backend, budget=16)
    huge = worker.submit(texts("huge", 21))
    with pytest.raises(BatchTooLargeError, match="21 tokens"):
        huge.result(timeout=5)
    assert values(worker.submit(texts("a", *[2] * 16))) == [2] * 16
    assert {len(batch) for batch in backend.batches} == {8}
    worker.close()


def test_other_errors_leave_the_size_of_batches_alone() -> None:
    backend = WordBackend()
    worker = Worker(backend, budget=16, chunk=64)
    backend.hold()
    worker.submit(["first"])
    backend.entered.acquire(timeout=5)
    good, bad = worker.submit(["a"] * 15), worker.submit(["poison"])
    backend.gate.release(1000)
    assert values(good) == [1] * 15
    with pytest.raises(RuntimeError, match="poisoned"):
        bad.result(timeout=5)
    backend.batches.clear()
    values(worker.submit(["b"] * 32))
    assert [len(batch) for batch in backend.batches] == [16, 16]
    worker.close()


def test_torch_says_it_in_our_words(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from langchain_rerank_retriever.runtime.backends.torch_backend import TorchBackend

    class Full(torch.nn.Module):
        def forward(self, *args: object, **kwargs: object) -> None:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    class Nothing:
        def collate(self, rows: Sequence[Row]) -> dict[str, object]:
            return {}

    model = torch.nn.Sequential(Full())
    monkeypatch.setattr(torch.nn.Sequential, "forward", Full.forward)
    backend = TorchBackend(
        model,  # type: ignore[arg-type]
        rows=Nothing(),  # type: ignore[arg-type]
        output="scores",
        device="cpu",
        dtype=torch.float32,
    )
    with pytest.raises(
        BatchTooLargeError, match=r"2 rows of 7 tokens .* cpu \(CUDA out of memory.*max_length"
    ) as caught:
        backend.run([Row(0, 3, {}), Row(1, 7, {})])
    # A cause would keep the tensors of the failed attempt alive.
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


# ---------------------------------------------------------------- the counts


def test_counts_by_hand() -> None:
    backend = WordBackend()
    worker = Worker(backend, budget=80, chunk=64)
    assert worker.counts == Counts()
    assert worker.counts.padded_share == 0.0
    values(worker.submit(texts("a", 5, 9, 5, 5, 4, 1)))
    counts = worker.counts
    # One row of 9, and five as long as the longest of them, 5.
    assert (counts.rows, counts.tokens, counts.padded_tokens, counts.batches) == (6, 29, 9 + 25, 2)
    assert counts.padded_share == pytest.approx(5 / 34)
    assert counts.truncated == 0
    assert counts.seconds >= counts.reading_seconds > 0
    values(worker.submit(["a"]))
    assert (counts.rows, worker.counts.rows) == (6, 7)
    worker.close()


def test_truncated_rows_are_counted_and_failed_ones_are_not() -> None:
    backend = WordBackend()

    def tokenise(items: Sequence[str], kind: str) -> list[Row]:
        return [Row(place, 1, item, truncated=item == "cut") for place, item in enumerate(items)]

    backend.tokenise = tokenise  # type: ignore[method-assign]
    worker = Worker(backend, budget=1)
    values(worker.submit(["cut", "whole", "cut"]))
    with pytest.raises(RuntimeError, match="poisoned"):
        values(worker.submit(["poison"]))
    assert (worker.counts.rows, worker.counts.batches, worker.counts.truncated) == (3, 3, 2)
    worker.close()
