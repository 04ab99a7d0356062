"""Low-rank adapters for the length of a training run, gone from what is saved."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from langchain_rerank_retriever.errors import InvalidArgumentError, brought_by
from langchain_rerank_retriever.training.fit.recipe import Recipe

#: The best learning rate of adapters is about ten times that of all weights, whatever the rank (Schulman et al. 2025,
#: "LoRA Without Regret").
LEARNING_RATE_FACTOR = 10.0


def check_installed(recipe: Recipe) -> None:
    """Raise before any work is done what `low_rank` would raise hours later: MissingExtraError without `peft`."""
    if recipe.lora_rank is not None:
        with brought_by("peft", "peft"):
            import peft  # noqa: F401 - only whether it can be


@contextmanager
def low_rank(model: Any, rank: int | None, *, seed: int) -> Iterator[None]:
    """Train only low-rank adapters of a language model's matrices (LoRA, Hu et al. 2021), then merge them into it.

    Layers on top of the language model are trained whole. After the block the model is an ordinary one: the same
    modules as before, each matrix changed by one of at most this rank.

    Args:
        model: A `SentenceTransformer` or `CrossEncoder`; changed in place.
        rank: None trains all weights.
        seed: Of the adapters' start.

    Raises:
        MissingExtraError: `peft` is not installed.
        InvalidArgumentError: The model has no language model to adapt.
    """
    if rank is None:
        yield
        return
    with brought_by("peft", "peft"):
        from peft import LoraConfig, get_peft_model
    import torch

    language_model = model.transformers_model
    if language_model is None:
        raise InvalidArgumentError("lora_rank needs a model with a language model of transformers in it.")
    torch.manual_seed(seed)
    # The language model gets its adapters in place, so the modules around it need not know of the wrapper.
    wrapper = get_peft_model(
        language_model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear")
    )
    yield
    wrapper.merge_and_unload()
    language_model.requires_grad_(requires_grad=True)


def learning_rate(of_all_weights: float, recipe: Recipe) -> float:
    """Give the peak learning rate of a language model: as found for all weights, or for adapters instead."""
    return of_all_weights if recipe.lora_rank is None else LEARNING_RATE_FACTOR * of_all_weights
