"""One query's pairs through a cross-encoder, in parts: between two of them a deadline may end it.

What is scored and what is made of it is written once; asking the model and awaiting it are the only differences between
the two ways through.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from langchain_core.cross_encoders import BaseCrossEncoder
from numpy.typing import NDArray

from langchain_rerank_retriever.errors import ScoringError
from langchain_rerank_retriever.protocols import AsyncPairScorer, PairScorer, Unscored

Pairs = list[tuple[str, str]]

#: Pairs that a cross-encoder which keeps no deadline scores between two looks at the clock: a batch or two of a small
#: model.
PAIRS_PER_DEADLINE_CHECK = 16


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


def score(scorer: BaseCrossEncoder, pairs: Pairs, *, deadline: float | None = None) -> Scored:
    """Score pairs, those at the head of the list first.

    Args:
        scorer: Any cross-encoder.
        pairs: (query, passage) pairs.
        deadline: A time of `time.monotonic`. A `PairScorer` keeps it by itself, any other cross-encoder is not asked
            for further pairs after it. None is no limit.

    Raises:
        ScoringError: If there is not one finite number a pair.
    """
    progress = _Progress(scorer, pairs, deadline)
    while (part := progress.next_part()) is not None:
        if isinstance(scorer, PairScorer):
            answer = scorer.score_pairs(pairs[part], **progress.limit)
            progress.take(part, answer.scores, answer.truncated)
        else:
            progress.take(part, scorer.score(pairs[part]))
    return progress.scored()


async def ascore(scorer: AsyncPairScorer, pairs: Pairs, *, deadline: float | None = None) -> Scored:
    """Do the same with a scorer that can be awaited."""
    progress = _Progress(scorer, pairs, deadline)
    while (part := progress.next_part()) is not None:
        answer = await scorer.ascore_pairs(pairs[part], **progress.limit)
        progress.take(part, answer.scores, answer.truncated)
    return progress.scored()


class _Progress:
    """How far the scoring of one query's pairs has come."""

    def __init__(self, scorer: Any, pairs: Pairs, deadline: float | None) -> None:
        self._scorer, self._deadline = scorer, deadline
        self._keeps_deadlines = isinstance(scorer, PairScorer | AsyncPairScorer)
        self._scores = np.full(len(pairs), np.nan)
        self._truncated = np.zeros(len(pairs), bool) if self._keeps_deadlines else None
        self._parts = self._divided(len(pairs))
        self._unscored: Unscored | None = None

    @property
    def limit(self) -> dict[str, Any]:
        """What a scorer that keeps deadlines is told of this one; nothing where there is none."""
        return {} if self._deadline is None else {"deadline": self._deadline}

    def next_part(self) -> slice | None:
        """Return the next pairs to score, None where that was all or where there is no time left."""
        part = next(self._parts, None)
        if part is None or self._unscored is not None:
            return None
        if self._deadline is not None and time.monotonic() >= self._deadline:
            self._unscored = "timeout"
            return None
        return part

    def take(self, part: slice, scores: Any, truncated: NDArray[np.bool_] | None = None) -> None:
        """Keep what the scorer said of a part."""
        expected = len(self._scores[part])
        may_lack = self._keeps_deadlines and self._deadline is not None
        values = checked_scores(scores, expected, self._scorer, may_lack=may_lack)
        self._scores[part] = values
        if self._truncated is not None and truncated is not None:
            self._truncated[part] = truncated
        if np.isnan(values).any():
            self._unscored = "timeout"

    def scored(self) -> Scored:
        """Return what there is."""
        return Scored(self._scores, self._truncated, self._unscored)

    def _divided(self, count: int) -> Iterator[slice]:
        step = count if self._deadline is None or self._keeps_deadlines else PAIRS_PER_DEADLINE_CHECK
        return (slice(start, start + step) for start in range(0, count, step))


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
