"""What one call may ask for, and the settings a query is answered by: the call's, else the retriever's own."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any, TypedDict, get_args

from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.protocols import RecallMode


class CallOptions(TypedDict, total=False):
    """The keyword arguments of `invoke`, `explain` and their async twins, where they are described."""

    k: int | None
    fetch_k: int | None
    filter: Any
    recall_mode: RecallMode | None
    score_threshold: float | None
    collapse: str | None
    early_stop: bool | None
    lambda_mult: float | None
    extra_queries: Sequence[str] | None
    search_kwargs: Mapping[str, Any] | None


#: The options that are fields of the retriever, too.
SETTINGS = ("k", "fetch_k", "recall_mode", "score_threshold", "collapse", "early_stop", "lambda_mult")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a query is answered by, checked; see `RerankRetriever` for what each means."""

    k: int
    fetch_k: int
    recall_mode: RecallMode | None
    score_threshold: float | None
    collapse: str | None
    early_stop: bool
    lambda_mult: float | None
    filter: Any = None
    extra_queries: tuple[str, ...] = ()
    search_kwargs: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any], settings: Mapping[str, Any]) -> "Options":
        """Join what a call gives with the retriever's settings, which stand where it gives nothing or None.

        Raises:
            TypeError: For an argument that there is not.
            InvalidArgumentError: For a value out of range.
        """
        names = [field.name for field in fields(cls)]
        unknown = [name for name in given if name not in names]
        if unknown:
            raise TypeError(f"There is no argument {unknown[0]!r}; expected one of {', '.join(names)}.")
        asked = {name: value for name, value in given.items() if value is not None}
        return cls(**{name: checked(name, value) for name, value in {**settings, **asked}.items()})


def checked(name: str, value: Any) -> Any:
    """Check the value of an option, and bring it to its plain type.

    Raises:
        InvalidArgumentError: Naming the option, what was expected and what it got.
    """
    check = _CHECKS.get(name)
    return value if check is None else check(name, value)


def _count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise InvalidArgumentError(f"{name} must be a whole number of at least 1, got {value!r}.")
    return int(value)


def _mode(name: str, value: Any) -> Any:
    modes = get_args(RecallMode)
    if value not in (None, *modes):
        known = ", ".join(map(repr, modes))
        raise InvalidArgumentError(f"{name} must be one of {known}, or None, got {value!r}.")
    return value


def _threshold(name: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Real) or math.isnan(value):
        raise InvalidArgumentError(f"{name} must be a number or None, got {value!r}.")
    return float(value)


def _share(name: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) <= 1:
        raise InvalidArgumentError(f"{name} must be a number from 0 to 1 or None, got {value!r}.")
    return float(value)


def _metadata_key(name: str, value: Any) -> str | None:
    if value is not None and (not isinstance(value, str) or not value):
        raise InvalidArgumentError(
            f"{name} must be the name of a metadata key, such as 'source', or None; got {value!r}."
        )
    return value


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidArgumentError(f"{name} must be True or False, got {value!r}.")
    return value


def _queries(name: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise InvalidArgumentError(f"{name} must be a list of further queries, got {value!r}.")
    for query in value:
        check_query(query)
    return tuple(value)


def _arguments(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise InvalidArgumentError(
            f"{name} must be a dict of arguments for the store's search, such as {{'expr': 'year > 2020'}}; got "
            f"{value!r}."
        )
    return value


def check_query(query: Any) -> None:
    """Refuse what is not a text to search for.

    Raises:
        InvalidArgumentError: For anything but a str, a blank one, and one that is no valid Unicode.
    """
    if not isinstance(query, str):
        raise InvalidArgumentError(f"A query must be a str, got {type(query).__name__}.")
    if not query.strip():
        raise InvalidArgumentError("The query is blank; expected some text to search for.")
    try:
        query.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgumentError(
            f"The query cannot be written as UTF-8: it holds a lone surrogate at position {error.start}. "
            "Decode the text with errors='replace'."
        ) from error


_CHECKS = {
    "k": _count,
    "fetch_k": _count,
    "recall_mode": _mode,
    "score_threshold": _threshold,
    "collapse": _metadata_key,
    "early_stop": _flag,
    "lambda_mult": _share,
    "extra_queries": _queries,
    "search_kwargs": _arguments,
}
