"""Where rows come from: every file kind, several files, and LangChain Documents."""

import csv
import io
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.documents import Document

from langchain_rerank_retriever.errors import DataError, StorageError
from langchain_rerank_retriever.training.data.files import first_row, rows_of
from langchain_rerank_retriever.training.data.reading import read_training_data

ROWS = [
    {"query": "x, with a comma", "document_id": "a", "relevance": 2},
    {"query": 'y "quoted"', "document_id": "b", "relevance": 1},
]
CORPUS = {key: Document(id=key, page_content=f"text {key}") for key in "ab"}


def write(path: Path, rows: list[dict[str, Any]], columns: list[str]) -> Path:
    ordered = [{name: row[name] for name in columns if name in row} for row in rows]
    if path.suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ordered), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in ordered))
    else:
        with path.open("w", newline="") as lines:
            writer = csv.DictWriter(lines, columns, delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(ordered)
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".tsv", ".parquet"])
@pytest.mark.parametrize("columns", list(itertools.permutations(ROWS[0])))
def test_the_order_of_columns_does_not_matter(tmp_path: Path, suffix: str, columns: tuple[str, ...]) -> None:
    data = read_training_data(write(tmp_path / f"data{suffix}", ROWS, list(columns)), CORPUS)
    assert data.queries == {"q0": "x, with a comma", "q1": 'y "quoted"'}
    assert data.qrels == {"q0": {"a": 2}, "q1": {"b": 1}}


def test_several_files_of_different_kinds(tmp_path: Path) -> None:
    names = list(ROWS[0])
    paths = [
        write(tmp_path / "one.csv", ROWS[:1], names),
        str(write(tmp_path / "two.jsonl", ROWS[1:], names[::-1])),
    ]
    data = read_training_data(paths, CORPUS)
    assert data.qrels == {"q0": {"a": 2}, "q1": {"b": 1}}


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".tsv", ".parquet"])
def test_two_files_with_different_columns(tmp_path: Path, suffix: str) -> None:
    one = write(tmp_path / f"one{suffix}", ROWS, ["query", "document_id", "relevance"])
    renamed = [{"query": "z", "passage": "text a", "group": "1"}]
    two = write(tmp_path / f"two{suffix}", renamed, ["query", "passage", "group"])
    with pytest.raises(DataError) as caught:
        read_training_data([one, two], CORPUS)
    assert str(caught.value) == (
        f"{one} and {two} have different columns: only {one} has document_id, relevance; only {two} has group, "
        "passage. Give all files the same columns."
    )


def test_an_empty_file_has_no_columns_to_differ_in(tmp_path: Path) -> None:
    (tmp_path / "none.jsonl").touch()
    one = write(tmp_path / "one.csv", ROWS, list(ROWS[0]))
    assert len(read_training_data([one, tmp_path / "none.jsonl"], CORPUS).queries) == 2


def test_one_of_several_files_is_not_there(tmp_path: Path) -> None:
    one = write(tmp_path / "one.csv", ROWS, list(ROWS[0]))
    with pytest.raises(StorageError, match=r"two\.csv cannot be read: there is no such file"):
        read_training_data([one, tmp_path / "two.csv"], CORPUS)


def test_a_column_that_is_there_twice(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("query,document_id,query\nx,a,y\n")
    with pytest.raises(DataError, match=r"data.csv, line 1: the column 'query' is there twice; .*Rename one"):
        read_training_data(path, CORPUS)


def test_a_stray_quotation_mark_in_a_tsv_file(tmp_path: Path) -> None:
    path = tmp_path / "data.tsv"
    path.write_text('query\tdocument_id\n"x" he said\ta\ny\tb\n')
    with pytest.raises(
        DataError, match=r"no \.tsv file that can be read: .*quoted whole and its inner marks"
    ):
        read_training_data(path, CORPUS)


cells = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0\r"), min_size=1).filter(
    str.strip
)


@settings(max_examples=60, deadline=None)
@given(st.lists(cells, min_size=1, max_size=5, unique=True), st.sampled_from([",", "\t"]))
def test_whatever_text_a_table_holds_comes_back(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], delimiter: str
) -> None:
    table = io.StringIO()
    csv.writer(table, delimiter=delimiter).writerows([["query"], *([text] for text in texts)])
    path = tmp_path_factory.mktemp("table") / ("x.tsv" if delimiter == "\t" else "x.csv")
    path.write_bytes(table.getvalue().encode())
    assert [row["query"] for _, row in rows_of(path)] == texts


# -- Documents -------------------------------------------------------------------------------------------------


def test_documents_that_know_their_queries() -> None:
    documents = [
        Document(id="a", page_content="text a", metadata={"query": "one?", "page": 3}),
        Document(id="b", page_content="text b", metadata={"queries": ["one?", "two?"], "query": ["three?"]}),
        Document(id="a", page_content="text a", metadata={"queries": "four?"}),
        Document(id="b", page_content="text b", metadata={"queries": []}),
    ]
    data = read_training_data(documents, CORPUS)
    assert data.queries == {"q0": "one?", "q1": "three?", "q2": "two?", "q3": "four?"}
    assert data.qrels == {"q0": {"a": 1, "b": 1}, "q1": {"b": 1}, "q2": {"b": 1}, "q3": {"a": 1}}
    assert documents[0].metadata == {"query": "one?", "page": 3}


GOOD = Document(id="a", page_content="text a", metadata={"query": "one?"})


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        (
            [GOOD, Document(id="b", page_content="t", metadata={"page": 1})],
            r"document 1 \('b'\): expected its queries in metadata\['query'\] or .*got metadata with \['page'\]",
        ),
        ([Document(page_content="t", metadata={"query": "x"})], r"document 0 has no id.*Give each one"),
        (
            [Document(id="b", page_content="t", metadata={"query": 3})],
            r"document 0 \('b'\): .*a list of texts, got 3",
        ),
        (
            [Document(id="b", page_content="t", metadata={"query": " "})],
            r"document 0 \('b'\): query must be a text",
        ),
        (
            [Document(id="b", page_content="t", metadata={"query": [None]})],
            r"document 0 \('b'\): expected a query",
        ),
        (
            [Document(id="c", page_content="t", metadata={"query": "x"})],
            r"document_id 'c' is not the id of any",
        ),
        ([GOOD, {"query": "x", "document_id": "a"}], r"row 1: got a dict among items of another kind"),
        ([{"query": "x", "document_id": "a"}, GOOD], r"row 1: got a Document among items of another kind"),
    ],
)
def test_documents_that_cannot_be_used(documents: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_training_data(documents, CORPUS)


# -- the first row ---------------------------------------------------------------------------------------------


def test_the_first_row(tmp_path: Path) -> None:
    paths = [write(tmp_path / "one.csv", ROWS, list(ROWS[0])), tmp_path / "not-there.csv"]
    assert first_row(paths) == {"query": "x, with a comma", "document_id": "a", "relevance": "2"}
    assert first_row(ROWS) == ROWS[0]
    assert first_row([GOOD]) == {"query": "one?", "document_id": "a"}
    assert first_row([]) is None
    rows = iter(ROWS)
    assert first_row(rows) is None
    assert list(rows) == ROWS
