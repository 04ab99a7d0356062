"""How the encoders are trained, for those who want it otherwise than by default."""

from dataclasses import dataclass
from typing import Literal, get_args

from langchain_rerank_retriever.errors import InvalidArgumentError

PairLoss = Literal["cosent", "cosine"]
CrossEncoderLoss = Literal["listwise", "bce", "mse", "lambda"]
FalseNegatives = Literal["duplicates", "margin", "cross-encoder"]
Distillation = Literal["margin-mse", "kl"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Choices of a training run; the defaults are what was found best on several data sets.

    Attributes:
        batch_size: Queries of one bi-encoder step; each query's negatives are the passages of the others. Where several
            processes train together, so many of each, and the passages of all.
        mini_batch_size: Compute a step in parts of so many pairs, for batches that memory cannot hold at once
            (GradCache, Gao et al. 2021; sentence-transformers' `CachedMultipleNegativesRankingLoss`); None is at once.
        matryoshka_dims: Leading dimensions that shall be good embeddings by themselves (Kusupati et al. 2022); the
            whole embedding is always trained too.
        pair_loss: For scored sentence pairs: `"cosent"` (CoSENT, order alone) or `"cosine"` (squared error of the
            cosine, the score's scale brought to 0 to 1).
        cross_encoder_loss: `"listwise"` (ListNet, Cao et al. 2007), `"bce"`, `"mse"`, or `"lambda"` (LambdaLoss, Wang
            et al. 2018).
        false_negatives: What is never taken as a hard negative besides the known positives. `"duplicates"`: passages
            nearly the same as a positive. `"margin"`: also those that the bi-encoder scores above `margin` times
            the positive's score. `"cross-encoder"`: also those that a given pretrained cross-encoder scores above the
            positive; needs `reranker` to be one.
        margin: For `"margin"`; 0.95 is the best of NV-Retriever (Moreira et al. 2024).
        distill: After the cross-encoder, train the bi-encoder further to agree with it, by `"margin-mse"`
            (Hofstaetter et al. 2020) or `"kl"`; None is not.
        lora_rank: Train low-rank adapters (Hu et al. 2021) instead of all weights, and merge them at the end; needs the
            extra `peft`. For models too large to train whole. None trains all weights.

    Raises:
        InvalidArgumentError: For a value outside these.
    """

    batch_size: int = 32
    mini_batch_size: int | None = None
    matryoshka_dims: tuple[int, ...] = ()
    pair_loss: PairLoss = "cosent"
    cross_encoder_loss: CrossEncoderLoss = "listwise"
    false_negatives: FalseNegatives = "duplicates"
    margin: float = 0.95
    distill: Distillation | None = None
    lora_rank: int | None = None

    def __post_init__(self) -> None:
        _one_of("pair_loss", self.pair_loss, get_args(PairLoss))
        _one_of("cross_encoder_loss", self.cross_encoder_loss, get_args(CrossEncoderLoss))
        _one_of("false_negatives", self.false_negatives, get_args(FalseNegatives))
        if self.distill is not None:
            _one_of("distill", self.distill, get_args(Distillation))
        _count("batch_size", self.batch_size, least=2)
        for name in ("mini_batch_size", "lora_rank"):
            if getattr(self, name) is not None:
                _count(name, getattr(self, name), least=1)
        dimensions: object = self.matryoshka_dims
        if not isinstance(dimensions, tuple):
            raise InvalidArgumentError(
                f"matryoshka_dims must be a tuple of whole numbers, got {dimensions!r}."
            )
        for dimension in dimensions:
            _count("matryoshka_dims", dimension, least=1)
        margin: object = self.margin
        if isinstance(margin, bool) or not isinstance(margin, int | float) or not 0 < margin <= 1:
            raise InvalidArgumentError(f"margin must be above 0 and at most 1, got {self.margin!r}.")


def _one_of(name: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InvalidArgumentError(f"{name} must be one of {', '.join(known)}, got {value!r}.")


def _count(name: str, value: object, *, least: int) -> None:
    if type(value) is not int or value < least:
        raise InvalidArgumentError(f"{name} must be a whole number of at least {least}, got {value!r}.")


#: One object for all signatures; it cannot be changed.
DEFAULT_RECIPE = Recipe()
