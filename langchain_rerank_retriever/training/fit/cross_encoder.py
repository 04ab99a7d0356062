"""Train the cross-encoder on hard negatives, with sentence-transformers' own trainer and loss."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain_rerank_retriever.training.fit.adapters import learning_rate, low_rank
from langchain_rerank_retriever.training.fit.job import Job, shared
from langchain_rerank_retriever.training.fit.losses import LISTWISE_LABEL, ranking_loss
from langchain_rerank_retriever.training.fit.recipe import CrossEncoderLoss
from langchain_rerank_retriever.training.fit.trainer import (
    Fitted,
    Training,
    arguments,
    make_ready,
    run,
    without_model_card,
)

#: Recipe found by hand: 4 queries with 8 passages each a step; the new head learns five times as fast as the rest.
LISTS_PER_STEP = 4
LEARNING_RATE = 1.5e-4
HEAD_LEARNING_RATE = 5 * LEARNING_RATE
FINE_TUNE_LEARNING_RATE = 3e-5
MAX_TOKENS = 128

#: Losses that read a query with its whole list; the others read pairs.
WHOLE_LISTS = ("listwise", "lambda")

#: The matrices of a new head, by their names in a CrossEncoder of sentence-transformers' modules.
HEAD = r"^(model\.)?\d+\.linear\."


@dataclass(frozen=True, slots=True)
class PassageList:
    """One query with passages to order: the first is relevant, the rest are not."""

    query: str
    passages: tuple[str, ...]


def warm_start(bi_encoder_folder: Path, *, max_tokens: int = MAX_TOKENS) -> Any:
    """Make a `CrossEncoder` from a bi-encoder's language model: mean pooling, a tanh layer, one score.

    The layers on top are new and know nothing; the language model below already knows the user's texts.
    """
    import torch
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules import Dense, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    transformer = Transformer(str(bi_encoder_folder), model_kwargs={"use_safetensors": True})
    transformer.max_seq_length = max_tokens
    width = transformer.get_embedding_dimension()
    return CrossEncoder(
        modules=[
            transformer,
            Pooling(width, pooling_mode="mean"),
            Dense(width, width, activation_function=torch.nn.Tanh()),
            Dense(width, 1, activation_function=torch.nn.Identity(), module_output_name="scores"),
        ],
        activation_fn=torch.nn.Identity(),
    )


def fit_cross_encoder(
    model: Any,
    lists: Sequence[PassageList],
    training: Training,
    *,
    new_head: bool,
) -> Fitted:
    """Train a CrossEncoder in place and save it.

    The usual loss is the softmax cross-entropy of each query's list (ListNet, Cao et al. 2007, with a one-hot
    target). A step takes as many pairs with every loss.

    Args:
        model: A float32 `CrossEncoder` with one label; trained in place.
        lists: At least one.
        training: Of its recipe, the loss and the adapters count.
        new_head: Whether the layers on top are new (`warm_start`) and learn at a rate of their own.

    Raises:
        MissingExtraError: Adapters are asked for and `peft` is not installed.
    """
    recipe = training.recipe
    longest = max(len(one.passages) for one in lists)
    job = Job(
        lesson="lists",
        columns=_columns(lists, recipe.cross_encoder_loss),
        batch_size=LISTS_PER_STEP * (1 if recipe.cross_encoder_loss in WHOLE_LISTS else longest),
        rate=LEARNING_RATE if new_head else FINE_TUNE_LEARNING_RATE,
        new_head=new_head,
        negatives=longest - 1,
    )
    return train_lists(model, job, training)


def train_lists(model: Any, job: Job, training: Training) -> Fitted:
    """Train a CrossEncoder in place, and save it.

    Args:
        model: A float32 `CrossEncoder` with one label.
        job: What it is to learn.
        training: How long, how, and where to. Only the main process of a launch saves.
    """
    from datasets import Dataset
    from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments

    schedule, batches, recipe = training.schedule(), training.batches("random"), training.recipe
    without_model_card(model)
    with (
        shared(model, job, training),
        training.scratch() as scratch,
        low_rank(model, recipe.lora_rank, seed=training.seed),
        _plain_outputs(model),
    ):
        make_ready(model)
        trainer = CrossEncoderTrainer(
            model=model,
            args=arguments(
                CrossEncoderTrainingArguments,
                training,
                schedule,
                output_dir=scratch,
                per_device_train_batch_size=job.batch_size,
                learning_rate=learning_rate(job.rate, recipe),
                learning_rate_mapping={HEAD: HEAD_LEARNING_RATE} if job.new_head else {},
                batch_sampler=batches,
            ),
            train_dataset=Dataset.from_dict(dict(job.columns)),
            loss=ranking_loss(model, recipe.cross_encoder_loss, negatives=job.negatives),
        )
        fitted = run(trainer, schedule, training.kept, batches)
    if training.together.main:
        model.save_pretrained(str(training.folder))
    return fitted


@contextmanager
def _plain_outputs(model: Any) -> Iterator[None]:
    """Have a model give plain dictionaries: torch looks only into these for the weights that a step of DDP has used."""
    hook = model.register_forward_hook(lambda _model, _given, output: dict(output))
    try:
        yield
    finally:
        hook.remove()


def _columns(lists: Sequence[PassageList], loss: CrossEncoderLoss) -> dict[str, list[Any]]:
    """Lay lists out as a loss reads them: whole, or pair by pair; the labels' column must have one of four names."""
    if loss in WHOLE_LISTS:
        positive = LISTWISE_LABEL if loss == "listwise" else 1.0
        return {
            "query": [one.query for one in lists],
            "passages": [list(one.passages) for one in lists],
            "labels": [[positive] + [0.0] * (len(one.passages) - 1) for one in lists],
        }
    pairs = [(one.query, text, float(place == 0)) for one in lists for place, text in enumerate(one.passages)]
    queries, passages, labels = zip(*pairs, strict=True)
    return {"query": list(queries), "passage": list(passages), "label": list(labels)}
