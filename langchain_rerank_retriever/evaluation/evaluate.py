"""Ask a retriever every judged query, and judge what it answers."""

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from langchain_core.documents import Document
from langchain_core.runnables import Runnable

from langchain_rerank_retriever.errors import DataError
from langchain_rerank_retriever.evaluation.asker import Answer, Key
from langchain_rerank_retriever.evaluation.asking import Record, Run, ask_all, check_askable
from langchain_rerank_retriever.evaluation.judge import Judge
from langchain_rerank_retriever.evaluation.judgements import checked_queries, some
from langchain_rerank_retriever.evaluation.measures import DEFAULT_MEASURES, deepest_cutoff, parse_measures
from langchain_rerank_retriever.evaluation.result import Evaluation
from langchain_rerank_retriever.evaluation.run_file import opened_run_file


def evaluate(
    retriever: Runnable[str, list[Document]],
    queries: Mapping[str, str],
    qrels: Mapping[str, Mapping[str, float]],
    *,
    measures: Sequence[str] = DEFAULT_MEASURES,
    name: str | None = None,
    key: Key | None = None,
    run: Run = "sequential",
    concurrency: int = 8,
    run_file: str | os.PathLike[str] | None = None,
    state: str = "",
    show_progress: bool = False,
) -> Evaluation:
    """Measure how well and how fast a retriever finds the documents that are known to be relevant.

    A retriever with `explain()` is judged by the order of all its candidates, so that its `k` does not hide
    what measures with a deeper cutoff ask; candidates below its score threshold, those that a re-ranker dropped
    and those that a better one of the same parent stands for are left out, as no `k` would return them. Any other
    is judged by what `invoke` (`ainvoke`, `batch`) returns. Where the order itself depends on `k`, as with `early_stop`
    and `lambda_mult`, bind the `k` that is meant: `evaluate(retriever.bind(k=10), ...)`.

    What the times of the result mean depends on `run`:

    * `"sequential"`: what someone waits who is the only user. The first query pays for whatever is loaded late.
    * `"async"`: by `aexplain` or `ainvoke`; what someone waits while `concurrency - 1` others are served as well.
    * `"batch"`: by `batch`, or by `explain` in as many threads; the time of a batch of `concurrency` queries divided by
      their number. So it is how many are answered in a second, the other way up, and not what anyone waits. It is the
      same for all queries of a batch, and not known by stage.

    Args:
        retriever: Any LangChain retriever, or any Runnable from a string to a list of Documents.
        queries: `{query id: text}`. Those without judgements are neither asked nor averaged, only counted in
            `unjudged_queries`.
        qrels: `{query id: {document id: relevance}}`, relevance a whole number, 0 or less for not relevant.
            What the measures make of them, of queries without relevant documents and of unjudged documents:
            see `Judge`.
        measures: In the notation of ir-measures.
        name: What the system is called; None takes the name of the retriever.
        key: Gives the id to look up in `qrels`; None takes `Document.id`. A document that comes twice counts
            at its first place.
        run: How the queries are asked; see above. The values do not depend on it.
        concurrency: How many are under way at once, or in a batch; not for `"sequential"`.
        run_file: Keeps every answer in this file as soon as it is there. Where the file exists, only what it lacks is
            asked. It knows the retriever by its name and `state` alone: delete it when the retriever, its documents or
            `key` have changed. Measures and judgements may change.
        state: What tells this state of the retriever from others, such as a version: a run file of another is refused.
        show_progress: Whether to draw a progress bar on stderr.

    Raises:
        DataError: If queries or judgements cannot be used, a judged query is not in `queries`, or a returned
            document has no id.
        InvalidArgumentError: If a measure is unknown, `retriever` cannot be asked or does not return Documents, or
            `run_file` belongs to another retriever, another state of it, other queries or another `run`.
        RetrieverError: If the retriever raises; names the query.
        StorageError: If `run_file` cannot be read or written.

    Warns:
        UserWarning: If a retriever never returned as many documents as a measure looks at, or if none of the
            returned ids is a judged one.
    """
    texts, judge = checked_queries(queries), Judge(qrels, measures)
    check_askable(retriever, run, concurrency)
    if missing := judge.qrels.keys() - texts.keys():
        raise DataError(
            f"{len(missing)} of {len(judge.qrels)} judged queries are not in queries: {some(missing)}. Add "
            f"their texts, or take their judgements out of qrels."
        )
    called = _name_of(retriever) if name is None else name
    asked = {"sequential": "one at a time", "async": f"{concurrency} at once"}.get(
        run, f"in batches of {concurrency}"
    )
    wanted = {query_id: text for query_id, text in texts.items() if query_id in judge.qrels}
    ask = partial(ask_all, retriever, key=key, run=run, concurrency=concurrency)
    if run_file is None:
        answers = _collected(ask, wanted, {}, None, show=show_progress)
    else:
        with opened_run_file(run_file, retriever=called, state=state, asked=asked, queries=texts) as kept:
            answers = _collected(ask, wanted, kept.answers, kept.append, show=show_progress)
    evaluation = _judged(judge, texts, answers, called)
    if not all(answer.trace for answer in answers.values()):
        _warn_if_shallow(max(len(answer.ranking) for answer in answers.values()), judge.measures)
    _warn_if_strangers(evaluation)
    return replace(evaluation, asked=asked, query_texts=wanted)


def _collected(
    ask: Callable[[Mapping[str, str], Record], None],
    wanted: Mapping[str, str],
    known: Mapping[str, Answer],
    keep: Record | None,
    *,
    show: bool,
) -> dict[str, Answer]:
    """Ask what is not known yet, and return all answers in the order of the queries."""
    answers = {query_id: known[query_id] for query_id in wanted if query_id in known}
    with _progress(len(wanted), len(answers), show=show) as advance:

        def record(query_id: str, answer: Answer) -> None:
            if keep is not None:
                keep(query_id, answer)
            answers[query_id] = answer
            advance()

        ask({query_id: text for query_id, text in wanted.items() if query_id not in answers}, record)
    return {query_id: answers[query_id] for query_id in wanted}


def _judged(judge: Judge, texts: Mapping[str, str], answers: Mapping[str, Answer], name: str) -> Evaluation:
    seconds: dict[str, dict[str, float]] = {}
    for query_id, answer in answers.items():
        for stage, taken in answer.seconds.items():
            seconds.setdefault(stage, {})[query_id] = taken
    rankings: dict[str, Sequence[str]] = dict.fromkeys(texts, ())
    rankings.update((query_id, answer.ranking) for query_id, answer in answers.items())
    evaluation = judge(rankings, name=name, seconds=seconds)
    traces = {query_id: answer.trace for query_id, answer in answers.items() if answer.trace is not None}
    return replace(evaluation, traces=traces)


def _name_of(retriever: Any) -> str:
    return str(retriever.get_name()) if isinstance(retriever, Runnable) else type(retriever).__name__


@contextmanager
def _progress(total: int, done: int, *, show: bool) -> Iterator[Callable[[], None]]:
    """Draw a bar and hand out what moves it by one."""
    if not show:
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True)) as bar:
        yield partial(bar.advance, bar.add_task("Evaluating", total=total, completed=done))


def _warn_if_shallow(most: int, measures: Sequence[str]) -> None:
    deepest = deepest_cutoff(parse_measures(measures))
    if deepest is not None and most < deepest[1]:
        warnings.warn(
            f"The retriever returned at most {most} documents for a query, and {deepest[0]} looks at "
            f"{deepest[1]}: such measures are deeper than what it returns. Let it return more if it can, for "
            f"example by as_retriever(search_kwargs={{'k': {deepest[1]}}}).",
            UserWarning,
            stacklevel=3,
        )


def _warn_if_strangers(evaluation: Evaluation) -> None:
    returned = {document_id for ids in evaluation.ranking.values() for document_id in ids}
    known = {document_id for documents in evaluation.qrels.values() for document_id in documents}
    if returned and returned.isdisjoint(known):
        warnings.warn(
            f"None of the {len(returned)} returned document ids (such as {min(returned)!r}) is in qrels "
            f"(such as {min(known)!r}). If they name the same documents differently, pass key=.",
            UserWarning,
            stacklevel=3,
        )
