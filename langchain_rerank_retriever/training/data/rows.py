"""A row of the user's data: its place for messages, and the checks that all forms of data share."""

import unicodedata
from collections.abc import Mapping
from typing import Any

from langchain_rerank_retriever.errors import DataError

#: The columns of the two forms that data can have.
QUERY_COLUMNS = ("query", "document_id", "passage", "relevance", "negatives", "group")
PAIR_COLUMNS = ("sentence1", "sentence2", "score", "group")

_QUERY_FORM = "queries with their documents (query with document_id or passage)"
_PAIR_FORM = "scored sentence pairs (a list, Dataset or file with sentence1, sentence2 and score)"

#: A row with where it came from, for messages.
Row = tuple[str, Mapping[str, Any]]


def normalised(text: str) -> str:
    """Return what two texts have in common that differ in case, spaces and Unicode composition only."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def check_names(place: str, row: Mapping[str, Any], columns: tuple[str, ...]) -> None:
    """Refuse a column with a value that the form of the data does not have.

    Raises:
        DataError: Naming the row and the column; in its own words where the row is of the other form.
    """
    unknown = [name for name, value in row.items() if name not in columns and value is not None]
    if not unknown:
        return
    forms = (_QUERY_FORM, _PAIR_FORM) if columns == QUERY_COLUMNS else (_PAIR_FORM, _QUERY_FORM)
    if unknown[0] in QUERY_COLUMNS + PAIR_COLUMNS:
        raise DataError(
            f"{place}: the column {unknown[0]!r} is one of {forms[1]}, and the data are read as {forms[0]}. One set "
            "of data has one form in all its rows: take the two apart."
        )
    raise DataError(
        f"{place}: unknown column {unknown[0]!r}; the columns are {', '.join(columns)}. "
        "Rename it, or leave it out."
    )


def checked_text(place: str, column: str, value: Any) -> str:
    """Return a cell that is a text with something in it.

    Raises:
        DataError: If it is no text, blank, or holds a lone surrogate, which no encoding can carry.
    """
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{place}: {column} must be a text that is not blank, got {value!r}.")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(
            f"{place}: {column} holds a lone surrogate at position {error.start}. "
            "Clean it first: text.encode('utf-8', 'replace').decode()."
        ) from error
    return value
