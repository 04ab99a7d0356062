"""Data sets in the form of BEIR.

    corpus.jsonl        {"_id": ..., "title": ..., "text": ..., "metadata": {...}} a line
    queries.jsonl       {"_id": ..., "text": ...} a line
    qrels/<split>.tsv   query id, document id and relevance, after a header

`id` is read where there is no `_id`.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from langchain_core.documents import Document

from langchain_rerank_retriever.errors import DataError, StorageError
from langchain_rerank_retriever.files import is_missing_or_empty, move_into_place, scratch_folder, writing
from langchain_rerank_retriever.formats.fields import add_judgement, check_ids, judgements_of
from langchain_rerank_retriever.formats.reading import json_lines, readable, text_lines

CORPUS, QUERIES, QRELS = "corpus.jsonl", "queries.jsonl", "qrels"
HEADER = "query-id\tcorpus-id\tscore"

#: What the last field of a line of judgements is, and that of a header is not.
_NUMBER = re.compile(r"[-+]?\d+(\.\d*)?")

#: What ends a field or a line, or makes readers of quoted tables look for another quotation mark.
_UNFIT = re.compile(r'[\t\r\n"]')


def read_beir_documents(folder: str | Path) -> Iterator[Document]:
    """Yield the documents of a BEIR folder.

    The title, where there is one, is the first line of the text, and in the metadata as well.

    Raises:
        DataError: If a line is no document, or an id comes again; names file and line.
        StorageError: If the file cannot be read.
    """
    path = Path(folder) / CORPUS
    seen: set[str] = set()
    with readable(path, "corpus"):
        for place, row in json_lines(path, ("_id", "text")):
            document_id = _new_id(place, row, seen)
            title, text = _text(place, row, "title", default=""), _text(place, row, "text")
            metadata = row.get("metadata") or {}
            if not isinstance(metadata, dict):
                raise DataError(f"{place}: the metadata must be a JSON object, got {metadata!r}.")
            yield Document(
                id=document_id,
                page_content="\n".join(part for part in (title, text) if part),
                metadata={**metadata, "title": title} if title else dict(metadata),
            )


def read_beir_queries(folder: str | Path) -> dict[str, str]:
    """Read the queries of a BEIR folder, those of all splits: `{query id: text}`.

    Raises:
        DataError: If a line is no query, or an id comes again; names file and line.
        StorageError: If the file cannot be read.
    """
    return read_query_lines(Path(folder) / QUERIES)


def read_query_lines(path: Path) -> dict[str, str]:
    """Read queries from a file like a BEIR folder's `queries.jsonl`, wherever it lies; see `read_beir_queries`."""
    seen: set[str] = set()
    with readable(path, "queries"):
        return {
            _new_id(place, row, seen): _text(place, row, "text")
            for place, row in json_lines(path, ("_id", "text"))
        }


def read_beir_qrels(folder: str | Path, split: str = "test") -> dict[str, dict[str, int]]:
    """Read the judgements of a split: `{query id: {document id: relevance}}`.

    Raises:
        DataError: If there is no such split, or a line has another form; names what there is, or file and line.
        StorageError: If the file cannot be read.
    """
    path = Path(folder) / QRELS / f"{split}.tsv"
    if not path.is_file():
        there = sorted(one.stem for one in path.parent.glob("*.tsv"))
        raise DataError(
            f"{folder} has no judgements {QRELS}/{split}.tsv; "
            + (f"its splits are {', '.join(there)}." if there else "expected a BEIR folder.")
        )
    return read_judgement_table(path)


def read_judgement_table(path: Path) -> dict[str, dict[str, int]]:
    """Read judgements from a file like one in a BEIR folder, wherever it lies; see `read_beir_qrels`."""
    qrels: dict[str, dict[str, int]] = {}
    with readable(path, "judgements"):
        for place, query_id, document_id, relevance in judgement_lines(path):
            add_judgement(qrels, place, query_id, document_id, relevance)
    if not qrels:
        raise DataError(f"{path} holds no judgement; expected query id, document id and relevance a line.")
    return qrels


def judgement_lines(path: Path) -> Iterator[tuple[str, str, str, str]]:
    """Yield place, query id, document id and relevance of each line after the header, the relevance unchecked."""
    for number, (place, line) in enumerate(text_lines(path)):
        fields = line.split("\t")
        if number == 0 and not _NUMBER.fullmatch(fields[-1].strip()):
            continue  # the header, which some files lack
        if len(fields) != 3:
            raise DataError(
                f"{place}: expected query id, document id and relevance, separated by tabs, got {line[:80]!r}."
            )
        query_id, document_id, relevance = fields
        yield place, query_id, document_id, relevance


def write_beir(
    folder: str | Path,
    documents: Iterable[Document],
    queries: Mapping[str, str],
    qrels: Mapping[str, Mapping[str, Mapping[str, int]]],
) -> None:
    """Write a data set as a BEIR folder, which appears whole or not at all.

    Args:
        folder: Missing or empty.
        documents: Each with an id of its own and metadata of JSON values.
        queries: `{query id: text}`.
        qrels: Judgements by split: `{"test": {query id: {document id: relevance}}}`.

    Raises:
        DataError: If something cannot be written so that it comes back.
        StorageError: If something lies in the folder, or it cannot be written.
    """
    target = Path(folder).resolve()
    if not is_missing_or_empty(target):
        raise StorageError(f"{folder} is not empty. Choose another folder, or empty it.")
    for judgements in qrels.values():
        check_ids(judgements, "query", _UNFIT, "a BEIR folder, whose judgements are a table")
        for judged in judgements.values():
            check_ids(judged, "document", _UNFIT, "a BEIR folder, whose judgements are a table")
    with writing(target), scratch_folder(target) as scratch:
        _write_json_lines(scratch / CORPUS, map(_row, documents))
        _write_json_lines(scratch / QUERIES, ({"_id": key, "text": text} for key, text in queries.items()))
        (scratch / QRELS).mkdir()
        for split, judgements in qrels.items():
            lines = ["\t".join(map(str, judgement)) for judgement in judgements_of(judgements)]
            text = "\n".join([HEADER, *lines, ""])
            (scratch / QRELS / f"{split}.tsv").write_text(text, encoding="utf-8", newline="\n")
        move_into_place(scratch, target)


def _row(document: Document) -> dict[str, Any]:
    if not document.id:
        raise DataError(
            f"A document without an id cannot be judged: {document.page_content[:60]!r}. Give each one: "
            "Document(id=..., page_content=...)."
        )
    row: dict[str, Any] = {"_id": document.id}
    metadata, content = dict(document.metadata), document.page_content
    title = metadata.get("title")
    # A title is written as such only where reading puts it back where it was.
    if isinstance(title, str) and title and (content == title or content.startswith(f"{title}\n")):
        rest = content[len(title) + 1 :]
        if rest or content == title:
            del metadata["title"]
            row["title"], content = title, rest
    row["text"] = content
    return row | ({"metadata": metadata} if metadata else {})


def _write_json_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    seen: set[str] = set()
    with path.open("w", encoding="utf-8", newline="\n") as lines:
        for row in rows:
            if row["_id"] in seen:
                raise DataError(f"The id {row['_id']!r} is there twice. Ids must be unique.")
            seen.add(row["_id"])
            try:
                line = json.dumps(row, ensure_ascii=False, allow_nan=False)
            except (TypeError, ValueError) as error:
                raise DataError(f"{row['_id']!r} cannot be written as JSON: {error}.") from error
            lines.write(line + "\n")


def _new_id(place: str, row: Mapping[str, Any], seen: set[str]) -> str:
    identifier = row.get("_id", row.get("id"))
    if isinstance(identifier, bool) or not isinstance(identifier, str | int) or identifier == "":
        raise DataError(f"{place}: expected an id in _id, got {identifier!r}.")
    identifier = str(identifier)
    if identifier in seen:
        raise DataError(f"{place}: the id {identifier!r} is there twice. Ids must be unique.")
    seen.add(identifier)
    return identifier


def _text(place: str, row: Mapping[str, Any], name: str, default: str | None = None) -> str:
    text = row.get(name)
    if text is None:
        text = default
    if not isinstance(text, str):
        raise DataError(f"{place}: {name} must be a text, got {row.get(name)!r}.")
    return text
