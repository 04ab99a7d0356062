"""Ask a retriever every judged query, and judge what it answers."""

import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from langchain_core.documents import Document
from langchain_core.runnables import Runnable
from langchain_core.runnables.base import RunnableBindingBase

from langchain_rerank_retriever.errors import DataError, InvalidArgumentError
from langchain_rerank_retriever.evaluation.judge import Judge
from langchain_rerank_retriever.evaluation.judgements import checked_qrels, checked_queries, some
from langchain_rerank_retriever.evaluation.measures import DEFAULT_MEASURES, deepest_cutoff, parse_measures
from langchain_rerank_retriever.evaluation.result import Evaluation
from langchain_rerank_retriever.protocols import Explanation

Key = Callable[[Document], str]

#: Candidates that would not be returned however large `k` is.
_NEVER_RETURNED = ("below_threshold", "dropped_by_reranker")


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a retriever says to one query.

    Attributes:
        documents: Best first.
        seconds: Wall time by stage, `total` among them.
        complete: Whether this is the whole ranking, so that a short one does not mean a small `k`.
    """

    documents: Sequence[Document]
    seconds: Mapping[str, float]
    complete: bool


def evaluate(
    retriever: Runnable[str, list[Document]],
    queries: Mapping[str, str],
    qrels: Mapping[str, Mapping[str, float]],
    *,
    measures: Sequence[str] = DEFAULT_MEASURES,
    name: str | None = None,
    key: Key | None = None,
    show_progress: bool = False,
) -> Evaluation:
    """Measure how well and how fast a retriever finds the documents that are known to be relevant.

    A retriever with `explain()` is judged by the order of all its candidates, so that its `k` does not hide
    what measures with a deeper cutoff ask; candidates below its score threshold, and those that a re-ranker
    dropped, are left out, as no `k` would return them. Any other is judged by what `invoke` returns.

    Queries are asked one after the other, for the latency. The first one pays for whatever is loaded late.

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
        show_progress: Whether to draw a progress bar on stderr.

    Raises:
        DataError: If queries or judgements cannot be used, a judged query is not in `queries`, or a returned
            document has no id.
        InvalidArgumentError: If a measure is unknown, or `retriever` does not return Documents.

    Warns:
        UserWarning: If a retriever never returned as many documents as a measure looks at, or if none of the
            returned ids is a judged one.
    """
    texts, judged = checked_queries(queries), checked_qrels(qrels)
    if missing := judged.keys() - texts.keys():
        raise DataError(
            f"{len(missing)} of {len(judged)} judged queries are not in queries: {some(missing)}. Add their "
            f"texts, or take their judgements out of qrels."
        )
    judge = Judge(judged, measures)
    ask = _asker(retriever)
    rankings: dict[str, Sequence[str]] = dict.fromkeys(texts, ())
    seconds: dict[str, list[float]] = defaultdict(list)
    most, complete = 0, True
    for query_id in _progress([query_id for query_id in texts if query_id in judged], show=show_progress):
        answer = ask(texts[query_id])
        rankings[query_id] = [_id_of(document, key, query_id) for document in answer.documents]
        for stage, taken in answer.seconds.items():
            seconds[stage].append(taken)
        most = max(most, len(answer.documents))
        complete = complete and answer.complete
    if not complete:
        _warn_if_shallow(most, judge.measures)
    _warn_if_strangers(rankings, judged)
    return judge(rankings, name=_name_of(retriever) if name is None else name, seconds=seconds)


def _asker(retriever: Any) -> Callable[[str], _Answer]:
    """Choose how to ask: by `explain` where the retriever, or what is bound in it, has it, or by `invoke`."""
    if not callable(getattr(retriever, "invoke", None)):
        raise InvalidArgumentError(
            f"Expected a LangChain retriever or another Runnable, got {type(retriever).__name__}, which has "
            f"no invoke(). Wrap a plain function in langchain_core.runnables.RunnableLambda."
        )
    bound, arguments = retriever, dict[str, Any]()
    # A binding passes attributes through without what was bound, so that its own explain() would ignore
    # bind(k=...).
    while isinstance(bound, RunnableBindingBase):
        arguments = {**bound.kwargs, **arguments}
        bound = bound.bound
    # Asked of the class, since other wrappers too hand attributes through and would lose their settings.
    if callable(getattr(type(bound), "explain", None)):
        return partial(_explained, retriever, partial(bound.explain, **arguments))
    return partial(_invoked, retriever)


def _explained(retriever: Any, explain: Callable[[str], Any], query: str) -> _Answer:
    started = time.perf_counter()
    explanation = explain(query)
    taken = time.perf_counter() - started
    if not isinstance(explanation, Explanation):
        return _invoked(retriever, query)  # some other library's explain()
    kept = [
        candidate.document for candidate in explanation.candidates if candidate.outcome not in _NEVER_RETURNED
    ]
    return _Answer(kept, {"total": taken, **explanation.seconds}, complete=True)


def _invoked(retriever: Any, query: str) -> _Answer:
    started = time.perf_counter()
    documents = retriever.invoke(query)
    taken = time.perf_counter() - started
    if not isinstance(documents, Sequence) or not all(
        isinstance(document, Document) for document in documents
    ):
        raise InvalidArgumentError(
            f"The retriever must return a list of Documents, got {type(documents).__name__} for {query!r}."
        )
    return _Answer(documents, {"total": taken}, complete=False)


def _id_of(document: Document, key: Key | None, query_id: str) -> str:
    identifier = document.id if key is None else key(document)
    if isinstance(identifier, str) and identifier:
        return identifier
    if key is not None:
        raise DataError(
            f"key must return a non-empty string, got {identifier!r} for a document of query {query_id!r}."
        )
    raise DataError(
        f"A document returned for query {query_id!r} has no id, so that qrels cannot be looked up. Index "
        f"documents with their ids, or say where the id is: evaluate(..., key=lambda document: "
        f"document.metadata['source'])."
    )


def _name_of(retriever: Any) -> str:
    return str(retriever.get_name()) if isinstance(retriever, Runnable) else type(retriever).__name__


def _progress(query_ids: list[str], *, show: bool) -> Iterable[str]:
    if not show:
        return query_ids
    from rich.console import Console
    from rich.progress import track

    return track(query_ids, description="Evaluating", console=Console(stderr=True))


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


def _warn_if_strangers(
    rankings: Mapping[str, Sequence[str]], judged: Mapping[str, Mapping[str, int]]
) -> None:
    returned = {document_id for ids in rankings.values() for document_id in ids}
    known = {document_id for documents in judged.values() for document_id in documents}
    if returned and returned.isdisjoint(known):
        warnings.warn(
            f"None of the {len(returned)} returned document ids (such as {min(returned)!r}) is in qrels "
            f"(such as {min(known)!r}). If they name the same documents differently, pass key=.",
            UserWarning,
            stacklevel=3,
        )
