"""Fine-tune the bi-encoder on queries and their documents, with sentence-transformers' own trainer and loss."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from langchain_rerank_retriever.training.fit.adapters import learning_rate, low_rank
from langchain_rerank_retriever.training.fit.losses import in_batch_loss
from langchain_rerank_retriever.training.fit.trainer import (
    Fitted,
    Training,
    common_arguments,
    make_ready,
    run,
    without_model_card,
)

#: Recipe found by hand on several data sets: many cheap steps beat few long ones.
LEARNING_RATE = 4e-5
TRAIN_TOKENS = 128


def fit_bi_encoder(
    model: Any,
    pairs: Sequence[tuple[str, str]],
    training: Training,
    *,
    query_prompt: str = "",
    document_prompt: str = "",
) -> Fitted:
    """Train a SentenceTransformer in place and save it.

    The loss is the symmetric in-batch softmax over cosine similarities times 20. No batch holds a text twice, since
    a second copy of a positive would count as a negative.

    Args:
        model: A float32 `SentenceTransformer`; trained in place, its maximum length is as before afterwards.
        pairs: (query, relevant passage); at least one.
        training: Of its recipe, the batch, its parts, Matryoshka dimensions and adapters count.
        query_prompt: Put before every query, as when serving.
        document_prompt: Put before every passage.

    Raises:
        InvalidArgumentError: A Matryoshka dimension is more than the model has.
        MissingExtraError: Adapters are asked for and `peft` is not installed.
    """
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.base.sampler import BatchSamplers

    schedule, recipe = training.schedule(), training.recipe
    loss = in_batch_loss(model, recipe)
    without_model_card(model)
    prompts = {"query": query_prompt, "passage": document_prompt}
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
                per_device_train_batch_size=recipe.batch_size,
                learning_rate=learning_rate(LEARNING_RATE, recipe),
                batch_sampler=BatchSamplers.NO_DUPLICATES,
                prompts={name: prompt for name, prompt in prompts.items() if prompt} or None,
                **common_arguments(schedule, seed=training.seed, bf16=training.half_precision),
            ),
            train_dataset=Dataset.from_dict(
                {"query": [q for q, _ in pairs], "passage": [p for _, p in pairs]}
            ),
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
