"""The user's own data: read, checked row by row, and turned into queries with the documents they want.

Nothing is dropped, guessed from column order or changed in silence: a row that cannot be used is named with its
place and the reason.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from langchain_core.documents import Document

from langchain_rerank_retriever.errors import DataError, InvalidArgumentError
from langchain_rerank_retriever.training.data.files import rows_of
from langchain_rerank_retriever.training.data.rows import (
    QUERY_COLUMNS,
    check_names,
    checked_text,
    normalised,
)


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Queries and the documents that answer them.

    Attributes:
        queries: Query id to text, one for each distinct text.
        qrels: Query id to {document id: relevance}; whole numbers, above 0 is relevant, 0 is judged not relevant.
        groups: Query id to a key that a split must not tear apart; the query itself where the data names none.
        negatives: Query id to texts that the data gives as wrong answers.
        added: Passages that were not in the corpus and are to be added to it.
    """

    queries: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]
    groups: Mapping[str, str]
    negatives: Mapping[str, Sequence[str]] = field(default_factory=dict)
    added: Sequence[Document] = ()

    def positives(self, query_id: str) -> list[str]:
        """Return the ids of a query's relevant documents."""
        return [key for key, relevance in self.qrels[query_id].items() if relevance > 0]

    def only(self, query_ids: Sequence[str]) -> "TrainingData":
        """Return the part that concerns some queries."""
        return TrainingData(
            {key: self.queries[key] for key in query_ids},
            {key: self.qrels[key] for key in query_ids},
            {key: self.groups[key] for key in query_ids},
            {key: self.negatives[key] for key in query_ids if key in self.negatives},
        )


def read_training_data(
    data: Any,
    documents: Mapping[str, Document],
    *,
    unknown_passages: Literal["refuse", "add"] = "refuse",
    beir_split: str = "train",
) -> TrainingData:
    """Read training or held-out data in any of its forms.

    Args:
        data: One of

            * a `datasets.Dataset` or a list of dicts;
            * the path of a JSONL, CSV, TSV or Parquet file, or a list of such paths whose files have the same
              columns, in any order;
            * a BEIR folder (`queries.jsonl` and `qrels/<split>.tsv`);
            * a list of LangChain Documents: `metadata["query"]` or `metadata["queries"]`, each a text or a list of
              texts, are the queries that the document with this id answers.

            Columns: `query` with `document_id` or `passage`, and optionally `relevance` (default 1), `negatives`
            (a list of texts), `group`. Scored sentence pairs are read by `read_scored_pairs`.
        documents: The corpus by id.
        unknown_passages: What to do with a `passage` that is the text of no document: refuse it, or add it to the
            corpus.
        beir_split: Which qrels of a BEIR folder.

    Raises:
        DataError: Naming the row, the column and the fix.
        StorageError: If a path cannot be read.
    """
    builder = _Builder(documents, unknown_passages)
    for place, row in rows_of(data, beir_split=beir_split):
        builder.add(place, row)
    return builder.finish()


class _Builder:
    """Collects checked rows."""

    def __init__(self, documents: Mapping[str, Document], unknown_passages: str) -> None:
        if unknown_passages not in ("refuse", "add"):
            raise InvalidArgumentError(
                f"unknown_passages must be 'refuse' or 'add', got {unknown_passages!r}."
            )
        self._documents = documents
        self._by_text = {document.page_content: key for key, document in documents.items()}
        self._add_unknown = unknown_passages == "add"
        self._ids: dict[str, str] = {}
        self._qrels: dict[str, dict[str, int]] = {}
        self._groups: dict[str, str] = {}
        self._negatives: dict[str, list[str]] = {}
        self._added: dict[str, Document] = {}

    def add(self, place: str, row: Mapping[str, Any]) -> None:
        _check_columns(place, row)
        text = checked_text(place, "query", row["query"])
        document_id = self._document_id(place, row)
        relevance = _relevance(place, row.get("relevance"))
        query_id = self._ids.setdefault(text, f"q{len(self._ids)}")
        judged = self._qrels.setdefault(query_id, {})
        if judged.get(document_id, relevance) != relevance:
            raise DataError(
                f"{place}: document {document_id!r} has relevance {relevance} for this query, and "
                f"{judged[document_id]} in an earlier row. Keep one of the two."
            )
        judged[document_id] = relevance
        self._group(place, query_id, row.get("group"))
        negatives = row.get("negatives")
        if negatives is not None:
            self._negatives.setdefault(query_id, []).extend(_texts(place, negatives))

    def finish(self) -> TrainingData:
        if not self._ids:
            raise DataError(
                "The training data are empty; expected at least one row with a query and its document."
            )
        without = [
            text for text, key in self._ids.items() if not any(v > 0 for v in self._qrels[key].values())
        ]
        if len(without) == len(self._ids):
            raise DataError("No query has a relevant document: every relevance is 0. Expected some above 0.")
        dropped = set(without)
        queries = {key: text for text, key in self._ids.items() if text not in dropped}
        return TrainingData(
            queries,
            {key: self._qrels[key] for key in queries},
            # Queries that differ in case and spaces only are one question.
            {key: self._groups.get(key) or normalised(text) for key, text in queries.items()},
            self._negatives,
            tuple(self._added.values()),
        )

    def _group(self, place: str, query_id: str, group: Any) -> None:
        if group is None:
            return
        if self._groups.setdefault(query_id, str(group)) != str(group):
            raise DataError(
                f"{place}: this query is of group {str(group)!r} here and of group {self._groups[query_id]!r} in "
                "an earlier row. Give all rows of a query the same group."
            )

    def _document_id(self, place: str, row: Mapping[str, Any]) -> str:
        document_id = row.get("document_id")
        if document_id is not None:
            if not isinstance(document_id, str):
                raise DataError(
                    f"{place}: document_id must be a str like the ids of the documents, got {document_id!r}."
                )
            if document_id not in self._documents:
                raise DataError(
                    f"{place}: document_id {document_id!r} is not the id of any of the {len(self._documents)} "
                    "documents. Give the documents their ids, or correct the row."
                )
            return document_id
        passage = checked_text(place, "passage", row["passage"])
        known = self._by_text.get(passage)
        if known is not None:
            return known
        if not self._add_unknown:
            raise DataError(
                f"{place}: the passage {passage[:60]!r} is not the text of any document. Correct it, or pass "
                "unknown_passages='add' to add such passages to the documents."
            )
        key = "passage-" + hashlib.sha256(passage.encode("utf-8")).hexdigest()[:16]
        self._added[key] = Document(id=key, page_content=passage)
        self._by_text[passage] = key
        return key


def _check_columns(place: str, row: Mapping[str, Any]) -> None:
    check_names(place, row, QUERY_COLUMNS)
    if row.get("query") is None or (row.get("document_id") is None) == (row.get("passage") is None):
        raise DataError(
            f"{place}: expected a query with either a document_id or a passage, got columns "
            f"{[name for name, value in row.items() if value is not None]}."
        )


def _texts(place: str, value: Any) -> list[str]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise DataError(f"{place}: negatives must be a list of texts, got {value!r}.")
    return [checked_text(place, "negatives", one) for one in value]


def _relevance(place: str, value: Any) -> int:
    if value is None:
        return 1
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not number.is_integer() or number < 0:
        raise DataError(f"{place}: relevance must be a whole number of at least 0, got {value!r}.")
    return int(number)
