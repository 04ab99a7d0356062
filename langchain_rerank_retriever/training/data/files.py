"""Rows out of whatever holds them: files, data sets, lists, LangChain Documents, BEIR folders."""

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from langchain_core.documents import Document

from langchain_rerank_retriever.errors import DataError, RerankError, StorageError
from langchain_rerank_retriever.formats import beir
from langchain_rerank_retriever.formats.reading import json_lines, readable
from langchain_rerank_retriever.training.data.rows import QUERY_COLUMNS, Row

_QUOTES = (
    " In a .tsv file a field that begins with a quotation mark is quoted whole and its inner marks doubled, as "
    "pandas' to_csv(sep='\\t') writes it."
)


def rows_of(
    data: Any, columns: tuple[str, ...] = QUERY_COLUMNS, *, beir_split: str = "train"
) -> Iterator[Row]:
    """Yield the rows of the data, unchecked, each with its place.

    Args:
        data: A `datasets.Dataset`, an iterable of dicts or of LangChain Documents, the path of a file or of a BEIR
            folder, or a list of paths.
        columns: What a message says is expected.
        beir_split: Which qrels of a BEIR folder.

    Raises:
        DataError: If something is none of these, or the files of a list have different columns.
        StorageError: If a path cannot be read.
    """
    if isinstance(data, str | Path):
        yield from _path_rows(Path(data), columns, beir_split)
    elif paths := _paths(data):
        yield from _files_rows(paths, columns, beir_split)
    elif isinstance(data, Mapping) or not hasattr(data, "__iter__"):
        raise DataError(
            f"training_data must be a datasets.Dataset, a list of dicts, or a path, got {type(data).__name__}. "
            "A list of Documents with queries in their metadata will do, too, and so will a list of paths."
        )
    else:
        yield from _item_rows(data, columns)


def first_row(data: Any) -> Mapping[str, Any] | None:
    """Return the first row, or None where there is none or where looking would use it up.

    Raises:
        DataError, StorageError: As `rows_of`.
    """
    if isinstance(data, Iterator):
        return None
    paths = _paths(data)
    _, row = next(rows_of(paths[0] if paths else data), ("", None))
    return row


def _item_rows(data: Any, columns: tuple[str, ...]) -> Iterator[Row]:
    forms: set[bool] = set()
    for number, item in enumerate(data):
        forms.add(isinstance(item, Document))
        if len(forms) > 1:
            raise DataError(
                f"row {number}: got a {type(item).__name__} among items of another kind. One set of data has one "
                "form: either all rows are dicts, or all are Documents with their queries in the metadata."
            )
        if isinstance(item, Document):
            yield from _document_rows(f"document {number}", item)
        elif isinstance(item, Mapping):
            yield f"row {number}", item
        else:
            raise DataError(f"row {number}: expected a dict with columns {', '.join(columns)}, got {item!r}.")


def _document_rows(place: str, document: Document) -> Iterator[Row]:
    if not document.id:
        raise DataError(
            f"{place} has no id, so that its queries have nothing to point at. "
            "Give each one: Document(id=..., page_content=...)."
        )
    given = [document.metadata[name] for name in ("query", "queries") if name in document.metadata]
    if not given:
        raise DataError(
            f"{place} ({document.id!r}): expected its queries in metadata['query'] or metadata['queries'], got "
            f"metadata with {sorted(map(str, document.metadata))}. Add them, or leave the document out here."
        )
    for value in given:
        if not isinstance(value, str | list | tuple):
            raise DataError(
                f"{place} ({document.id!r}): the queries in the metadata must be a text or a list of texts, "
                f"got {value!r}."
            )
        for query in [value] if isinstance(value, str) else value:
            yield f"{place} ({document.id!r})", {"query": query, "document_id": document.id}


# -- files -----------------------------------------------------------------------------------------------------


def _paths(data: Any) -> list[Path]:
    """Return the paths if the data are a list of them, else an empty list."""

    def names_path(item: Any) -> bool:
        if isinstance(item, str):
            return Path(item).suffix.lower() in _READERS or ("\0" not in item and Path(item).is_dir())
        return isinstance(item, Path)

    if isinstance(data, list | tuple) and data and all(names_path(item) for item in data):
        return [Path(item) for item in data]
    return []


def _files_rows(paths: list[Path], columns: tuple[str, ...], beir_split: str) -> Iterator[Row]:
    """Read several files, which must have the same columns; in what order does not matter."""
    first: frozenset[str] | None = None
    for path in paths:
        rows = list(_path_rows(path, columns, beir_split))
        names = frozenset().union(*(row for _, row in rows))
        if first is None:
            first = names
        if rows and names != first:
            sides = ((paths[0], first - names), (path, names - first))
            differ = "; ".join(f"only {one} has {', '.join(sorted(some))}" for one, some in sides if some)
            raise DataError(
                f"{paths[0]} and {path} have different columns: {differ}. Give all files the same columns."
            )
        yield from rows


def _path_rows(path: Path, columns: tuple[str, ...], beir_split: str) -> Iterator[Row]:
    if not path.exists():
        raise StorageError(f"The training data {path} cannot be read: there is no such file or folder.")
    if path.is_dir():
        yield from _readable(path, _beir_rows(path, beir_split))
        return
    suffix = path.suffix.lower()
    if suffix not in _READERS:
        raise DataError(
            f"{path}: expected a file ending in {', '.join(_READERS)}, or a BEIR folder, got {path.suffix!r}."
        )
    yield from _readable(path, _READERS[suffix](path, columns))


def _readable(path: Path, rows: Iterator[Row]) -> Iterator[Row]:
    """Pass rows on; what goes wrong in reading them is told with the file's name."""
    with readable(path, "training data"):
        try:
            yield from rows
        except (RerankError, UnicodeDecodeError):
            raise
        except (csv.Error, ValueError) as error:
            # csv.Error: a field beyond the limit of that module, or a NUL. ValueError: pyarrow's for a damaged file.
            suffix = path.suffix.lower()
            raise DataError(
                f"{path} is no {suffix} file that can be read: {error}.{_QUOTES if suffix == '.tsv' else ''}"
            ) from error


def _table_rows(path: Path, columns: tuple[str, ...], *, delimiter: str) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="") as lines:
        # Strict where files without any quoting are common: a stray quotation mark would swallow lines in silence.
        reader = csv.DictReader(lines, delimiter=delimiter, strict=delimiter == "\t")
        twice = [name for name, times in Counter(reader.fieldnames or ()).items() if times > 1]
        if twice:
            raise DataError(
                f"{path.name}, line 1: the column {twice[0]!r} is there twice; expected different names of "
                f"{', '.join(columns)}. Rename one."
            )
        for row in reader:
            place = f"{path.name}, line {reader.line_num}"
            if None in row or None in row.values():
                raise DataError(
                    f"{place}: expected {len(reader.fieldnames or [])} fields as in the first line."
                )
            # An empty field of such a file is how it writes "nothing".
            yield place, {name: value or None for name, value in row.items()}


def _parquet_rows(path: Path, columns: tuple[str, ...]) -> Iterator[Row]:  # noqa: ARG001 - a reader like the others
    import pyarrow.parquet

    for number, row in enumerate(pyarrow.parquet.read_table(path).to_pylist()):
        yield f"{path.name}, row {number}", row


_READERS: dict[str, Callable[[Path, tuple[str, ...]], Iterator[Row]]] = {
    ".jsonl": json_lines,
    ".json": json_lines,
    ".csv": partial(_table_rows, delimiter=","),
    ".tsv": partial(_table_rows, delimiter="\t"),
    ".parquet": _parquet_rows,
}


def _beir_rows(folder: Path, split: str) -> Iterator[Row]:
    qrels = folder / beir.QRELS / f"{split}.tsv"
    if not qrels.is_file() or not (folder / beir.QUERIES).is_file():
        raise DataError(
            f"{folder} is no BEIR folder: expected {beir.QUERIES} and {beir.QRELS}/{split}.tsv in it."
        )
    texts = beir.read_beir_queries(folder)
    for place, query_id, document_id, relevance in beir.judgement_lines(qrels):
        if query_id not in texts:
            raise DataError(f"{place}: query {query_id!r} is not in {beir.QUERIES}.")
        yield place, {"query": texts[query_id], "document_id": document_id, "relevance": relevance}
