"""Fine-tune the bi-encoder on queries and their documents, with sentence-transformers' own trainer and loss."""

from collections.abc import Sequence
from typing import Any

from langchain_rerank_retriever.training.fit.embedding import train_embeddings
from langchain_rerank_retriever.training.fit.job import Job
from langchain_rerank_retriever.training.fit.trainer import Fitted, Training

#: Recipe found by hand on several data sets.
LEARNING_RATE = 4e-5


def fit_bi_encoder(
    model: Any,
    pairs: Sequence[tuple[str, str]],
    training: Training,
    *,
    query_prompt: str = "",
    document_prompt: str = "",
) -> Fitted:
    """Train a SentenceTransformer in place and save it.

    The loss is the symmetric in-batch softmax over cosine similarities times 20. No batch holds a text twice, since
    a second copy of a positive would count as a negative.

    Args:
        model: A float32 `SentenceTransformer`; trained in place, its maximum length is as before afterwards.
        pairs: (query, relevant passage); at least one.
        training: Of its recipe, the batch, its parts, Matryoshka dimensions and adapters count.
        query_prompt: Put before every query, as when serving.
        document_prompt: Put before every passage.

    Raises:
        InvalidArgumentError: A Matryoshka dimension is more than the model has.
        MissingExtraError: Adapters are asked for and `peft` is not installed.
    """
    job = Job(
        lesson="in-batch",
        columns={"query": [query for query, _ in pairs], "passage": [passage for _, passage in pairs]},
        batch_size=training.recipe.batch_size,
        rate=LEARNING_RATE,
        prompts={"query": query_prompt, "passage": document_prompt},
    )
    return train_embeddings(model, job, training)
