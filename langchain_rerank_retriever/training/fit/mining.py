"""Hard negatives from the recall that serves: what the cross-encoder will have to tell apart."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from langchain_rerank_retriever.recall import RecallRequest, source_of
from langchain_rerank_retriever.training.data.reading import TrainingData
from langchain_rerank_retriever.training.fit.cross_encoder import PassageList

#: Recipe found by hand: half of the negatives from the first 30 of the served recall, half at random.
HARD_DEPTH = 30
NEGATIVES = 7
HARD_NEGATIVES = 4


def mine_lists(
    store: Any,
    data: TrainingData,
    texts: Mapping[str, str],
    *,
    count: int,
    fusion: Mapping[str, float] | None,
    seed: int,
    on_progress: Callable[[float], None] | None = None,
) -> list[PassageList]:
    """Draw training lists: one relevant passage, hard negatives, random negatives.

    A query comes again in every round with other negatives. A document whose text equals that of a relevant one is
    never a negative. Negatives that the data give take the places of recalled ones.

    Args:
        store: The store that serves.
        data: The training queries.
        texts: Document id to text.
        count: How many lists.
        fusion: Weights of hybrid recall, None for reciprocal rank.
        seed: Of the drawing.
        on_progress: Called with the finished share of the recall.

    Returns:
        `count` lists, in random order of queries; fewer only where there is no negative at all.
    """
    rng = np.random.default_rng(seed)
    every = sorted(texts)
    query_ids = [str(key) for key in rng.permutation(sorted(data.queries))][:count]
    pools = {}
    for done, key in enumerate(query_ids, start=1):
        pools[key] = _hard(store, data, key, texts, fusion)
        if on_progress is not None:
            on_progress(done / len(query_ids))
    lists: list[PassageList] = []
    while query_ids and len(lists) < count:
        drawn = list(_round(data, query_ids, pools, texts, every, rng))
        if not drawn:
            break
        lists.extend(drawn)
    return lists[:count]


def _hard(
    store: Any, data: TrainingData, key: str, texts: Mapping[str, str], fusion: Mapping[str, float] | None
) -> list[str]:
    request = RecallRequest(data.queries[key], HARD_DEPTH, "hybrid", fusion=fusion)
    relevant = {texts[one] for one in data.positives(key)}
    recalled = [texts[str(candidate.document.id)] for candidate in source_of(store).recall(request)]
    return [text for text in dict.fromkeys(recalled) if text not in relevant]


def _round(
    data: TrainingData,
    query_ids: list[str],
    pools: Mapping[str, list[str]],
    texts: Mapping[str, str],
    every: list[str],
    rng: np.random.Generator,
) -> Iterator[PassageList]:
    for key in rng.permutation(query_ids):
        positives = data.positives(key)
        relevant = {texts[one] for one in positives}
        # What the user gives as wrong answers comes before what recall finds.
        given = [text for text in dict.fromkeys(data.negatives.get(key, ())) if text not in relevant]
        pool = [text for text in pools[key] if text not in given]
        hard = [*_shuffled(given, rng), *_shuffled(pool, rng)][:HARD_NEGATIVES]
        drawn = (texts[every[place]] for place in rng.integers(len(every), size=3 * NEGATIVES))
        others = [text for text in dict.fromkeys(drawn) if text not in relevant and text not in hard]
        negatives = [*hard, *others][:NEGATIVES]
        if negatives:
            yield PassageList(data.queries[key], (texts[positives[rng.integers(len(positives))]], *negatives))


def _shuffled(texts: list[str], rng: np.random.Generator) -> list[str]:
    return [texts[place] for place in rng.permutation(len(texts))]
