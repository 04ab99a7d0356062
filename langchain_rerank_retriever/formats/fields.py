"""Fields of a line: read and checked, and ids checked before they become one."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from langchain_rerank_retriever.errors import DataError


def number(place: str, name: str, text: str) -> float:
    """Read a finite number.

    Raises:
        DataError: If it is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{place}: the {name} must be a finite number, got {text!r}.")
    return value


def whole(place: str, name: str, text: str) -> int:
    """Read a whole number, which may be written as `1.0`.

    Raises:
        DataError: If it is none.
    """
    value = number(place, name, text)
    if not value.is_integer():
        raise DataError(f"{place}: the {name} must be a whole number, got {text!r}.")
    return int(value)


def add_judgement(
    qrels: dict[str, dict[str, int]], place: str, query_id: str, document_id: str, relevance: str
) -> None:
    """Add a judgement that was read to the others.

    Raises:
        DataError: If the relevance is no whole number, or not that of an earlier line.
    """
    value = whole(place, "relevance", relevance)
    known = qrels.setdefault(query_id, {}).setdefault(document_id, value)
    if known != value:
        raise DataError(
            f"{place}: document {document_id!r} has relevance {value} for query {query_id!r}, and {known} in an "
            "earlier line. Keep one of the two."
        )


def judgements_of(qrels: Mapping[str, Mapping[str, float]]) -> Iterator[tuple[str, str, int]]:
    """Yield query id, document id and relevance of what is to be written.

    Raises:
        DataError: If a relevance is no whole number, which could not be read back.
    """
    for query_id, judged in qrels.items():
        for document_id, relevance in judged.items():
            place = f"query {query_id!r}, document {document_id!r}"
            yield query_id, document_id, whole(place, "relevance", str(relevance))


def check_ids(identifiers: Iterable[Any], what: str, unfit: re.Pattern[str], reason: str) -> None:
    """Refuse ids that would not come back from a file.

    Args:
        identifiers: The ids.
        what: Whose: "document".
        unfit: Matches what the file cannot hold within an id.
        reason: Says so: "a run file, whose fields are separated by blanks".

    Raises:
        DataError: Naming the id.
    """
    for identifier in identifiers:
        # Readers take a byte-order mark at the beginning of a file for no part of its first field.
        if not isinstance(identifier, str) or not identifier:
            raise DataError(f"A {what} id must be a non-empty string, got {identifier!r}.")
        if unfit.search(identifier) or identifier.startswith("\ufeff"):
            raise DataError(
                f"The {what} id {identifier!r} cannot be written to {reason}. Rename it everywhere, or keep the "
                "evaluation as JSON, which holds any id."
            )
