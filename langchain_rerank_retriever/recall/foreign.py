"""Recall from what others wrote: any VectorStore, any retriever, and lists of sources.

Of a foreign source only the order is believed: scores of different stores run in different directions and on
different scales, so they are reported as they came and never ordered or fused by.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import VectorStore

from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.recall.candidate import (
    Candidate,
    RecallRequest,
    RecallSource,
    StageScore,
    document_key,
    unique,
)
from langchain_rerank_retriever.recall.fusion import reciprocal_rank_scores

NO_SCORES: frozenset[StageScore] = frozenset()


def _refuse_mode(request: RecallRequest, source: str) -> None:
    if request.mode not in (None, "dense"):
        raise InvalidArgumentError(
            f"recall_mode={request.mode!r} needs a FaissStore; {source} has one order of its own. "
            "Leave recall_mode out."
        )


@dataclass(frozen=True, slots=True)
class VectorStoreRecall:
    """Recall from any LangChain VectorStore, in the store's own order.

    Attributes:
        store: The store.
        search_kwargs: Passed through to its search methods untouched.
        stage_scores: None: a foreign score's direction is not known.
    """

    store: VectorStore
    search_kwargs: Mapping[str, Any] = field(default_factory=dict)
    stage_scores: frozenset[StageScore] = NO_SCORES

    def _arguments(self, request: RecallRequest) -> dict[str, Any]:
        _refuse_mode(request, type(self.store).__name__)
        arguments = {**self.search_kwargs, "k": request.fetch_k}
        if request.filter is not None:
            arguments["filter"] = request.filter
        return arguments

    def _overrides(self, method: str) -> bool:
        return getattr(type(self.store), method) is not getattr(VectorStore, method)

    def recall(self, request: RecallRequest) -> list[Candidate]:
        """Search with scores where the store has that, else without."""
        arguments = self._arguments(request)
        if self._overrides("similarity_search_with_score"):
            try:
                return _scored(self.store.similarity_search_with_score(request.query, **arguments), request)
            except NotImplementedError:
                pass  # Some stores override the method only to say that they lack it.
        return _unscored(self.store.similarity_search(request.query, **arguments), request)

    async def arecall(self, request: RecallRequest) -> list[Candidate]:
        """Search by the store's own async methods; LangChain's default for them is a thread."""
        arguments = self._arguments(request)
        if self._overrides("similarity_search_with_score") or self._overrides(
            "asimilarity_search_with_score"
        ):
            try:
                hits = await self.store.asimilarity_search_with_score(request.query, **arguments)
                return _scored(hits, request)
            except NotImplementedError:
                pass
        return _unscored(await self.store.asimilarity_search(request.query, **arguments), request)


@dataclass(frozen=True, slots=True)
class RetrieverRecall:
    """Recall from any LangChain retriever; how many documents it gives is its own setting."""

    retriever: BaseRetriever
    stage_scores: frozenset[StageScore] = NO_SCORES

    def _check(self, request: RecallRequest) -> None:
        name = type(self.retriever).__name__
        _refuse_mode(request, name)
        if request.filter is not None:
            raise InvalidArgumentError(
                f"filter= cannot be passed on to {name}: retrievers have no common filter argument. "
                "Set it on the retriever, or recall from its vector store."
            )

    def recall(self, request: RecallRequest) -> list[Candidate]:
        """Invoke the retriever."""
        self._check(request)
        return _unscored(self.retriever.invoke(request.query), request)

    async def arecall(self, request: RecallRequest) -> list[Candidate]:
        """Invoke the retriever's own async side."""
        self._check(request)
        return _unscored(await self.retriever.ainvoke(request.query), request)


@dataclass(frozen=True, slots=True)
class FusedRecall:
    """Several sources, fused by reciprocal rank; a filter goes to each of them."""

    sources: Sequence[RecallSource]

    @property
    def stage_scores(self) -> frozenset[StageScore]:
        """What every one of the sources can give."""
        return frozenset.intersection(*(source.stage_scores for source in self.sources))

    def recall(self, request: RecallRequest) -> list[Candidate]:
        """Ask each source in turn and fuse."""
        return _fuse([source.recall(request) for source in self.sources], request.fetch_k)

    async def arecall(self, request: RecallRequest) -> list[Candidate]:
        """Ask all sources at once and fuse."""
        lists = await asyncio.gather(*(source.arecall(request) for source in self.sources))
        return _fuse(list(lists), request.fetch_k)


def _scored(hits: Sequence[tuple[Document, Any]], request: RecallRequest) -> list[Candidate]:
    candidates = [Candidate(document, None if score is None else float(score)) for document, score in hits]
    return unique(candidates, request.fetch_k)


def _unscored(documents: Sequence[Document], request: RecallRequest) -> list[Candidate]:
    return unique([Candidate(document) for document in documents], request.fetch_k)


def _fuse(lists: list[list[Candidate]], fetch_k: int) -> list[Candidate]:
    by_key: dict[str, list[Candidate]] = {}
    keys = [[document_key(candidate.document) for candidate in candidates] for candidates in lists]
    for names, candidates in zip(keys, lists, strict=True):
        for name, candidate in zip(names, candidates, strict=True):
            by_key.setdefault(name, []).append(candidate)
    scores = reciprocal_rank_scores(keys)
    best = sorted(scores, key=lambda key: -scores[key])[:fetch_k]
    return [_joined(by_key[key], scores[key]) for key in best]


def _joined(found: list[Candidate], score: float) -> Candidate:
    """Make one candidate of what several lists say of one document."""
    dense = next((one.dense_score for one in found if one.dense_score is not None), None)
    lexical = next((one.lexical_score for one in found if one.lexical_score is not None), None)
    return Candidate(found[0].document, score, dense, lexical)
