"""Sentence pairs with a score of how much they mean the same: read, brought to one scale, split."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from langchain_rerank_retriever.errors import DataError, InvalidArgumentError
from langchain_rerank_retriever.training.data.files import first_row, rows_of
from langchain_rerank_retriever.training.data.rows import (
    PAIR_COLUMNS,
    check_names,
    checked_text,
    normalised,
)
from langchain_rerank_retriever.training.data.split import draw_held_out

_NEEDED = frozenset({"sentence1", "sentence2", "score"})

MOST_HELD_OUT = 1000


@dataclass(frozen=True, slots=True)
class ScoredPairs:
    """Pairs of sentences, row by row.

    Attributes:
        first: The first sentences.
        second: The second sentences.
        scores: How alike the two are, 0 to 1, whatever the scale in the data was.
        groups: Keys that a split must not tear apart.
    """

    first: tuple[str, ...]
    second: tuple[str, ...]
    scores: tuple[float, ...]
    groups: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.scores)

    def only(self, places: Sequence[int]) -> "ScoredPairs":
        """Return the pairs at some places (0-based), in the order given."""
        return ScoredPairs(
            tuple(self.first[place] for place in places),
            tuple(self.second[place] for place in places),
            tuple(self.scores[place] for place in places),
            tuple(self.groups[place] for place in places),
        )


def is_scored_pairs(data: Any) -> bool:
    """Tell by the first row's columns whether data are scored pairs: `sentence1`, `sentence2` and `score`.

    An iterator is never looked into, since that would use up its first row: it counts as no scored pairs.

    Raises:
        DataError, StorageError: If there is no way to read a first row.
    """
    row = first_row(data)
    return row is not None and row.keys() >= _NEEDED


def read_scored_pairs(data: Any, *, score_range: tuple[float, float] | None = None) -> ScoredPairs:
    """Read scored sentence pairs in any form.

    Args:
        data: A `datasets.Dataset`, a list of dicts, the path of a JSONL, CSV, TSV or Parquet file, or a list of such
            paths. Columns, in any order: `sentence1`, `sentence2`, `score`, and optionally `group`.
        score_range: The two ends of the scale that the scores are on, for instance (0, 5); they become 0 and 1.
            None: (0, 1), and a score outside it is refused rather than a scale guessed.

    Returns:
        The pairs in the order of the data. Without `group`, those are of one group that have the same two sentences
        (in either order) or the same `sentence1`, directly or through other pairs; texts that differ in case and
        spaces only are the same.

    Raises:
        DataError: Naming the row, the column and the fix.
        InvalidArgumentError: If `score_range` is not a low and a higher finite number.
        StorageError: If a path cannot be read.
    """
    low, high = (0.0, 1.0) if score_range is None else _checked_range(score_range)
    first, second, scores, groups = [], [], [], []
    for place, row in rows_of(data, PAIR_COLUMNS):
        check_names(place, row, PAIR_COLUMNS)
        _check_complete(place, row)
        first.append(checked_text(place, "sentence1", row["sentence1"]))
        second.append(checked_text(place, "sentence2", row["sentence2"]))
        score = _score(place, row["score"])
        if not low <= score <= high:
            raise DataError(
                f"{place}: score is {score:g}, {_outside(low, high, declared=score_range is not None)}"
            )
        scores.append((score - low) / (high - low))
        groups.append(row.get("group"))
        if (groups[-1] is None) != (groups[0] is None):
            raise DataError(
                f"{place}: expected a group for every row or for none, and this row has "
                f"{'none' if groups[-1] is None else 'one'}, unlike the first. Fill the column or leave it out."
            )
    if not scores:
        raise DataError(
            "The training data are empty; expected at least one row with two sentences and a score."
        )
    names = _components(first, second) if groups[0] is None else [str(group) for group in groups]
    return ScoredPairs(tuple(first), tuple(second), tuple(scores), tuple(names))


def split_pairs(pairs: ScoredPairs, *, seed: int) -> tuple[ScoredPairs, ScoredPairs]:
    """Hold out a fifth of the pairs, at most 1,000, keeping every group on one side.

    Args:
        pairs: Checked pairs.
        seed: Of the shuffle of the groups.

    Returns:
        The part to train on and the part to judge by, each in the order of the data; neither is empty.

    Raises:
        DataError: If there are not two groups, so that nothing can be held out.
    """
    members: dict[str, list[int]] = {}
    for place, group in enumerate(pairs.groups):
        members.setdefault(group, []).append(place)
    if len(members) < 2:
        raise DataError(
            f"The training data hold {len(pairs)} sentence pairs in {len(members)} group; at least two are needed to "
            "hold one out for judging. Pairs that share sentence1 are one group, unless a column group says otherwise."
        )
    held_out, unused = draw_held_out(members, seed=seed, most=MOST_HELD_OUT)
    not_trained_on = {*held_out, *unused}
    train = [place for place in range(len(pairs)) if place not in not_trained_on]
    return pairs.only(train), pairs.only(sorted(held_out))


def _checked_range(score_range: Any) -> tuple[float, float]:
    try:
        low, high = (float(end) for end in score_range)
    except (TypeError, ValueError):
        low = high = math.nan
    if not (low < high and math.isfinite(high - low)):
        raise InvalidArgumentError(
            f"score_range must be (low, high), two numbers with low < high such as (0, 5), got {score_range!r}."
        )
    return low, high


def _check_complete(place: str, row: Mapping[str, Any]) -> None:
    missing = [name for name in PAIR_COLUMNS if name in _NEEDED and row.get(name) is None]
    if missing:
        raise DataError(
            f"{place}: expected sentence1, sentence2 and score, and there is no {' and no '.join(missing)}. "
            "Fill it in, or leave the row out."
        )


def _score(place: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"{place}: score must be a number, got {value!r}. Correct it, or leave the row out.")
    return number


def _outside(low: float, high: float, *, declared: bool) -> str:
    if declared:
        return f"outside the scale {low:g}..{high:g} of score_range. Correct the row, or widen score_range."
    return (
        "outside 0..1, and the scale is not known. "
        "Pass score_range=(low, high) with its two ends, e.g. score_range=(0, 5)."
    )


def _components(first: Sequence[str], second: Sequence[str]) -> list[str]:
    """Name the group of every pair: after the first sentence of its first pair, which no other group has."""
    ends = [(normalised(one), normalised(other)) for one, other in zip(first, second, strict=True)]
    keys: dict[Any, int] = {}
    links = [
        (place, keys.setdefault(key, len(keys)))
        for place, (one, other) in enumerate(ends)
        for key in (one, frozenset((one, other)))
    ]
    rows, columns = np.array(links).T
    size = len(ends) + len(keys)
    graph = coo_array((np.ones(len(rows), bool), (rows, columns + len(ends))), shape=(size, size))
    _, labels = connected_components(graph, directed=False)
    names: dict[int, str] = {}
    return [names.setdefault(int(label), one) for label, (one, _) in zip(labels, ends)]
