"""Which candidates belong together: those whose metadata have the same value, such as the chunks of one document."""

import json
from collections.abc import Hashable, Mapping
from numbers import Number
from typing import Any


def belonging(metadata: Mapping[str, Any], key: str) -> Hashable | None:
    """Name what a document belongs to.

    The key is looked up as filters do it: as a whole in the top level, then split at its dots, level by level of
    nested dicts. As in filters, numbers equal numbers whatever their type, and `True` is not 1.

    Args:
        metadata: The document's.
        key: Where its parent is named.

    Returns:
        Equal for documents that belong together, None for one that stands for itself: it lacks the key, or holds
        None.
    """
    value = _value(metadata, key)
    if value is None:
        return None
    if isinstance(value, bool | str):
        return type(value), value
    if isinstance(value, Number):
        return Number, value
    # Lists and dicts, and what foreign stores leave in metadata: equal where they look the same.
    return type(value), json.dumps(value, sort_keys=True, default=repr)


def _value(metadata: Mapping[str, Any], key: str) -> Any:
    if key in metadata:
        return metadata[key]
    value: Any = metadata
    for level in key.split("."):
        if not isinstance(value, Mapping) or level not in value:
            return None
        value = value[level]
    return value
