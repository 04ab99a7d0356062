"""Every row in exactly one batch, the budget respected, lengths sorted."""

from hypothesis import given
from hypothesis import strategies as st

from langchain_rerank_retriever.runtime.batching import pack

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


def test_by_hand() -> None:
    # 9 alone would allow two rows in 18; then three rows of 5 cost 15, a fourth would make 20.
    assert pack([5, 9, 5, 5, 4, 1], budget=18) == [[1, 0], [2, 3, 4], [5]]


def test_a_row_beyond_the_budget_has_a_batch_of_its_own() -> None:
    assert pack([100, 3], budget=10) == [[0], [1]]


def test_nothing_gives_nothing() -> None:
    assert pack([], budget=10) == []
