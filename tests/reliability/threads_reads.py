"""Reads of a store, and whether one state of it explains their answers."""

import random
from abc import ABC, abstractmethod
from functools import lru_cache
from itertools import pairwise
from typing import Any, Self

import numpy as np

from langchain_rerank_retriever.store import FaissStore

from .operations_oracle import FILTERS, NEAR, WORDS, Document, WordEmbeddings, bm25, matching

State = dict[str, Document]
EMBEDDINGS = WordEmbeddings(16)
QUERIES = tuple(" ".join(pair) for pair in pairwise(WORDS))


class Read(ABC):
    """One question.

    Attributes:
        checking: How long the comparison of its answer took.
    """

    checking = 0.0

    def __init__(self, query: str, k: int, condition: int) -> None:
        self.query, self.k, self.condition = query, k, condition

    @classmethod
    def drawn(cls, rng: random.Random) -> Self:
        return cls(rng.choice(QUERIES), rng.choice((1, 4, 10, 100)), rng.choice((0, 0, 1, 2, 3)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.query!r}, {self.k}, {self.condition})"

    @abstractmethod
    def ask(self, store: FaissStore) -> Any:
        """The store's answer."""

    @abstractmethod
    def fits(self, answer: Any, state: State) -> bool:
        """Whether it is that of a state."""


class ByVector(Read):
    def ask(self, store: FaissStore) -> Any:
        vector = EMBEDDINGS.unit(self.query)
        return store.similarity_search_with_score_by_vector(
            vector, k=self.k, filter=FILTERS[self.condition][0]
        )

    def fits(self, answer: Any, state: State) -> bool:
        return are_shown(answer, state) and are_best(answer, self.true(state), self.k)

    def true(self, state: State) -> dict[str, float]:
        return {name: cosine(state[name][0], self.query) for name in matching(state, self.condition)}


class ByText(ByVector):
    def ask(self, store: FaissStore) -> Any:
        return store.similarity_search_with_score(self.query, k=self.k, filter=FILTERS[self.condition][0])


class Lexical(ByVector):
    def ask(self, store: FaissStore) -> Any:
        return store.lexical_search_with_score(self.query, k=self.k, filter=FILTERS[self.condition][0])

    def true(self, state: State) -> dict[str, float]:
        scores = bm25({name: text for name, (text, _) in state.items()}, self.query)
        return {name: scores[name] for name in matching(state, self.condition) if name in scores}


class ById(Read):
    """The newest and the oldest of each writer's, side by side."""

    def ask(self, store: FaissStore) -> Any:
        return [(document, 0.0) for document in store.get_by_ids(self.names())]

    def names(self) -> list[str]:
        return [f"{owner} {pair} {side}" for owner in range(3) for pair in range(self.k) for side in "ab"]

    def fits(self, answer: Any, state: State) -> bool:
        return are_shown(answer, state) and len(answer) == sum(name in state for name in self.names())


class Scores(ByVector):
    def ask(self, store: FaissStore) -> Any:
        return store.dense_scores(EMBEDDINGS.unit(self.query), ById.names(self))  # type: ignore[arg-type]

    def fits(self, answer: Any, state: State) -> bool:
        known = [name for name in ById.names(self) if name in state]  # type: ignore[arg-type]
        return list(answer) == known and all(
            abs(score - cosine(state[name][0], self.query)) < NEAR for name, score in answer.items()
        )


class Number(Read):
    def ask(self, store: FaissStore) -> Any:
        return len(store)

    def fits(self, answer: Any, state: State) -> bool:
        return bool(answer == len(state))


READS: tuple[type[Read], ...] = (ByVector, ByText, Lexical, Lexical, ById, Scores, Number)


@lru_cache(200_000)
def cosine(text: str, query: str) -> float:
    return float(EMBEDDINGS.unit(text) @ EMBEDDINGS.unit(query))


def are_shown(answer: Any, state: State) -> bool:
    """Every document is there, with that text and those metadata."""
    return all(state.get(document.id) == (document.page_content, document.metadata) for document, _ in answer)


def are_best(answer: Any, true: dict[str, float], k: int) -> bool:
    """They are the k best, each with its own score."""
    best = sorted(true.values(), reverse=True)[:k]
    scores = [score for _, score in answer]
    return (
        len(scores) == len(best)
        and all(document.id in true and abs(true[document.id] - score) < NEAR for document, score in answer)
        and bool(np.allclose(scores, best, rtol=0, atol=NEAR))
    )
