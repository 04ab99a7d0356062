"""Fine-tune the bi-encoder on queries and their documents, with sentence-transformers' own trainer and loss."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain_rerank_retriever.training.schedule import Budget, Schedule

#: Recipe found by hand on several data sets: many cheap steps beat few long ones.
BATCH_SIZE = 32
LEARNING_RATE = 4e-5
TRAIN_TOKENS = 128


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a training run did.

    Attributes:
        steps: Optimiser steps taken.
        loss: Mean training loss.
    """

    steps: int
    loss: float


def fit_bi_encoder(
    model: Any,
    pairs: Sequence[tuple[str, str]],
    *,
    folder: Path,
    budget: Budget,
    seed: int,
    bf16: bool,
    query_prompt: str = "",
    document_prompt: str = "",
    on_progress: Callable[[float], None] | None = None,
) -> Fitted:
    """Train a SentenceTransformer in place and save it.

    The loss is the symmetric in-batch softmax over cosine similarities times 20 (InfoNCE, van den Oord et al. 2018;
    sentence-transformers' `MultipleNegativesRankingLoss` in both directions). No batch holds a text twice, since a
    second copy of a positive would count as a negative.

    Args:
        model: A float32 `SentenceTransformer`; trained in place, its maximum length is as before afterwards.
        pairs: (query, relevant passage); at least one.
        folder: Where the trained model is saved; new or empty.
        budget: How long.
        seed: Of shuffling and dropout.
        bf16: Whether to train under bfloat16 autocast.
        query_prompt: Put before every query, as when serving.
        document_prompt: Put before every passage.
        on_progress: Called with the spent share of the budget.
    """
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.base.sampler import BatchSamplers
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    schedule = Schedule(budget, on_progress)
    switch_off_dropout(model)
    without_model_card(model)
    served_tokens = model.max_seq_length
    model.max_seq_length = min(TRAIN_TOKENS, served_tokens or TRAIN_TOKENS)
    prompts = {"query": query_prompt, "passage": document_prompt}
    with tempfile.TemporaryDirectory() as scratch:
        trainer = SentenceTransformerTrainer(
            model=model,
            args=SentenceTransformerTrainingArguments(
                output_dir=scratch,
                per_device_train_batch_size=BATCH_SIZE,
                learning_rate=LEARNING_RATE,
                batch_sampler=BatchSamplers.NO_DUPLICATES,
                prompts={name: prompt for name, prompt in prompts.items() if prompt} or None,
                **common_arguments(schedule, seed=seed, bf16=bf16),
            ),
            train_dataset=Dataset.from_dict(
                {"query": [q for q, _ in pairs], "passage": [p for _, p in pairs]}
            ),
            loss=MultipleNegativesRankingLoss(
                model, directions=("query_to_doc", "doc_to_query"), partition_mode="per_direction"
            ),
        )
        fitted = run(trainer, schedule)
    model.max_seq_length = served_tokens
    model.save_pretrained(str(folder), create_model_card=False)
    return fitted


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
