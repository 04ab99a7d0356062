"""Checks of what callers hand in, before anything runs."""

from collections.abc import Sequence
from typing import Any

from langchain_rerank_retriever.errors import InvalidArgumentError


def check_text(text: Any, place: str) -> str:
    """Return the text if a tokenizer can read it.

    Args:
        text: Anything.
        place: How the message names it, for instance ``"texts[3]"``.

    Raises:
        InvalidArgumentError: Not a ``str``, or holds a lone surrogate, which no encoding can carry.
    """
    if not isinstance(text, str):
        raise InvalidArgumentError(f"{place}: expected str, got {type(text).__name__}.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgumentError(
            f"{place}: expected valid Unicode, got the lone surrogate {text[error.start]!r} at character "
            f"{error.start}. Clean the text first: text.encode('utf-8', 'replace').decode()."
        ) from None
    return text


def check_texts(texts: Any) -> list[str]:
    """Return the texts as a new list.

    Raises:
        InvalidArgumentError: Not a sequence of texts; the message names the position.
    """
    if isinstance(texts, str | bytes) or not hasattr(texts, "__iter__"):
        raise InvalidArgumentError(f"texts: expected a list of str, got {type(texts).__name__}.")
    return [check_text(text, f"texts[{place}]") for place, text in enumerate(texts)]


def check_pairs(pairs: Any) -> list[tuple[str, str]]:
    """Return (query, passage) pairs as a new list of tuples.

    Raises:
        InvalidArgumentError: Not a sequence of pairs of texts; the message names the position.
    """
    if isinstance(pairs, str | bytes) or not hasattr(pairs, "__iter__"):
        raise InvalidArgumentError(
            f"text_pairs: expected a list of (query, passage) pairs, got {type(pairs).__name__}."
        )
    return [_check_pair(pair, place) for place, pair in enumerate(pairs)]


def _check_pair(pair: Any, place: int) -> tuple[str, str]:
    if not isinstance(pair, Sequence) or isinstance(pair, str | bytes) or len(pair) != 2:
        got = (
            f"{type(pair).__name__} of length {len(pair)}"
            if hasattr(pair, "__len__")
            else type(pair).__name__
        )
        raise InvalidArgumentError(f"text_pairs[{place}]: expected (query, passage), got {got}.")
    return check_text(pair[0], f"text_pairs[{place}][0]"), check_text(pair[1], f"text_pairs[{place}][1]")
