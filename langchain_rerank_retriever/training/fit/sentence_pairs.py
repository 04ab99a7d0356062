"""Train any sentence embedding model on pairs of sentences with a similarity score, and measure it on such pairs."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from langchain_rerank_retriever.errors import DataError
from langchain_rerank_retriever.protocols import Encoder
from langchain_rerank_retriever.training.fit.adapters import learning_rate, low_rank
from langchain_rerank_retriever.training.fit.bi_encoder import LEARNING_RATE, TRAIN_TOKENS, cut_short
from langchain_rerank_retriever.training.fit.losses import pair_loss
from langchain_rerank_retriever.training.fit.recipe import DEFAULT_RECIPE, Recipe
from langchain_rerank_retriever.training.fit.schedule import Budget, Schedule
from langchain_rerank_retriever.training.fit.trainer import (
    Fitted,
    common_arguments,
    run,
    switch_off_dropout,
    without_model_card,
)

#: Cosines of float32 vectors that differ by less are equal.
ROUNDING = 1e-6


def fit_sentence_pairs(
    model: Any,
    first: Sequence[str],
    second: Sequence[str],
    scores: Sequence[float],
    *,
    folder: Path,
    budget: Budget,
    seed: int,
    bf16: bool,
    recipe: Recipe = DEFAULT_RECIPE,
    prompt: str = "",
    on_progress: Callable[[float], None] | None = None,
) -> Fitted:
    """Train a SentenceTransformer in place on scored sentence pairs, and save it.

    Args:
        model: A float32 `SentenceTransformer`, for instance a language model with a pooling layer from
            `PooledEmbeddings(folder, pooling="mean").load_trainable()`; its maximum length is as before afterwards.
        first: One sentence of each pair.
        second: The other one.
        scores: How similar they are; higher is more alike. For `pair_loss="cosine"` a scale other than 0 to 1 is
            stretched from the lowest to the highest score given.
        folder: Where the trained model is saved; new or empty.
        budget: How long.
        seed: Of shuffling.
        bf16: Whether to train under bfloat16 autocast.
        recipe: The loss, the batch, Matryoshka dimensions and adapters.
        prompt: Put before every sentence, as when serving.
        on_progress: Called with the spent share of the budget.

    Raises:
        DataError: The three are not of one length, or the scores say nothing.
        InvalidArgumentError: A Matryoshka dimension is more than the model has.
        MissingExtraError: Adapters are asked for and `peft` is not installed.
    """
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments

    labels = _checked(first, second, scores)
    schedule = Schedule(budget, on_progress)
    loss = pair_loss(model, recipe)
    without_model_card(model)
    with (
        tempfile.TemporaryDirectory() as scratch,
        cut_short(model, TRAIN_TOKENS),
        low_rank(model, recipe.lora_rank, seed=seed),
    ):
        switch_off_dropout(model)
        trainer = SentenceTransformerTrainer(
            model=model,
            args=SentenceTransformerTrainingArguments(
                output_dir=scratch,
                per_device_train_batch_size=recipe.batch_size,
                learning_rate=learning_rate(LEARNING_RATE, recipe),
                batch_sampler=by_length,
                prompts=prompt or None,
                **common_arguments(schedule, seed=seed, bf16=bf16),
            ),
            train_dataset=_dataset(first, second, labels, recipe),
            loss=loss,
        )
        fitted = run(trainer, schedule)
    model.save_pretrained(str(folder), create_model_card=False)
    return fitted


def correlations(
    encoder: Encoder, first: Sequence[str], second: Sequence[str], scores: Sequence[float]
) -> dict[str, float]:
    """Correlate the cosine similarities of sentence pairs with their scores.

    Both sentences are embedded as documents.

    Returns:
        `"pearson"`, of the values, and `"spearman"`, of their ranks with ties at their mean rank; NaN where all
        cosines are equal.

    Raises:
        DataError: The three are not of one length, there are fewer than two pairs, or all scores are equal.
    """
    from scipy.stats import pearsonr, spearmanr

    labels = _checked(first, second, scores)
    texts = list(dict.fromkeys([*first, *second]))
    places = {text: place for place, text in enumerate(texts)}
    vectors = encoder.encode(texts).astype(np.float64)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    left, right = (vectors[[places[text] for text in side]] for side in (first, second))
    cosines = (left * right).sum(axis=1)
    if np.ptp(cosines) < ROUNDING:
        return {"pearson": float("nan"), "spearman": float("nan")}
    return {
        "pearson": float(pearsonr(cosines, labels).statistic),
        "spearman": float(spearmanr(cosines, labels).statistic),
    }


def by_length(dataset: Any, **settings: Any) -> Any:
    """Make batches of pairs of like length, in random order: short sentences differ most in how much is padding.

    The trainer of sentence-transformers takes a function in place of the name of a batch sampler.
    """
    from sentence_transformers.base.sampler import DefaultBatchSampler
    from transformers.trainer_pt_utils import LengthGroupedSampler

    lengths = [max(map(len, pair)) for pair in zip(dataset["first"], dataset["second"], strict=True)]
    order = LengthGroupedSampler(settings["batch_size"], lengths=lengths, generator=settings["generator"])
    return DefaultBatchSampler(order, **settings)


def _dataset(first: Sequence[str], second: Sequence[str], labels: Any, recipe: Recipe) -> Any:
    """Lay the pairs out; the squared error needs scores on the scale of cosines, for the other loss order is all."""
    from datasets import Dataset

    if recipe.pair_loss == "cosine" and not (labels.min() >= 0 and labels.max() <= 1):
        labels = (labels - labels.min()) / np.ptp(labels)
    return Dataset.from_dict({"first": list(first), "second": list(second), "score": labels.tolist()})


def _checked(first: Sequence[str], second: Sequence[str], scores: Sequence[float]) -> Any:
    """Return the scores as float64, shape `(n,)`."""
    if not len(first) == len(second) == len(scores):
        raise DataError(
            "Sentence pairs need as many first sentences as second ones and scores; "
            f"got {len(first)}, {len(second)} and {len(scores)}."
        )
    labels = np.asarray(scores, dtype=np.float64)
    if not np.isfinite(labels).all():
        raise DataError("A score of a sentence pair is NaN or infinite; expected finite numbers.")
    if len(labels) < 2 or np.ptp(labels) == 0:
        raise DataError(
            f"Scored sentence pairs need at least two different scores; got {len(labels)} pairs"
            f"{' which all have the same' if len(labels) > 1 else ''}."
        )
    return labels
