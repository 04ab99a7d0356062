"""One run of sentence-transformers' trainer over a bi-encoder, whatever it is to learn."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from langchain_rerank_retriever.training.fit.adapters import learning_rate, low_rank
from langchain_rerank_retriever.training.fit.batches import Batches
from langchain_rerank_retriever.training.fit.job import Job, Lesson, shared
from langchain_rerank_retriever.training.fit.losses import distillation_loss, in_batch_loss, pair_loss
from langchain_rerank_retriever.training.fit.trainer import (
    Fitted,
    Training,
    arguments,
    make_ready,
    run,
    without_model_card,
)

#: Recipe found by hand on several data sets: many cheap steps beat few long ones.
TRAIN_TOKENS = 128

#: How the batches of each lesson are drawn. A second copy of a positive would count as a negative.
_BATCHES: dict[Lesson, Batches] = {
    "in-batch": "no-duplicates",
    "sentence-pairs": "by-length",
    "distillation": "random",
}


def train_embeddings(model: Any, job: Job, training: Training) -> Fitted:
    """Train a SentenceTransformer in place on texts cut at 128 tokens, and save it.

    Args:
        model: A float32 `SentenceTransformer`; its maximum length is as before afterwards.
        job: What it is to learn.
        training: How long, how, and where to. Only the main process of a launch saves.
    """
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments

    schedule, batches = training.schedule(), training.batches(_BATCHES[job.lesson])
    without_model_card(model)
    with (
        shared(model, job, training),
        training.scratch() as scratch,
        cut_short(model, TRAIN_TOKENS),
        low_rank(model, training.recipe.lora_rank, seed=training.seed),
    ):
        make_ready(model)
        trainer = SentenceTransformerTrainer(
            model=model,
            args=arguments(
                SentenceTransformerTrainingArguments,
                training,
                schedule,
                output_dir=scratch,
                per_device_train_batch_size=job.batch_size,
                learning_rate=learning_rate(job.rate, training.recipe),
                batch_sampler=batches,
                prompts={name: prompt for name, prompt in job.prompts.items() if prompt} or None,
            ),
            train_dataset=Dataset.from_dict(dict(job.columns)),
            loss=_loss(model, job, training),
        )
        fitted = run(trainer, schedule, training.kept, batches)
    if training.together.main:
        model.save_pretrained(str(training.folder))
    return fitted


def _loss(model: Any, job: Job, training: Training) -> Any:
    if job.lesson == "in-batch":
        return in_batch_loss(model, training.recipe, of_all=training.together.size > 1)
    return (pair_loss if job.lesson == "sentence-pairs" else distillation_loss)(model, training.recipe)


@contextmanager
def cut_short(model: Any, tokens: int) -> Iterator[None]:
    """Cut texts at so many tokens while a model trains; its own maximum length is as before afterwards."""
    served = model.max_seq_length
    model.max_seq_length = min(tokens, served or tokens)
    try:
        yield
    finally:
        model.max_seq_length = served
