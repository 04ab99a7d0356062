"""From training data to the two trained encoders, loaded as they will serve."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from langchain_rerank_retriever.cross_encoder import CrossEncoderScorer
from langchain_rerank_retriever.embeddings import PooledEmbeddings
from langchain_rerank_retriever.errors import InvalidArgumentError, ModelLoadError
from langchain_rerank_retriever.protocols import PairScorer
from langchain_rerank_retriever.runtime.models.bi_encoder import prompt_of
from langchain_rerank_retriever.runtime.models.loading import load_model, resolve_folder
from langchain_rerank_retriever.training.data.pairs import ScoredPairs
from langchain_rerank_retriever.training.data.reading import TrainingData
from langchain_rerank_retriever.training.fit.bi_encoder import fit_bi_encoder
from langchain_rerank_retriever.training.fit.cross_encoder import (
    LISTS_PER_STEP,
    fit_cross_encoder,
    train_lists,
    warm_start,
)
from langchain_rerank_retriever.training.fit.distil import distil_bi_encoder
from langchain_rerank_retriever.training.fit.embedding import train_embeddings
from langchain_rerank_retriever.training.fit.job import received
from langchain_rerank_retriever.training.fit.mining import Mined, mine_lists
from langchain_rerank_retriever.training.fit.recipe import DEFAULT_RECIPE, Recipe
from langchain_rerank_retriever.training.fit.schedule import Budget
from langchain_rerank_retriever.training.fit.sentence_pairs import fit_sentence_pairs
from langchain_rerank_retriever.training.fit.trainer import Fitted, Training
from langchain_rerank_retriever.training.processes import Together, together
from langchain_rerank_retriever.training.progress import Update

#: More steps a second than training on a few CPU cores takes, so that nothing is mined that will not be trained on;
#: on a faster machine, lists come again in a second epoch.
MOST_STEPS_A_SECOND = 3

#: Of the time for the cross-encoder, what finding its negatives may take.
MINING_SHARE = 0.15


def train_bi_encoder(
    encoder: PooledEmbeddings, data: TrainingData, texts: Mapping[str, str], training: Training
) -> Fitted:
    """Train a copy of a bi-encoder on every (query, relevant document) pair."""
    model = encoder.load_trainable()
    pairs = [(text, texts[one]) for key, text in data.queries.items() for one in data.positives(key)]
    return fit_bi_encoder(
        model,
        pairs,
        training,
        query_prompt=prompt_of(model, "query"),
        document_prompt=prompt_of(model, "document"),
    )


def train_sentence_pairs(encoder: PooledEmbeddings, pairs: ScoredPairs, training: Training) -> Fitted:
    """Train a copy of a bi-encoder on scored sentence pairs; both sentences are read as documents."""
    model = encoder.load_trainable()
    prompt = prompt_of(model, "document")
    return fit_sentence_pairs(model, pairs.first, pairs.second, pairs.scores, training, prompt=prompt)


def distil(encoder: PooledEmbeddings, mined: Mined, teacher: PairScorer, training: Training) -> Fitted:
    """Train a copy of a bi-encoder to agree with a cross-encoder; see `distil_bi_encoder`."""
    model = encoder.load_trainable()
    return distil_bi_encoder(
        model,
        mined.lists,
        teacher,
        training,
        query_prompt=prompt_of(model, "query"),
        document_prompt=prompt_of(model, "document"),
    )


def lists_for(
    store: Any,
    data: TrainingData,
    texts: Mapping[str, str],
    budget: Budget,
    *,
    fusion: Mapping[str, float] | None,
    seed: int,
    recipe: Recipe = DEFAULT_RECIPE,
    teacher: PairScorer | None = None,
    on_progress: Update | None = None,
) -> Mined:
    """Draw as many training lists as a budget can use up, in all processes of the launch; see `mine_lists`."""
    steps = MOST_STEPS_A_SECOND * (budget.seconds or 0.0) if budget.steps is None else budget.steps
    return mine_lists(
        store,
        data,
        texts,
        count=max(LISTS_PER_STEP, int(LISTS_PER_STEP * steps)) * together().size,
        fusion=fusion,
        seed=seed,
        recipe=recipe,
        teacher=teacher,
        seconds=None if budget.seconds is None else MINING_SHARE * budget.seconds,
        on_progress=on_progress,
    )


def train_cross_encoder(start: Any, bi_encoder: PooledEmbeddings, mined: Mined, training: Training) -> Fitted:
    """Train a cross-encoder.

    Args:
        start: What `opened_start` found.
        bi_encoder: For a warm start.
        mined: Training lists.
        training: How.
    """
    import torch

    # The layers of a new head are drawn at random.
    torch.manual_seed(training.seed)
    model, new_head = _cross_encoder_to_train(start, bi_encoder)
    return fit_cross_encoder(model, mined.lists, training, new_head=new_head)


def take_part(folder: Path, together: Together) -> None:
    """Train with the main process, in one of the others; what comes of it is saved by the main one.

    Args:
        folder: What the main process has written, see `job.shared`.
        together: The processes.

    Raises:
        LaunchError: The folder cannot be read, the main process failed, or another one is gone.
    """
    from sentence_transformers import CrossEncoder, SentenceTransformer
    from torch import nn

    start, job, training = received(folder, together)
    if job.lesson == "lists":
        train_lists(load_model(CrossEncoder, start, activation_fn=nn.Identity()), job, training)
    else:
        train_embeddings(load_model(SentenceTransformer, start), job, training)


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


@contextmanager
def opened_start(start: Any) -> Iterator[CrossEncoderScorer | Path | str | None]:
    """Find out what a cross-encoder is to start from, before anything else is done.

    Yields:
        `"warm"` or None as they are, a `CrossEncoderScorer` for the name or folder of a cross-encoder, and the folder
        of any other model, which gets a new head.

    Raises:
        ModelLoadError: If a name or folder does not lead to a model.
        InvalidArgumentError: If it is a cross-encoder with more than one label, which no loss here trains.
    """
    if start is None or start == "warm":
        yield start
        return
    with ExitStack() as opened:
        found: CrossEncoderScorer | Path
        try:
            scorer = start if isinstance(start, CrossEncoderScorer) else CrossEncoderScorer(start)
        except ModelLoadError:
            # Not a cross-encoder: a language model or a bi-encoder. Where it is no model at all, this says so.
            found = resolve_folder(start, organization="sentence-transformers")
        else:
            if scorer is not start:
                opened.enter_context(scorer)
            _check_labels(scorer)
            found = scorer
        yield found


def _check_labels(scorer: CrossEncoderScorer) -> None:
    labels = scorer.load_trainable().num_labels
    if labels != 1:
        raise InvalidArgumentError(
            f"reranker: expected a cross-encoder with one label, a relevance, to train; {scorer.model_name} has "
            f"{labels}. Use it untrained in a RerankRetriever, or train a new head with reranker='warm'."
        )


def check_dimensions(recipe: Recipe, encoder: PooledEmbeddings) -> None:
    """Refuse dimensions that the bi-encoder does not have.

    Raises:
        InvalidArgumentError: Saying how many it has.
    """
    if max(recipe.matryoshka_dims, default=0) > encoder.dimension:
        raise InvalidArgumentError(
            f"matryoshka_dims must be at most {encoder.dimension}, the model's dimension; "
            f"got {recipe.matryoshka_dims}."
        )


def _cross_encoder_to_train(
    start: CrossEncoderScorer | Path | str, bi_encoder: PooledEmbeddings
) -> tuple[Any, bool]:
    if isinstance(start, CrossEncoderScorer):
        return start.load_trainable(), False
    return warm_start(bi_encoder.folder if start == "warm" else Path(start)), True
