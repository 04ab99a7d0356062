"""What every training run shares: the trainer's arguments, and a learning rate that follows the budget."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from langchain_rerank_retriever.runtime.select import bfloat16_is_faster
from langchain_rerank_retriever.training.fit.checkpoint import Checkpointing, Checkpoints
from langchain_rerank_retriever.training.fit.recipe import DEFAULT_RECIPE, Recipe
from langchain_rerank_retriever.training.fit.schedule import Budget, Schedule


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a training run did.

    Attributes:
        steps: Optimiser steps taken, those of killed runs before included.
        loss: Mean training loss, since the last resuming where there was one.
    """

    steps: int
    loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """How one encoder is trained, its data apart.

    Attributes:
        folder: Where the trained model goes; new or empty.
        budget: How long.
        seed: Of everything random.
        recipe: The choices.
        bf16: Whether to train under bfloat16 autocast; None is where this machine is faster at it.
        checkpoints: Where checkpoints are kept; None keeps none.
        stopped: Asked after every step; True ends the training early.
        on_progress: Told the spent share of the budget after every step.
    """

    folder: Path
    budget: Budget
    seed: int
    recipe: Recipe = DEFAULT_RECIPE
    bf16: bool | None = None
    checkpoints: Checkpoints | None = None
    stopped: Callable[[], bool] | None = None
    on_progress: Callable[[float], None] | None = None

    def schedule(self) -> Schedule:
        """Make the schedule of one run."""
        return Schedule(self.budget, self.on_progress, self.stopped)

    @property
    def kept(self) -> Checkpoints | None:
        """Where checkpoints are kept; None for adapters, whose model in training is not the one that is saved."""
        return self.checkpoints if self.recipe.lora_rank is None else None

    @property
    def half_precision(self) -> bool:
        """Whether the run is under bfloat16 autocast."""
        return _half_is_faster() if self.bf16 is None else self.bf16

    @contextmanager
    def scratch(self) -> Iterator[str]:
        """Give the trainer a folder to write in, on the disk where the checkpoints are kept, and remove it."""
        if self.kept is None:
            with TemporaryDirectory() as folder:
                yield folder
            return
        yield str(self.kept.scratch)
        shutil.rmtree(self.kept.scratch, ignore_errors=True)


def common_arguments(schedule: Schedule, *, seed: int, bf16: bool) -> dict[str, Any]:
    """Give the trainer arguments that both encoders share."""
    import torch

    return {
        "max_steps": schedule.max_steps,
        "seed": seed,
        "bf16": bf16,
        "use_cpu": not torch.cuda.is_available(),
        "weight_decay": 0.01,
        "max_grad_norm": 1.0,
        "save_strategy": "no",
        "eval_strategy": "no",
        "logging_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": False,
    }


def _half_is_faster() -> bool:
    import torch

    return torch.cuda.is_available() or bfloat16_is_faster()


def make_ready(model: Any) -> None:
    """Set up a model for training on what this machine is fast at; what is saved does not change by it."""
    switch_off_dropout(model)
    attend_eagerly(model)


def attend_eagerly(model: Any) -> None:
    """On a CPU, train with attention written out.

    The backward pass of torch's fused attention is slow there: a step of 32 pairs of 128 tokens in bf16 took 0.71 s
    with it and 0.46 s without, on two cores. Written out it needs memory for a matrix of length times length a head,
    little at the lengths that are trained.
    """
    import torch

    if torch.cuda.is_available():
        return
    for module in model.modules():
        if hasattr(module, "set_attn_implementation"):
            module.set_attn_implementation("eager")


def switch_off_dropout(model: Any) -> None:
    """Train without dropout.

    On a CPU it costs up to half of the time: drawing masks, and attention that cannot use its fused kernel. A run of a
    few hundred steps sees each text a few times at most, and needs steps more than regularisation. What is saved
    does not change: dropout is a setting of training alone.
    """
    from torch import nn

    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        # Some language models hand the number itself to the attention kernel.
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0


def without_model_card(model: Any) -> None:
    """Keep the trainer from writing model cards.

    For one it picks examples, with a bar of its own, and asks the model hub what the model was made from.
    """
    model.model_card_data.generate_widget_examples = False
    model.model_card_data.widget = [{"text": ""}]  # it looks for examples only where there are none
    model.save_pretrained = partial(model.save_pretrained, create_model_card=False)


def _what_is_left(budget: Budget, facts: dict[str, Any]) -> Budget:
    """Give a resumed run its old budget, or what there is time for now, where that is less."""
    if budget.seconds is None:
        return budget
    return Budget(seconds=min(facts["budget_seconds"], facts["spent_seconds"] + budget.seconds))


def run(trainer: Any, schedule: Schedule, checkpoints: Checkpoints | None = None) -> Fitted:
    """Train with a learning rate that follows the schedule, and stop at its end.

    Args:
        trainer: A transformers trainer. Its model is trained in place.
        schedule: The budget and whom to tell.
        checkpoints: Where checkpoints are kept; training goes on from the newest whole one. None keeps none.
    """
    from torch.optim.lr_scheduler import LambdaLR
    from transformers.trainer_callback import PrinterCallback

    trainer.remove_callback(PrinterCallback)  # it would print to standard output, which is for data
    trainer.create_optimizer()
    trainer.lr_scheduler = LambdaLR(trainer.optimizer, schedule.learning_rate_factor)
    trainer.add_callback(schedule)
    newest = None
    if checkpoints is not None:
        trainer.add_callback(Checkpointing(checkpoints, schedule))
        newest = checkpoints.newest()
    if newest is not None:
        schedule.go_on(_what_is_left(schedule.budget, newest[1]), newest[1]["spent_seconds"])
    result = trainer.train(resume_from_checkpoint=None if newest is None else str(newest[0]))
    trainer.model.eval()
    return Fitted(int(result.global_step), float(result.training_loss))
