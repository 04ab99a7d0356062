"""Scored sentence pairs: every form, every scale, and a split through which no sentence leaks."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.documents import Document

from langchain_rerank_retriever.errors import DataError, InvalidArgumentError, StorageError
from langchain_rerank_retriever.training.data.pairs import (
    ScoredPairs,
    is_scored_pairs,
    read_scored_pairs,
    split_pairs,
)
from langchain_rerank_retriever.training.data.reading import read_training_data

ROWS: list[dict[str, Any]] = [
    {"sentence1": "A man plays.", "sentence2": "A man is playing, now.", "score": 4.0},
    {"sentence1": "고양이가 잔다.", "sentence2": "개가 짖는다.", "score": 0.5},
    {"sentence1": "A man plays.", "sentence2": 'He says "no".', "score": 2.5},
]
WANTED = ScoredPairs(
    ("A man plays.", "고양이가 잔다.", "A man plays."),
    ("A man is playing, now.", "개가 짖는다.", 'He says "no".'),
    (0.8, 0.1, 0.5),
    ("a man plays.", "고양이가 잔다.", "a man plays."),
)


def forms(folder: Path) -> dict[str, Any]:
    from datasets import Dataset

    frame = Dataset.from_list(ROWS).to_pandas()
    # Another order of columns in each.
    frame[["score", "sentence2", "sentence1"]].to_csv(folder / "x.csv", index=False)
    frame[["sentence2", "score", "sentence1"]].to_csv(folder / "x.tsv", index=False, sep="\t")
    frame[["score", "sentence1", "sentence2"]].to_parquet(folder / "x.parquet")
    lines = [json.dumps(dict(reversed(row.items()))) for row in ROWS]
    (folder / "x.jsonl").write_text("\n".join(lines))
    (folder / "first.jsonl").write_text(lines[0])
    (folder / "rest.jsonl").write_text("\n".join(lines[1:]))
    return {
        "list": ROWS,
        "dataset": Dataset.from_list(ROWS),
        "csv": folder / "x.csv",
        "tsv": str(folder / "x.tsv"),
        "parquet": folder / "x.parquet",
        "jsonl": str(folder / "x.jsonl"),
        "paths": [folder / "first.jsonl", folder / "rest.jsonl"],
    }


@pytest.mark.parametrize("form", ["list", "dataset", "csv", "tsv", "parquet", "jsonl", "paths"])
def test_every_form_gives_the_same(form: str, tmp_path: Path) -> None:
    data = forms(tmp_path)[form]
    assert is_scored_pairs(data)
    assert read_scored_pairs(data, score_range=(0, 5)) == WANTED


def test_an_iterator_is_read_but_not_looked_into() -> None:
    rows = iter(ROWS)
    assert not is_scored_pairs(rows)
    assert read_scored_pairs(rows, score_range=(0, 5)) == WANTED


@pytest.mark.parametrize(
    "data",
    [
        [],
        [{"query": "x", "document_id": "a"}],
        [{"sentence1": "x", "sentence2": "y"}],
        [Document(id="a", page_content="x", metadata={"query": "y", "score": 1})],
    ],
)
def test_what_is_no_scored_pairs(data: Any) -> None:
    assert not is_scored_pairs(data)


def test_what_cannot_be_looked_into(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="got NoneType"):
        is_scored_pairs(None)
    with pytest.raises(StorageError, match="no such file"):
        is_scored_pairs(tmp_path / "x.csv")


def pair(score: Any, **more: Any) -> dict[str, Any]:
    return {"sentence1": "x", "sentence2": "y", "score": score, **more}


@pytest.mark.parametrize(
    ("scores", "score_range", "wanted"),
    [
        ([0, 1, 0.25], None, [0, 1, 0.25]),
        ([True, False], None, [1, 0]),
        (["0.5", " 1 "], None, [0.5, 1]),
        ([0, 5, 1.25], (0, 5), [0, 1, 0.25]),
        ([1, 5, 3], (1, 5), [0, 1, 0.5]),
        ([-1, 1, 0], (-1, 1), [0, 1, 0.5]),
        ([0.2, 0.4], (0, 1), [0.2, 0.4]),
        ([50], [0, 100], [0.5]),
    ],
)
def test_scales(scores: list[Any], score_range: Any, wanted: list[float]) -> None:
    pairs = read_scored_pairs([pair(score) for score in scores], score_range=score_range)
    assert list(pairs.scores) == wanted


finite = st.floats(-1e9, 1e9)


@settings(max_examples=300, deadline=None)
@given(finite, finite, st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_scores_come_to_0_to_1_in_their_order(one: float, other: float, shares: list[float]) -> None:
    low, high = sorted((one, other))
    if low == high:
        return
    scores = sorted(min(high, max(low, low + share * (high - low))) for share in shares)
    got = list(
        read_scored_pairs([pair(score) for score in (low, *scores, high)], score_range=(low, high)).scores
    )
    assert (got[0], got[-1]) == (0, 1)
    assert got == sorted(got)


@pytest.mark.parametrize(
    ("rows", "score_range", "message"),
    [
        (
            [pair(1), pair(4.2), pair(5)],
            None,
            r"row 1: score is 4.2, outside 0..1, and the scale is not known. Pass score_range=\(low, high\) .*\(0, 5\)",
        ),
        ([pair(-0.1)], None, r"row 0: score is -0.1, outside 0..1"),
        (
            [pair(5), pair(6)],
            (0, 5),
            r"row 1: score is 6, outside the scale 0..5 of score_range. Correct the row",
        ),
        ([pair(math.nan)], None, r"row 0: score must be a number, got nan"),
        ([pair("nan")], (0, 5), r"row 0: score must be a number, got 'nan'"),
        ([pair(math.inf)], None, r"row 0: score must be a number, got inf"),
        ([pair("good")], None, r"row 0: score must be a number, got 'good'"),
        ([pair([1])], None, r"row 0: score must be a number, got \[1\]"),
        ([pair(None)], None, r"row 0: expected sentence1, .* there is no score. Fill it in"),
        ([{"score": 1}], None, r"row 0: .* there is no sentence1 and no sentence2"),
        (
            [pair(1, label=1)],
            None,
            r"row 0: unknown column 'label'; the columns are sentence1, sentence2, score, group",
        ),
        ([pair(1, sentence1=" ")], None, r"row 0: sentence1 must be a text that is not blank, got ' '"),
        ([pair(1, sentence2=7)], None, r"row 0: sentence2 must be a text that is not blank, got 7"),
        (
            [pair(1, sentence2="a\ud800")],
            None,
            r"row 0: sentence2 holds a lone surrogate at position 1. Clean it",
        ),
        (
            [pair(1, group="a"), pair(1)],
            None,
            r"row 1: expected a group for every row .*has none, unlike the first",
        ),
        ([pair(1), pair(1, group="a")], None, r"row 1: .* has one, unlike the first"),
        (
            [pair(1), {"query": "x", "document_id": "a"}],
            None,
            r"row 1: the column 'query' is one of queries with",
        ),
        ([pair(1, query="x")], None, r"row 0: the column 'query' is one of .*take the two apart"),
        ([], None, r"are empty; expected at least one row with two sentences and a score"),
        (["x"], None, r"row 0: expected a dict with columns sentence1, sentence2, score, group, got 'x'"),
    ],
)
def test_bad_rows(rows: Any, score_range: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_scored_pairs(rows, score_range=score_range)


def test_pairs_among_queries() -> None:
    corpus = {"a": Document(id="a", page_content="text")}
    with pytest.raises(DataError, match=r"row 1: the column 'sentence1' is one of scored sentence pairs"):
        read_training_data([{"query": "x", "document_id": "a"}, pair(1)], corpus)


@pytest.mark.parametrize(
    "score_range",
    [(5, 0), (1, 1), (0, math.nan), (0, math.inf), (-1e308, 1e308), (0,), (0, 1, 2), 5, ("a", "b"), ""],
)
def test_bad_ranges(score_range: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"score_range must be \(low, high\), two numbers"):
        read_scored_pairs([pair(1)], score_range=score_range)


# -- groups and the split --------------------------------------------------------------------------------------


def pairs_of(ends: list[tuple[str, str]]) -> ScoredPairs:
    return read_scored_pairs([{"sentence1": one, "sentence2": two, "score": 0.5} for one, two in ends])


def test_default_groups() -> None:
    pairs = pairs_of([("A b", "c"), ("d", "e"), ("C", "a  B"), ("c", "f"), ("g", "d"), ("e", "D")])
    # 0 and 2 are one pair the other way round, 2 and 3 share sentence1; 1 and 5 are one pair. In 4, "d" is the second.
    assert pairs.groups == ("a b", "d", "a b", "a b", "g", "d")


def test_given_groups() -> None:
    rows = [pair(1, group=1), pair(0, group="2"), pair(0.5, group="1")]
    assert read_scored_pairs(rows).groups == ("1", "2", "1")


letters = st.sampled_from([*"abcdefghijklm", "A", "b "])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(letters, letters), min_size=1, max_size=40), st.integers(0, 5))
def test_no_first_sentence_and_no_pair_is_on_both_sides(ends: list[tuple[str, str]], seed: int) -> None:
    pairs = pairs_of(ends)
    if len(set(pairs.groups)) < 2:
        with pytest.raises(DataError, match=rf"{len(ends)} sentence pairs in 1 group"):
            split_pairs(pairs, seed=seed)
        return
    train, held_out = split_pairs(pairs, seed=seed)
    assert len(train)
    assert len(held_out)

    def rows(part: ScoredPairs) -> list[tuple[str, str]]:
        return list(zip(part.first, part.second, strict=True))

    assert sorted(rows(train) + rows(held_out)) == sorted(ends)
    keys = [{one.strip().lower() for one in part.first} for part in (train, held_out)]
    assert not keys[0] & keys[1]
    both = [
        {frozenset(end.strip().lower() for end in row) for row in rows(part)} for part in (train, held_out)
    ]
    assert not both[0] & both[1]
    assert split_pairs(pairs, seed=seed) == (train, held_out)


@pytest.mark.parametrize(("number", "held_out"), [(2, 1), (10, 2), (100, 20), (6000, 1000)])
def test_sizes(number: int, held_out: int) -> None:
    train, judged = split_pairs(pairs_of([(f"one {n}", f"two {n}") for n in range(number)]), seed=0)
    assert (len(train), len(judged)) == (number - held_out, held_out)
    order = [int(text.split()[1]) for text in judged.first]
    assert order == sorted(order)


def test_another_seed_holds_out_others() -> None:
    pairs = pairs_of([(f"one {n}", f"two {n}") for n in range(100)])
    assert len({split_pairs(pairs, seed=seed)[1].first for seed in range(5)}) == 5
