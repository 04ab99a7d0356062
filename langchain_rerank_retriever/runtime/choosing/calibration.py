"""Texts that a quantiser watches a model read."""

import inspect
import re
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.runtime.reading.texts import check_pairs, check_texts

#: As many texts as NNCF takes of a data set by default are 300; MiniLM's scores do not change beyond 100.
TEXTS = 128

#: Modules with long docstrings in plain English, some about words and some about numbers. They come with Python, so
#: calibrating without texts of one's own needs no download.
_MODULES = (
    "argparse", "ast", "collections", "configparser", "csv", "datetime", "decimal", "difflib", "email.message",
    "fractions", "heapq", "inspect", "ipaddress", "json", "logging", "mailbox", "pathlib", "random", "shutil",
    "statistics", "string", "subprocess", "tarfile", "textwrap", "threading", "tokenize", "unittest", "zipfile",
)  # fmt: skip


def default_calibration(*, pairs: bool) -> list[Any]:
    """Return pieces of the documentation that comes with Python, as texts or as (first sentence, rest) pairs.

    Raises:
        InvalidArgumentError: This Python was started without docstrings (``-OO``).
    """
    found: dict[str, None] = {}
    for name in _MODULES:
        module = import_module(name)
        for member in [module, *vars(module).values()]:
            text = inspect.getdoc(member) if inspect.isclass(member) or inspect.ismodule(member) else None
            # Shorter ones are names with a word or two.
            if text and len(text) >= 80:
                found[re.sub(r"\s+", " ", text)] = None
    if len(found) < TEXTS:
        raise InvalidArgumentError(
            f"precision='int8' without texts of your own needs the docstrings of Python's modules; only {len(found)} "
            "are there. Give calibration=[...], a hundred of your texts or (query, passage) pairs."
        )
    # Spread over all modules, and so over lengths.
    step = len(found) / TEXTS
    chosen = [list(found)[int(place * step)] for place in range(TEXTS)]
    return (
        [tuple(text.split(". ", 1)) if ". " in text else (text[:40], text) for text in chosen]
        if pairs
        else chosen
    )


def checked_calibration(calibration: Any, *, pairs: bool) -> Sequence[Any] | None:
    """Return the texts or pairs if they can be read, None where none were given.

    Raises:
        InvalidArgumentError: Not a list of texts or pairs, or too few.
    """
    if calibration is None:
        return None
    items: list[Any] = check_pairs(calibration) if pairs else check_texts(calibration)
    # With fewer, one odd text sets the range of every layer.
    if len(items) < 32:
        raise InvalidArgumentError(
            f"calibration: expected at least 32 {'pairs' if pairs else 'texts'}, better {TEXTS}, got {len(items)}."
        )
    return items
