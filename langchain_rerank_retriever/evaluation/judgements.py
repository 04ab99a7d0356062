"""What a caller gives to be judged by, checked once: queries and relevance judgements (qrels)."""

import numbers
from collections.abc import Iterable, Mapping
from typing import Any

from langchain_rerank_retriever.errors import DataError

#: trec_eval keeps an array with one place for every relevance level up to the highest.
HIGHEST_RELEVANCE = 1_000_000


def checked_queries(queries: Mapping[str, str]) -> dict[str, str]:
    """Copy queries, `{query id: text}`.

    Raises:
        DataError: If there is none, or an id or a text is not a string.
    """
    given: Any = queries
    if not isinstance(given, Mapping) or not given:
        raise DataError(f"queries must be a non-empty mapping of query id to text, got {_short(queries)}.")
    for query_id, text in queries.items():
        check_id(query_id, "query id in queries")
        if not isinstance(text, str):
            raise DataError(f"The text of query {query_id!r} must be a string, got {_short(text)}.")
    return dict(queries)


def checked_qrels(qrels: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, int]]:
    """Copy judgements, `{query id: {document id: relevance}}`, leaving out queries that have none.

    Args:
        qrels: Relevance is a whole number, 0 or less for judged not relevant; a float such as `1.0` becomes
            one. Negative values are read as 0: trec_eval, which takes them for marks of its own, can crash on
            them.

    Raises:
        DataError: If there is no judgement at all, an id is not a string, or a relevance is no whole number;
            names the query and the document.
    """
    if not isinstance(qrels, Mapping):
        raise DataError(
            f"qrels must be a mapping {{query id: {{document id: relevance}}}}, got {_short(qrels)}."
        )
    checked = {}
    for query_id, judged in qrels.items():
        check_id(query_id, "query id in qrels")
        if not isinstance(judged, Mapping):
            raise DataError(
                f"The judgements of query {query_id!r} must be a mapping {{document id: relevance}}, "
                f"got {_short(judged)}."
            )
        if judged:
            checked[query_id] = {
                check_id(document_id, f"document id in the qrels of query {query_id!r}"): _relevance(
                    query_id, document_id, relevance
                )
                for document_id, relevance in judged.items()
            }
    if not checked:
        raise DataError("qrels hold no judgement; expected {query id: {document id: relevance}}.")
    return checked


def check_id(identifier: Any, what: str) -> str:
    """Return an id, or raise a `DataError` if it is not a string that has something in it."""
    if isinstance(identifier, str) and identifier:
        return identifier
    fix = " Turn it into a string first, on both sides." if not isinstance(identifier, str) else ""
    raise DataError(f"A {what} must be a non-empty string, got {_short(identifier)}.{fix}")


def some(identifiers: Iterable[str], shown: int = 3) -> str:
    """Name a few ids and say how many more there are."""
    names = sorted(identifiers)
    listed = ", ".join(repr(name) for name in names[:shown])
    return f"{listed} and {len(names) - shown} more" if len(names) > shown else listed


def _relevance(query_id: str, document_id: str, relevance: Any) -> int:
    whole = isinstance(relevance, numbers.Integral) or (
        isinstance(relevance, numbers.Real) and float(relevance).is_integer()
    )
    if isinstance(relevance, bool) or not whole:
        raise DataError(
            f"The relevance of document {document_id!r} for query {query_id!r} must be a whole number "
            f"(0 = not relevant), got {_short(relevance)}."
        )
    if relevance > HIGHEST_RELEVANCE:
        raise DataError(
            f"The relevance of document {document_id!r} for query {query_id!r} must be at most "
            f"{HIGHEST_RELEVANCE}, got {relevance!r}."
        )
    return max(int(relevance), 0)


def _short(value: Any) -> str:
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"
