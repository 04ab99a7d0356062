"""Training runs as parts of a tuning run: each is done once, however often the tuning run is killed."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import Any

from langchain_rerank_retriever.training.fit.checkpoint import Checkpoints
from langchain_rerank_retriever.training.fit.recipe import Recipe
from langchain_rerank_retriever.training.fit.schedule import Budget
from langchain_rerank_retriever.training.fit.trainer import Fitted, Training
from langchain_rerank_retriever.training.interrupt import ends_early
from langchain_rerank_retriever.training.plan import Plan
from langchain_rerank_retriever.training.processes import together
from langchain_rerank_retriever.training.progress import Phases
from langchain_rerank_retriever.training.run_folder import RunFolder


class EncoderRuns:
    """Trains encoders into the folder of a run.

    Args:
        run: The folder.
        plan: Tells the time.
        phases: Shows progress.
        recipe: The choices.
        seed: Of everything random.

    Attributes:
        recipe: The choices.
        ended_early: Whether the user asked for the end of a training run; what follows is then cut short, too.
        report: What is to be said of each run.
    """

    def __init__(self, run: RunFolder, plan: Plan, phases: Phases, recipe: Recipe, seed: int) -> None:
        self._run, self._plan, self._phases = run, plan, phases
        self.recipe, self._seed = recipe, seed
        self.ended_early = False
        self.report: dict[str, Any] = {}

    def train(self, name: str, budget: Callable[[], Budget], train: Callable[[Training], Fitted]) -> Path:
        """Train an encoder, or find it trained already.

        Args:
            name: Of the part.
            budget: How long; asked at the last moment.
            train: Trains and saves the model.

        Returns:
            The folder of the trained model.
        """
        if self._run.facts(name) is None:
            self._train(name, budget, train)
        facts = dict(self._run.facts(name) or {})
        del facts["elapsed"]
        self.ended_early |= facts["ended_early"]
        self.report[name] = facts
        return self._run.path(name)

    def _train(self, name: str, budget: Callable[[], Budget], train: Callable[[Training], Fitted]) -> None:
        started = monotonic()
        with (
            self._phases.phase(f"train {name.replace('_', '-')}") as update,
            ends_early() as stopped,
            self._run.writing(name) as part,
        ):
            training = Training(
                folder=part.folder,
                budget=budget(),
                seed=self._seed,
                recipe=self.recipe,
                checkpoints=Checkpoints(self._run.checkpoints(name), lambda: self._plan.elapsed),
                stopped=stopped,
                on_progress=update,
                together=together(),
            )
            part.facts.update(asdict(train(training)))
            part.facts.update(
                seconds=round(monotonic() - started, 1), ended_early=stopped(), elapsed=self._plan.elapsed
            )
        # Pressed while the part was being written, it is for what comes next.
        self.ended_early |= stopped()
