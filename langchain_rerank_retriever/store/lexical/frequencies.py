"""In how many documents terms are, exactly, without counting all of them anew after each change of the store.

FTS5 keeps no such number: it reads every entry of a term, in about 0.05 microseconds each. So what was counted is kept,
and where documents only came since, which have higher numbers than all before them, only theirs are counted. Where one
was replaced or went, or the index was made anew, everything is counted again: nothing tells what the old text held.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Self

from .. import rows
from . import terms

#: Terms whose frequencies are kept, in a few megabytes; beyond, the half that has been known for the longest goes.
MOST_TERMS = 16_384

#: In how many documents a term is, and up to which number of a document that was counted.
Counted = tuple[int, int]
Counts = Mapping[str, Counted]


@dataclass(frozen=True, slots=True)
class Moment:
    """What a transaction sees, as far as it tells whether frequencies still hold.

    Attributes:
        generation: Which line of changes ``seq`` counts.
        seq: Number of the last change.
        schema: How often tables were made; the lexical index is one.
        last: The highest number of a document, 0 without any.
        documents: How many there are in the lexical index.
        words: How many words there are in all of them.
    """

    generation: int
    seq: int
    schema: int
    last: int
    documents: int
    words: int

    @classmethod
    def seen(cls, connection: sqlite3.Connection, generation: int, seq: int) -> Self:
        """The moment of a read transaction, whose state has such a generation and last change."""
        (schema,) = connection.execute("PRAGMA schema_version").fetchone()
        return cls(generation, seq, schema, rows.last_pk(connection), *terms.totals(connection))

    def comes_before(self, other: "Moment") -> bool:
        """Whether this is an earlier state of the same index."""
        return (self.generation, self.schema) == (other.generation, other.schema) and self.seq < other.seq

    def only_adds(self, connection: sqlite3.Connection, earlier: "Moment") -> bool:
        """Whether all that happened since an earlier moment is that documents came; ``connection`` sees this one."""
        # Each that was replaced counts as changed and adds none, each that went takes one away.
        return earlier.comes_before(self) and (
            self.documents - earlier.documents == rows.changed_since(connection, earlier.seq)
        )


@dataclass(frozen=True, slots=True)
class _Known:
    """What was counted, and a moment at which it holds."""

    moment: Moment | None = None
    counts: Counts = field(default_factory=dict)


class Frequencies:
    """In how many documents terms are, for one store; what is known is replaced, never changed, for many threads."""

    def __init__(self) -> None:
        self._known = _Known()

    def of(self, connection: sqlite3.Connection, moment: Moment, phrases: Sequence[str]) -> list[int]:
        """Frequencies of terms, exactly those that the transaction sees.

        Args:
            connection: In a read transaction.
            moment: What that sees.
            phrases: The terms, as FTS5 wants them.
        """
        known = self._known
        counts = known.counts if self._holds(known, connection, moment) else {}
        fresh: dict[str, Counted] = {}
        for phrase in phrases:
            held, through = counts.get(phrase, (0, 0))
            if through < moment.last:
                fresh[phrase] = held + _count(connection, phrase, through), moment.last
        # A reader who is still at an earlier moment must not take from others what they know of a later one.
        is_late = known.moment is not None and moment.comes_before(known.moment)
        if not is_late and (fresh or known.moment != moment):
            self._known = _Known(moment, _with(counts, fresh) if fresh else counts)
        return [fresh.get(phrase, counts.get(phrase, (0, 0)))[0] for phrase in phrases]

    @staticmethod
    def _holds(known: _Known, connection: sqlite3.Connection, moment: Moment) -> bool:
        if known.moment is None:
            return False
        return known.moment == moment or moment.only_adds(connection, known.moment)


def _with(counts: Counts, fresh: Counts) -> Counts:
    """Both, those that were just counted last, within the bound."""
    kept = dict(counts)
    for phrase in fresh:
        kept.pop(phrase, None)
    kept.update(fresh)
    return kept if len(kept) <= MOST_TERMS else dict(islice(kept.items(), len(kept) - MOST_TERMS // 2, None))


def _count(connection: sqlite3.Connection, phrase: str, above: int) -> int:
    """How many documents of numbers above one hold a term; FTS5 skips those below."""
    row = connection.execute(
        "SELECT count(*) FROM lexical WHERE lexical MATCH ? AND rowid > ?", (phrase, above)
    ).fetchone()
    return int(row[0])
