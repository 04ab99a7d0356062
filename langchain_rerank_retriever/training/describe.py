"""The data card of a run, made when the untuned recall has answered the held-out queries and nothing is trained yet."""

import logging

from langchain_rerank_retriever.embeddings import PooledEmbeddings
from langchain_rerank_retriever.runtime.reading.rows import call_tokenizer
from langchain_rerank_retriever.training.data.card import DataCard, data_card
from langchain_rerank_retriever.training.fit.embedding import TRAIN_TOKENS
from langchain_rerank_retriever.training.inputs import DEV, TEST, Inputs, part
from langchain_rerank_retriever.training.proof.fit_blend import Tables

logger = logging.getLogger(__name__)

#: Tokenising more documents than this only to count takes longer than a few seconds.
MOST_COUNTED = 20_000
COUNTED_AT_ONCE = 1_000


def describe(inputs: Inputs, recalled: Tables, encoder: PooledEmbeddings) -> DataCard:
    """Describe the data of a run, and log it.

    Args:
        inputs: The data. The held-out part of the card is what the report's figures come from.
        recalled: What both untuned recalls found among their first 100, of every held-out query.
        encoder: Whose tokens the documents are counted in; they are not where there are more than 20,000 documents.
    """
    held_out, prefix = (inputs.dev, DEV) if inputs.test is None else (inputs.test, TEST)
    found = {key: set(table.ids) for key, table in part(recalled, prefix).items()}
    not_recalled = [
        (key, one) for key in held_out.queries for one in held_out.positives(key) if one not in found[key]
    ]
    texts = list(inputs.texts.values())
    card = data_card(
        inputs.train,
        held_out,
        inputs.corpus,
        token_counts=_token_counts(texts, encoder),
        train_tokens=TRAIN_TOKENS,
        not_recalled=not_recalled,
    )
    logger.info("The data of this run:\n%s", card)
    return card


def _token_counts(texts: list[str], encoder: PooledEmbeddings) -> list[int] | None:
    if len(texts) > MOST_COUNTED:
        return None
    tokenizer = getattr(encoder.load_trainable()[0], "tokenizer", None)
    if not callable(tokenizer):
        return None
    counts: list[int] = []
    for start in range(0, len(texts), COUNTED_AT_ONCE):
        encoded = call_tokenizer(tokenizer, texts[start : start + COUNTED_AT_ONCE], truncation=False)
        counts += map(len, encoded["input_ids"])
    return counts
