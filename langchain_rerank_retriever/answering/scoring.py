"""One query's pairs through a cross-encoder, in parts: between two of them a deadline or an early stop may end it.

What is scored and what is made of it is written once; asking the model and awaiting it are the only differences between
the two ways through.
"""

import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from langchain_core.cross_encoders import BaseCrossEncoder
from langchain_core.runnables import run_in_executor
from numpy.typing import NDArray

from langchain_rerank_retriever.errors import ScoringError
from langchain_rerank_retriever.protocols import AsyncPairScorer, PairScorer, Unscored

Pairs = list[tuple[str, str]]

#: Pairs that a cross-encoder which keeps no deadline scores between two looks at the clock: a batch or two of a small
#: model.
PAIRS_PER_DEADLINE_CHECK = 16
#: Pairs of a part where somebody listens to how far the scoring is: a few parts a query, each still of whole batches.
PAIRS_PER_REPORT = 32

#: Called with how many pairs have been scored so far.
Report = Callable[[int], None]
AReport = Callable[[int], Awaitable[None]]


class StopRule(Protocol):
    """Says when the rest of a query's candidates can be left unscored."""

    @property
    def looks(self) -> Sequence[int]:
        """After how many scored candidates to ask, in rising order."""
        ...

    def enough(self, scores: NDArray[np.float64]) -> bool:
        """Tell whether the rest is not needed; the scores have shape ``(n,)``, NaN where there is none yet."""
        ...


@dataclass(frozen=True, slots=True)
class Scored:
    """What a cross-encoder said of one query's pairs.

    Attributes:
        scores: Shape ``(n,)``, NaN where a pair was not scored.
        truncated: Shape ``(n,)``, of meaning where there is a score; None where the cross-encoder does not tell.
        unscored: Why some were not scored; None where all were.
    """

    scores: NDArray[np.float64]
    truncated: NDArray[np.bool_] | None
    unscored: Unscored | None


def score(
    scorer: BaseCrossEncoder,
    pairs: Pairs,
    *,
    deadline: float | None = None,
    stop: StopRule | None = None,
    report: Report | None = None,
) -> Scored:
    """Score pairs, those at the head of the list first.

    Args:
        scorer: Any cross-encoder.
        pairs: (query, passage) pairs.
        deadline: A time of `time.monotonic`. A `PairScorer` keeps it by itself, any other cross-encoder is not asked
            for further pairs after it. None is no limit.
        stop: Ends the scoring when the rest is not needed; None scores all.
        report: Told after each part how many have been scored; there are more parts then.

    Raises:
        ScoringError: If there is not one finite number a pair.
    """
    progress = _Progress(scorer, len(pairs), deadline, stop, reports=report is not None)
    while (part := progress.next_part()) is not None:
        _score_part(scorer, pairs, part, progress)
        if report is not None:
            report(progress.count)
    return progress.scored()


async def ascore(
    scorer: BaseCrossEncoder,
    pairs: Pairs,
    *,
    deadline: float | None = None,
    stop: StopRule | None = None,
    report: AReport | None = None,
) -> Scored:
    """Do the same without blocking the event loop: awaited where the scorer can be, else in a thread."""
    progress = _Progress(scorer, len(pairs), deadline, stop, reports=report is not None)
    while (part := progress.next_part()) is not None:
        if isinstance(scorer, AsyncPairScorer):
            answer = await scorer.ascore_pairs(pairs[part], **progress.limit)
            progress.take(part, answer.scores, answer.truncated)
        else:
            # LangChain's, because asyncio's own leaves the caller waiting for ever where a StopIteration is raised.
            await run_in_executor(None, _score_part_in_time, scorer, pairs, part, progress)
        if report is not None:
            await report(progress.count)
    return progress.scored()


def _score_part(scorer: BaseCrossEncoder, pairs: Pairs, part: slice, progress: "_Progress") -> None:
    if isinstance(scorer, PairScorer):
        answer = scorer.score_pairs(pairs[part], **progress.limit)
        progress.take(part, answer.scores, answer.truncated)
    else:
        progress.take(part, scorer.score(pairs[part]))


def _score_part_in_time(scorer: BaseCrossEncoder, pairs: Pairs, part: slice, progress: "_Progress") -> None:
    if not progress.ran_out():  # It may have waited for a thread.
        _score_part(scorer, pairs, part, progress)


class _Progress:
    """How far the scoring of one query's pairs has come.

    Args:
        scorer: The cross-encoder.
        count: How many pairs there are.
        deadline: As for `score`.
        stop: As for `score`.
        reports: Whether somebody is told of each part.
    """

    def __init__(
        self, scorer: Any, count: int, deadline: float | None, stop: StopRule | None, *, reports: bool
    ) -> None:
        self._scorer, self._deadline, self._stop, self._reports = scorer, deadline, stop, reports
        self._keeps_deadlines = isinstance(scorer, PairScorer | AsyncPairScorer)
        self._scores = np.full(count, np.nan)
        self._truncated = np.zeros(count, bool) if self._keeps_deadlines else None
        self._parts = self._divided(count)
        self._unscored: Unscored | None = None

    @property
    def limit(self) -> dict[str, Any]:
        """What a scorer that keeps deadlines is told of this one; nothing where there is none."""
        return {} if self._deadline is None else {"deadline": self._deadline}

    @property
    def count(self) -> int:
        """How many pairs have a score."""
        return int(np.count_nonzero(~np.isnan(self._scores)))

    def next_part(self) -> slice | None:
        """Return the next pairs to score, None where that was all or where there is no time left."""
        part = next(self._parts, None)
        if part is None or self._unscored is not None:
            return None
        return None if self.ran_out() else part

    def ran_out(self) -> bool:
        """Tell whether there is no time left; if so, what has no score yet keeps none."""
        if self._deadline is None or time.monotonic() < self._deadline:
            return False
        self._unscored = "timeout"
        return True

    def take(self, part: slice, scores: Any, truncated: NDArray[np.bool_] | None = None) -> None:
        """Keep what the scorer said of a part."""
        expected = len(self._scores[part])
        may_lack = self._keeps_deadlines and self._deadline is not None
        values = checked_scores(scores, expected, self._scorer, may_lack=may_lack)
        self._scores[part] = values
        if truncated is None:
            # One that keeps deadlines need not know what it cuts.
            self._truncated = None
        elif self._truncated is not None:
            self._truncated[part] = truncated
        if np.isnan(values).any():
            self._unscored = "timeout"
        elif self._stop is not None and np.isnan(self._scores).any() and self._stop.enough(self._scores):
            self._unscored = "early_stop"

    def scored(self) -> Scored:
        """Return what there is."""
        return Scored(self._scores, self._truncated, self._unscored)

    def _divided(self, count: int) -> Iterator[slice]:
        ends: Iterable[int] = ()
        if self._stop is not None:
            ends = [look for look in self._stop.looks if look < count]
        elif self._deadline is not None and not self._keeps_deadlines:
            ends = range(PAIRS_PER_DEADLINE_CHECK, count, PAIRS_PER_DEADLINE_CHECK)
        elif self._reports:
            ends = range(PAIRS_PER_REPORT, count, PAIRS_PER_REPORT)
        return (slice(start, end) for start, end in pairwise([0, *ends, count]))


def checked_scores(scores: Any, expected: int, scorer: Any, *, may_lack: bool = False) -> NDArray[np.float64]:
    """Turn what a foreign cross-encoder returns (list, array, iterator) into finite numbers.

    Args:
        scores: What it returned.
        expected: How many numbers there must be.
        scorer: The cross-encoder, for the message.
        may_lack: Whether NaN may stand where a deadline came first.

    Raises:
        ScoringError: If there are not `expected` finite numbers.
    """
    try:
        values = np.asarray(list(scores), float)
    except (TypeError, ValueError) as error:
        raise ScoringError(
            f"{type(scorer).__name__} gave {scores!r} for {expected} pairs, expected as many numbers ({error})."
        ) from error
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.shape != (expected,):
        raise ScoringError(
            f"{type(scorer).__name__} gave scores of shape {values.shape} for {expected} pairs, expected one "
            "number a pair. A model with several labels has to be reduced to one score first."
        )
    wrong = np.isinf(values) if may_lack else ~np.isfinite(values)
    if wrong.any():
        bad = int(np.flatnonzero(wrong)[0])
        raise ScoringError(
            f"{type(scorer).__name__} gave {values[bad]} for pair {bad}; a score must be a finite number. "
            "Check the model's weights and precision."
        )
    return values
