"""Loads a cross-encoder and makes sure that it has a trained head that gives one logit a pair."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_rerank_retriever.errors import ModelLoadError
from langchain_rerank_retriever.runtime.models.loading import clamp_length, load_model, stored_names
from langchain_rerank_retriever.runtime.models.trying import tried

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

TRAIN_IT = (
    "Train one on it with tune(..., reranker=<this model>), or give a cross-encoder, for instance "
    "'cross-encoder/ms-marco-MiniLM-L6-v2'."
)


def load_pair_encoder(folder: Path, *, max_length: int | None) -> "CrossEncoder":
    """Load a cross-encoder, float32 on the CPU, whose ``predict`` gives logits.

    Args:
        folder: Of a sequence-classification model, or of a cross-encoder made of sentence-transformers'
            modules.
        max_length: Tokens after which a pair is cut; ``None`` is the model's own.

    Raises:
        ModelLoadError: Not a cross-encoder, a language model without a trained head, or more than two labels.
    """
    from sentence_transformers import CrossEncoder
    from torch import nn

    model: CrossEncoder = load_model(CrossEncoder, folder, activation_fn=nn.Identity())
    _check_head(model, folder)
    _check_labels(model, folder)
    last: Any = model[-1]
    if isinstance(getattr(last, "activation_function", None), nn.Sigmoid):
        # A probability saved inside the head instead of beside it; scores are logits all the same.
        last.activation_function = nn.Identity()
    clamp_length(model, max_length, "max_length")
    _probe(model, folder)
    return model


def default_prompt(model: "CrossEncoder") -> str:
    """Return the prompt that sentence-transformers would put before the query of a pair."""
    return model.prompts.get(model.default_prompt_name or "", "") or ""


def _check_head(model: "CrossEncoder", folder: Path) -> None:
    """Refuse weights that are not in the files: transformers would fill them with random numbers."""
    language_model = model.transformers_model
    task = getattr(model[0], "transformer_task", None)
    if task == "text-generation" and not (folder / "modules.json").is_file():
        raise ModelLoadError(f"'{folder}' is a generating language model and not a cross-encoder. {TRAIN_IT}")
    if language_model is None or task != "sequence-classification":
        return
    prefix = f"{language_model.base_model_prefix}."
    head = {name for name in language_model.state_dict() if not name.startswith(prefix)}
    missing = sorted(head - stored_names(folder))
    if missing:
        architectures = getattr(language_model.config, "architectures", None) or ["a language model"]
        raise ModelLoadError(
            f"'{folder}' ({architectures[0]}) is not a cross-encoder: it has no trained head, "
            f"'{missing[0]}' is not among its weights. {TRAIN_IT}"
        )


def _check_labels(model: "CrossEncoder", folder: Path) -> None:
    if model.num_labels not in (1, 2):
        raise ModelLoadError(
            f"'{folder}' gives {model.num_labels} labels a pair. Expected 1 (a relevance), or 2 (not "
            f"relevant, relevant). {TRAIN_IT}"
        )


def _probe(model: "CrossEncoder", folder: Path) -> None:
    """Score one pair, so that a model that cannot is refused now and not at the first query."""
    with tried(f"The model in '{folder}' gives no score for a pair", TRAIN_IT):
        scores = model.predict([("a", "b")], show_progress_bar=False)
    expected = (1,) if model.num_labels == 1 else (1, 2)
    if scores.shape != expected:
        raise ModelLoadError(
            f"The model in '{folder}' gives {scores.shape} for one pair; expected {expected}."
        )
