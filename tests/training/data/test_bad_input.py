"""What goes wrong most often with people's data: each case is an error that says what to do."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document

from langchain_rerank_retriever.errors import DataError
from langchain_rerank_retriever.training.data.corpus import corpus_of
from langchain_rerank_retriever.training.data.pairs import read_scored_pairs
from langchain_rerank_retriever.training.data.reading import read_training_data
from langchain_rerank_retriever.training.data.split import split_by_group

CORPUS = {key: Document(id=key, page_content=f"text {key}") for key in "ab"}
GOOD = {"query": "x", "document_id": "a"}
PAIR = {"sentence1": "x", "sentence2": "y", "score": 1}


def refused(data: Any, message: str, **settings: Any) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_training_data(data, CORPUS, **settings)
    str(caught.value).encode()  # can be printed


def test_an_unknown_column() -> None:
    refused([{**GOOD, "doc": "a"}], r"row 0: unknown column 'doc'; the columns are query, .* Rename it")


def test_two_files_with_different_columns(tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("query,document_id\nx,a\n")
    (tmp_path / "two.tsv").write_text("query\tpassage\nx\ttext a\n")
    refused(
        [tmp_path / "one.csv", tmp_path / "two.tsv"],
        r"one\.csv and .*two\.tsv have different columns: only .*one\.csv has document_id; only .*two\.tsv has passage",
    )


def test_a_label_outside_its_scale() -> None:
    with pytest.raises(DataError, match=r"row 1: score is 5.5, outside the scale 0..5 of score_range"):
        read_scored_pairs([PAIR, {**PAIR, "score": 5.5}], score_range=(0, 5))


def test_a_score_that_is_not_a_number() -> None:
    with pytest.raises(DataError, match=r"row 1: score must be a number, got nan"):
        read_scored_pairs([PAIR, {**PAIR, "score": math.nan}])
    refused(
        [{**GOOD, "relevance": math.nan}], r"row 0: relevance must be a whole number of at least 0, got nan"
    )


def test_an_id_that_is_not_in_the_corpus() -> None:
    refused(
        [GOOD, {**GOOD, "document_id": "z"}],
        r"row 1: document_id 'z' is not the id of any of the 2 documents",
    )


@pytest.mark.parametrize("rows", [[GOOD] * 5, [GOOD, {"query": " X", "document_id": "b"}]])
def test_all_queries_the_same(rows: list[dict[str, str]]) -> None:
    with pytest.raises(
        DataError, match=r"in 1 group; at least two different queries \(or groups\) are needed"
    ):
        split_by_group(read_training_data(rows, CORPUS), seed=0)


def test_a_single_query() -> None:
    with pytest.raises(DataError, match=r"hold 1 queries in 1 group; at least two"):
        split_by_group(read_training_data([GOOD], CORPUS), seed=0)


def test_every_passage_the_same() -> None:
    with pytest.raises(DataError, match=r"All 3 documents have the same text, .* Expected different texts"):
        corpus_of([Document(id=key, page_content="same") for key in "abc"])
    assert list(corpus_of([Document(id="a", page_content="alone")])) == ["a"]


def test_an_empty_split(tmp_path: Path) -> None:
    (tmp_path / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": "x"}))
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n")
    refused(
        tmp_path, r"The training data are empty; expected at least one row with a query", beir_split="test"
    )


def test_a_mixture_of_forms() -> None:
    refused(
        [GOOD, PAIR], r"row 1: the column 'sentence1' is one of scored sentence pairs .*take the two apart"
    )
    with pytest.raises(DataError, match=r"row 1: the column 'query' is one of queries with their documents"):
        read_scored_pairs([PAIR, GOOD])


@pytest.mark.parametrize("column", ["query", "passage", "negatives"])
def test_a_lone_surrogate(column: str) -> None:
    row: dict[str, Any] = {"query": "x", "passage": "text a", "negatives": ["no"]}
    row[column] = ["b\udc80"] if column == "negatives" else "b\udc80"
    refused([row], rf"row 0: {column} holds a lone surrogate at position 1. Clean it first: text.encode")
