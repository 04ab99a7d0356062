"""Which queries train and which judge."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_rerank_retriever.errors import DataError
from langchain_rerank_retriever.training.data.reading import TrainingData
from langchain_rerank_retriever.training.data.split import split_by_group


def data_of(groups: list[str]) -> TrainingData:
    keys = [f"q{place}" for place in range(len(groups))]
    return TrainingData(
        {key: f"text {key}" for key in keys},
        {key: {"d": 1} for key in keys},
        dict(zip(keys, groups, strict=True)),
        {key: ["wrong"] for key in keys[::2]},
    )


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(max_size=3), min_size=1, max_size=60), st.integers(0, 9))
def test_no_group_is_on_both_sides(groups: list[str], seed: int) -> None:
    data = data_of(groups)
    if len(set(groups)) < 2:
        with pytest.raises(DataError, match=rf"{len(groups)} queries in 1 group; at least two different"):
            split_by_group(data, seed=seed)
        return
    train, held_out = split_by_group(data, seed=seed)
    assert train.queries
    assert held_out.queries
    assert train.queries.keys() | held_out.queries.keys() == data.queries.keys()
    assert not train.queries.keys() & held_out.queries.keys()
    assert not set(train.groups.values()) & set(held_out.groups.values())
    smallest = min(groups.count(group) for group in groups)
    assert len(held_out.queries) <= max(1, round(0.2 * len(groups)), smallest)
    for part in (train, held_out):
        assert part.qrels.keys() == part.groups.keys() == part.queries.keys()
        assert part.negatives.keys() == part.queries.keys() & data.negatives.keys()
    again = split_by_group(data, seed=seed)
    assert (list(again[0].queries), list(again[1].queries)) == (list(train.queries), list(held_out.queries))


@pytest.mark.parametrize(
    ("queries", "held_out"), [(2, 1), (3, 1), (10, 2), (100, 20), (1499, 300), (4000, 300)]
)
def test_sizes(queries: int, held_out: int) -> None:
    train, judged = split_by_group(data_of([f"g{place}" for place in range(queries)]), seed=0)
    assert len(judged.queries) == held_out
    assert len(train.queries) == queries - held_out


def test_another_seed_holds_out_others() -> None:
    data = data_of([f"g{place}" for place in range(100)])
    chosen = [frozenset(split_by_group(data, seed=seed)[1].queries) for seed in range(5)]
    assert len(set(chosen)) == 5
    # Each query has the same chance: over many seeds every one is held out about a fifth of the time.
    counts = np.zeros(100)
    for seed in range(300):
        for key in split_by_group(data, seed=seed)[1].queries:
            counts[int(key[1:])] += 1
    assert counts.sum() == 300 * 20
    assert 30 < counts.min() < counts.max() < 95


def test_a_large_group_is_trained_on() -> None:
    data = data_of(["large"] * 90 + [f"g{place}" for place in range(10)])
    for seed in range(10):
        _, held_out = split_by_group(data, seed=seed)
        assert "large" not in held_out.groups.values()
        assert len(held_out.queries) == 10


def test_two_large_groups() -> None:
    train, held_out = split_by_group(data_of(["a"] * 6 + ["b"] * 4), seed=0)
    assert (set(train.groups.values()), set(held_out.groups.values())) == ({"a"}, {"b"})


def test_one_query() -> None:
    with pytest.raises(DataError, match="hold 1 queries in 1 group"):
        split_by_group(data_of(["a"]), seed=0)
