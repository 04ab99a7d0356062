"""Run files and judgements (qrels) in the formats of TREC, which trec_eval and most tools around it read.

    query  Q0  document  rank  score  run        a run: what a system returned
    query  0   document  relevance               judgements

Fields are separated by blanks, so the formats have no place for an id with a blank in it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from langchain_rerank_retriever.errors import DataError
from langchain_rerank_retriever.files import written_whole
from langchain_rerank_retriever.formats.fields import add_judgement, check_ids, judgements_of, number, whole
from langchain_rerank_retriever.formats.reading import readable, text_lines

#: What separates fields for programs written in C. Other blanks of Unicode may be part of an id that is read; none
#: is written, because programs in Python split there as well.
_SEPARATORS = " \t\n\v\f\r"
_BLANKS = re.compile(f"[{_SEPARATORS}]+")
_ANY_BLANK = re.compile(r"\s")
_NO_BLANKS = "a file of TREC, whose fields are separated by blanks"

_RUN = "query id, Q0, document id, rank, score and run name"
_QRELS = "query id, 0, document id and relevance"


class Placed(NamedTuple):
    """Where a run has a document; the smaller, the further up."""

    negative_score: float
    rank: int


def read_run(path: str | Path) -> dict[str, tuple[str, ...]]:
    """Read a run file.

    Returns:
        `{query id: (document id, ...)}`, best first: by falling score, those of one score by the rank column. Queries
        that got nothing are not in such a file.

    Raises:
        DataError: If a line has another form, or a document comes twice for a query; names file and line.
        StorageError: If the file cannot be read.
    """
    return ranked(read_scores(path))


def ranked(scores: Mapping[str, Mapping[str, Placed]]) -> dict[str, tuple[str, ...]]:
    """Order what `read_scores` gave as `read_run` does."""
    return {query_id: tuple(sorted(placed, key=placed.__getitem__)) for query_id, placed in scores.items()}


def has_ties(placed: Mapping[str, Placed]) -> bool:
    """Tell whether documents of one query have equal scores."""
    return len({one.negative_score for one in placed.values()}) < len(placed)


def read_scores(path: str | Path) -> dict[str, dict[str, Placed]]:
    """Read a run file as it is, `{query id: {document id: where it stands}}`; raises as `read_run` does."""
    found: dict[str, dict[str, Placed]] = {}
    with readable(Path(path), "run file"):
        for place, fields in _fields(Path(path), 6, _RUN):
            query_id, _, document_id, rank, score, _ = fields
            placed = found.setdefault(query_id, {})
            if document_id in placed:
                raise DataError(
                    f"{place}: document {document_id!r} is there twice for query {query_id!r}. Keep one of the two."
                )
            placed[document_id] = Placed(-number(place, "score", score), whole(place, "rank", rank))
    if not found:
        raise DataError(f"{path} is empty; expected lines with {_RUN}.")
    return found


def write_run(path: str | Path, rankings: Mapping[str, Sequence[str]], *, name: str = "run") -> None:
    """Write rankings as a run file, which appears whole or not at all; `read_run` gives the same rankings back.

    The scores are whole numbers that fall by one a rank, so that no tool sees ties, which each breaks in a way of its
    own. A query that got nothing has no line.

    Args:
        path: The file; one that lies there is replaced.
        rankings: `{query id: [document id, ...]}`, best first, such as `Evaluation.ranking`.
        name: Of the run; blanks in it become underscores.

    Raises:
        DataError: If an id has a blank in it, or comes twice for a query; nothing is written.
        StorageError: If the file cannot be written.
    """
    run = "_".join(name.split()) or "run"
    for query_id, ids in rankings.items():
        check_ids([query_id], "query", _ANY_BLANK, _NO_BLANKS)
        check_ids(ids, "document", _ANY_BLANK, _NO_BLANKS)
        if len(set(ids)) < len(ids):
            raise DataError(
                f"The ranking of query {query_id!r} has a document twice; keep its first place only."
            )
    with written_whole(Path(path)) as file:
        for query_id, ids in rankings.items():
            for place, document_id in enumerate(ids):
                file.write(f"{query_id} Q0 {document_id} {place + 1} {len(ids) - place} {run}\n")


def read_qrels(path: str | Path) -> dict[str, dict[str, int]]:
    """Read judgements.

    Returns:
        `{query id: {document id: relevance}}`, negative relevances as they are.

    Raises:
        DataError: If a line has another form, or a document has two relevances for a query; names file and line.
        StorageError: If the file cannot be read.
    """
    qrels: dict[str, dict[str, int]] = {}
    with readable(Path(path), "judgements"):
        for place, (query_id, _, document_id, relevance) in _fields(Path(path), 4, _QRELS):
            add_judgement(qrels, place, query_id, document_id, relevance)
    if not qrels:
        raise DataError(f"{path} is empty; expected lines with {_QRELS}.")
    return qrels


def write_qrels(path: str | Path, qrels: Mapping[str, Mapping[str, int]]) -> None:
    """Write judgements, whole or not at all; `read_qrels` gives the same judgements back.

    A query without a judgement has no line.

    Raises:
        DataError: If an id has a blank in it, or a relevance is no whole number; nothing is written.
        StorageError: If the file cannot be written.
    """
    for query_id, judged in qrels.items():
        check_ids([query_id], "query", _ANY_BLANK, _NO_BLANKS)
        check_ids(judged, "document", _ANY_BLANK, _NO_BLANKS)
    lines = [f"{query} 0 {document} {relevance}\n" for query, document, relevance in judgements_of(qrels)]
    with written_whole(Path(path)) as file:
        file.writelines(lines)


def _fields(path: Path, count: int, expected: str) -> Iterator[tuple[str, list[str]]]:
    for place, line in text_lines(path):
        fields = _BLANKS.split(line.strip(_SEPARATORS))
        if len(fields) != count:
            raise DataError(
                f"{place}: expected {count} fields separated by blanks: {expected}; got {line[:80]!r}."
            )
        yield place, fields
