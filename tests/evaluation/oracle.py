"""The measures once more, straight from their formulas: slow, plain and independent of the package."""

import math
from collections.abc import Sequence


def ndcg(ranking: Sequence[str], judged: dict[str, int], k: int) -> float:
    def dcg(gains: Sequence[int]) -> float:
        return sum(max(gain, 0) / math.log2(rank + 1) for rank, gain in enumerate(gains[:k], start=1))

    ideal = dcg(sorted(judged.values(), reverse=True))
    return dcg([judged.get(document, 0) for document in ranking]) / ideal if ideal > 0 else 0.0


def reciprocal_rank(ranking: Sequence[str], judged: dict[str, int], k: int) -> float:
    ranks = [rank for rank, document in enumerate(ranking[:k], start=1) if judged.get(document, 0) > 0]
    return 1 / ranks[0] if ranks else 0.0


def success(ranking: Sequence[str], judged: dict[str, int], k: int) -> float:
    return float(any(judged.get(document, 0) > 0 for document in ranking[:k]))


def recall(ranking: Sequence[str], judged: dict[str, int], k: int) -> float:
    relevant = {document for document, relevance in judged.items() if relevance > 0}
    return len(relevant & set(ranking[:k])) / len(relevant) if relevant else 0.0
