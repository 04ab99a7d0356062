"""From training data to the two trained encoders, loaded as they will serve."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain_rerank_retriever.cross_encoder import CrossEncoderScorer
from langchain_rerank_retriever.embeddings import PooledEmbeddings
from langchain_rerank_retriever.errors import InvalidArgumentError, ModelLoadError
from langchain_rerank_retriever.protocols import PairScorer
from langchain_rerank_retriever.runtime.bi_encoder import prompt_of
from langchain_rerank_retriever.runtime.loading import resolve_folder
from langchain_rerank_retriever.runtime.select import bfloat16_is_faster
from langchain_rerank_retriever.training.data.pairs import ScoredPairs
from langchain_rerank_retriever.training.data.reading import TrainingData
from langchain_rerank_retriever.training.fit.bi_encoder import fit_bi_encoder
from langchain_rerank_retriever.training.fit.cross_encoder import (
    LISTS_PER_STEP,
    PassageList,
    fit_cross_encoder,
    warm_start,
)
from langchain_rerank_retriever.training.fit.distil import distil_bi_encoder
from langchain_rerank_retriever.training.fit.mining import Mined, mine_lists
from langchain_rerank_retriever.training.fit.recipe import DEFAULT_RECIPE, Recipe
from langchain_rerank_retriever.training.fit.schedule import Budget
from langchain_rerank_retriever.training.fit.sentence_pairs import fit_sentence_pairs
from langchain_rerank_retriever.training.fit.trainer import Fitted
from langchain_rerank_retriever.training.progress import Update

#: More steps a second than training on a few CPU cores takes, so that nothing is mined that will not be trained on;
#: on a faster machine, lists come again in a second epoch.
MOST_STEPS_A_SECOND = 2


@dataclass(frozen=True, slots=True)
class Trainee:
    """What a training run needs besides its data.

    Attributes:
        folder: Where the trained model goes; new.
        budget: How long it may train.
        seed: Of everything random.
    """

    folder: Path
    budget: Budget
    seed: int


def train_bi_encoder(
    encoder: PooledEmbeddings,
    data: TrainingData,
    texts: Mapping[str, str],
    trainee: Trainee,
    update: Update,
    *,
    recipe: Recipe = DEFAULT_RECIPE,
) -> tuple[PooledEmbeddings, Fitted]:
    """Train a copy of a bi-encoder on every (query, relevant document) pair."""
    model = encoder.load_trainable()
    pairs = [(text, texts[one]) for key, text in data.queries.items() for one in data.positives(key)]
    fitted = fit_bi_encoder(
        model,
        pairs,
        folder=trainee.folder,
        budget=trainee.budget,
        seed=trainee.seed,
        bf16=_half_precision(),
        recipe=recipe,
        query_prompt=prompt_of(model, "query"),
        document_prompt=prompt_of(model, "document"),
        on_progress=update,
    )
    return PooledEmbeddings(trainee.folder), fitted


def train_sentence_pairs(
    encoder: PooledEmbeddings,
    pairs: ScoredPairs,
    trainee: Trainee,
    update: Update,
    *,
    recipe: Recipe = DEFAULT_RECIPE,
) -> tuple[PooledEmbeddings, Fitted]:
    """Train a copy of a bi-encoder on scored sentence pairs; both sentences are read as documents."""
    model = encoder.load_trainable()
    fitted = fit_sentence_pairs(
        model,
        pairs.first,
        pairs.second,
        pairs.scores,
        folder=trainee.folder,
        budget=trainee.budget,
        seed=trainee.seed,
        bf16=_half_precision(),
        recipe=recipe,
        prompt=prompt_of(model, "document"),
        on_progress=update,
    )
    return PooledEmbeddings(trainee.folder), fitted


def distil(
    encoder: PooledEmbeddings,
    lists: Mined | Sequence[PassageList],
    teacher: PairScorer,
    trainee: Trainee,
    update: Update,
    *,
    recipe: Recipe,
) -> tuple[PooledEmbeddings, Fitted]:
    """Train a copy of a bi-encoder to agree with a cross-encoder; see `distil_bi_encoder`."""
    model = encoder.load_trainable()
    fitted = distil_bi_encoder(
        model,
        _plain(lists),
        teacher,
        folder=trainee.folder,
        budget=trainee.budget,
        seed=trainee.seed,
        bf16=_half_precision(),
        recipe=recipe,
        query_prompt=prompt_of(model, "query"),
        document_prompt=prompt_of(model, "document"),
        on_progress=update,
    )
    return PooledEmbeddings(trainee.folder), fitted


def lists_for(
    store: Any,
    data: TrainingData,
    texts: Mapping[str, str],
    trainee: Trainee,
    fusion: Mapping[str, float] | None,
    update: Update,
    *,
    recipe: Recipe = DEFAULT_RECIPE,
    teacher: PairScorer | None = None,
) -> Mined:
    """Draw as many training lists as the budget can use up; see `mine_lists`."""
    if trainee.budget.steps is not None:
        steps = float(trainee.budget.steps)
    else:
        steps = MOST_STEPS_A_SECOND * float(trainee.budget.seconds or 0.0)
    count = max(LISTS_PER_STEP, int(LISTS_PER_STEP * steps))
    return mine_lists(
        store,
        data,
        texts,
        count=count,
        fusion=fusion,
        seed=trainee.seed,
        recipe=recipe,
        teacher=teacher,
        on_progress=update,
    )


def train_cross_encoder(
    start: Any,
    bi_encoder_folder: Path,
    lists: Mined | Sequence[PassageList],
    trainee: Trainee,
    update: Update,
    *,
    recipe: Recipe = DEFAULT_RECIPE,
) -> tuple[CrossEncoderScorer, Fitted]:
    """Train a cross-encoder.

    Args:
        start: `"warm"`, a `CrossEncoderScorer`, or a model name or folder; see `tune`.
        bi_encoder_folder: The tuned bi-encoder, for a warm start.
        lists: Training lists.
        trainee: Folder, budget and seed.
        update: Told the spent share of the budget.
        recipe: The loss and the adapters.
    """
    import torch

    # The layers of a new head are drawn at random.
    torch.manual_seed(trainee.seed)
    model, new_head = _cross_encoder_to_train(start, bi_encoder_folder)
    fitted = fit_cross_encoder(
        model,
        _plain(lists),
        folder=trainee.folder,
        budget=trainee.budget,
        seed=trainee.seed,
        bf16=_half_precision(),
        new_head=new_head,
        recipe=recipe,
        on_progress=update,
    )
    return CrossEncoderScorer(trainee.folder), fitted


def check_start(start: Any) -> None:
    """Refuse what no cross-encoder can start from, before anything is done.

    Raises:
        InvalidArgumentError: If it is neither of the accepted kinds.
    """
    if start is not None and not isinstance(start, str | Path | CrossEncoderScorer):
        raise InvalidArgumentError(
            "reranker must be 'warm', a CrossEncoderScorer, a model name or folder, or None; "
            f"got {type(start).__name__}."
        )


def _cross_encoder_to_train(start: Any, bi_encoder_folder: Path) -> tuple[Any, bool]:
    if isinstance(start, CrossEncoderScorer):
        return start.load_trainable(), False
    if start == "warm":
        return warm_start(bi_encoder_folder), True
    try:
        scorer = CrossEncoderScorer(start)
    except ModelLoadError:
        # Not a cross-encoder: a language model or a bi-encoder, which gets a new head. Where it is no model at all,
        # this raises the error that says so.
        return warm_start(resolve_folder(start, organization="sentence-transformers")), True
    try:
        return scorer.load_trainable(), False
    finally:
        scorer.close()


def _plain(lists: Mined | Sequence[PassageList]) -> Sequence[PassageList]:
    return lists.lists if isinstance(lists, Mined) else lists


def _half_precision() -> bool:
    import torch

    return torch.cuda.is_available() or bfloat16_is_faster()
