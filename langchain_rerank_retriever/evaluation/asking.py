"""Ask a retriever, one query after the other, several at once or in batches; nothing is judged here."""

import asyncio
import inspect
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from textwrap import shorten
from typing import Any, Literal

from langchain_core.documents import Document
from langchain_core.runnables import RunnableBinding

from langchain_rerank_retriever.errors import (
    DataError,
    InvalidArgumentError,
    RerankError,
    RetrieverError,
)
from langchain_rerank_retriever.evaluation.trace import QueryTrace
from langchain_rerank_retriever.protocols import Explanation

Key = Callable[[Document], str]
Run = Literal["sequential", "async", "batch"]

#: The method of a Runnable that each way of running calls.
_METHODS: Mapping[str, str] = {"sequential": "invoke", "async": "ainvoke", "batch": "batch"}


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


Record = Callable[[str, Answer], None]


def check_askable(retriever: Any, run: str, concurrency: int) -> None:
    """Refuse what cannot be asked that way, before anything is asked.

    Raises:
        InvalidArgumentError: Says what is missing, or what `run` and `concurrency` may be.
    """
    if run not in _METHODS:
        raise InvalidArgumentError(f"run must be one of {', '.join(map(repr, _METHODS))}, got {run!r}.")
    given: Any = concurrency
    if isinstance(given, bool) or not isinstance(given, int) or given < 1:
        raise InvalidArgumentError(f"concurrency must be a whole number of at least 1, got {concurrency!r}.")
    if not callable(getattr(retriever, _METHODS[run], None)):
        raise InvalidArgumentError(
            f"Expected a LangChain retriever or another Runnable, got {type(retriever).__name__}, which has "
            f"no {_METHODS[run]}(). Wrap a plain function in langchain_core.runnables.RunnableLambda."
        )


def ask_all(
    retriever: Any, queries: Mapping[str, str], record: Record, *, key: Key | None, run: Run, concurrency: int
) -> None:
    """Ask every query, and hand over each answer as soon as it is there.

    Args:
        retriever: Has what `run` needs; see `check_askable`.
        queries: `{query id: text}`.
        record: Called for one answer at a time.
        key: Gives the id of a document; None takes `Document.id`.
        run: How; see `evaluate`.
        concurrency: How many queries are under way at once, one for `"sequential"` whatever this says.

    Raises:
        RetrieverError: If the retriever raises; what it answered before was recorded.
        DataError: If a returned document has no id.
        InvalidArgumentError: If it returns something other than Documents.
    """
    asker = _Asker(retriever, key)
    if run == "async":
        waiting = iter(queries.items())
        _finish(_ask_concurrently(asker, waiting, record, concurrency), stop=lambda: deque(waiting, maxlen=0))
    elif run == "batch":
        left = iter(queries.items())
        while batch := dict(islice(left, concurrency)):
            _ask_batch(asker, batch, record)
    else:
        for query_id, text in queries.items():
            with _named(query_id, text):
                started = time.perf_counter()
                said = asker.call(text)
                taken = time.perf_counter() - started
            record(query_id, asker.answer(query_id, said, taken))


async def _ask_concurrently(
    asker: "_Asker", waiting: Iterator[tuple[str, str]], record: Record, concurrency: int
) -> None:
    async def work() -> None:
        for query_id, text in waiting:
            with _named(query_id, text):
                started = time.perf_counter()
                said = await asker.acall(text)
                taken = time.perf_counter() - started
            record(query_id, asker.answer(query_id, said, taken))

    # Retrievers without async code of their own run in the loop's threads, of which there are few by default.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(concurrency))
    workers = [asyncio.create_task(work()) for _ in range(concurrency)]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


def _finish(work: Coroutine[Any, Any, None], *, stop: Callable[[], object]) -> None:
    """Run a coroutine to its end, in a thread of its own where this one has a running loop, as in a notebook.

    Args:
        work: The coroutine.
        stop: Makes it end soon; called when this thread is interrupted.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(work)
        return
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(asyncio.run, work)
        try:
            running.result()
        except BaseException:
            stop()
            raise


def _ask_batch(asker: "_Asker", queries: Mapping[str, str], record: Record) -> None:
    started = time.perf_counter()
    answers = asker.batch(list(queries.values()))
    share = (time.perf_counter() - started) / len(queries)
    errors = []
    for (query_id, text), said in zip(queries.items(), answers, strict=True):
        try:
            with _named(query_id, text):
                if isinstance(said, Exception):
                    raise said
            record(query_id, asker.answer(query_id, said, share, stages=False))
        except RerankError as error:  # after all that was answered is recorded
            errors.append(error)
    if errors:
        raise errors[0]


class _Asker:
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
        if callable(getattr(type(bound), "explain", None)):
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
            taken: Wall seconds, told as `total` where the retriever does not know better.
            stages: Whether the seconds that the retriever measured itself are of any use.
        """
        if isinstance(said, Explanation):
            trace = QueryTrace.of(said, partial(self._id_of, query_id=query_id))
            return Answer(trace.ranking, {"total": taken, **(trace.seconds if stages else {})}, trace)
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


@contextmanager
def _named(query_id: str, text: str) -> Iterator[None]:
    """Say which query a retriever failed on."""
    try:
        yield
    except Exception as error:
        raise RetrieverError(
            f"The retriever failed on query {query_id!r} ({shorten(text, 80)!r}): {type(error).__name__}: {error}",
            query_id=query_id,
        ) from error
