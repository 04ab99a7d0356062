"""Train the bi-encoder further to agree with the cross-encoder, so that recall knows what re-ranking knows."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from langchain_rerank_retriever.errors import DataError, InvalidArgumentError
from langchain_rerank_retriever.protocols import FloatArray, PairScorer
from langchain_rerank_retriever.training.fit.cross_encoder import PassageList
from langchain_rerank_retriever.training.fit.embedding import TRAIN_TOKENS, cut_short, train_embeddings
from langchain_rerank_retriever.training.fit.job import Job
from langchain_rerank_retriever.training.fit.losses import COSINE_SCALE
from langchain_rerank_retriever.training.fit.schedule import Budget
from langchain_rerank_retriever.training.fit.trainer import Fitted, Training

#: Queries with their passages a step, and half of the bi-encoder's first rate: it is trained already.
LISTS_PER_STEP = 8
LEARNING_RATE = 2e-5

#: Of a budget by the clock, what the teacher's scoring may take.
TEACHING_SHARE = 0.4

#: Lists that the scale of the teacher's scores is taken from, and lists scored between two looks at the clock.
SCALE_LISTS = 64
SCORED_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class Taught:
    """Lists with what the teacher says of them.

    Attributes:
        lists: All with the same number of passages.
        scores: The teacher's, shape `(lists, passages)`.
    """

    lists: Sequence[PassageList]
    scores: FloatArray


def distil_bi_encoder(
    model: Any,
    lists: Sequence[PassageList],
    teacher: PairScorer,
    training: Training,
    *,
    query_prompt: str = "",
    document_prompt: str = "",
) -> Fitted:
    """Train a SentenceTransformer in place to order passages as a cross-encoder does, and save it.

    The teacher's scale means nothing to cosines: its scores are brought to the spread that the model's own have, so
    that what is learnt is which passages are how far apart.

    Args:
        model: A float32 `SentenceTransformer`, trained already; its maximum length is as before afterwards.
        lists: Queries with passages; which one is relevant does not count. Those shorter than the longest are left out.
        teacher: Scores as many lists as the budget can use up.
        training: Its budget is for scoring and training together; of its recipe, `distill`, Matryoshka dimensions and
            adapters count.
        query_prompt: Put before every query, as when serving.
        document_prompt: Put before every passage.

    Raises:
        InvalidArgumentError: `recipe.distill` is None, or a Matryoshka dimension is more than the model has.
        DataError: No list has two passages, or the teacher gives all of a list the same score.
        MissingExtraError: Adapters are asked for and `peft` is not installed.
    """
    if training.recipe.distill is None:
        raise InvalidArgumentError("Distillation needs Recipe(distill='margin-mse') or 'kl', got None.")
    started = time.monotonic()
    prompts = _Prompts(query_prompt, document_prompt)
    with cut_short(model, TRAIN_TOKENS):
        taught = _ask(teacher, lists, training)
        labels = _on_the_scale_of(model, taught, prompts)
    columns = _columns(taught, labels)
    job = Job(
        lesson="distillation",
        columns=columns,
        batch_size=LISTS_PER_STEP,
        rate=LEARNING_RATE,
        prompts=prompts.of(columns),
    )
    return train_embeddings(model, job, _without(training, time.monotonic() - started))


@dataclass(frozen=True, slots=True)
class _Prompts:
    query: str
    document: str

    def of(self, columns: dict[str, list[Any]]) -> dict[str, str]:
        """Give each column of texts its prompt."""
        return {name: self.query if name == "query" else self.document for name in columns if name != "label"}


def _without(training: Training, spent: float) -> Training:
    """Take what the teacher took off a budget by the clock; a part of it is left in any case."""
    if training.budget.seconds is None:
        return training
    least = (1.0 - TEACHING_SHARE) * training.budget.seconds / 2
    return replace(training, budget=Budget(seconds=max(least, training.budget.seconds - spent)))


def _ask(teacher: PairScorer, lists: Sequence[PassageList], training: Training) -> Taught:
    """Have the teacher score as many lists as can be trained on."""
    budget, stopped = training.budget, training.stopped
    width = max((len(one.passages) for one in lists), default=0)
    whole = [one for one in lists if len(one.passages) == width]
    if width < 2:
        raise DataError("Distillation needs lists of at least two passages; the corpus is too small for any.")
    if budget.steps is not None:
        whole = whole[: LISTS_PER_STEP * budget.steps * training.together.size]
    started = time.monotonic()
    scores: list[FloatArray] = []
    for start in range(0, len(whole), SCORED_AT_ONCE):
        part = whole[start : start + SCORED_AT_ONCE]
        pairs = [(one.query, text) for one in part for text in one.passages]
        scores.append(teacher.score_pairs(pairs).scores.reshape(len(part), width))
        late = budget.seconds is not None and time.monotonic() - started > TEACHING_SHARE * budget.seconds
        if late or (stopped is not None and stopped()):
            break
    table = np.concatenate(scores)
    return Taught(whole[: len(table)], table)


def _on_the_scale_of(model: Any, taught: Taught, prompts: _Prompts) -> FloatArray:
    """Multiply the teacher's scores so that they spread within a list as the model's scaled cosines do.

    By standard deviations within lists, over some of them. The middle of a list is taken off: neither loss sees it.
    """
    part = taught.lists[:SCALE_LISTS]
    width = taught.scores.shape[1]
    queries = model.encode([prompts.query + one.query for one in part], show_progress_bar=False)
    passages = model.encode(
        [prompts.document + text for one in part for text in one.passages], show_progress_bar=False
    ).reshape(len(part), width, -1)
    norms = np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(passages, axis=2)
    cosines = np.einsum("ld,lpd->lp", queries, passages) / np.maximum(norms, np.finfo(np.float32).tiny)
    own, teachers = (_spread(table) for table in (COSINE_SCALE * cosines, taught.scores[:SCALE_LISTS]))
    if teachers == 0:
        raise DataError(
            "The teacher gives all passages of a query the same score; there is nothing to learn."
        )
    centred = taught.scores - taught.scores.mean(axis=1, keepdims=True)
    scaled: FloatArray = (centred * (own / teachers)).astype(np.float32)
    return scaled


def _spread(table: FloatArray) -> float:
    return float(np.sqrt(np.var(table, axis=1).mean()))


def _columns(taught: Taught, labels: FloatArray) -> dict[str, list[Any]]:
    """Lay lists out as the losses read them: the query, each place of the list, the scores."""
    columns: dict[str, list[Any]] = {"query": [one.query for one in taught.lists]}
    for place in range(labels.shape[1]):
        columns[f"passage_{place}"] = [one.passages[place] for one in taught.lists]
    return columns | {"label": labels.tolist()}
