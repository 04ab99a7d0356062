"""The choices of a run: what is refused, and how."""

from typing import Any

import pytest

from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.training.fit.recipe import DEFAULT_RECIPE, Recipe


def test_the_default() -> None:
    assert Recipe() == DEFAULT_RECIPE
    assert DEFAULT_RECIPE.batch_size == 32
    assert DEFAULT_RECIPE.lora_rank is None


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("batch_size", 1, "batch_size must be a whole number of at least 2, got 1"),
        ("batch_size", 8.0, "batch_size must be a whole number of at least 2, got 8.0"),
        ("mini_batch_size", 0, "mini_batch_size must be a whole number of at least 1, got 0"),
        ("lora_rank", True, "lora_rank must be a whole number of at least 1, got True"),
        ("matryoshka_dims", (8, 0), "matryoshka_dims must be a whole number of at least 1, got 0"),
        ("matryoshka_dims", 8, "matryoshka_dims must be a tuple of whole numbers, got 8"),
        ("pair_loss", "mse", "pair_loss must be one of cosent, cosine, got 'mse'"),
        ("cross_encoder_loss", "hinge", "must be one of listwise, bce, mse, lambda, got 'hinge'"),
        ("false_negatives", "none", "must be one of duplicates, margin, cross-encoder, got 'none'"),
        ("distill", "mse", "distill must be one of margin-mse, kl, got 'mse'"),
        ("margin", 0, "margin must be above 0 and at most 1, got 0"),
        ("margin", 1.5, "margin must be above 0 and at most 1, got 1.5"),
        ("margin", "0.9", "margin must be above 0 and at most 1, got '0.9'"),
    ],
)
def test_what_is_refused(name: str, value: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message.replace("(", r"\(")):
        Recipe(**{name: value})
