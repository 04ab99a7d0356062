"""What every training run shares: the trainer's arguments, and a learning rate that follows the budget."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from langchain_rerank_retriever.runtime.choosing.select import bfloat16_is_faster
from langchain_rerank_retriever.training.fit.batches import Batches, Shares, sampler_of
from langchain_rerank_retriever.training.fit.checkpoint import Checkpointing, Checkpoints
from langchain_rerank_retriever.training.fit.recipe import DEFAULT_RECIPE, Recipe
from langchain_rerank_retriever.training.fit.schedule import Budget, Schedule
from langchain_rerank_retriever.training.processes import ALONE, Together


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
        together: The processes that train; a step of all takes as many rows of each as a step of one.
    """

    folder: Path
    budget: Budget
    seed: int
    recipe: Recipe = DEFAULT_RECIPE
    bf16: bool | None = None
    checkpoints: Checkpoints | None = None
    stopped: Callable[[], bool] | None = None
    on_progress: Callable[[float], None] | None = None
    together: Together = ALONE

    def schedule(self) -> Schedule:
        """Make the schedule of one run."""
        return Schedule(self.budget, self.on_progress, self.stopped, self.together)

    def batches(self, kind: Batches) -> Any:
        """Give what the trainer takes as its batch sampler."""
        return sampler_of(kind) if self.together.size == 1 else Shares(kind, self.together.size)

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
        if self.together.main:
            shutil.rmtree(self.kept.scratch, ignore_errors=True)


def arguments(kind: type[Any], training: Training, schedule: Schedule, **settings: Any) -> Any:
    """Make a trainer's arguments, for one device.

    Where one process sees several GPUs, transformers would cut each batch up over them with `nn.DataParallel`, after
    making it as many times as large: other batches than the recipe's, a model copied at every step, and losses that are
    given a wrapped model.

    Args:
        kind: Of sentence-transformers' arguments.
        training: How to train.
        schedule: Of the run.
        settings: What this run has for itself.
    """
    if training.together.size > 1:
        # What the trainer would set and warn of; `Shares` sees to it.
        settings["dataloader_drop_last"] = True
    made = kind(**common_arguments(schedule, seed=training.seed, bf16=training.half_precision), **settings)
    made._n_gpu = min(1, made.n_gpu)
    return made


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
        # Of several processes: these models' buffers are constants, and one that is written anew between two forward
        # passes of a step is an error to autograd.
        "ddp_broadcast_buffers": False,
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


def _start(checkpoints: Checkpoints, budget: Budget) -> dict[str, Any] | None:
    """Say, as JSON, where a training goes on from, and with what budget; None where it begins.

    A resumed run gets its old budget, or what there is time for now, where that is less.
    """
    newest = checkpoints.newest()
    if newest is None:
        return None
    path, facts = newest
    if budget.seconds is not None:
        seconds = min(facts["budget_seconds"], facts["spent_seconds"] + budget.seconds)
        budget = Budget(seconds=seconds)
    return {"checkpoint": str(path), "budget": asdict(budget), "spent_seconds": facts["spent_seconds"]}


def run(
    trainer: Any, schedule: Schedule, checkpoints: Checkpoints | None = None, batches: Any = None
) -> Fitted:
    """Train with a learning rate that follows the schedule, and stop at its end.

    Args:
        trainer: A transformers trainer. Its model is trained in place.
        schedule: The budget and whom to tell.
        checkpoints: Where checkpoints are kept; training goes on from the newest whole one. None keeps none.
        batches: The trainer's batch sampler, where it is to be told the epochs.
    """
    from torch.optim.lr_scheduler import LambdaLR
    from transformers.trainer_callback import PrinterCallback

    together = schedule.together
    trainer.remove_callback(PrinterCallback)  # it would print to standard output, which is for data
    trainer.create_optimizer()
    trainer.lr_scheduler = LambdaLR(trainer.optimizer, schedule.learning_rate_factor)
    trainer.add_callback(schedule)
    if isinstance(batches, Shares):
        trainer.add_callback(batches)
    start = None
    if checkpoints is not None:
        trainer.add_callback(Checkpointing(checkpoints, schedule, together))
        start = together.same(_start(checkpoints, schedule.budget) if together.main else None)
    if start is not None:
        schedule.go_on(Budget(**start["budget"]), start["spent_seconds"])
    result = trainer.train(resume_from_checkpoint=None if start is None else start["checkpoint"])
    trainer.model.eval()
    return Fitted(int(result.global_step), together.mean(float(result.training_loss)))
