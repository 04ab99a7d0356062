"""Train the cross-encoder listwise on hard negatives, with sentence-transformers' own trainer and loss."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain_rerank_retriever.training.fit.schedule import Budget, Schedule
from langchain_rerank_retriever.training.fit.trainer import (
    Fitted,
    common_arguments,
    run,
    switch_off_dropout,
    without_model_card,
)

#: Recipe found by hand: 4 queries with 8 passages each a step; the new head learns five times as fast as the rest.
LISTS_PER_STEP = 4
LEARNING_RATE = 1.5e-4
HEAD_LEARNING_RATE = 5 * LEARNING_RATE
FINE_TUNE_LEARNING_RATE = 3e-5
MAX_TOKENS = 128

#: ListNet's target is the softmax of the labels. At 10 the one positive gets 0.9997 of it among 8 passages, which
#: makes the loss the plain softmax cross-entropy; at 1 it would get only 0.28.
POSITIVE_LABEL = 10.0


@dataclass(frozen=True, slots=True)
class PassageList:
    """One query with passages to order: the first is relevant, the rest are not."""

    query: str
    passages: tuple[str, ...]


def warm_start(bi_encoder_folder: Path, *, max_tokens: int = MAX_TOKENS) -> Any:
    """Make a `CrossEncoder` from a bi-encoder's language model: mean pooling, a tanh layer, one score.

    The layers on top are new and know nothing; the language model below already knows the user's texts.
    """
    import torch
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules import Dense, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    transformer = Transformer(str(bi_encoder_folder), model_kwargs={"use_safetensors": True})
    transformer.max_seq_length = max_tokens
    width = transformer.get_embedding_dimension()
    return CrossEncoder(
        modules=[
            transformer,
            Pooling(width, pooling_mode="mean"),
            Dense(width, width, activation_function=torch.nn.Tanh()),
            Dense(width, 1, activation_function=torch.nn.Identity(), module_output_name="scores"),
        ],
        activation_fn=torch.nn.Identity(),
    )


def fit_cross_encoder(
    model: Any,
    lists: Sequence[PassageList],
    *,
    folder: Path,
    budget: Budget,
    seed: int,
    bf16: bool,
    new_head: bool,
    on_progress: Callable[[float], None] | None = None,
) -> Fitted:
    """Train a CrossEncoder in place and save it.

    The loss is the softmax cross-entropy of each query's list (ListNet, Cao et al. 2007, with a one-hot target).

    Args:
        model: A float32 `CrossEncoder` with one label; trained in place.
        lists: At least one.
        folder: Where the trained model is saved; new or empty.
        budget: How long.
        seed: Of shuffling and dropout.
        bf16: Whether to train under bfloat16 autocast.
        new_head: Whether the layers on top are new (`warm_start`) and learn at a rate of their own.
        on_progress: Called with the spent share of the budget.
    """
    from datasets import Dataset
    from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments
    from sentence_transformers.cross_encoder.losses import ListNetLoss

    schedule = Schedule(budget, on_progress)
    switch_off_dropout(model)
    without_model_card(model)
    with tempfile.TemporaryDirectory() as scratch:
        trainer = CrossEncoderTrainer(
            model=model,
            args=CrossEncoderTrainingArguments(
                output_dir=scratch,
                per_device_train_batch_size=LISTS_PER_STEP,
                learning_rate=LEARNING_RATE if new_head else FINE_TUNE_LEARNING_RATE,
                learning_rate_mapping={r"\.linear\.": HEAD_LEARNING_RATE} if new_head else {},
                **common_arguments(schedule, seed=seed, bf16=bf16),
            ),
            train_dataset=Dataset.from_dict(
                {
                    "query": [one.query for one in lists],
                    "passages": [list(one.passages) for one in lists],
                    "labels": [[POSITIVE_LABEL] + [0.0] * (len(one.passages) - 1) for one in lists],
                }
            ),
            # All pairs of a step in one forward pass: they are short and of like length.
            loss=ListNetLoss(model, mini_batch_size=-1),
        )
        fitted = run(trainer, schedule)
    model.save_pretrained(str(folder), create_model_card=False)
    return fitted
