"""Recall from what others wrote: any VectorStore, any retriever.

Of a foreign source only the order is believed: scores of different stores run in different directions and on
different scales, so they are reported as they came and never ordered, fused or thresholded by. Nothing in LangChain's
interfaces tells which model filled a store: one of another dimension is refused by the store itself at the first
query, one of the same dimension gives arbitrary documents, and only whoever filled the store can know.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import run_in_executor
from langchain_core.vectorstores import VectorStore

from langchain_rerank_retriever.errors import InvalidArgumentError, RecallError, RerankError
from langchain_rerank_retriever.recall.candidate import (
    Candidate,
    RecallRequest,
    StageScore,
    document_id,
    unique,
)


class ForeignRecall:
    """What all sources have in common that others wrote: one order of their own, and no stage scores."""

    __slots__ = ()

    stage_scores: ClassVar[frozenset[StageScore]] = frozenset()
    score_is_opaque: ClassVar[bool] = True

    def scores_of(
        self,
        query: str,  # noqa: ARG002  # as other sources
        ids: Iterable[str],  # noqa: ARG002
        wanted: frozenset[StageScore],  # noqa: ARG002
    ) -> dict[StageScore, dict[str, float]]:
        """Know none."""
        return {}


@dataclass(frozen=True, slots=True)
class VectorStoreRecall(ForeignRecall):
    """Recall from any LangChain VectorStore, in the store's own order; fewer than `fetch_k` is normal.

    Approximate indexes may give fewer by themselves: pgvector's HNSW looks at `hnsw.ef_search` (40) rows, of which a
    filter leaves fewer still. Set that on the connection, at `fetch_k` or more.

    Attributes:
        store: The store.
        name: What errors call it.
        search_kwargs: Passed through to its search methods untouched, except `k`, which is the request's `fetch_k`.
    """

    store: VectorStore
    name: str
    search_kwargs: Mapping[str, Any] = field(default_factory=dict)

    def recall(self, request: RecallRequest) -> list[Candidate]:
        """Search with scores where the store has that, else without."""
        arguments = self._arguments(request)
        with _failures_of(self.name):
            if self._has("similarity_search_with_score"):
                try:
                    hits = self.store.similarity_search_with_score(request.query, **arguments)
                    return _scored(hits, self.name, request)
                except NotImplementedError:
                    pass  # Some stores override the method only to say that they lack it.
            return _unscored(self.store.similarity_search(request.query, **arguments), self.name, request)

    async def arecall(self, request: RecallRequest) -> list[Candidate]:
        """Search by the store's own async methods (LangChain's default is a thread); without any, in a thread."""
        arguments = self._arguments(request)
        with _failures_of(self.name):
            if self._has("similarity_search_with_score") or self._has("asimilarity_search_with_score"):
                try:
                    hits = await self.store.asimilarity_search_with_score(request.query, **arguments)
                    return _scored(hits, self.name, request)
                except NotImplementedError:
                    pass
            try:
                documents = await self.store.asimilarity_search(request.query, **arguments)
                return _unscored(documents, self.name, request)
            except NotImplementedError:
                pass  # Some say of their whole async side that they lack it.
        return await run_in_executor(None, self.recall, request)

    def _arguments(self, request: RecallRequest) -> dict[str, Any]:
        _refuse_mode(request, self.name)
        asked = request.search_kwargs or {}
        if "k" in asked:
            raise InvalidArgumentError("search_kwargs cannot hold k: fetch_k says how many are recalled.")
        arguments = {**self.search_kwargs, **asked, "k": request.fetch_k}
        if request.filter is not None:
            arguments["filter"] = request.filter
        return arguments

    def _has(self, method: str) -> bool:
        return getattr(type(self.store), method) is not getattr(VectorStore, method)


@dataclass(frozen=True, slots=True)
class RetrieverRecall(ForeignRecall):
    """Recall from any LangChain retriever; how many documents it gives is its own setting.

    Attributes:
        retriever: The retriever.
        name: What errors call it.
    """

    retriever: BaseRetriever
    name: str

    def recall(self, request: RecallRequest) -> list[Candidate]:
        """Invoke the retriever."""
        self._check(request)
        with _failures_of(self.name):
            return _unscored(self.retriever.invoke(request.query), self.name, request)

    async def arecall(self, request: RecallRequest) -> list[Candidate]:
        """Invoke the retriever's own async side (LangChain's default is a thread); without one, in a thread."""
        self._check(request)
        with _failures_of(self.name):
            try:
                return _unscored(await self.retriever.ainvoke(request.query), self.name, request)
            except NotImplementedError:
                pass  # As of stores: some say of their async side that they lack it.
        return await run_in_executor(None, self.recall, request)

    def _check(self, request: RecallRequest) -> None:
        _refuse_mode(request, self.name)
        for argument, value in (("filter", request.filter), ("search_kwargs", request.search_kwargs)):
            if value is not None:
                raise InvalidArgumentError(
                    f"{argument}= cannot be passed on to {self.name}: retrievers have no common {argument} "
                    "argument. Set it on the retriever, or recall from its vector store."
                )


def _refuse_mode(request: RecallRequest, name: str) -> None:
    if request.mode not in (None, "dense"):
        raise InvalidArgumentError(
            f"recall_mode={request.mode!r} needs a FaissStore; {name} has one order of its own. "
            "Leave recall_mode out."
        )


@contextmanager
def _failures_of(name: str) -> Iterator[None]:
    """Say of an error in which source it happened."""
    try:
        yield
    except RerankError:
        raise  # Says it itself.
    except Exception as error:
        text = f"Recall from {name} failed: {type(error).__name__}: {error}"
        # Stores word this in many ways, all with one of these.
        if any(word in str(error).lower() for word in ("dimension", "shape", "number of columns")):
            text += " (Was the store filled with another model than it is asked with?)"
        raise RecallError(text, source=name) from error


def _scored(hits: Any, name: str, request: RecallRequest) -> list[Candidate]:
    candidates = []
    for place, hit in enumerate(_listed(hits, name)):
        if not isinstance(hit, tuple | list) or len(hit) != 2:
            raise _no_document(name, place, hit, "a pair of a LangChain Document and a score")
        document, score = hit
        candidates.append(Candidate(_document(document, name, place), _number(score, name, place)))
    return unique(candidates, request.fetch_k)


def _unscored(documents: Any, name: str, request: RecallRequest) -> list[Candidate]:
    found = [
        Candidate(_document(document, name, place)) for place, document in enumerate(_listed(documents, name))
    ]
    return unique(found, request.fetch_k)


def _listed(found: Any, name: str) -> list[Any]:
    if not isinstance(found, Iterable) or isinstance(found, str | bytes | Mapping):
        raise RecallError(
            f"{name} gave a {type(found).__name__}; expected a list of LangChain Documents.", source=name
        )
    return list(found)


def _document(document: Any, name: str, place: int) -> Document:
    if not isinstance(document, Document):
        raise _no_document(name, place, document, "a LangChain Document")
    found = document_id(document)
    # What judges, filters and joins results further on knows documents by their ids.
    return document if document.id == found else document.model_copy(update={"id": found})


def _no_document(name: str, place: int, got: Any, expected: str) -> RecallError:
    return RecallError(
        f"{name} gave a {type(got).__name__} at place {place}; expected {expected}.", source=name
    )


def _number(score: Any, name: str, place: int) -> float | None:
    """Bring a score to a plain float; None where there is none, and where it is NaN, which is no number."""
    if score is None:
        return None
    try:
        number = float(score)
    except (TypeError, ValueError) as error:
        raise RecallError(
            f"{name} gave the score {score!r} at place {place}; expected a number or None.", source=name
        ) from error
    return None if math.isnan(number) else number
