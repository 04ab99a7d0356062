"""How long a model trains: by the clock or by steps, with a learning rate that follows."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from transformers import TrainerCallback

from langchain_rerank_retriever.training.processes import ALONE, Together

#: Share of the budget in which the learning rate rises to its peak, before it falls linearly to zero.
WARM_UP = 0.1

#: More steps than any budget by the clock reaches; the clock ends such a run.
NO_STEP_LIMIT = 10_000_000


@dataclass(frozen=True, slots=True)
class Budget:
    """How much a model may train; exactly one of the two is set.

    Attributes:
        seconds: Wall time from the first step.
        steps: Optimiser steps; two runs of equal seed and steps give the same model on a CPU.
    """

    seconds: float | None = None
    steps: int | None = None


class Schedule(TrainerCallback):
    """Stops a trainer at the end of its budget, and tells the learning rate and progress on the way.

    Args:
        budget: The budget.
        on_progress: Called with the spent share of the budget, 0 to 1, after every step.
        stopped: Asked after every step; where it says True, that step was the last.
        together: The processes that train; all go by the main one's clock and end where it says.
    """

    def __init__(
        self,
        budget: Budget,
        on_progress: Callable[[float], None] | None = None,
        stopped: Callable[[], bool] | None = None,
        together: Together = ALONE,
    ) -> None:
        self.budget = budget
        self.together = together
        # What the main process said of this step: seconds spent, and whether to stop.
        self._said = (0.0, False)
        self._on_progress = on_progress
        self._stopped = stopped
        self._started = time.monotonic()
        self._already = 0.0
        self.steps = 0

    def go_on(self, budget: Budget, spent_seconds: float) -> None:
        """Take up the schedule of a run that was killed.

        Args:
            budget: That run's.
            spent_seconds: What it had spent of it.
        """
        self.budget = budget
        self._already = spent_seconds
        self._started = time.monotonic() - spent_seconds
        self._said = (spent_seconds, False)

    @property
    def spent_seconds(self) -> float:
        """Wall time of training so far, that of killed runs before included."""
        return time.monotonic() - self._started

    @property
    def max_steps(self) -> int:
        """The trainer's own limit of steps."""
        return NO_STEP_LIMIT if self.budget.steps is None else self.budget.steps

    @property
    def spent(self) -> float:
        """The spent share of the budget, 0 to 1."""
        if self.budget.steps is not None:
            return min(1.0, self.steps / self.budget.steps)
        seconds = self.spent_seconds if self.together.size == 1 else self._said[0]
        return min(1.0, seconds / float(self.budget.seconds or 1.0))

    def learning_rate_factor(self, _step: int) -> float:
        """Give the factor on the peak learning rate: a linear rise, then a linear fall by the spent budget."""
        spent = self.spent
        # Never quite zero, so that the first step of the rise already teaches something.
        return max(0.01, spent / WARM_UP) if spent < WARM_UP else (1.0 - spent) / (1.0 - WARM_UP)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Start the clock; called by the trainer."""
        self.steps = state.global_step
        self._started = time.monotonic() - self._already

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Have all processes go by the same clock, before the next learning rate is set; called by the trainer."""
        seconds, stopping = self.together.same((self.spent_seconds, self._stopping()))
        self._said = (seconds, stopping)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:  # noqa: ARG002
        """Count the step, tell progress, and stop at the end of the budget; called by the trainer."""
        self.steps = state.global_step
        if self._on_progress is not None:
            self._on_progress(self.spent)
        stopping = self._stopping() if self.together.size == 1 else self._said[1]
        if self.spent >= 1.0 or stopping:
            control.should_training_stop = True
        return control

    def _stopping(self) -> bool:
        return self._stopped is not None and self._stopped()
