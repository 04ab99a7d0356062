"""Puts a bi-encoder together from sentence-transformers' own modules."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_rerank_retriever.errors import InvalidArgumentError, ModelLoadError
from langchain_rerank_retriever.runtime.models.loading import clamp_length, load_model

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

#: As sentence-transformers has them (its class Pooling), here so that a wrong mode is refused before torch
#: loads.
POOLING_MODES = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")


@dataclass(frozen=True, slots=True)
class BiEncoderSettings:
    """What decides the vectors besides the weights; ``None`` is the model's own.

    Attributes:
        pooling: A mode, or several whose vectors are concatenated.
        normalize: Whether vectors have length 1.
        query_prompt: Put before queries.
        document_prompt: Put before documents.
        max_seq_length: Tokens after which a text is cut.
        truncate_dim: Leading dimensions that are kept.
    """

    pooling: str | tuple[str, ...] | None
    normalize: bool
    query_prompt: str | None
    document_prompt: str | None
    max_seq_length: int | None
    truncate_dim: int | None


def check_pooling(pooling: Any) -> str | tuple[str, ...] | None:
    """Return a pooling mode, or several as a tuple.

    Raises:
        InvalidArgumentError: Unknown mode; the message lists the known ones.
    """
    if pooling is None:
        return None
    modes = (pooling,) if isinstance(pooling, str) else pooling
    known = isinstance(modes, Sequence) and modes and all(mode in POOLING_MODES for mode in modes)
    if not known:
        raise InvalidArgumentError(
            f"pooling: expected one of {', '.join(POOLING_MODES)}, or a tuple of these, got {pooling!r}."
        )
    return modes[0] if len(modes) == 1 else tuple(modes)


def load_bi_encoder(folder: Path, settings: BiEncoderSettings) -> "SentenceTransformer":
    """Load a sentence-transformers model or a plain language model, float32 on the CPU.

    Returns:
        A model whose ``encode_query`` and ``encode_document`` give what PooledEmbeddings gives.

    Raises:
        ModelLoadError: The folder's files do not make a model that gives one vector a text.
        InvalidArgumentError: ``truncate_dim`` is more than the model's dimension.
    """
    from sentence_transformers import SentenceTransformer

    model = load_model(SentenceTransformer, folder)
    pooling = settings.pooling
    if pooling is None and not (folder / "modules.json").is_file():
        pooling = "mean"
    if pooling is not None:
        _put_pooling(model, pooling)
    truncate_dim = settings.truncate_dim or model.truncate_dim
    # Cutting is a module of its own below, before the vectors are normalised.
    model.truncate_dim = None
    _finish(model, truncate_dim, normalize=settings.normalize)
    for name, prompt in (("query", settings.query_prompt), ("document", settings.document_prompt)):
        if prompt is not None:
            model.prompts[name] = prompt
    clamp_length(model, settings.max_seq_length, "max_seq_length")
    _probe(model, folder)
    return model


def prompt_of(model: "SentenceTransformer", kind: str) -> str:
    """Return the prompt that sentence-transformers would put before a query or a document."""
    names = ("query",) if kind == "query" else ("document", "passage", "corpus")
    for name in names:
        if name in model.prompts:
            return model.prompts[name] or ""
    return model.prompts.get(model.default_prompt_name or "", "") or ""


def _put_pooling(model: "SentenceTransformer", pooling: str | tuple[str, ...]) -> None:
    from sentence_transformers.sentence_transformer.modules import Pooling

    language_model: Any = model[0]
    if getattr(language_model, "module_output_name", None) != "token_embeddings":
        raise InvalidArgumentError(
            f"pooling={pooling!r} needs a language model that gives a vector a token; this model starts with "
            f"{type(language_model).__name__}. Leave pooling=None to use the model as it is."
        )
    include_prompt = all(getattr(module, "include_prompt", True) for module in model.children())
    _drop_after(model, 1)
    dimension = language_model.get_embedding_dimension()
    modes: Any = pooling
    model.append(Pooling(dimension, modes, include_prompt=include_prompt))


def _finish(model: "SentenceTransformer", truncate_dim: int | None, *, normalize: bool) -> None:
    """Normalise or not, and cut before it: a cut vector has length 1 only if it is normalised afterwards."""
    from sentence_transformers.base.modules import Dense, Normalize
    from torch import eye, nn

    for place in reversed(range(len(model))):
        last = place == len(model) - 1
        if isinstance(model[place], Normalize) and (last or not normalize):
            del model[place]
    dimension = model.get_embedding_dimension()
    if truncate_dim is not None and dimension is not None and truncate_dim != dimension:
        if truncate_dim > dimension:
            raise InvalidArgumentError(
                f"truncate_dim: expected at most {dimension}, the model's dimension, got {truncate_dim}."
            )
        # The one module of sentence-transformers that can leave dimensions out is a matrix of ones and zeros.
        cut = Dense(
            dimension,
            truncate_dim,
            bias=False,
            activation_function=nn.Identity(),
            init_weight=eye(truncate_dim, dimension),
        )
        model.append(cut.requires_grad_(requires_grad=False))
    if normalize:
        model.append(Normalize())
    model.eval()


def _drop_after(model: "SentenceTransformer", count: int) -> None:
    for place in reversed(range(count, len(model))):
        del model[place]


def _probe(model: "SentenceTransformer", folder: Path) -> None:
    """Embed one text, so that a model that cannot is refused now and not at the first document."""
    try:
        vector = model.encode(["a"], show_progress_bar=False)
    except (KeyError, ValueError, RuntimeError, TypeError, IndexError, AttributeError) as error:
        raise ModelLoadError(
            f"The model in '{folder}' gives no vector for a text ({type(error).__name__}: {error}). "
            "Expected a sentence-transformers model or a language model; pooling='mean' puts a pooling layer "
            "on it."
        ) from error
    if vector.ndim != 2 or vector.shape[1] == 0:
        raise ModelLoadError(
            f"The model in '{folder}' gives {vector.shape} for one text; expected one vector."
        )
