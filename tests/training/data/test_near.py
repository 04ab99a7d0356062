"""Near duplicates, against the overlap of shingle sets computed pair by pair."""

import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_rerank_retriever.training.data.near import near_duplicates


def overlap(one: str, other: str) -> float:
    sets = [
        {tuple(words[n : n + 3]) for n in range(len(words) - 2)} for words in (one.split(), other.split())
    ]
    return len(sets[0] & sets[1]) / max(1, len(sets[0] | sets[1]))


TOKYO = "東京は日本の首都であり、世界で最も人口の多い都市の一つです。"


def words(number: int, seed: int) -> list[str]:
    return [f"w{value}" for value in np.random.default_rng(seed).integers(0, 1000, number)]


def test_every_pair_that_shares_most_is_found() -> None:
    texts = [" ".join(words(80, seed)) for seed in range(60)]
    for seed in range(40):
        # One to five words changed, in a copy of some text.
        changed = words(80, seed)
        for place in range(1 + seed % 5):
            changed[(17 * place + seed) % 80] = f"new{place}"
        texts.append(" ".join(changed))
    wanted = [
        (one, other)
        for one, other in itertools.combinations(range(len(texts)), 2)
        if overlap(texts[one], texts[other]) >= 0.8
    ]
    assert 15 < len(wanted) < 40
    assert near_duplicates(texts) == wanted


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.sampled_from("abcd"), max_size=8).map(" ".join), max_size=12))
def test_nothing_is_found_that_does_not_share_most(texts: list[str]) -> None:
    pairs = near_duplicates(texts)
    for one, other in pairs:
        assert one < other
        assert overlap(texts[one], texts[other]) >= 0.8
    # Equal texts always agree in every band.
    copies = {text for text in texts if texts.count(text) > 1 and len(text.split()) >= 3}
    assert copies <= {texts[place] for pair in pairs for place in pair}


@pytest.mark.parametrize(
    ("one", "other", "near"),
    [
        (
            "기계 학습은 데이터에서 배우는 방법이다 " * 2,
            "기계 학습은 데이터에서  배우는 방법이다. " * 2,
            True,
        ),
        (
            TOKYO,
            TOKYO.replace("、", "").strip("。"),
            True,
        ),
        (
            TOKYO,
            "京都は日本の古い都であり、寺が多い町として知られています。",
            False,
        ),
        ("THE CAT SAT ON THE MAT", "the cat sat on the mat!", True),
        ("the cat", "the cat", False),
        ("", "", False),
    ],
)
def test_by_hand(one: str, other: str, near: bool) -> None:
    assert near_duplicates(["something else that is here", one, other]) == ([(1, 2)] if near else [])


def test_many_copies_are_each_in_a_pair_and_quick() -> None:
    texts = [" ".join(words(300, 1))] * 3000 + [" ".join(words(300, seed)) for seed in range(2, 2002)]
    started = time.monotonic()
    pairs = near_duplicates(texts)
    assert time.monotonic() - started < 10
    assert {place for pair in pairs for place in pair} == set(range(3000))
    assert len(pairs) < 6000
