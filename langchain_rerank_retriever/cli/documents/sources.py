"""The files that are to be read: found in folders, each under a name that stays the same where folders are moved."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from langchain_rerank_retriever.errors import DataError, StorageError

TABLES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
MARKDOWN = (".md", ".markdown")
TEXTS = (*MARKDOWN, ".txt", ".text", ".rst")
KINDS = (*TABLES, *TEXTS)


@dataclass(frozen=True, slots=True)
class Source:
    """A file.

    Attributes:
        path: Where it is.
        name: Its path within the folder that was given, with `/`; ids and metadata name it by that.
    """

    path: Path
    name: str

    @property
    def kind(self) -> str:
        """Its ending, in lower case."""
        return self.path.suffix.lower()

    @property
    def is_text(self) -> bool:
        """Whether all of it is one text, and not a table with a text in each row."""
        return self.kind in TEXTS


@dataclass(frozen=True, slots=True)
class Found:
    """What was found: the sources, and how many files of other kinds lie beside them."""

    sources: tuple[Source, ...]
    others: int


def find_sources(paths: Sequence[Path]) -> Found:
    """Find the files of known kinds among files and folders; hidden ones within folders are left out.

    Raises:
        StorageError: If a path is not there.
        DataError: If a given file is of another kind, a folder has none of ours, or two files have one name.
    """
    sources: dict[str, Source] = {}
    known: set[Path] = set()
    others = 0
    for path in paths:
        if path.is_dir():
            inside = list(_inside(path))
            found = [one for one in inside if one.kind in KINDS]
            others += len(inside) - len(found)
            if not found:
                raise DataError(f"{path} has no file ending in {', '.join(KINDS)} in it.")
        else:
            found = [_given(path)]
        for source in found:
            place = source.path.resolve()
            if place not in known:
                known.add(place)
                _check_name(source, sources.get(source.name))
                sources[source.name] = source
    return Found(tuple(sources[name] for name in sorted(sources)), others)


def _given(path: Path) -> Source:
    if not path.exists():
        raise StorageError(f"{path} cannot be read: there is no such file or folder.")
    source = Source(path, path.name)
    if source.kind not in KINDS:
        raise DataError(f"{path}: expected a file ending in {', '.join(KINDS)}, got {path.suffix!r}.")
    return source


def _inside(folder: Path) -> Iterator[Source]:
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(parent, name)
            if not name.startswith(".") and path.is_file():
                yield Source(path, path.relative_to(folder).as_posix())


def _check_name(source: Source, earlier: Source | None) -> None:
    if earlier is not None:
        raise DataError(
            f"{earlier.path} and {source.path} would both be called {source.name!r}, by which their documents are "
            "told apart. Give the folder above them instead, or rename one."
        )
    try:
        source.name.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"The name of the file {source.name!r} is not UTF-8. Rename it.") from error
