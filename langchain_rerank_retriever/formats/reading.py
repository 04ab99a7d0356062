"""Lines of text files, with their places for messages."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from langchain_rerank_retriever.errors import DataError, RerankError, StorageError


@contextmanager
def readable(path: Path, what: str) -> Iterator[None]:
    """Within the block a file is read; what goes wrong is told with its name.

    Args:
        path: The file or folder.
        what: What it is to the user: "training data".

    Raises:
        StorageError: If it is not there, or cannot be read.
        DataError: If it is not UTF-8.
    """
    try:
        yield
    except RerankError:
        raise
    except FileNotFoundError as error:
        raise StorageError(f"The {what} {path} cannot be read: there is no such file or folder.") from error
    except OSError as error:
        raise StorageError(f"The {what} {path} cannot be read: {error}.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8: {error}. Save it as UTF-8.") from error


def text_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the lines that are not blank, each after its place, `"file, line 3"`; without their ends."""
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield f"{path.name}, line {number}", line.rstrip("\n")


def json_lines(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the objects of a file with one JSON object a line, each after its place.

    Args:
        path: The file.
        columns: What a message says is expected.

    Raises:
        DataError: If a line is no JSON object.
    """
    for place, line in text_lines(path):
        yield place, json_object(place, line, expected=f"a JSON object with columns {', '.join(columns)}")


def json_object(place: str, line: str | bytes, *, expected: str = "a JSON object") -> dict[str, Any]:
    """Read one line.

    Raises:
        DataError: If it is no JSON object; the message begins with its place.
    """
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place}: not a line of JSON: {error}. Write one object a line.") from error
    if not isinstance(row, dict):
        raise DataError(f"{place}: expected {expected}, got a {type(row).__name__}. Write one object a line.")
    return row
