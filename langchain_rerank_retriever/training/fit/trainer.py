"""What every training run shares: the trainer's arguments, and a learning rate that follows the budget."""

from dataclasses import dataclass
from typing import Any

from langchain_rerank_retriever.training.fit.schedule import Schedule


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a training run did.

    Attributes:
        steps: Optimiser steps taken.
        loss: Mean training loss.
    """

    steps: int
    loss: float


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
    """Keep the trainer from picking examples for a model card, with a bar of its own: none is written."""
    model.model_card_data.generate_widget_examples = False
    model.model_card_data.widget = [{"text": ""}]  # it looks for examples only where there are none


def run(trainer: Any, schedule: Schedule) -> Fitted:
    """Train with a learning rate that follows the schedule, and stop at its end."""
    from torch.optim.lr_scheduler import LambdaLR
    from transformers.trainer_callback import PrinterCallback

    trainer.remove_callback(PrinterCallback)  # it would print to standard output, which is for data
    trainer.create_optimizer()
    trainer.lr_scheduler = LambdaLR(trainer.optimizer, schedule.learning_rate_factor)
    trainer.add_callback(schedule)
    result = trainer.train()
    trainer.model.eval()
    return Fitted(int(result.global_step), float(result.training_loss))
