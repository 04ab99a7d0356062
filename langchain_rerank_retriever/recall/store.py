"""Recall from a FaissStore: dense, lexical (BM25) or both."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from langchain_core.documents import Document
from langchain_core.runnables import run_in_executor

from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.protocols import FloatArray
from langchain_rerank_retriever.recall.candidate import Candidate, RecallRequest, StageScore
from langchain_rerank_retriever.recall.fusion import best_first, reciprocal_rank_scores, weighted_sum
from langchain_rerank_retriever.store import FaissStore

#: Hybrid recall searches each side at least this deep, however few candidates are asked for: a document that is
#: twentieth on both sides is often among the best ten of both together, and a deep search costs milliseconds.
HYBRID_DEPTH = 100


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
        """Recall candidates in the order of the request's mode (default dense)."""
        if request.search_kwargs is not None:
            raise InvalidArgumentError(
                f"search_kwargs are for foreign stores, got {request.search_kwargs!r} for a FaissStore. Use filter=."
            )
        if request.filter is None:
            request = replace(request, filter=self.filter)
        mode = request.mode or "dense"
        if mode != "dense" and not self._has_lexical:
            raise InvalidArgumentError(
                f"recall_mode={mode!r} needs a lexical index, and this store was made with lexical=False. "
                "Use recall_mode='dense' or make the store anew with lexical=True."
            )
        vector = None
        if mode != "lexical" or "dense" in request.stage_scores:
            vector = self.store.embed_query(request.query)
        documents, dense, lexical = self._search(request, mode, vector)
        self._fill(request, mode, vector, documents, dense, lexical)
        return _ordered(request, mode, documents, dense, lexical)

    async def arecall(self, request: RecallRequest) -> list[Candidate]:
        """Recall in a thread: the query waits for the model's worker there, not on the event loop."""
        return await run_in_executor(None, self.recall, request)

    def scores_of(
        self, query: str, ids: Iterable[str], wanted: frozenset[StageScore]
    ) -> dict[StageScore, dict[str, float]]:
        """Score given documents for a query; ids that the store does not know are left out."""
        names, scores = list(ids), dict[StageScore, dict[str, float]]()
        if "dense" in wanted:
            scores["dense"] = self.store.dense_scores(self.store.embed_query(query), names)
        if "lexical" in wanted:
            scores["lexical"] = self.store.lexical_scores(query, names)
        return scores

    def _search(
        self, request: RecallRequest, mode: str, vector: FloatArray | None
    ) -> tuple[dict[str, Document], dict[str, float], dict[str, float]]:
        """Search each side that the mode asks for: documents, dense scores and lexical scores, all by id."""
        documents: dict[str, Document] = {}
        sides: dict[str, dict[str, float]] = {"dense": {}, "lexical": {}}
        searches: dict[str, Any] = {}
        depth = request.fetch_k if mode != "hybrid" else max(request.fetch_k, HYBRID_DEPTH)
        if vector is not None and mode != "lexical":
            searches["dense"] = self.store.similarity_search_with_score_by_vector(
                vector, k=depth, filter=request.filter
            )
        if mode != "dense":
            searches["lexical"] = self.store.lexical_search_with_score(
                request.query, k=depth, filter=request.filter
            )
        for side, hits in searches.items():
            for document, score in hits:
                key = str(document.id)
                documents.setdefault(key, document)
                sides[side][key] = score
        return documents, sides["dense"], sides["lexical"]

    def _fill(  # one step of recall(), with what the step before it found
        self,
        request: RecallRequest,
        mode: str,
        vector: FloatArray | None,
        documents: dict[str, Document],
        dense: dict[str, float],
        lexical: dict[str, float],
    ) -> None:
        """Add the scores that only the other side's hits have, so that both can be compared over one list."""
        needed = _sides(mode, request)
        if vector is not None and "dense" in needed:
            missing = [key for key in documents if key not in dense]
            dense.update(self.store.dense_scores(vector, missing))
        if "lexical" in needed:
            missing = [key for key in documents if key not in lexical]
            lexical.update(self.store.lexical_scores(request.query, missing))


def _sides(mode: str, request: RecallRequest) -> frozenset[str]:
    """Name the scores that every candidate must have."""
    return request.stage_scores | (frozenset({"dense", "lexical"}) if mode == "hybrid" else {mode})


def _ordered(
    request: RecallRequest,
    mode: str,
    documents: dict[str, Document],
    dense: dict[str, float],
    lexical: dict[str, float],
) -> list[Candidate]:
    """Put what was found in the order of the mode and keep the best `fetch_k`."""
    required = {"dense": dense, "lexical": lexical}
    needed = [required[side] for side in _sides(mode, request)]
    # A document deleted between the searches and the filling has no complete row: it is gone.
    keys = [key for key in documents if all(key in scores for scores in needed)]
    recall = _fused(request, keys, dense, lexical) if mode == "hybrid" else required[mode]
    order = best_first(np.array([recall[key] for key in keys], float))
    return [
        Candidate(documents[key], recall[key], dense.get(key), lexical.get(key))
        for key in (keys[index] for index in order[: request.fetch_k])
    ]


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
