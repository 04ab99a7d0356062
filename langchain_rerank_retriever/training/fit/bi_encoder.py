"""Fine-tune the bi-encoder on queries and their documents, with sentence-transformers' own trainer and loss."""

import tempfile
from collections.abc import Callable, Sequence
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

#: Recipe found by hand on several data sets: many cheap steps beat few long ones.
BATCH_SIZE = 32
LEARNING_RATE = 4e-5
TRAIN_TOKENS = 128


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
