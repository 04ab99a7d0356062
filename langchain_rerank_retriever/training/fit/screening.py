"""Which documents may be taken as wrong answers to a query: false negatives teach the opposite of what is right."""

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import Any

import numpy as np

from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.protocols import FloatArray, PairScorer
from langchain_rerank_retriever.recall import Candidate
from langchain_rerank_retriever.training.data.reading import TrainingData
from langchain_rerank_retriever.training.data.rows import normalised
from langchain_rerank_retriever.training.fit.recipe import Recipe

#: Measured with all-MiniLM-L6-v2 on abstracts and medical answers: texts of which a twentieth of the words is missing
#: have at least 0.963 in 95 of 100 cases, while of 700 documents less than one in a hundred has another one at 0.95,
#: and those are the same text in other words.
NEAR_DUPLICATE_COSINE = 0.95

#: Documents looked at for what the cosine of unrelated texts is.
TYPICAL_SAMPLE = 1000

#: Near-duplicates that the first search can find; a document with more is searched again, deeper.
FIRST_SEARCH = 16


@dataclass(frozen=True, slots=True)
class Pool:
    """What is left of a query's recalled documents.

    Attributes:
        ids: Documents that may be negatives, by id.
        dropped: How many were sorted out, by reason.
    """

    ids: tuple[str, ...]
    dropped: Counter[str]


class Screen:
    """Sorts out what is, or may well be, a right answer.

    Args:
        store: The store that serves.
        data: The training queries.
        texts: Document id to text.
        query_ids: The queries that will be asked about.
        recipe: What counts as a false negative.
        teacher: The cross-encoder for `false_negatives="cross-encoder"`.
        pool: Runs searches side by side.

    Raises:
        InvalidArgumentError: The recipe asks for a cross-encoder and there is none.
    """

    def __init__(
        self,
        store: Any,
        data: TrainingData,
        texts: Mapping[str, str],
        query_ids: Sequence[str],
        *,
        recipe: Recipe,
        teacher: PairScorer | None,
        pool: Executor,
    ) -> None:
        if recipe.false_negatives == "cross-encoder" and teacher is None:
            raise InvalidArgumentError(
                "false_negatives='cross-encoder' needs a pretrained cross-encoder to judge by; give one as reranker, "
                "or choose 'duplicates' or 'margin'."
            )
        self._store, self._data, self._texts = store, data, texts
        self._recipe, self._teacher, self._one_by_one = recipe, teacher, Lock()
        self._normal = cache(lambda one: normalised(texts[one]))
        self._positives = _positives_by_query(data)
        relevant = sorted(set().union(*(self._positives[key] for key in query_ids)))
        self._near = _near_duplicates(store, texts, relevant, pool)

    def is_right(self, key: str, one: str) -> bool:
        """Tell whether a document is a known right answer to a query, or nearly the same text as one."""
        return self._is_known(key, one) or self._is_near(key, one)

    def is_right_text(self, key: str, text: str) -> bool:
        """Tell whether a text is that of a known right answer, but for case, width and spaces."""
        return normalised(text) in self._right_texts(key)

    def sort_out(self, key: str, candidates: Sequence[Candidate]) -> Pool:
        """Keep of the recalled documents those that may be negatives of a query; of equal texts only one."""
        dropped: Counter[str] = Counter()
        kept: dict[str, Candidate] = {}
        for candidate in candidates:
            one = str(candidate.document.id)
            if self._is_known(key, one):
                dropped["known_positives"] += 1
            elif self._is_near(key, one):
                dropped["near_duplicates"] += 1
            else:
                kept.setdefault(self._normal(one), candidate)
        left = {str(candidate.document.id): candidate for candidate in kept.values()}
        too_good = self._too_good(key, left)
        dropped["false_negatives"] = len(too_good)
        # In an order that does not depend on scores: these may differ in the last digits from run to run.
        return Pool(tuple(sorted(left.keys() - too_good)), dropped)

    def _right_texts(self, key: str) -> set[str]:
        return {self._normal(one) for one in self._positives[key]}

    def _is_known(self, key: str, one: str) -> bool:
        return one in self._positives[key] or self._normal(one) in self._right_texts(key)

    def _is_near(self, key: str, one: str) -> bool:
        return any(one in self._near.get(positive, ()) for positive in self._positives[key])

    def _too_good(self, key: str, candidates: Mapping[str, Candidate]) -> set[str]:
        if not candidates or self._recipe.false_negatives == "duplicates":
            return set()
        if self._recipe.false_negatives == "margin":
            return self._within_margin(key, candidates)
        return self._judged_better(key, candidates)

    def _within_margin(self, key: str, candidates: Mapping[str, Candidate]) -> set[str]:
        """Find those that the bi-encoder scores nearly as high as a right answer.

        NV-Retriever's TopK-PercPos (Moreira et al. 2024). Of several right answers the lowest score counts, as in
        sentence-transformers' `mine_hard_negatives`: a document above any of them may be one as well.
        """
        scores = self._store.dense_scores(
            self._store.embed_query(self._data.queries[key]), [*self._positives[key], *candidates]
        )
        right = [scores[one] for one in self._positives[key] if one in scores]
        if not right:
            return set()
        # Below zero, a share of the score would be a limit above it.
        limit = min(right) - (1.0 - self._recipe.margin) * abs(min(right))
        return {one for one in candidates if scores.get(one, -1.0) > limit}

    def _judged_better(self, key: str, candidates: Mapping[str, Candidate]) -> set[str]:
        """Find those that the cross-encoder scores above a right answer; of several the lowest counts."""
        teacher, query = self._teacher, self._data.queries[key]
        if teacher is None:
            return set()
        positives = sorted(self._positives[key])
        pairs = [(query, self._texts[one]) for one in [*positives, *candidates]]
        # One query fills batches by itself; alone, it gets the same scores in every run.
        with self._one_by_one:
            scores = teacher.score_pairs(pairs).scores
        limit = scores[: len(positives)].min()
        return {one for one, score in zip(candidates, scores[len(positives) :], strict=True) if score > limit}


def _positives_by_query(data: TrainingData) -> dict[str, frozenset[str]]:
    """Give each query the right answers of every query with the same text but for case, width and spaces."""
    together: dict[str, set[str]] = {}
    for key, text in data.queries.items():
        together.setdefault(normalised(text), set()).update(data.positives(key))
    return {key: frozenset(together[normalised(text)]) for key, text in data.queries.items()}


def _near_duplicates(
    store: Any, texts: Mapping[str, str], ids: Sequence[str], pool: Executor
) -> dict[str, frozenset[str]]:
    """Find the near-duplicates of documents, by the store's own vectors.

    The limit leaves a twentieth of the way from the cosine of unrelated texts to 1: with language models that were not
    trained for embeddings any two texts may have 0.95.
    """
    found, vectors = _vectors(store, ids)
    if not found:
        return {}
    middle = vectors.mean(axis=0)
    sample = sorted(texts)[:: max(1, len(texts) // TYPICAL_SAMPLE)]
    length = float(np.linalg.norm(middle))
    # The mean cosine of all pairs of two sets is the product of the sets' mean vectors.
    typical = length * float(np.mean(list(store.dense_scores(middle, sample).values()))) if length else 0.0
    limit = 1.0 - (1.0 - NEAR_DUPLICATE_COSINE) * (1.0 - max(0.0, typical))
    return dict(zip(found, pool.map(lambda vector: _within(store, vector, limit), vectors), strict=True))


def _within(store: Any, vector: FloatArray, limit: float) -> frozenset[str]:
    depth = FIRST_SEARCH
    while True:
        hits = store.similarity_search_with_score_by_vector(vector, depth)
        near = frozenset(str(document.id) for document, score in hits if score >= limit)
        if len(near) < depth:
            return near
        depth *= 4


def _vectors(store: Any, ids: Sequence[str]) -> tuple[list[str], FloatArray]:
    """Read stored vectors: those of the ids that are there, shape `(n, d)`, of length one.

    A store tells cosines; those with the axes are the coordinates. This is ten times as fast as embedding the texts
    again.
    """
    axes = np.eye(len(store.embed_query("a")), dtype=np.float32)
    found = list(store.dense_scores(axes[0], ids))
    table = np.empty((len(found), len(axes)), dtype=np.float32)
    for place, axis in enumerate(axes):
        table[:, place] = list(store.dense_scores(axis, found).values())
    return found, table
