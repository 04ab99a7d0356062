"""Train any sentence embedding model on pairs of sentences with a similarity score."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from langchain_rerank_retriever.errors import DataError
from langchain_rerank_retriever.training.fit.bi_encoder import LEARNING_RATE
from langchain_rerank_retriever.training.fit.embedding import train_embeddings
from langchain_rerank_retriever.training.fit.job import Job
from langchain_rerank_retriever.training.fit.recipe import Recipe
from langchain_rerank_retriever.training.fit.trainer import Fitted, Training


def fit_sentence_pairs(
    model: Any,
    first: Sequence[str],
    second: Sequence[str],
    scores: Sequence[float],
    training: Training,
    *,
    prompt: str = "",
) -> Fitted:
    """Train a SentenceTransformer in place on scored sentence pairs, and save it.

    Args:
        model: A float32 `SentenceTransformer`, for instance a language model with a pooling layer from
            `PooledEmbeddings(folder, pooling="mean").load_trainable()`; its maximum length is as before afterwards.
        first: One sentence of each pair.
        second: The other one.
        scores: How similar they are; higher is more alike. For `pair_loss="cosine"` a scale other than 0 to 1 is
            stretched from the lowest to the highest score given.
        training: Of its recipe, the loss, the batch, Matryoshka dimensions and adapters count.
        prompt: Put before every sentence, as when serving.

    Raises:
        DataError: The three are not of one length, or the scores say nothing.
        InvalidArgumentError: A Matryoshka dimension is more than the model has.
        MissingExtraError: Adapters are asked for and `peft` is not installed.
    """
    labels, recipe = _checked(first, second, scores), training.recipe
    job = Job(
        lesson="sentence-pairs",
        columns=_columns(first, second, labels, recipe),
        batch_size=recipe.batch_size,
        rate=LEARNING_RATE,
        prompts={"first": prompt, "second": prompt},
    )
    return train_embeddings(model, job, training)


def _columns(
    first: Sequence[str], second: Sequence[str], labels: Any, recipe: Recipe
) -> dict[str, list[Any]]:
    """Lay the pairs out; the squared error needs scores on the scale of cosines, for the other loss order is all."""
    if recipe.pair_loss == "cosine" and not (labels.min() >= 0 and labels.max() <= 1):
        labels = (labels - labels.min()) / np.ptp(labels)
    return {"first": list(first), "second": list(second), "score": labels.tolist()}


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
