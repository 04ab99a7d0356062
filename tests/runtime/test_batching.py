"""Every row in exactly one batch, the budget respected, lengths sorted, nothing cheaper."""

import time
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_rerank_retriever.runtime.serving.batching import PASS_SHARE, cost, pack

LENGTHS = st.lists(st.integers(min_value=1, max_value=600), max_size=200)


@given(lengths=LENGTHS, budget=st.integers(1, 5000), max_rows=st.none() | st.integers(1, 40))
def test_every_row_is_in_one_batch_within_the_budget(
    lengths: list[int], budget: int, max_rows: int | None
) -> None:
    batches = pack(lengths, budget=budget, max_rows=max_rows)
    assert sorted(place for batch in batches for place in batch) == list(range(len(lengths)))
    for batch in batches:
        cost = len(batch) * max(lengths[place] for place in batch)
        assert cost <= budget or len(batch) == 1
        assert max_rows is None or len(batch) <= max_rows


@given(lengths=LENGTHS)
def test_no_shorter_row_comes_before_a_longer_one(lengths: list[int]) -> None:
    flat = [lengths[place] for batch in pack(lengths, budget=512) for place in batch]
    assert flat == sorted(lengths, reverse=True)


def total(lengths: list[int], batches: list[list[int]], budget: int) -> float:
    return sum(cost([lengths[place] for place in batch]) + budget * PASS_SHARE for batch in batches)


@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=9),
    budget=st.integers(30, 300),
    max_rows=st.none() | st.integers(1, 6),
)
def test_no_other_way_to_cut_the_sorted_rows_costs_less(
    lengths: list[int], budget: int, max_rows: int | None
) -> None:
    # By trying all.
    order = sorted(range(len(lengths)), key=lambda place: -lengths[place])
    totals = []
    for cuts in product([False, True], repeat=len(order) - 1):
        batches = [[order[0]]]
        for place, cut in zip(order[1:], cuts):
            batches.append([place]) if cut else batches[-1].append(place)
        sizes_fit = max_rows is None or max(map(len, batches)) <= max_rows
        if sizes_fit and all(cost([lengths[place] for place in batch]) <= budget for batch in batches):
            totals.append(total(lengths, batches, budget))
    found = total(lengths, pack(lengths, budget=budget, max_rows=max_rows), budget)
    assert found == pytest.approx(min(totals))


def test_by_hand() -> None:
    # With the 9, a 5 would compute four tokens for nothing; a pass costs little more than one.
    assert pack([5, 9, 5, 5, 4, 1], budget=18) == [[1], [0, 2, 3], [4], [5]]
    # Now one costs 5, and the last row would compute four beside the others.
    assert pack([5, 9, 5, 5, 4, 1], budget=80) == [[1], [0, 2, 3, 4, 5]]
    # Rows of one length fill the budget.
    assert pack([4] * 10, budget=16) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_thousands_of_rows_are_packed_at_once() -> None:
    # What is sorted for a GPU at one time must not keep it waiting.
    lengths = np.random.default_rng(0).integers(5, 500, size=2048).tolist()
    start = time.thread_time()
    pack(lengths, budget=32768)
    assert time.thread_time() - start < 0.1


def test_a_row_beyond_the_budget_has_a_batch_of_its_own() -> None:
    assert pack([100, 3], budget=10) == [[0], [1]]


def test_nothing_gives_nothing() -> None:
    assert pack([], budget=10) == []
