"""Recall from a FaissStore: dense, lexical (BM25) or both."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from langchain_core.runnables import run_in_executor

from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.protocols import RecallMode
from langchain_rerank_retriever.recall.candidate import Candidate, RecallRequest, StageScore
from langchain_rerank_retriever.recall.fusion import best_first, reciprocal_rank_scores, weighted_sum
from langchain_rerank_retriever.store import FaissStore
from langchain_rerank_retriever.store.sides import Hit

#: Hybrid recall searches each side at least this deep, however few candidates are asked for: a document that is
#: twentieth on both sides is often among the best ten of both together, and a deep search costs milliseconds.
HYBRID_DEPTH = 100

#: The sides of the store that a mode searches.
_SEARCHED: Mapping[RecallMode, frozenset[StageScore]] = {
    "dense": frozenset({"dense"}),
    "lexical": frozenset({"lexical"}),
    "hybrid": frozenset({"dense", "lexical"}),
}


@dataclass(frozen=True, slots=True)
class StoreRecall:
    """Recall from one FaissStore.

    Attributes:
        store: The store.
        filter: For requests that have none of their own.
    """

    store: FaissStore
    filter: Any = None
    score_is_opaque: ClassVar[bool] = False

    @property
    def _has_lexical(self) -> bool:
        return bool(self.store.settings["lexical"])

    @property
    def stage_scores(self) -> frozenset[StageScore]:
        """Dense always, lexical where the store keeps a lexical index; read from memory, since event loops ask."""
        return frozenset({"dense", "lexical"}) if self.store.has_lexical else frozenset({"dense"})

    def recall(self, request: RecallRequest) -> list[Candidate]:
        """Recall candidates in the order of the request's mode (default dense), all as the store is at one moment."""
        if request.search_kwargs is not None:
            raise InvalidArgumentError(
                f"search_kwargs are for foreign stores, got {request.search_kwargs!r} for a FaissStore. Use filter=."
            )
        mode = request.mode or "dense"
        if mode != "dense" and not self._has_lexical:
            raise InvalidArgumentError(
                f"recall_mode={mode!r} needs a lexical index, and this store was made with lexical=False. "
                "Use recall_mode='dense' or make the store anew with lexical=True."
            )
        hits = self.store.hits_by_side(
            request.query,
            request.fetch_k if mode != "hybrid" else max(request.fetch_k, HYBRID_DEPTH),
            searched=_SEARCHED[mode],
            scored=request.stage_scores,
            filter=self.filter if request.filter is None else request.filter,
        )
        return _ordered(request, mode, hits)

    async def arecall(self, request: RecallRequest) -> list[Candidate]:
        """Recall in a thread: the query waits for the model's worker there, not on the event loop."""
        return await run_in_executor(None, self.recall, request)

    def scores_of(
        self, query: str, ids: Iterable[str], wanted: frozenset[StageScore]
    ) -> dict[StageScore, dict[str, float]]:
        """Score given documents for a query; ids that the store does not know are left out."""
        return self.store.scores_by_side(query, list(ids), scored=wanted)


def _ordered(request: RecallRequest, mode: RecallMode, hits: Sequence[Hit]) -> list[Candidate]:
    """Put what was found in the order of the mode and keep the best `fetch_k`."""
    found = {str(hit.document.id): hit for hit in hits}
    keys, dense, lexical = list(found), _scores(found, "dense"), _scores(found, "lexical")
    recall = {"dense": dense, "lexical": lexical}.get(mode)
    if recall is None:
        recall = _fused(request, keys, dense, lexical)
    order = best_first(np.array([recall[key] for key in keys], float))
    return [
        Candidate(found[key].document, recall[key], dense.get(key), lexical.get(key))
        for key in (keys[index] for index in order[: request.fetch_k])
    ]


def _scores(found: Mapping[str, Hit], side: StageScore) -> dict[str, float]:
    scores = {key: hit.dense if side == "dense" else hit.lexical for key, hit in found.items()}
    return {key: score for key, score in scores.items() if score is not None}


def _fused(
    request: RecallRequest, keys: list[str], dense: dict[str, float], lexical: dict[str, float]
) -> dict[str, float]:
    if request.fusion is None:
        ranked = [sorted(keys, key=lambda key: -dense[key])]
        # A document in which no query term occurs has no place in the lexical list.
        ranked.append(sorted((key for key in keys if lexical[key] > 0), key=lambda key: -lexical[key]))
        scores = reciprocal_rank_scores(ranked)
        return {key: scores[key] for key in keys}
    columns = {
        "dense": np.array([dense[key] for key in keys], float),
        "lexical": np.array([lexical[key] for key in keys], float),
    }
    return dict(zip(keys, weighted_sum(columns, request.fusion).tolist(), strict=True))
