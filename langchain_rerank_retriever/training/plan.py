"""How the promised time is shared out: what indexing and judging need comes first, training gets the rest."""

import math
import time
from dataclasses import dataclass, field, replace
from numbers import Integral, Real
from typing import Any

from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.training.fit.schedule import Budget

#: Of the time left for training, the cross-encoder gets most: it starts from nothing and pays most for each step.
BI_ENCODER_SHARE = 0.3

#: What the cross-encoder takes of the time left where the bi-encoder is to learn from it afterwards, and what that
#: distillation takes of the time left then; neither was compared with other shares.
CROSS_ENCODER_SHARE = 0.7
DISTILLATION_SHARE = 0.9

#: Of the budget, what must be left for training for it to be worth while.
WORTHWHILE_SHARE = 0.12

#: Kept back for fitting the blend, timing queries and writing the bundle.
CLOSING_SECONDS = 15.0
CLOSING_SHARE = 0.03

#: A model is trained for at least this long, even where indexing has used up the budget.
LEAST_SECONDS = 3.0

#: Depths of re-ranking that may be judged, and the share of the budget that scoring for it may take. Measured on
#: several data sets: 20 to 30 keep all of the gain.
JUDGED_DEPTHS = (30, 20, 15, 10)
JUDGING_SHARE = 0.2

#: Measured: each side's first 30 of dense and lexical recall overlap so that their union holds 1.6 times as many.
UNION_FACTOR = 1.6


@dataclass(frozen=True, slots=True)
class Plan:
    """The promise of a tuning run.

    Attributes:
        seconds: Wall time for everything; None where `steps` is given.
        steps: Optimiser steps of each encoder; None where the clock or the epochs decide.
        epochs: How often each encoder sees its training examples; None where the clock or the steps decide.
        started: `time.monotonic` at the beginning.
    """

    seconds: float | None
    steps: int | None
    epochs: float | None = None
    started: float = field(default_factory=time.monotonic)

    @classmethod
    def of(
        cls, minutes: float | None, steps: int | None, epochs: float | None, *, default_minutes: float
    ) -> "Plan":
        """Check what the user asked for.

        Raises:
            InvalidArgumentError: If more than one is given, or one is not above 0.
        """
        asked = {"minutes": minutes, "steps": steps, "epochs": epochs}
        given = [name for name, value in asked.items() if value is not None]
        if len(given) > 1:
            raise InvalidArgumentError(
                f"Expected one of minutes, steps and epochs, got {' and '.join(given)}; leave out all but one."
            )
        if steps is not None:
            if not _is(Integral, steps) or steps < 1:
                raise InvalidArgumentError(f"steps must be a whole number of at least 1, got {steps!r}.")
            return cls(None, int(steps))
        if epochs is not None:
            return cls(None, None, _positive("epochs", epochs))
        return cls(60.0 * _positive("minutes", default_minutes if minutes is None else minutes), None)

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning, those of killed runs that this one goes on from included."""
        return time.monotonic() - self.started

    def resumed(self, elapsed: float) -> "Plan":
        """Return the plan of a run that has already taken some seconds."""
        return replace(self, started=self.started - elapsed)

    def judged_depth(self, *, queries: int, pair_seconds: float, within: float = float("inf")) -> int:
        """Choose how many candidates of each side the cross-encoder scores for judging.

        Args:
            queries: How many held-out queries.
            pair_seconds: Seconds of scoring one pair.
            within: Seconds that scoring may take at most, beside its share of the budget.
        """
        if self.seconds is None:
            return JUDGED_DEPTHS[0]
        most = min(JUDGING_SHARE * self.seconds, within)
        affordable = [
            depth for depth in JUDGED_DEPTHS if scoring_seconds(queries, depth, pair_seconds) <= most
        ]
        return affordable[0] if affordable else JUDGED_DEPTHS[-1]

    def bi_encoder(self, *, epoch_steps: float, still_needed: float, cross_encoder_too: bool) -> Budget:
        """Share out what is left for training.

        Args:
            epoch_steps: Steps that see every training example once.
            still_needed: Seconds that indexing and judging will still take.
            cross_encoder_too: Whether a cross-encoder will be trained after it.
        """
        return self._budget(epoch_steps, still_needed, BI_ENCODER_SHARE if cross_encoder_too else 1.0)

    def cross_encoder(
        self, *, epoch_steps: float, still_needed: float, distillation_too: bool = False
    ) -> Budget:
        """Give the cross-encoder all that is left, or most of it where the bi-encoder is to learn from it."""
        return self._budget(epoch_steps, still_needed, CROSS_ENCODER_SHARE if distillation_too else 1.0)

    def distillation(self, *, epoch_steps: float, still_needed: float) -> Budget:
        """Give the distillation into the bi-encoder most of what the cross-encoder left."""
        return self._budget(epoch_steps, still_needed, DISTILLATION_SHARE)

    def affordable(self, *, indexing: float, judging: float) -> tuple[bool, bool]:
        """Tell which encoders there is time for: the bi-encoder, the cross-encoder.

        An encoder is trained where that leaves at least `WORTHWHILE_SHARE` of the budget for it: with less it would
        learn next to nothing. Where there is time for one of the two only, it is the bi-encoder, which learns faster.

        Args:
            indexing: Seconds of indexing anew and of asking the held-out queries, which a tuned bi-encoder needs.
            judging: Seconds of scoring the held-out queries' candidates, which a cross-encoder needs.
        """
        if self.seconds is None:
            return True, True
        spare, least = self.left(), WORTHWHILE_SHARE * self.seconds
        if spare - indexing - judging >= least:
            return True, True
        if spare - indexing >= least:
            return True, False
        return False, spare - judging >= least

    def too_short_to_index_twice(self, *, once: float, done: float) -> bool:
        """Tell whether the documents cannot be indexed now and once more within the promise.

        Args:
            once: Seconds of indexing all documents.
            done: The share of them that is indexed.
        """
        return once * (1.0 - done) + once > self.left()

    @staticmethod
    def least_seconds(*, indexing: float) -> float:
        """Give the shortest promise that leaves time for training and judging beside indexing twice.

        Args:
            indexing: Seconds of indexing all documents.
        """
        return 2 * indexing / (1.0 - WORTHWHILE_SHARE - JUDGING_SHARE - CLOSING_SHARE)

    def left(self) -> float:
        """Seconds left before what closes a run: fitting the blend, timing queries, writing the bundle."""
        if self.seconds is None:
            return float("inf")
        closing = min(CLOSING_SECONDS, 0.15 * self.seconds) + CLOSING_SHARE * self.seconds
        return self.seconds - closing - self.elapsed

    def _budget(self, epoch_steps: float, still_needed: float, share: float) -> Budget:
        if self.steps is not None:
            return Budget(steps=self.steps)
        if self.epochs is not None:
            return Budget(steps=max(1, math.ceil(self.epochs * epoch_steps)))
        return Budget(seconds=max(LEAST_SECONDS, share * (self.left() - still_needed)))


def _positive(name: str, value: Any) -> float:
    if not _is(Real, value) or not 0 < value < float("inf"):
        raise InvalidArgumentError(f"{name} must be a number above 0, got {value!r}.")
    return float(value)


def _is(kind: type[Any], value: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def scoring_seconds(queries: int, depth: int, pair_seconds: float) -> float:
    """Estimate how long it takes to score the candidates of some queries."""
    return UNION_FACTOR * depth * queries * pair_seconds
