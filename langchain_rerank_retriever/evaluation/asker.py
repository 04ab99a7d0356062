"""One retriever, asked by whatever it offers; what it says becomes ids, times and traces."""

import asyncio
import inspect
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from textwrap import shorten
from typing import Any

from langchain_core.documents import Document
from langchain_core.runnables import RunnableBinding

from langchain_rerank_retriever.errors import DataError, InvalidArgumentError
from langchain_rerank_retriever.evaluation.trace import QueryTrace
from langchain_rerank_retriever.protocols import Explanation

Key = Callable[[Document], str]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a retriever said to one query.

    Attributes:
        ranking: Ids as the judgements have them, best first, repeated where the retriever repeats itself.
        seconds: Wall time by stage, `total` among them.
        trace: What became of each candidate, where the retriever explains itself. The ranking is then that of all
            candidates, so that a short one does not mean a small `k`.
    """

    ranking: tuple[str, ...]
    seconds: Mapping[str, float]
    trace: QueryTrace | None


class Asker:
    """Asks by `explain` where the retriever, or what is bound in it, has it, else by the methods of a Runnable.

    Args:
        retriever: What to ask.
        key: Gives the id of a document; None takes `Document.id`.
    """

    def __init__(self, retriever: Any, key: Key | None) -> None:
        self._retriever, self._key = retriever, key
        bound, arguments = _unbound(retriever)
        # Asked of the class, since wrappers hand attributes through and would lose their own settings.
        self._explain: Callable[[str], Any] | None = None
        if callable(getattr(type(bound), "explain", None)) and _takes_a_query(bound.explain, arguments):
            self._explain = partial(bound.explain, **arguments)
            self._aexplain = partial(asyncio.to_thread, self._explain)
            if inspect.iscoroutinefunction(getattr(type(bound), "aexplain", None)):
                self._aexplain = partial(bound.aexplain, **arguments)

    def call(self, text: str) -> Any:
        """Ask one query."""
        explain = self._explain  # another thread may find out that it is not ours
        if explain is not None:
            said = explain(text)
            if self._is_ours(said):
                return said
        return self._retriever.invoke(text)

    async def acall(self, text: str) -> Any:
        """Ask one query without blocking the event loop."""
        if self._explain is not None:
            said = await self._aexplain(text)
            if self._is_ours(said):
                return said
        return await self._retriever.ainvoke(text)

    def batch(self, texts: list[str]) -> Sequence[Any]:
        """Ask several queries at once; an error stands in the place of an answer."""
        if self._explain is not None:
            with ThreadPoolExecutor(len(texts)) as threads:
                return list(threads.map(self._call_safely, texts))
        config = {"max_concurrency": len(texts)}
        said = self._retriever.batch(texts, config=config, return_exceptions=True)
        if not isinstance(said, Sequence) or len(said) != len(texts):
            raise InvalidArgumentError(
                f"The retriever's batch() must return a list with one answer to each of {len(texts)} queries, "
                f"got {shorten(repr(said), 80)}."
            )
        return said

    def answer(self, query_id: str, said: Any, taken: float, *, stages: bool = True) -> Answer:
        """Turn what was said into an answer.

        Args:
            query_id: Of the query.
            said: What `call` returned.
            taken: Wall seconds, told as `total`: by one clock for all retrievers, whatever they measure themselves.
            stages: Whether the seconds that the retriever measured itself are of any use.
        """
        if isinstance(said, Explanation):
            trace = QueryTrace.of(said, partial(self._id_of, query_id=query_id))
            return Answer(trace.ranking, {**(trace.seconds if stages else {}), "total": taken}, trace)
        listed = isinstance(said, Sequence) and not isinstance(said, str)
        if not listed or not all(isinstance(document, Document) for document in said):
            raise InvalidArgumentError(
                f"The retriever must return a list of Documents, got {type(said).__name__} for query "
                f"{query_id!r}."
            )
        return Answer(tuple(self._id_of(one, query_id=query_id) for one in said), {"total": taken}, None)

    def _is_ours(self, said: Any) -> bool:
        """Tell an Explanation from what another library calls one; such an explain() is not called again."""
        if isinstance(said, Explanation):
            return True
        self._explain = None
        return False

    def _call_safely(self, text: str) -> Any:
        try:
            return self.call(text)
        except Exception as error:  # noqa: BLE001  # raised later, with the name of its query
            return error

    def _id_of(self, document: Document, *, query_id: str) -> str:
        if self._key is None:
            if document.id:
                return document.id
            raise DataError(
                f"A document returned for query {query_id!r} has no id, so that qrels cannot be looked up. "
                f"Index documents with their ids, or say where the id is: evaluate(..., key=lambda document: "
                f"document.metadata['source'])."
            )
        try:
            identifier: Any = self._key(document)
        except Exception as error:
            raise DataError(f"key raised {error!r} for a document of query {query_id!r}.") from error
        if isinstance(identifier, str) and identifier:
            return identifier
        raise DataError(
            f"key must return a non-empty string, got {identifier!r} for a document of query {query_id!r}."
        )


def _takes_a_query(explain: Callable[..., Any], arguments: Mapping[str, Any]) -> bool:
    """Tell whether a method of that name may be ours: another library's may explain something else than a query."""
    try:
        inspect.signature(explain).bind("", **arguments)
    except (TypeError, ValueError):
        return False
    return True


def _unbound(retriever: Any) -> tuple[Any, dict[str, Any]]:
    """Return what is bound in a retriever, and the arguments it is bound with.

    A binding hands attributes through without what was bound, so that its own explain() would ignore bind(k=...).
    Other wrappers, such as that of with_retry(), do more than pass arguments and stay as they are.
    """
    arguments: dict[str, Any] = {}
    while isinstance(retriever, RunnableBinding):
        arguments = {**retriever.kwargs, **arguments}
        retriever = retriever.bound
    return retriever, arguments
