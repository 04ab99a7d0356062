"""One run of sentence-transformers' trainer over a bi-encoder, whatever it is to learn."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from langchain_rerank_retriever.training.fit.adapters import learning_rate, low_rank
from langchain_rerank_retriever.training.fit.trainer import (
    Fitted,
    Training,
    common_arguments,
    make_ready,
    run,
    without_model_card,
)

#: Recipe found by hand on several data sets: many cheap steps beat few long ones.
TRAIN_TOKENS = 128


def train_embeddings(
    model: Any,
    columns: Mapping[str, list[Any]],
    loss: Any,
    training: Training,
    *,
    rate: float,
    batch_size: int,
    batch_sampler: Any = None,
    prompts: Mapping[str, str] | None = None,
) -> Fitted:
    """Train a SentenceTransformer in place on texts cut at 128 tokens, and save it.

    Args:
        model: A float32 `SentenceTransformer`; its maximum length is as before afterwards.
        columns: The training data, in the order in which the loss takes texts; its labels are named as the trainer
            expects.
        loss: A loss of sentence-transformers over the same model.
        training: How long, how, and where to.
        rate: Peak learning rate where all weights are trained.
        batch_size: Rows of a step.
        batch_sampler: Makes the batches; None draws them at random.
        prompts: Column to what is put before its texts, as when serving.
    """
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.base.sampler import BatchSamplers

    schedule = training.schedule()
    without_model_card(model)
    with (
        training.scratch() as scratch,
        cut_short(model, TRAIN_TOKENS),
        low_rank(model, training.recipe.lora_rank, seed=training.seed),
    ):
        make_ready(model)
        trainer = SentenceTransformerTrainer(
            model=model,
            args=SentenceTransformerTrainingArguments(
                output_dir=scratch,
                per_device_train_batch_size=batch_size,
                learning_rate=learning_rate(rate, training.recipe),
                batch_sampler=batch_sampler or BatchSamplers.BATCH_SAMPLER,
                prompts={name: prompt for name, prompt in (prompts or {}).items() if prompt} or None,
                **common_arguments(schedule, seed=training.seed, bf16=training.half_precision),
            ),
            train_dataset=Dataset.from_dict(dict(columns)),
            loss=loss,
        )
        fitted = run(trainer, schedule, training.kept)
    model.save_pretrained(str(training.folder))
    return fitted


@contextmanager
def cut_short(model: Any, tokens: int) -> Iterator[None]:
    """Cut texts at so many tokens while a model trains; its own maximum length is as before afterwards."""
    served = model.max_seq_length
    model.max_seq_length = min(tokens, served or tokens)
    try:
        yield
    finally:
        model.max_seq_length = served
