"""BM25 as FTS5 computes it, for a few documents of a collection whose statistics are known.

FTS5's own ``bm25()`` counts the documents of every term of a query anew, all of them, which takes a second for the
common terms of a million documents.
"""

import math
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .analysis import Analyzer
from .terms import table, varints

#: Robertson and Zaragoza 2009, "The probabilistic relevance framework"; FTS5 has these values built in.
K1, B = 1.2, 0.75

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Statistics:
    """What BM25 asks of a collection.

    Attributes:
        documents: How many documents there are.
        words: How many words there are in all of them.
    """

    documents: int
    words: int

    def weight(self, holding: int) -> float:
        """What a term counts for that so many documents hold."""
        idf = math.log((self.documents - holding + 0.5) / (holding + 0.5))
        return idf if idf > 0 else 1e-6  # FTS5's floor, for terms that more than half of the documents hold

    def length_norm(self, lengths: Floats) -> Floats:
        """How much documents of some lengths are held back."""
        mean = self.words / max(self.documents, 1)
        return np.asarray(K1 * (1 - B + B * lengths / mean))


def scores(
    bodies: Sequence[tuple[int, str]],
    analyzer: Analyzer,
    phrases: Sequence[str],
    frequencies: Sequence[int],
    statistics: Statistics,
) -> dict[int, float]:
    """BM25 of documents that a query is compared with.

    Args:
        bodies: Number of each document, and what FTS5 was given for it.
        analyzer: With which tokenizer.
        phrases: The query's terms.
        frequencies: How many documents of the collection hold each.
        statistics: Of the collection.

    Returns:
        The score by number; one that no term is in has 0.0.
    """
    totals = np.zeros(len(bodies))
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as scratch:
        scratch.execute(table(analyzer))
        scratch.execute("BEGIN")
        scratch.executemany(
            "INSERT INTO lexical (rowid, body) VALUES (?, ?)",
            ((place, body) for place, (_, body) in enumerate(bodies)),
        )
        sizes = scratch.execute("SELECT sz FROM lexical_docsize ORDER BY id").fetchall()
        lengths = np.array([varints(size)[0] for (size,) in sizes], float)
        norm = statistics.length_norm(lengths)
        for phrase, frequency in zip(phrases, frequencies, strict=True):
            places, counts = _counted(scratch, phrase, lengths)
            saturated = counts * (K1 + 1) / (counts + norm[places])
            totals[places] += statistics.weight(frequency) * saturated
    return dict(zip([pk for pk, _ in bodies], totals.tolist(), strict=True))


def _counted(scratch: sqlite3.Connection, phrase: str, lengths: Floats) -> tuple[NDArray[np.int64], Floats]:
    """The places of the documents that hold a term, and how often each does.

    FTS5 tells nobody how often; but bm25() over these documents alone follows from it, and it from bm25().
    """
    rows = scratch.execute(
        "SELECT rowid, -bm25(lexical) FROM lexical WHERE lexical MATCH ?", (phrase,)
    ).fetchall()
    here = Statistics(len(lengths), int(lengths.sum()))
    places = np.array([place for place, _ in rows], np.int64)
    saturated = np.array([score for _, score in rows], float) / here.weight(len(rows))
    counts = saturated * here.length_norm(lengths)[places] / (K1 + 1 - saturated)
    return places, np.round(counts)
