"""The stages of one query as child runs and events of progress; where nobody listens, nothing is made."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import numpy as np
from langchain_core.callbacks import AsyncCallbackManager, CallbackManager
from langchain_core.documents import Document

from langchain_rerank_retriever.answering.events import ATell, Event, Tell, listened_to
from langchain_rerank_retriever.answering.rescore import Rescored
from langchain_rerank_retriever.protocols import SCORE_KEYS
from langchain_rerank_retriever.recall.candidate import Candidate

#: Names of the runs.
RECALL, RERANK = "recall", "rerank"


class Traced:
    """What a stage gave, once it has.

    Attributes:
        candidates: Of recall.
        rescored: Of re-ranking.
    """

    candidates: Sequence[Candidate] = ()
    rescored: Rescored | None = None


class Runs:
    """The child runs of a query that is answered at once."""

    def __init__(self, manager: CallbackManager | None = None) -> None:
        """Take the manager of the query's own run; None, and one without handlers, traces nothing."""
        self._manager = manager if manager is not None and manager.handlers else None

    @property
    def tell(self) -> Tell | None:
        """Dispatches an event of the query's own run; None where nobody listens."""
        listened = self._manager is not None and listened_to(self._manager.handlers)
        return self._dispatch if listened else None

    def _dispatch(self, event: Event) -> None:
        if self._manager is not None:
            self._manager.on_custom_event(*event, run_id=self._manager.parent_run_id)

    @contextmanager
    def recall(self, query: str) -> Iterator[Traced]:
        """Within the block candidates are recalled."""
        traced = Traced()
        if self._manager is None:
            yield traced
            return
        run = self._manager.on_retriever_start(None, query, name=RECALL)
        try:
            yield traced
        except BaseException as error:
            run.on_retriever_error(error)
            raise
        run.on_retriever_end(recalled(traced.candidates))

    @contextmanager
    def rerank(self, query: str, documents: Sequence[Document]) -> Iterator[Traced]:
        """Within the block candidates are re-ranked."""
        traced = Traced()
        if self._manager is None:
            yield traced
            return
        run = self._manager.on_chain_start(None, _inputs(query, documents), name=RERANK)
        try:
            yield traced
        except BaseException as error:
            run.on_chain_error(error)
            raise
        run.on_chain_end({"documents": reranked(traced.rescored)})


class AsyncRuns:
    """The child runs of a query that is awaited."""

    def __init__(self, manager: AsyncCallbackManager | None = None) -> None:
        """Take the manager of the query's own run; None, and one without handlers, traces nothing."""
        self._manager = manager if manager is not None and manager.handlers else None

    @property
    def tell(self) -> ATell | None:
        """Dispatches an event of the query's own run; None where nobody listens."""
        listened = self._manager is not None and listened_to(self._manager.handlers)
        return self._dispatch if listened else None

    async def _dispatch(self, event: Event) -> None:
        if self._manager is not None:
            await self._manager.on_custom_event(*event, run_id=self._manager.parent_run_id)

    @asynccontextmanager
    async def recall(self, query: str) -> AsyncIterator[Traced]:
        """Within the block candidates are recalled."""
        traced = Traced()
        if self._manager is None:
            yield traced
            return
        run = await self._manager.on_retriever_start(None, query, name=RECALL)
        try:
            yield traced
        except BaseException as error:
            await run.on_retriever_error(error)
            raise
        await run.on_retriever_end(recalled(traced.candidates))

    @asynccontextmanager
    async def rerank(self, query: str, documents: Sequence[Document]) -> AsyncIterator[Traced]:
        """Within the block candidates are re-ranked."""
        traced = Traced()
        if self._manager is None:
            yield traced
            return
        run = await self._manager.on_chain_start(None, _inputs(query, documents), name=RERANK)
        try:
            yield traced
        except BaseException as error:
            await run.on_chain_error(error)
            raise
        await run.on_chain_end({"documents": reranked(traced.rescored)})


def recalled(candidates: Sequence[Candidate]) -> list[Document]:
    """Copy what was recalled, with the scores of this stage in the metadata."""
    return [
        _with(
            one.document,
            recall_rank=rank,
            recall_score=one.recall_score,
            dense_score=one.dense_score,
            lexical_score=one.lexical_score,
        )
        for rank, one in enumerate(candidates, start=1)
    ]


def reranked(rescored: Rescored | None) -> list[Document]:
    """Copy what re-ranking left, best first, with its scores in the metadata; what was not scored comes last."""
    if rescored is None:
        return []
    scores = rescored.scores
    if scores is None:
        return [_with(rescored.documents[place]) for place in rescored.order]
    order = list(rescored.order)
    if not rescored.is_final:
        order.sort(key=lambda place: np.inf if np.isnan(scores[place]) else -scores[place])
    return [
        _with(
            rescored.documents[place],
            rerank_score=None if np.isnan(scores[place]) else float(scores[place]),
        )
        for place in order
    ]


def _inputs(query: str, documents: Sequence[Document]) -> dict[str, Any]:
    return {"query": query, "documents": [_with(document) for document in documents]}


def _with(document: Document, **scores: float | None) -> Document:
    kept = {key: value for key, value in document.metadata.items() if key not in SCORE_KEYS}
    kept |= {key: value for key, value in scores.items() if value is not None}
    return Document(id=document.id, page_content=document.page_content, metadata=kept)
