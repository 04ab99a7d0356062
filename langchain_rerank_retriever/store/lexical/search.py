"""Search by BM25, in a time that does not grow with the number of documents that hold a query's commonest terms.

In a small collection, or for a query of rare terms, every document that holds one of the terms is scored, by FTS5. Else
the work is bounded (the figures are below), in three steps:

1. **Narrow.** Candidates are the documents that hold one of the query's rarer terms: rarest first, as many terms as
   there is room for. Where those are few, more are the documents that hold the next term and another common one.
2. **Choose.** FTS5 scores the candidates by the terms that narrowed, and by the commoner ones that it can read in time.
   The best few times as many as are asked for are kept. In this score, terms that narrowed count twice.
3. **Score.** Those are scored by all of the query's terms: the scores, and the order, are the true BM25.

So what may be missed is a document that holds none of the rarer terms, and one that the commonest terms alone lift
among the best: each of those counts for little, and a term that more than half of the documents hold for nothing.
Where fewer than k candidates are found, documents with any of the terms are added, in order of insertion, so that
fewer than k are found only where fewer match; for a query of one very common word those are all that is looked at.

In how many documents each term is must be known first, exactly, since the scores are made of it. For a term that is
asked for the first time, and after a document was replaced or went, that alone does take a time that grows with the
number of documents; see ``frequencies``.
"""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..filters import Condition
from . import bm25, terms
from .analysis import Analyzer, match_expression
from .bm25 import Statistics
from .frequencies import Frequencies, Moment

#: Documents that are scored, each in about 3 microseconds: all of them up to so many; after narrowing; and, where no
#: term narrows, the first ones in order of insertion.
EXHAUSTIVE, REACH, WIDE_REACH = 16_384, 12_288, 32_768
#: Entries of the index that are read for commoner terms, each in about 0.1 microseconds.
SCANNED = 250_000
#: Candidates that are scored by all terms, each in about 0.1 milliseconds, for each document that is asked for; and at
#: the least.
KEPT, LEAST_KEPT = 2, 100
#: Whoever asks for more than so many gets the exhaustive search.
DEEPEST = 2_000
#: With a filter, so many times as many candidates are looked at, at the most.
WIDEST = 16

Hits = list[tuple[int, float]]


@dataclass(frozen=True, slots=True)
class Narrowed:
    """Which documents are candidates, and what they are scored by at first; terms are named by their places.

    Attributes:
        single: Each of these terms makes a candidate.
        leading: Where those are too few: the first of these together with one of the others; empty for none.
        scored: The terms that take part in the first score, those of ``single`` among them.
    """

    single: tuple[int, ...]
    leading: tuple[int, ...]
    scored: tuple[int, ...]

    def expressions(self, phrases: Sequence[str]) -> list[str]:
        """The same in FTS5's language, an expression for either kind of candidate; the last is for any other."""

        def joined(places: Sequence[int]) -> str:
            return match_expression([phrases[place] for place in places])

        narrow = [f"({joined(self.single)}) AND ({joined(self.scored)})"] if self.single else []
        if self.leading:
            first, *others = self.leading
            scored = tuple(dict.fromkeys((*self.scored, *self.leading)))
            narrow.append(f"({phrases[first]} AND ({joined(others)})) AND ({joined(scored)})")
        return [*narrow, match_expression(phrases) if narrow else joined(self.scored)]


def narrowed(frequencies: Sequence[int], documents: int, reach: float = REACH) -> Narrowed:
    """Choose the terms that make candidates.

    Args:
        frequencies: In how many documents each term is.
        documents: How many there are.
        reach: About how many candidates there may be.
    """
    rarest = sorted(range(len(frequencies)), key=frequencies.__getitem__)
    # What more than half of the documents hold counts for nothing.
    rarest = [place for place in rarest if 2 * frequencies[place] < documents] or rarest[:1]
    within = np.cumsum([frequencies[place] for place in rarest]) <= reach
    single, common = rarest[: within.sum()], rarest[within.sum() :]
    leading, room = common[:1], reach
    for place in common[1:]:
        # Were terms independent of each other, so many documents would hold both.
        room -= frequencies[common[0]] * frequencies[place] / documents
        if room < 0 and len(leading) > 1:
            break
        leading.append(place)
    read = np.cumsum([frequencies[place] for place in common])
    scored = [place for place, so_far in zip(common, read) if so_far <= SCANNED]
    if not single and not scored:
        scored = common[:1]
    return Narrowed(tuple(single), tuple(leading if len(leading) > 1 else ()), (*single, *scored))


class Lexicon:
    """A store's lexical index as one transaction sees it."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        analyzer: Analyzer,
        frequencies: Frequencies,
        moment: Moment,
    ) -> None:
        """Read nothing yet.

        Args:
            connection: In a read transaction.
            analyzer: Of the store.
            frequencies: What is known of its terms.
            moment: What the transaction sees.
        """
        self._connection, self._analyzer = connection, analyzer
        self._frequencies, self._moment = frequencies, moment
        self._statistics = Statistics(moment.documents, moment.words)

    def search(self, query: str, k: int, condition: Condition | None = None) -> Hits:
        """Numbers of the k best documents with their scores above 0, best first, ties in order of insertion."""
        phrases = self._analyzer.phrases(query)
        if not phrases:
            return []
        frequencies = self._heavy(phrases) if k <= DEEPEST else None
        if frequencies is None:
            return self._exhaustive(phrases, k, condition)
        kept = max(KEPT * k, LEAST_KEPT)
        reach = REACH * self._widening(condition)
        plan = narrowed(frequencies, self._statistics.documents, reach)
        found: set[int] = set()
        *narrow, wide = plan.expressions(phrases)
        for expression in narrow:
            if len(found) < kept:
                found.update(self._chosen(expression, REACH, kept, condition))
        for expression in (wide, match_expression(phrases)):
            if len(found) < k:
                found.update(self._chosen(expression, WIDE_REACH, kept, condition))
        scores = self._true_scores(phrases, sorted(found), frequencies)
        return sorted(scores.items(), key=lambda hit: (-hit[1], hit[0]))[:k]

    def scores(self, query: str, pks: Sequence[int]) -> dict[int, float]:
        """BM25 of given documents, by number; one without a term of the query may be left out."""
        phrases = self._analyzer.phrases(query)
        if not phrases or not pks:
            return {}
        frequencies = self._heavy(phrases) if len(pks) <= KEPT * DEEPEST else None
        if frequencies is None:
            return self._all_scores(phrases, pks)
        return self._true_scores(phrases, pks, frequencies)

    def _heavy(self, phrases: Sequence[str]) -> list[int] | None:
        """In how many documents each term is, where that is too many for the exhaustive search; else None."""
        if self._statistics.documents <= EXHAUSTIVE:
            return None
        frequencies = self._frequencies.of(self._connection, self._moment, phrases)
        return frequencies if sum(frequencies) > EXHAUSTIVE else None

    def _exhaustive(self, phrases: list[str], k: int, condition: Condition | None) -> Hits:
        rows = self._connection.execute(
            f"SELECT rowid, -bm25(lexical) AS score FROM lexical WHERE lexical MATCH ? {_also(condition)} "  # noqa: S608 - values are bound
            "ORDER BY score DESC, rowid LIMIT ?",
            (match_expression(phrases), *_parameters(condition), k),
        )
        return rows.fetchall()

    def _chosen(self, expression: str, reach: int, count: int, condition: Condition | None) -> list[int]:
        """The best of the first ``reach`` documents that an expression finds."""
        rows = self._connection.execute(
            "SELECT pk FROM (SELECT rowid AS pk, bm25(lexical) AS score FROM lexical "  # noqa: S608 - values are bound
            f"WHERE lexical MATCH ? {_also(condition)} LIMIT ?) ORDER BY score, pk LIMIT ?",
            (expression, *_parameters(condition), reach, count),
        )
        return [row[0] for row in rows]

    def _true_scores(
        self, phrases: Sequence[str], pks: Sequence[int], frequencies: Sequence[int]
    ) -> dict[int, float]:
        texts = terms.bodies(self._connection, self._analyzer, pks)
        return bm25.scores(texts, self._analyzer, phrases, frequencies, self._statistics)

    def _all_scores(self, phrases: list[str], pks: Sequence[int]) -> dict[int, float]:
        # The plus keeps FTS5 from running the whole query once for each number, which takes thirty times as long.
        rows = self._connection.execute(
            "SELECT rowid, -bm25(lexical) FROM lexical WHERE lexical MATCH ? "
            "AND +rowid IN (SELECT value FROM json_each(?))",
            (match_expression(phrases), json.dumps(pks)),
        )
        return dict(rows.fetchall())

    def _widening(self, condition: Condition | None) -> float:
        """How many times as many candidates to look at, since a filter lets only some of them through."""
        if condition is None:
            return 1.0
        row = self._connection.execute(
            f"SELECT count(*) FROM document WHERE {condition.sql}",  # noqa: S608 - values are bound
            condition.parameters,
        ).fetchone()
        return min(float(WIDEST), self._statistics.documents / max(int(row[0]), 1))


def _also(condition: Condition | None) -> str:
    return f"AND +rowid IN (SELECT pk FROM document WHERE {condition.sql})" if condition else ""  # noqa: S608 - values are bound


def _parameters(condition: Condition | None) -> tuple[object, ...]:
    return tuple(condition.parameters) if condition else ()
