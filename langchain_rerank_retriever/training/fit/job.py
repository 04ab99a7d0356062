"""What an encoder is to learn, as data: every process of a launch is given it and trains on its share."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from langchain_rerank_retriever.errors import DataError, LaunchError
from langchain_rerank_retriever.training.fit.checkpoint import Checkpoints
from langchain_rerank_retriever.training.fit.recipe import Recipe
from langchain_rerank_retriever.training.fit.schedule import Budget
from langchain_rerank_retriever.training.fit.trainer import Training
from langchain_rerank_retriever.training.processes import GONE, Together, is_about_another_process

Lesson = Literal["in-batch", "sentence-pairs", "distillation", "lists"]

_MODEL, _JOB = "model", "job.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What an encoder is to learn.

    Attributes:
        lesson: Which loss: `"in-batch"`, `"sentence-pairs"` and `"distillation"` are for bi-encoders, `"lists"` is for
            cross-encoders; which of the losses of each kind is in the recipe.
        columns: The training data, in the order in which the loss takes texts; its labels are named as the trainer
            expects.
        batch_size: Rows of a step, of each process.
        rate: Peak learning rate where all weights are trained.
        prompts: Column to what is put before its texts, as when serving.
        new_head: Whether a cross-encoder's layers on top are new and learn at a rate of their own.
        negatives: Of lists, negatives for each positive.
    """

    lesson: Lesson
    columns: Mapping[str, list[Any]]
    batch_size: int
    rate: float
    prompts: Mapping[str, str] = field(default_factory=dict)
    new_head: bool = False
    negatives: int = 0

    @property
    def rows(self) -> int:
        """How many rows there are to learn from."""
        return min(map(len, self.columns.values()), default=0)


@contextmanager
def shared(model: Any, job: Job, training: Training) -> Iterator[None]:
    """For the length of a training, have the other processes of the launch take part in it.

    The main process writes model and data into a folder beside the model to be, and names it to the others; see
    `received`. Of one process alone nothing is asked.

    Raises:
        DataError: There are fewer rows than processes.
        LaunchError: Another process is gone.
    """
    together = training.together
    if together.size == 1:
        yield
        return
    try:
        if together.main:
            _check_rows(job, together.size)
            with TemporaryDirectory(prefix=".shared-", dir=training.folder.parent) as folder:
                _write(Path(folder), model, job, training)
                together.same({"train": folder})
                yield
        else:
            yield
    except LaunchError:
        raise
    except RuntimeError as error:
        if is_about_another_process(error):
            raise LaunchError(GONE) from error
        raise


def received(folder: Path, together: Together) -> tuple[Path, Job, Training]:
    """Read what the main process has written.

    Returns:
        The folder of the model to train, what it is to learn, and how.

    Raises:
        LaunchError: It cannot be read here.
    """
    try:
        written = json.loads((folder / _JOB).read_text(encoding="utf-8"))
    except OSError as error:
        raise LaunchError(
            f"Process {together.rank} cannot read {folder}, where the main process keeps its work ({error}). Either "
            "that process has just ended, or this one is on a machine that does not see its disk: give an output_dir "
            "that all machines share."
        ) from error
    how = written["training"]
    recipe = how["recipe"] | {"matryoshka_dims": tuple(how["recipe"]["matryoshka_dims"])}
    kept = how["checkpoints"]
    training = Training(
        folder=folder,
        budget=Budget(**how["budget"]),
        seed=how["seed"],
        recipe=Recipe(**recipe),
        bf16=how["bf16"],
        checkpoints=None if kept is None else Checkpoints(Path(kept), lambda: 0.0),
        together=together,
    )
    return folder / _MODEL, Job(**written["job"]), training


def _write(folder: Path, model: Any, job: Job, training: Training) -> None:
    model.save_pretrained(str(folder / _MODEL))
    kept = training.kept
    how = {
        "budget": asdict(training.budget),
        "seed": training.seed,
        "recipe": asdict(training.recipe),
        "bf16": training.half_precision,
        "checkpoints": None if kept is None else str(kept.folder),
    }
    with (folder / _JOB).open("w", encoding="utf-8") as file:
        json.dump({"job": asdict(job), "training": how}, file)


def _check_rows(job: Job, processes: int) -> None:
    if job.rows < processes:
        raise DataError(
            f"There are {job.rows} rows to train on and {processes} processes to share them; launch fewer processes, "
            "or give more data."
        )
