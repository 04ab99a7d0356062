"""Ask a retriever, one query after the other, several at once or in batches; nothing is judged here."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from textwrap import shorten
from typing import Any, Literal

from langchain_rerank_retriever.errors import DataError, InvalidArgumentError, RetrieverError
from langchain_rerank_retriever.evaluation.asker import Answer, Asker, Key

Run = Literal["sequential", "async", "batch"]

#: The method of a Runnable that each way of running calls.
_METHODS: Mapping[str, str] = {"sequential": "invoke", "async": "ainvoke", "batch": "batch"}


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
    asker = Asker(retriever, key)
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
    asker: Asker, waiting: Iterator[tuple[str, str]], record: Record, concurrency: int
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


def _ask_batch(asker: Asker, queries: Mapping[str, str], record: Record) -> None:
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
        except (DataError, InvalidArgumentError, RetrieverError) as error:
            errors.append(error)  # raised when all that was answered is recorded
    if errors:
        raise errors[0]


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
