"""What a store must answer, by brute force; nothing here uses the store's own arithmetic."""

import math
import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np

from langchain_rerank_retriever.testing import HashEmbeddings

Document = tuple[str, dict[str, Any]]
#: How far a score may lie from the true one.
NEAR = 1e-6

#: None of them is cut in two, shares its stem with another, or is a stop word; the last is three terms.
WORDS = ("red", "fox", "blue", "whale", "stone", "river", "검색", "문서", "색인", "x'y\"z")

#: Filters, and the same in Python.
FILTERS: tuple[tuple[dict[str, Any] | None, Callable[[dict[str, Any]], bool]], ...] = (
    (None, lambda data: True),
    ({"n": 1}, lambda data: data.get("n") == 1),
    ({"n": {"$gte": 1, "$lt": 3}}, lambda data: "n" in data and 1 <= data["n"] < 3),
    ({"n": {"$ne": 1}}, lambda data: data.get("n") != 1),
    ({"tags": "x"}, lambda data: "x" in data.get("tags", [])),
    ({"tags": {"$nin": ["x", "y"]}}, lambda data: not {"x", "y"} & set(data.get("tags", []))),
    ({"sub.flag": True}, lambda data: data.get("sub") == {"flag": True}),
    (
        {"$or": [{"n": 0}, {"tags": {"$in": ["y"]}}]},
        lambda data: data.get("n") == 0 or "y" in data.get("tags", []),
    ),
    ({"$not": {"n": {"$exists": True}}}, lambda data: "n" not in data),
)


class WordEmbeddings(HashEmbeddings):
    """The same vectors, each word's made once."""

    def __init__(self, dimension: int, seed: int = 0) -> None:
        super().__init__(dimension, seed)
        # Bounded, as whatever runs for hours must be.
        self.calls = deque(maxlen=1_000)  # type: ignore[assignment]
        self._word = lru_cache(100_000)(super()._word)  # type: ignore[method-assign]

    def unit(self, text: str) -> np.ndarray:
        return np.array(self._vector(text))


def cosines(vectors: Mapping[str, np.ndarray], query: np.ndarray) -> dict[str, float]:
    """Cosines of unit vectors with a unit vector."""
    if not vectors:
        return {}
    return dict(zip(vectors, (np.stack(list(vectors.values())) @ query).tolist()))


@lru_cache(100_000)
def terms(text: str) -> Counter[str]:
    return Counter(re.findall(r"\w+", text.casefold()))


def bm25(texts: Mapping[str, str], query: str, k1: float = 1.2, b: float = 0.75) -> dict[str, float]:
    """BM25 of the documents that hold a term of the query, by Robertson's formula with FTS5's smallest weight."""
    counts = {name: terms(text) for name, text in texts.items()}
    lengths = {name: sum(count.values()) for name, count in counts.items()}
    mean = sum(lengths.values()) / len(lengths) if lengths else 0.0
    scores: dict[str, float] = {}
    for term in terms(query):
        holding = [name for name, count in counts.items() if term in count]
        weight = math.log((len(texts) - len(holding) + 0.5) / (len(holding) + 0.5))
        for name in holding:
            count = counts[name][term]
            saturated = count * (k1 + 1) / (count + k1 * (1 - b + b * lengths[name] / mean))
            scores[name] = scores.get(name, 0.0) + (weight if weight > 0 else 1e-6) * saturated
    return scores


def check_ranking(
    found: Sequence[tuple[str, float]], true: Mapping[str, float], k: int, same: Callable[[str], object]
) -> None:
    """The k best, each with its score, best first; equals in order of insertion.

    Args:
        found: Ids and scores.
        true: The scores of all that match, in order of insertion.
        k: How many were asked for.
        same: What two documents have in common that must have equal scores to the last bit.
    """
    best = sorted(true.values(), reverse=True)[:k]
    names, scores = [name for name, _ in found], [score for _, score in found]
    assert len(set(names)) == len(names) == len(best), (names, best)
    assert scores == sorted(scores, reverse=True)
    assert np.allclose(scores, best, rtol=0, atol=NEAR), (found, best)
    assert all(abs(true[name] - score) < NEAR for name, score in found), (found, true)
    place = {name: number for number, name in enumerate(true)}
    for (first, one), (second, other) in pairwise(found):
        assert one > other or place[first] < place[second], ("ties out of order", first, second)
    if names:
        left_out = [name for name in true if name not in set(names) and same(name) == same(names[-1])]
        assert all(place[name] > place[names[-1]] for name in left_out), (
            "an earlier equal was left out",
            left_out,
        )


def check_diversity(
    chosen: Sequence[str],
    vectors: Mapping[str, np.ndarray],
    query: np.ndarray,
    asked: tuple[int, int, float],
) -> None:
    """Maximal marginal relevance: each choice is as good as any other was at that moment.

    Args:
        chosen: Ids, in the order in which they were chosen.
        vectors: Unit vectors of all that match.
        query: Unit vector.
        asked: ``k``, ``fetch_k`` and ``lambda_mult``.
    """
    k, fetch_k, weight = asked
    near = cosines(vectors, query)
    assert len(set(chosen)) == len(chosen) == min(k, len(near))
    limit = sorted(near.values(), reverse=True)[: max(k, fetch_k)][-1] if near else 0.0
    assert all(near[name] > limit - NEAR for name in chosen)
    surely = [name for name, score in near.items() if score > limit + NEAR]
    for number, name in enumerate(chosen):
        before = chosen[:number]

        def value(candidate: str, before: Sequence[str] = before) -> float:
            alike = max((float(vectors[candidate] @ vectors[other]) for other in before), default=None)
            return near[candidate] if alike is None else weight * near[candidate] - (1 - weight) * alike

        rest = (value(candidate) for candidate in surely if candidate not in before)
        assert value(name) > max(rest, default=-math.inf) - NEAR, (chosen, number)


def matching(documents: Mapping[str, Document], condition: int) -> list[str]:
    """Ids of the documents that a filter lets through, in order."""
    return [name for name, (_, data) in documents.items() if FILTERS[condition][1](data)]


def chosen(mapping: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: mapping[name] for name in names}
