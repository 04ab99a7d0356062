"""Metadata filters, exact and before the search.

Every scalar in a document's metadata is a row ``(key, kind, value, pk)`` of the table ``field``, so a filter
becomes SQL over an index. The rules:

* ``{"key": value}`` is ``$eq``; several keys, or several operators of one key, must all hold.
* A key is looked up as a whole in the top level first, then split at its dots, level by level of nested
  dicts.
* A list matches if any element does. Elements that are lists or dicts match nothing, but the key exists.
* Kinds never mix: text with text, numbers (int and float) with numbers, ``True`` is not 1, ``None`` is
  equal to a stored null only.
* A missing key matches no comparison; ``$ne`` and ``$nin`` are the opposite of ``$eq`` and ``$in``, so they
  match it.
* Text is ordered by code point.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from langchain_rerank_retriever.errors import FilterError

from .validation import is_encodable

Scalar = str | int | float | bool | None
_TEXT, _NUMBER, _BOOL, _NULL, _PRESENT = "s", "n", "b", "z", "e"

_ORDER = {"$lt": "<", "$lte": "<=", "$gt": ">", "$gte": ">="}
FIELD_OPERATORS = ("$eq", "$ne", *_ORDER, "$in", "$nin", "$exists")
LOGICAL_OPERATORS = ("$and", "$or", "$not")
MAX_DEPTH = 50


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition on the column ``pk`` with its bound values."""

    sql: str
    parameters: tuple[Scalar, ...]


def field_rows(metadata: Mapping[str, Any]) -> set[tuple[str, str, Scalar]]:
    """The distinct ``(key, kind, value)`` rows that stand for one document's metadata."""
    rows: set[tuple[str, str, Scalar]] = set()
    for key, value in metadata.items():
        rows.update(_rows(key, value))
        if isinstance(value, Mapping) and "." not in key:
            rows.update(_nested(key, value, top=metadata))
    return rows


def _nested(
    prefix: str, value: Mapping[str, Any], top: Mapping[str, Any]
) -> Iterator[tuple[str, str, Scalar]]:
    for key, item in value.items():
        path = f"{prefix}.{key}"
        # Inside a nested dict, a key with a dot cannot be told from two levels: only the top level has those.
        if "." in key:
            continue
        if path not in top:
            yield from _rows(path, item)
        if isinstance(item, Mapping):
            yield from _nested(path, item, top)


def _rows(key: str, value: Any) -> Iterator[tuple[str, str, Scalar]]:
    found = False
    for item in value if isinstance(value, list) else (value,):
        kind = _kind(item)
        if kind:
            found = True
            # Equal numbers of different types are one row to SQLite and to a set alike.
            yield key, kind, 0 if item is None else item
    if not found:
        yield key, _PRESENT, 0


def _kind(value: object) -> str:
    if value is None:
        return _NULL
    if isinstance(value, bool):
        return _BOOL
    if isinstance(value, str):
        return _TEXT
    return _NUMBER if isinstance(value, int | float) else ""


def compile_filter(condition: Mapping[str, Any] | None) -> Condition | None:
    """Turn a filter into SQL.

    Returns:
        None where everything matches: no filter, or an empty one.

    Raises:
        FilterError: An unknown operator, or an operand that the operator cannot take.
    """
    if condition is None:
        return None
    compiled = _filter(condition, depth=0)
    return compiled if compiled.sql != _ALL.sql else None


_ALL = Condition("1", ())


def _filter(condition: object, depth: int) -> Condition:
    if not isinstance(condition, Mapping):
        raise FilterError(f'A filter is a dict such as {{"source": "a.pdf"}}, got {type(condition).__name__}')
    if depth > MAX_DEPTH:
        raise FilterError(f"A filter may be nested {MAX_DEPTH} levels deep, this one is deeper")
    parts: list[Condition] = []
    for key, value in condition.items():
        if not isinstance(key, str) or not is_encodable(key):
            raise FilterError(f"A filter's keys are the names of metadata keys, got {key!r}")
        if key in LOGICAL_OPERATORS:
            parts.append(_logical(key, value, depth))
        elif key.startswith("$"):
            raise _unknown(key)
        else:
            parts.append(_field(key, value))
    return _join(parts, "AND")


def _logical(operator: str, value: object, depth: int) -> Condition:
    if operator == "$not":
        inner = _filter(value, depth + 1)
        return Condition(f"NOT ({inner.sql})", inner.parameters)
    if not isinstance(value, list | tuple) or not value:
        raise FilterError(f"{operator} takes a list of one or more filters, got {value!r}")
    return _join([_filter(item, depth + 1) for item in value], operator[1:].upper())


def _join(parts: list[Condition], word: str) -> Condition:
    if not parts:
        return _ALL
    if len(parts) == 1:
        return parts[0]
    # By halves, because SQLite limits how deep an expression may be, and reads a chain as a deep one.
    left, right = _join(parts[: len(parts) // 2], word), _join(parts[len(parts) // 2 :], word)
    return Condition(f"({left.sql}) {word} ({right.sql})", left.parameters + right.parameters)


def _field(key: str, value: object) -> Condition:
    if not isinstance(value, Mapping):
        return _compare(key, "$eq", value)
    if not value:
        raise FilterError(f"The filter for {key!r} is an empty dict; give it an operator such as $eq")
    parts: list[Condition] = []
    for operator, operand in value.items():
        if operator not in FIELD_OPERATORS:
            raise _unknown(operator, key)
        parts.append(_compare(key, operator, operand))
    return _join(parts, "AND")


def _compare(key: str, operator: str, operand: object) -> Condition:
    if operator == "$exists":
        if not isinstance(operand, bool):
            raise FilterError(f"$exists of {key!r} takes True or False, got {operand!r}")
        return _in_field("key = ?", (key,), negated=not operand)
    if operator in {"$in", "$nin"}:
        return _one_of(key, operator, operand)
    if operator in _ORDER:
        if isinstance(operand, bool) or not isinstance(operand, str | int | float):
            raise FilterError(f"{operator} of {key!r} compares with a number or a text, got {operand!r}")
        kind, value = _operand(key, operator, operand)
        return _in_field(f"key = ? AND kind = ? AND value {_ORDER[operator]} ?", (key, kind, value))
    kind, value = _operand(key, operator, operand)
    return _in_field("key = ? AND kind = ? AND value = ?", (key, kind, value), negated=operator == "$ne")


def _one_of(key: str, operator: str, operand: object) -> Condition:
    if not isinstance(operand, list | tuple):
        raise FilterError(f"{operator} of {key!r} takes a list of values, got {operand!r}")
    by_kind: dict[str, list[Scalar]] = {}
    for item in operand:
        kind, value = _operand(key, operator, item)
        by_kind.setdefault(kind, []).append(value)
    choices = [_any_of(kind, values) for kind, values in by_kind.items()]
    chosen = _join(choices, "OR") if choices else Condition("0", ())
    return _in_field(f"key = ? AND ({chosen.sql})", (key, *chosen.parameters), negated=operator == "$nin")


def _any_of(kind: str, values: list[Scalar]) -> Condition:
    # A statement may have some ten thousand parameters, so a list is one of them wherever JSON is exact.
    exact: list[Scalar] = []
    others: list[Scalar] = []
    for value in values:
        in_json = isinstance(value, int) or (isinstance(value, str) and "\0" not in value)
        (exact if in_json else others).append(value)
    places = ", ".join("?" * len(others))
    return Condition(
        f"kind = ? AND (value IN (SELECT value FROM json_each(?)) OR value IN ({places}))",  # noqa: S608 - bound
        (kind, json.dumps(exact, ensure_ascii=False), *others),
    )


def _operand(key: str, operator: str, operand: object) -> tuple[str, Scalar]:
    if isinstance(operand, str):
        if not is_encodable(operand):
            raise FilterError(
                f"{operator} of {key!r} got a text with a lone surrogate, which no document can hold"
            )
        return _TEXT, operand
    if operand is None or isinstance(operand, bool):
        return _kind(operand), int(operand or False)
    if isinstance(operand, int):
        # SQLite's whole numbers have 64 bits, and so have those of stored metadata.
        return _NUMBER, operand if -(2**63) <= operand < 2**63 else math.copysign(math.inf, operand)
    if isinstance(operand, float) and not math.isnan(operand):
        return _NUMBER, operand
    raise FilterError(
        f"{operator} of {key!r} compares with a text, a number, a bool or None, got {operand!r}; "
        "use $in for one of several values, and a dotted key for nested metadata"
    )


def _in_field(where: str, parameters: tuple[Scalar, ...], *, negated: bool = False) -> Condition:
    sql = f"pk {'NOT ' if negated else ''}IN (SELECT pk FROM field WHERE {where})"  # noqa: S608 - values are bound
    return Condition(sql, parameters)


def _unknown(operator: object, key: str | None = None) -> FilterError:
    place = f" of {key!r}" if key is not None else ""
    return FilterError(
        f"Unknown operator {operator!r}{place}: a metadata key takes {', '.join(FIELD_OPERATORS)}; "
        f"filters are combined with {', '.join(LOGICAL_OPERATORS)}"
    )
