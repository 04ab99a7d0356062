"""Which of sentence-transformers' losses a recipe names, set up for what is trained here."""

from typing import Any

from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.training.fit.recipe import CrossEncoderLoss, Recipe

#: Factor on cosines before a softmax over them; sentence-transformers' default.
COSINE_SCALE = 20.0

#: ListNet's target is the softmax of the labels. At 10 the one positive gets 0.9997 of it among 8 passages, which
#: makes the loss the plain softmax cross-entropy; at 1 it would get only 0.28.
LISTWISE_LABEL = 10.0


def in_batch_loss(model: Any, recipe: Recipe, *, of_all: bool = False) -> Any:
    """Make the symmetric in-batch softmax over cosines times 20 (InfoNCE, van den Oord et al. 2018).

    With `mini_batch_size` the same loss and gradient are computed in parts, twice over (GradCache, Gao et al. 2021).

    Args:
        model: A `SentenceTransformer`.
        recipe: Of it, `mini_batch_size` and the Matryoshka dimensions count.
        of_all: Whether the texts of all processes of a launch are each other's negatives. The mean over processes,
            which is what they train by, is then the loss of one batch of all their texts.

    Raises:
        InvalidArgumentError: A Matryoshka dimension is more than the model has.
    """
    from sentence_transformers.sentence_transformer.losses import (
        CachedMultipleNegativesRankingLoss,
        MultipleNegativesRankingLoss,
    )

    settings: dict[str, Any] = {
        "scale": COSINE_SCALE,
        "directions": ("query_to_doc", "doc_to_query"),
        "partition_mode": "per_direction",
        "gather_across_devices": of_all,
    }
    if recipe.mini_batch_size is None:
        return nested(model, MultipleNegativesRankingLoss(model, **settings), recipe)
    settings["mini_batch_size"] = recipe.mini_batch_size
    return nested(model, CachedMultipleNegativesRankingLoss(model, **settings), recipe)


def pair_loss(model: Any, recipe: Recipe) -> Any:
    """Make the loss for scored sentence pairs.

    CoSENT (Huang et al. 2024) wants a pair with a higher score to have a higher cosine; the other is the squared error
    of the cosine.

    Raises:
        InvalidArgumentError: A Matryoshka dimension is more than the model has.
    """
    from sentence_transformers.sentence_transformer.losses import CoSENTLoss, CosineSimilarityLoss

    if recipe.pair_loss == "cosine":
        return nested(model, CosineSimilarityLoss(model), recipe)
    return nested(model, CoSENTLoss(model, scale=COSINE_SCALE), recipe)


def distillation_loss(model: Any, recipe: Recipe) -> Any:
    """Make the loss by which a bi-encoder learns a teacher's scores of lists.

    `"margin-mse"` is the squared error of score differences (Hofstaetter et al. 2020), `"kl"` the Kullback-Leibler
    divergence of the two softmaxes over a list (Lin et al. 2020); the model's scores are cosines times 20.

    Raises:
        InvalidArgumentError: A Matryoshka dimension is more than the model has.
    """
    from sentence_transformers.sentence_transformer.losses import DistillKLDivLoss, MarginMSELoss
    from sentence_transformers.util import pairwise_cos_sim

    def scaled_cosine(left: Any, right: Any) -> Any:
        return COSINE_SCALE * pairwise_cos_sim(left, right)

    loss = DistillKLDivLoss if recipe.distill == "kl" else MarginMSELoss
    return nested(model, loss(model, similarity_fct=scaled_cosine), recipe)


def nested(model: Any, loss: Any, recipe: Recipe) -> Any:
    """Have a loss of embeddings apply to their leading dimensions too (Kusupati et al. 2022).

    The whole embedding always counts, and each length counts the same.

    Raises:
        InvalidArgumentError: A dimension is more than the model has.
    """
    if not recipe.matryoshka_dims:
        return loss
    from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss

    whole = model.get_embedding_dimension()
    if max(recipe.matryoshka_dims) > whole:
        raise InvalidArgumentError(
            f"matryoshka_dims must be at most {whole}, the model's dimension; got {recipe.matryoshka_dims}."
        )
    return MatryoshkaLoss(model, loss, sorted({whole, *recipe.matryoshka_dims}, reverse=True))


def ranking_loss(model: Any, name: CrossEncoderLoss, *, negatives: int) -> Any:
    """Make a cross-encoder's loss.

    Args:
        model: A `CrossEncoder` with one label.
        name: `"listwise"` and `"lambda"` read a query with its list, the other two pair by pair: `"bce"` makes the
            logit log-odds; `"mse"` fits the logit itself to 1 for relevant and 0 for not, so scores come out near
            that range.
        negatives: Negatives for each positive. Binary cross-entropy weighs a positive as much as all of them
            together, or it would first learn that most passages are not relevant.
    """
    import torch
    from sentence_transformers.cross_encoder.losses import (
        BinaryCrossEntropyLoss,
        LambdaLoss,
        ListNetLoss,
        MSELoss,
    )

    if name == "bce":
        return BinaryCrossEntropyLoss(model, pos_weight=torch.tensor(float(max(1, negatives))))
    if name == "mse":
        return MSELoss(model)
    # All pairs of a step in one forward pass: they are short and of like length.
    return (LambdaLoss if name == "lambda" else ListNetLoss)(model, mini_batch_size=-1)
