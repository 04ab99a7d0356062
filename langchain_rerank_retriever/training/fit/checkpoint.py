"""Checkpoints of a training run: the trainer's own, made whole before they count."""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from langchain_rerank_retriever.files import make_folder
from langchain_rerank_retriever.training.fit.schedule import Schedule
from langchain_rerank_retriever.training.processes import ALONE, Together
from langchain_rerank_retriever.training.run_folder import facts_of, newest_checkpoint, seal

#: What a kill may cost. Writing one of a small model takes about a second, so this costs one or two in a hundred.
CHECKPOINT_SECONDS = 60.0

#: One of a large model takes longer, and is written less often: it never costs more than two in a hundred.
TIMES_ITS_COST = 50.0

#: The trainer's arguments as a pickle; nothing reads it.
_ARGUMENTS = "training_args.bin"


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """Where a training run keeps its checkpoints.

    Attributes:
        folder: Of this run alone; made when the first one is kept.
        elapsed: Tells the seconds that the whole tuning run has taken so far; noted with each checkpoint.
        every: Seconds between two.
        times_its_cost: Seconds between two are also so many times what the last one took to write.
    """

    folder: Path
    elapsed: Callable[[], float]
    every: float = CHECKPOINT_SECONDS
    times_its_cost: float = TIMES_ITS_COST

    @property
    def scratch(self) -> Path:
        """Where the trainer writes: on the same disk, under another name."""
        return self.folder.with_name(f"{self.folder.name}.writing")

    def newest(self) -> tuple[Path, dict[str, Any]] | None:
        """Return the newest whole checkpoint and what was noted with it."""
        path = newest_checkpoint(self.folder)
        facts = None if path is None else facts_of(path)
        return None if path is None or facts is None else (path, facts)


class Checkpointing(TrainerCallback):
    """Has the trainer write a checkpoint from time to time, and gives it its name when it is whole.

    Args:
        checkpoints: Where to.
        schedule: Whose spent seconds are noted, since a learning rate by the clock must go on where it was.
        together: The processes that train. The main one says when, and gives the name; the others write what is theirs
            alone, the state of their random numbers.
    """

    def __init__(self, checkpoints: Checkpoints, schedule: Schedule, together: Together = ALONE) -> None:
        self._checkpoints = checkpoints
        self._schedule = schedule
        self._together = together
        self._last = self._asked = time.monotonic()
        self._cost = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Start the clock; called by the trainer."""
        self._last = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:  # noqa: ARG002
        """Ask for a checkpoint when it is time; called by the trainer."""
        due = max(self._checkpoints.every, self._checkpoints.times_its_cost * self._cost)
        if self._together.same(time.monotonic() - self._last >= due) and not control.should_training_stop:
            control.should_save = True
            self._asked = time.monotonic()
        return control

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Seal what the trainer has written; called by the trainer."""
        self._together.wait()
        if not self._together.main:
            return
        written = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        (written / _ARGUMENTS).unlink(missing_ok=True)
        folder = self._checkpoints.folder
        make_folder(folder)
        older = list(folder.iterdir())
        kept = folder / f"step-{state.global_step}"
        shutil.rmtree(kept, ignore_errors=True)  # a damaged one, which the run did not resume from
        facts = {
            "elapsed": self._checkpoints.elapsed(),
            "spent_seconds": self._schedule.spent_seconds,
            "budget_seconds": self._schedule.budget.seconds,
        }
        seal(written, kept, facts)
        for one in older:
            if one != kept:
                shutil.rmtree(one, ignore_errors=True)
        self._last = time.monotonic()
        self._cost = self._last - self._asked
