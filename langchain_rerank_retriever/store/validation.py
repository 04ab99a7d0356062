"""Everything that enters a store is checked here, before anything changes."""

import json
import math
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from langchain_rerank_retriever.errors import InvalidArgumentError, InvalidDocumentError
from langchain_rerank_retriever.protocols import SCORE_KEYS

MAX_DEPTH = 100
MAX_COUNT = 2**40
_MAX_INT, _MIN_INT = 2**63 - 1, -(2**63)

# One for all: json.dumps would make another for each document.
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))

#: Turns a value that JSON cannot hold into one that it can.
MetadataDefault = Callable[[Any], Any]


class Entry(NamedTuple):
    """A document about to be stored; its metadata is clean."""

    id: str
    text: str
    metadata: dict[str, Any]


def checked_entries(
    texts: Iterable[str],
    metadatas: Iterable[Mapping[str, Any] | None] | None,
    ids: Sequence[str | None] | None,
    *,
    blank: str,
    default: MetadataDefault | None,
) -> list[Entry]:
    """The documents of one call, all of them fit to be stored; ids are made where there are none.

    Raises:
        InvalidArgumentError: Not as many ids or metadata as texts.
        InvalidDocumentError: Naming the document and what is wrong with it.
    """
    checked = checked_texts(texts, blank=blank)
    given = [None] * len(checked) if ids is None else checked_ids(ids, count=len(checked))
    metadata = checked_metadatas(metadatas, given, default)
    return [Entry(name or uuid.uuid4().hex, text, data) for name, text, data in zip(given, checked, metadata)]


def refuse_unknown(function: str, unknown: Mapping[str, Any]) -> None:
    """Raise TypeError for keyword arguments that LangChain's signatures would swallow."""
    if unknown:
        raise TypeError(f"{function}() got an unexpected keyword argument {next(iter(unknown))!r}")


def checked_count(value: object, name: str) -> int:
    """A positive int, bool excluded; never more than any store can hold, which SQLite could not count to."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise InvalidArgumentError(f"{name} must be a positive whole number, got {value!r}")
    return min(int(value), MAX_COUNT)


def checked_query(query: object) -> str:
    """A query text that can be embedded and stored: a str without lone surrogates."""
    if not isinstance(query, str):
        raise InvalidArgumentError(f"A query must be a str, got {type(query).__name__}")
    if not is_encodable(query):
        raise InvalidArgumentError("The query holds a lone surrogate, which is no character")
    return query


def is_encodable(text: str) -> bool:
    """Whether a text can be written as UTF-8; a lone surrogate cannot."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def checked_texts(texts: Iterable[str], *, blank: str) -> list[str]:
    """The texts as a list, each a str that can be stored.

    Args:
        texts: Any iterable of str except a str itself.
        blank: ``"raise"`` refuses texts of white space only.

    Raises:
        InvalidDocumentError: Naming the position, counted from 0.
    """
    if isinstance(texts, str | bytes):
        raise InvalidArgumentError("texts must be a list of str, got a single text: put it into a list")
    checked = list(texts)
    for position, text in enumerate(checked):
        if not isinstance(text, str):
            raise InvalidDocumentError(
                f"The text at position {position} must be a str, got {type(text).__name__}"
            )
        if not is_encodable(text):
            raise InvalidDocumentError(
                f"The text at position {position} holds a lone surrogate, which is no character and cannot "
                "be stored: repair it with text.encode('utf-8', 'replace').decode()"
            )
        if blank == "raise" and not text.strip():
            raise InvalidDocumentError(
                f'The text at position {position} is blank, and blank="raise" refuses those'
            )
    return checked


def checked_ids(ids: Sequence[str | None], *, count: int) -> list[str | None]:
    """One id or None per text: non-empty, storable, none twice."""
    if isinstance(ids, str | bytes):
        raise InvalidArgumentError("ids must be a list of str, got a single one: put it into a list")
    checked = list(ids)
    if len(checked) != count:
        raise InvalidArgumentError(f"Expected one id per text, got {len(checked)} ids for {count} texts")
    seen: dict[str, int] = {}
    for position, document_id in enumerate(checked):
        if document_id is None:
            continue
        _check_id(document_id, position)
        if document_id in seen:
            raise InvalidDocumentError(
                f"The id {document_id!r} stands at positions {seen[document_id]} and {position} of one call: "
                "give each document its own id"
            )
        seen[document_id] = position
    return checked


def _check_id(document_id: object, position: int) -> None:
    if not isinstance(document_id, str):
        raise InvalidDocumentError(
            f"The id at position {position} must be a str, got {type(document_id).__name__} {document_id!r}"
        )
    if not document_id:
        raise InvalidDocumentError(f"The id at position {position} is empty: leave it None to have one made")
    if "\0" in document_id or not is_encodable(document_id):
        raise InvalidDocumentError(
            f"The id {document_id!r} at position {position} holds a NUL or a lone surrogate, "
            "which cannot be stored"
        )


def wanted_ids(ids: Iterable[str], *, method: str) -> list[str]:
    """Ids to look up, without repetition, in order; one that cannot exist is left out."""
    if isinstance(ids, str | bytes):
        raise InvalidArgumentError(f"{method} takes a list of ids, got a single one: put it into a list")
    wanted = list(ids)
    for document_id in wanted:
        if not isinstance(document_id, str):
            raise InvalidArgumentError(f"{method} takes ids of type str, got {type(document_id).__name__}")
    return [document_id for document_id in dict.fromkeys(wanted) if is_encodable(document_id)]


def checked_metadatas(
    metadatas: Iterable[Mapping[str, Any] | None] | None,
    ids: Sequence[str | None],
    default: MetadataDefault | None,
) -> list[dict[str, Any]]:
    """One clean dictionary of JSON values per document.

    Args:
        metadatas: One mapping or None per document; None for no metadata at all.
        ids: The ids, for the messages.
        default: Called with every value that JSON cannot hold.

    Returns:
        Copies without the score keys that a retriever writes; tuples have become lists, as in JSON.

    Raises:
        InvalidDocumentError: Naming the document, the key path and the fix.
    """
    given: list[Mapping[str, Any] | None] = [None] * len(ids) if metadatas is None else list(metadatas)
    if len(given) != len(ids):
        raise InvalidArgumentError(f"Expected one metadata per text, got {len(given)} for {len(ids)} texts")
    clean: list[dict[str, Any]] = []
    for position, (metadata, document_id) in enumerate(zip(given, ids)):
        if metadata is None:
            clean.append({})
            continue
        where = (
            f"document {document_id!r} (position {position})"
            if document_id
            else f"the document at position {position}"
        )
        if not isinstance(metadata, Mapping):
            raise InvalidDocumentError(
                f"The metadata of {where} must be a dict, got {type(metadata).__name__}"
            )
        kept = {key: value for key, value in metadata.items() if key not in SCORE_KEYS}
        clean.append(_Cleaner(where, default).mapping(kept, path="", depth=1))
    return clean


class _Cleaner:
    """Copies one document's metadata, refusing what JSON cannot give back as it was."""

    def __init__(self, where: str, default: MetadataDefault | None) -> None:
        self._where = where
        self._default = default

    def mapping(self, value: Mapping[Any, Any], path: str, depth: int) -> dict[str, Any]:
        self._check_depth(path, depth)
        clean: dict[str, Any] = {}
        for key, item in value.items():
            if not isinstance(key, str):
                raise self._error(path, f"a key of type {type(key).__name__} ({key!r}); keys must be str")
            if not is_encodable(key):
                raise self._error(path, f"the key {key!r} with a lone surrogate")
            clean[key] = self._value(item, f"{path}.{key}" if path else key, depth)
        return clean

    def _value(self, value: Any, path: str, depth: int) -> Any:
        problem = _problem(value)
        if problem and self._default is not None:
            value = self._default(value)
            problem = _problem(value)
        if problem:
            raise self._error(
                path, f"{problem}; metadata must be JSON: convert it, or pass metadata_default=str"
            )
        if isinstance(value, str) and not is_encodable(value):
            raise self._error(path, "a text with a lone surrogate")
        if isinstance(value, Mapping):
            return self.mapping(value, path, depth + 1)
        if isinstance(value, list | tuple):
            self._check_depth(path, depth + 1)
            return [self._value(item, f"{path}[{place}]", depth + 1) for place, item in enumerate(value)]
        return value

    def _check_depth(self, path: str, depth: int) -> None:
        if depth > MAX_DEPTH:
            # The whole path would be as long as the nesting is deep.
            raise self._error(f"{path[:40]}...", f"more than {MAX_DEPTH} levels, or a cycle")

    def _error(self, path: str, problem: str) -> InvalidDocumentError:
        place = f" under the key '{path}'" if path else ""
        return InvalidDocumentError(f"The metadata of {self._where} holds{place} {problem}")


def _problem(value: object) -> str:
    """Why JSON cannot hold a value exactly, or an empty text."""
    if value is None or isinstance(value, str | bool | dict | list | tuple):
        return ""
    if isinstance(value, int):
        return "" if _MIN_INT <= value <= _MAX_INT else "a whole number beyond 64 bits"
    if isinstance(value, float):
        return "" if math.isfinite(value) else f"the number {value!r}"
    return f"a value of type {type(value).__name__}"


def dump_metadata(metadata: Mapping[str, Any]) -> str:
    """The stored form of a clean metadata dictionary; key order is kept."""
    # The encoder takes its longest to begin.
    return _ENCODER.encode(metadata) if metadata else "{}"
