"""When the re-ranking of a query may end early: fitted by replaying development queries, whose pairs are all scored.

Pair scores do not depend on each other, so what would have been answered, had scoring ended after any number of
candidates, is read off the tables without a model. `Replay` follows the retriever's own steps with its own functions; a
test holds the two together.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from langchain_rerank_retriever.blend import BlendVariant
from langchain_rerank_retriever.early_stop import EarlyStop, Logistic
from langchain_rerank_retriever.evaluation.judge import Judge
from langchain_rerank_retriever.recall.fusion import Floats, best_first
from langchain_rerank_retriever.training.proof.calibration import calibrated
from langchain_rerank_retriever.training.proof.stages import StageTable, System, candidates

#: Candidates scored between two looks: a batch at which small models come near to their full speed on two cores.
SLICE = 8

#: It is fitted for 1 to so many returned documents.
MOST_RETURNED = 10

#: What an early stop may cost: the share of queries of which other documents are returned than if all candidates were
#: scored, and the mean loss of nDCG of as many documents as are returned.
MOST_CHANGED = 0.05
MOST_LOST = 0.002


@dataclass(frozen=True, slots=True)
class Stops:
    """What came of stopping some queries early, for one number of returned documents.

    Attributes:
        changed: Whether other documents are returned than if all candidates were scored, shape ``(queries,)``, bool.
        lost: The loss of nDCG, shape ``(queries,)``.
        read: The share of the pairs that was read, shape ``(queries,)``.
    """

    changed: NDArray[np.bool_]
    lost: Floats
    read: Floats


@dataclass(frozen=True, slots=True)
class Error:
    """How an early stop does on queries that it was not fitted on, for one number of returned documents.

    Attributes:
        changed: The share of queries of which other documents are returned than if all candidates were scored.
        lost: The mean loss of nDCG of that many documents.
        read: The mean share of pairs that is read.
    """

    changed: float
    lost: float
    read: float

    @property
    def tolerable(self) -> bool:
        """Whether it is within what an early stop may cost."""
        return self.changed <= MOST_CHANGED and self.lost <= MOST_LOST


@dataclass(frozen=True, slots=True)
class EarlyStopReport:
    """How an early stop does on development queries that it was not fitted on.

    Attributes:
        queries: How many they are.
        errors: For 1, 2, ... returned documents.
        offered: Whether a query for so many documents is stopped early at all. It is not where that costs more than it
            may, or where no margin could be found.
    """

    queries: int
    errors: tuple[Error, ...]
    offered: tuple[bool, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data, the errors by the number of returned documents."""
        return {
            "queries": self.queries,
            "documents": {
                str(k): asdict(error) | {"offered": offered}
                for k, (error, offered) in enumerate(zip(self.errors, self.offered, strict=True), start=1)
            },
        }


class Replay:
    """Some queries, each ended after every look, and what would have been answered.

    Args:
        tables: Query id to candidates; all that the system recalls are scored.
        qrels: Judgements of at least those queries.
        system: Recall mode, depth and fusion; its own variant is not looked at.
        variant: The blend, one that has a weight for the re-ranker.
    """

    def __init__(
        self,
        tables: Mapping[str, StageTable],
        qrels: Mapping[str, Mapping[str, int]],
        system: System,
        variant: BlendVariant,
    ) -> None:
        self.looks = tuple(range(SLICE, system.depth, SLICE))
        self._variant, self._depth = variant, system.depth
        self._qrels = {key: qrels[key] for key in tables}
        self._recalled = {key: candidates(table, system) for key, table in tables.items()}
        # The last of the looks is the end: everything is scored.
        shape = (len(tables), len(self.looks) + 1, MOST_RETURNED)
        self._leads, self._changed = np.full(shape, -np.inf), np.zeros(shape, bool)
        self._leads[:, -1] = np.inf
        self._read = np.ones(shape[:2])
        orders = [
            {key: self._look(row, place, key) for row, key in enumerate(tables)}
            for place in range(len(self.looks))
        ]
        self._lost = self._losses([*orders, {key: self._whole(key) for key in tables}])

    def stops(self, k: int, margin: float | None) -> Stops:
        """End every query at the first look with such a lead of its k-th document; None ends none early."""
        rows = np.arange(len(self._leads))
        ended = self._leads[:, :, k - 1] >= (np.inf if margin is None else margin)
        ends = ended.argmax(axis=1)
        return Stops(self._changed[rows, ends, k - 1], self._lost[rows, ends, k - 1], self._read[rows, ends])

    def margin(self, k: int) -> float | None:
        """Find the smallest margin that costs no more than an early stop may; None where none does.

        The share of changed answers must stay below what is allowed by its standard error, at this margin and at every
        larger one, so that it holds for other queries, too. It is estimated with one changed and one unchanged query
        more than there are, so that few queries promise nothing.
        """
        leads = self._leads[:, :, k - 1]
        smallest = None
        for margin in np.unique(leads[np.isfinite(leads)])[::-1].tolist():
            stops = self.stops(k, margin)
            share = (stops.changed.sum() + 1) / (stops.changed.size + 2)
            if share + math.sqrt(share * (1 - share) / stops.changed.size) > MOST_CHANGED:
                break
            if stops.lost.mean() <= MOST_LOST:
                smallest = margin
        return smallest

    def margins(self) -> tuple[float | None, ...]:
        """Find the margins for 1 to 10 returned documents."""
        return tuple(self.margin(k) for k in range(1, MOST_RETURNED + 1))

    def fitted(self, margins: Sequence[float | None]) -> EarlyStop:
        """Put margins together with what the blended scores of each look mean."""
        return EarlyStop(self._depth, tuple(margins), {look: self._calibration(look) for look in self.looks})

    def _look(self, row: int, place: int, key: str) -> list[str]:
        """End one query at one look; return the document ids in the order of that."""
        (ids, columns), look = self._recalled[key], self.looks[place]
        whole = self._whole(key)
        if look >= len(ids):
            self._leads[row, place] = np.inf
            return whole
        order = self._order(key, look)
        leads = self._variant.leads(_so_far(columns, look))[:MOST_RETURNED]
        self._leads[row, place, : leads.size] = leads
        self._read[row, place] = look / len(ids)
        for k in range(1, MOST_RETURNED + 1):
            self._changed[row, place, k - 1] = set(order[:k]) != set(whole[:k])
        return order

    def _whole(self, key: str) -> list[str]:
        return self._order(key, len(self._recalled[key][0]))

    def _order(self, key: str, scored: int) -> list[str]:
        ids, columns = self._recalled[key]
        blended = self._variant.blended(_so_far(columns, scored))[:scored]
        return [ids[one] for one in best_first(blended)] + ids[scored:]

    def _losses(self, orders: Sequence[Mapping[str, list[str]]]) -> Floats:
        names = [f"nDCG@{k}" for k in range(1, MOST_RETURNED + 1)]
        judge = Judge(self._qrels, names)
        values = []
        for one in orders:
            judged = judge({key: ids[:MOST_RETURNED] for key, ids in one.items()}).per_query
            values.append([[judged[name][key] for name in names] for key in self._recalled])
        gains = np.array(values).transpose(1, 0, 2)
        return np.asarray(gains[:, -1:] - gains)

    def _calibration(self, look: int) -> Logistic:
        scores, relevant = [], []
        for key, (ids, columns) in self._recalled.items():
            if look < len(ids):
                scores.append(self._variant.blended(_so_far(columns, look))[:look])
                relevant += [float(self._qrels[key].get(one, 0) > 0) for one in ids[:look]]
        fitted = calibrated(self._variant, np.concatenate([np.empty(0), *scores]), np.array(relevant))
        variant = fitted or self._variant
        return variant.slope, variant.intercept


def _so_far(columns: Mapping[str, Floats], scored: int) -> dict[str, Floats]:
    """Take away the re-rank scores that are not there yet."""
    rerank = columns["rerank"].copy()
    rerank[scored:] = np.nan
    return {**columns, "rerank": rerank}


def errors_of(stops: Sequence[Sequence[Stops]]) -> tuple[Error, ...]:
    """Sum up what came of stopping early.

    Args:
        stops: For each part of the queries, answered with what was fitted on the other parts, the stops for 1, 2, ...
            returned documents.
    """
    return tuple(
        Error(
            float(np.concatenate([one.changed for one in parts]).mean()),
            float(np.concatenate([one.lost for one in parts]).mean()),
            float(np.concatenate([one.read for one in parts]).mean()),
        )
        for parts in zip(*stops, strict=True)
    )
