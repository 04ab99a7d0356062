"""The two sides of one query, by vector and by words, over one snapshot: what each finds, and how it scores a document.

What is asked of sides over the same snapshot belongs together: no change of the store can come between.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from langchain_core.documents import Document

from langchain_rerank_retriever.protocols import FloatArray

from . import rows
from .engine import Snapshot
from .filters import Condition
from .lexical.search import Lexicon

SideName = Literal["dense", "lexical"]
#: Scores by the numbers of documents.
Scores = dict[int, float]


@dataclass(frozen=True, slots=True)
class Hit:
    """A document that a side found.

    Attributes:
        document: As it is stored.
        dense: Cosine of query and document in [-1, 1]; None where that side was not asked.
        lexical: BM25, 0.0 where no term of the query occurs; None where that side was not asked.
    """

    document: Document
    dense: float | None = None
    lexical: float | None = None


class Side(Protocol):
    """One way to compare a query with documents; higher scores are better."""

    def search(self, k: int, condition: Condition | None) -> Scores:
        """The k best documents that a filter lets through, best first; fewer where fewer are found."""

    def scores(self, pks: Sequence[int]) -> Scores:
        """The very numbers that `search` would give documents of the snapshot."""


class DenseSide:
    """By cosine similarity."""

    def __init__(self, snapshot: Snapshot, vector: FloatArray) -> None:
        """Take a query's unit vector, shape ``(d,)``, of the model that made the snapshot's."""
        self._snapshot, self._vector = snapshot, vector

    def search(self, k: int, condition: Condition | None) -> Scores:
        """See `Side`."""
        return dict(zip(*nearest(self._snapshot, self._vector, k, condition)))

    def scores(self, pks: Sequence[int]) -> Scores:
        """See `Side`."""
        found = self._snapshot.view.scores(self._vector, np.array(pks, dtype=np.int64))
        return dict(zip(pks, found.tolist()))


class LexicalSide:
    """By BM25."""

    def __init__(self, lexicon: Lexicon, query: str) -> None:
        """Take the lexicon of the snapshot."""
        self._lexicon, self._query = lexicon, query

    def search(self, k: int, condition: Condition | None) -> Scores:
        """See `Side`; only what has a term of the query is found."""
        return dict(self._lexicon.search(self._query, k, condition))

    def scores(self, pks: Sequence[int]) -> Scores:
        """See `Side`; 0.0 where no term of the query occurs."""
        matching = self._lexicon.scores(self._query, pks)
        return {pk: matching.get(pk, 0.0) for pk in pks}


def hits(
    snapshot: Snapshot,
    sides: Mapping[SideName, Side],
    searched: Collection[SideName],
    k: int,
    condition: Condition | None,
) -> list[Hit]:
    """Search some sides, and have every document that was found scored by all.

    Args:
        snapshot: That of the sides.
        sides: Those that score.
        searched: Those of them that search.
        k: How many each finds at most.
        condition: Of a filter, which holds before the search.

    Returns:
        What each side found, best first, in the order of `sides`; each document once.
    """
    known = {name: side.search(k, condition) if name in searched else {} for name, side in sides.items()}
    pks = list(dict.fromkeys(pk for found in known.values() for pk in found))
    for name, side in sides.items():
        missing = [pk for pk in pks if pk not in known[name]]
        if missing:
            known[name] |= side.scores(missing)
    dense, lexical = known.get("dense", {}), known.get("lexical", {})
    stored = rows.by_pks(snapshot.connection, pks) if pks else []
    return [Hit(one.document(), dense.get(one.pk), lexical.get(one.pk)) for one in stored]


def scores_by_id(
    snapshot: Snapshot, sides: Mapping[SideName, Side], ids: Sequence[str]
) -> dict[SideName, dict[str, float]]:
    """Score documents by each side; an unknown id is left out."""
    pks = rows.pks_of(snapshot.connection, ids)
    found = {name: side.scores(list(pks.values())) for name, side in sides.items()}
    return {name: {one: scores[pks[one]] for one in ids if one in pks} for name, scores in found.items()}


def nearest(
    snapshot: Snapshot, vector: FloatArray, k: int, condition: Condition | None
) -> tuple[list[int], list[float]]:
    """Numbers and cosines of the k nearest documents that a filter lets through, best first."""
    allowed = None if condition is None else rows.matching(snapshot.connection, condition)
    pks, scores = snapshot.view.search(vector, k, allowed)
    return pks.tolist(), scores.tolist()
