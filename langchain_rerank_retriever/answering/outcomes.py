"""Which candidates are returned, and why the others are not."""

from collections.abc import Hashable, Sequence

import numpy as np
from langchain_core.documents import Document

from langchain_rerank_retriever.answering.collapse import belonging
from langchain_rerank_retriever.answering.options import Options
from langchain_rerank_retriever.answering.ranking import Ranking
from langchain_rerank_retriever.protocols import Outcome


def outcomes(ranking: Ranking, documents: Sequence[Document], options: Options) -> list[Outcome]:
    """Let candidates out, one after the other in final order.

    Args:
        ranking: The final order.
        documents: The candidates' documents, in recall order.
        options: Of those whose relevance reaches `score_threshold`, the first of each parent named under `collapse`
            stands for the others, too; `k` of those that are left are returned.

    Returns:
        One outcome for each place of `ranking.order`.
    """
    result: list[Outcome] = []
    parents: set[Hashable] = set()
    returned = 0
    for place in ranking.order:
        outcome = _refused(ranking, place, options.score_threshold)
        if outcome is None and options.collapse is not None:
            parent = belonging(documents[place].metadata, options.collapse)
            outcome = "collapsed" if parent in parents else None
            if parent is not None:
                parents.add(parent)
        if outcome is None:
            outcome = "returned" if returned < options.k else "below_k"
            returned += 1
        result.append(outcome)
    return result


def _refused(ranking: Ranking, place: int, score_threshold: float | None) -> Outcome | None:
    if place in ranking.dropped:
        return "dropped_by_reranker"
    relevance = ranking.relevance[place]
    if score_threshold is not None and (np.isnan(relevance) or relevance < score_threshold):
        return "below_threshold"
    return None
