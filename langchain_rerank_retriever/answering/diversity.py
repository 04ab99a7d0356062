"""Maximal marginal relevance after re-ranking: documents that are relevant and unlike each other."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from langchain_core.documents import Document

from langchain_rerank_retriever.answering.options import Options
from langchain_rerank_retriever.answering.outcomes import outcomes
from langchain_rerank_retriever.answering.ranking import Ranking
from langchain_rerank_retriever.recall.fusion import Floats


def pool(ranking: Ranking, documents: Sequence[Document], options: Options) -> list[int]:
    """Find the places to choose from: all that could be returned were `k` high enough, best first.

    What has no relevance, since no time was left to score it, cannot be weighed and is not among them.
    """
    fates = outcomes(ranking, documents, options)
    return [
        place
        for place, fate in zip(ranking.order, fates, strict=True)
        if fate in ("returned", "below_k") and not np.isnan(ranking.relevance[place])
    ]


def diversified(
    ranking: Ranking, places: Sequence[int], vectors: Floats, *, k: int, lambda_mult: float, as_it_is: bool
) -> Ranking:
    """Put the documents that maximal marginal relevance chooses in front; the others keep their order.

    Args:
        ranking: The order so far.
        places: The candidates to choose from, best first.
        vectors: Theirs, shape ``(len(places), d)``, of length one.
        k: How many to choose.
        lambda_mult: See `marginal_order`.
        as_it_is: Whether the relevance is a probability or a cosine; otherwise it is brought to 0 to 1 first.
    """
    relevance = ranking.relevance[list(places)]
    if not as_it_is:
        relevance = _from_0_to_1(relevance)
    order = marginal_order(relevance, vectors, k=k, lambda_mult=lambda_mult)
    chosen = [places[index] for index in order]
    rest = [place for place in ranking.order if place not in set(chosen)]
    return replace(ranking, order=(*chosen, *rest))


def marginal_order(relevance: Floats, vectors: Floats, *, k: int, lambda_mult: float) -> list[int]:
    """Choose one after the other (Carbonell and Goldstein 1998, "The use of MMR").

    The first is the most relevant. Each further one has the highest ``lambda_mult * relevance - (1 - lambda_mult) *
    similarity``, where similarity is the cosine to the most similar of those that are chosen; of equal ones, the first.

    Args:
        relevance: Shape ``(n,)``, on a scale like that of cosines.
        vectors: Shape ``(n, d)``, of length one.
        k: How many at most.
        lambda_mult: From 0, as unlike as can be, to 1, by relevance alone.

    Returns:
        Indices in the order of choice.
    """
    if relevance.size == 0:
        return []
    chosen = [int(np.argmax(relevance))]
    nearest = vectors @ vectors[chosen[0]]
    while len(chosen) < min(k, relevance.size):
        worth = lambda_mult * relevance - (1 - lambda_mult) * nearest
        worth[chosen] = -np.inf
        chosen.append(int(np.argmax(worth)))
        nearest = np.maximum(nearest, vectors @ vectors[chosen[-1]])
    return chosen


def _from_0_to_1(relevance: Floats) -> Floats:
    """Bring scores of any scale to that of similarities; all 0 where they do not differ."""
    if relevance.size == 0:
        return relevance
    spread = float(np.ptp(relevance))
    return np.zeros_like(relevance) if spread == 0 else np.asarray((relevance - relevance.min()) / spread)
