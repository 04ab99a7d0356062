"""Reading the user's data: every form gives the same, and nothing bad gets through."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document

from langchain_rerank_retriever.errors import DataError, InvalidArgumentError, StorageError
from langchain_rerank_retriever.training.data.reading import TrainingData, read_training_data

DOCUMENTS = {
    "a": Document(id="a", page_content="Apples grow on trees."),
    "b": Document(id="b", page_content="Bees make honey."),
    "c": Document(id="c", page_content="고양이는 작은 동물이다."),
}
ROWS: list[dict[str, Any]] = [
    {"query": "where do apples grow", "document_id": "a", "relevance": 2},
    {"query": "where do apples grow", "document_id": "b", "relevance": 0},
    {"query": "who makes honey", "document_id": "b", "relevance": 1},
    {"query": "고양이란", "document_id": "c", "relevance": 1},
]
QUERIES = {"q0": "where do apples grow", "q1": "who makes honey", "q2": "고양이란"}
QRELS = {"q0": {"a": 2, "b": 0}, "q1": {"b": 1}, "q2": {"c": 1}}


def read(data: Any, **kwargs: Any) -> TrainingData:
    return read_training_data(data, DOCUMENTS, **kwargs)


def as_list(_: Path) -> Any:
    return ROWS


def as_generator(_: Path) -> Any:
    return (row for row in ROWS)


def as_dataset(_: Path) -> Any:
    from datasets import Dataset

    return Dataset.from_list(ROWS)


def as_jsonl(folder: Path) -> Any:
    path = folder / "data.jsonl"
    path.write_text("\n\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS) + "\n", encoding="utf-8")
    return path


def as_csv(folder: Path) -> Any:
    path = folder / "data.CSV"
    lines = [f'"{row["query"]}",{row["document_id"]},{row["relevance"]}' for row in ROWS]
    path.write_text("query,document_id,relevance\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def as_excel_csv(folder: Path) -> Any:
    """With the byte order mark and the line ends that Excel writes."""
    path = folder / "data.csv"
    lines = [
        "query,document_id,relevance",
        *(f"{r['query']},{r['document_id']},{r['relevance']}" for r in ROWS),
    ]
    path.write_bytes("\r\n".join(lines).encode("utf-8-sig"))
    return path


def as_parquet(folder: Path) -> Any:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), folder / "data.parquet")
    return folder / "data.parquet"


def beir(folder: Path, lines: list[str], *, id_name: str = "_id") -> Path:
    queries = [json.dumps({id_name: key, "text": text}) for key, text in QUERIES.items()]
    (folder / "queries.jsonl").write_text("\n".join(queries), encoding="utf-8")
    (folder / "qrels").mkdir()
    (folder / "qrels" / "train.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


QRELS_LINES = [
    f"{query}\t{document}\t{value}" for query, judged in QRELS.items() for document, value in judged.items()
]


def as_beir(folder: Path) -> Any:
    return beir(folder, ["query-id\tcorpus-id\tscore", *QRELS_LINES, ""])


def as_beir_without_header(folder: Path) -> Any:
    return str(beir(folder, QRELS_LINES, id_name="id"))


def as_beir_with_float_scores(folder: Path) -> Any:
    return beir(folder, [f"{line}.0" for line in QRELS_LINES])


@pytest.mark.parametrize(
    "form",
    [
        as_list,
        as_generator,
        as_dataset,
        as_jsonl,
        as_csv,
        as_excel_csv,
        as_parquet,
        as_beir,
        as_beir_without_header,
        as_beir_with_float_scores,
    ],
)
def test_every_form_gives_the_same(form: Callable[[Path], Any], tmp_path: Path) -> None:
    data = read(form(tmp_path))
    assert data.queries == QUERIES
    assert data.qrels == QRELS
    assert data.groups == dict(QUERIES)
    assert data.negatives == {}
    assert data.added == ()
    assert data.positives("q0") == ["a"]


def test_the_split_of_a_beir_folder(tmp_path: Path) -> None:
    folder = as_beir(tmp_path)
    (folder / "qrels" / "test.tsv").write_text("q1\tb\t1\n", encoding="utf-8")
    assert read(folder, beir_split="test").qrels == {"q0": {"b": 1}}


def test_passages_and_negatives() -> None:
    data = read(
        [
            {
                "query": "apples?",
                "passage": "Apples grow on trees.",
                "negatives": ["Pears do.", "Bees make honey."],
            },
            {"query": "apples?", "document_id": "c", "negatives": ["Plums do."]},
            {"query": "bees?", "document_id": "b", "negatives": None},
            {"query": "cats?", "document_id": "c", "negatives": []},
        ]
    )
    assert data.qrels == {"q0": {"a": 1, "c": 1}, "q1": {"b": 1}, "q2": {"c": 1}}
    assert list(data.negatives["q0"]) == ["Pears do.", "Bees make honey.", "Plums do."]
    assert not data.negatives.get("q1")
    part = data.only(["q0"])
    assert (part.queries, part.qrels) == ({"q0": "apples?"}, {"q0": {"a": 1, "c": 1}})
    assert list(part.groups) == list(part.negatives) == ["q0"]


def test_unknown_passages_are_added_once() -> None:
    rows = [
        {"query": "plums?", "passage": "Plums are blue."},
        {"query": "blue?", "passage": "Plums are blue."},
        {"query": "apples?", "passage": "Apples grow on trees."},
    ]
    data = read(rows, unknown_passages="add")
    (added,) = data.added
    assert added.page_content == "Plums are blue."
    assert added.id is not None
    assert added.id.startswith("passage-")
    assert data.qrels == {"q0": {added.id: 1}, "q1": {added.id: 1}, "q2": {"a": 1}}
    assert read(rows, unknown_passages="add").added == data.added
    assert list(DOCUMENTS) == ["a", "b", "c"]


def test_groups() -> None:
    data = read(
        [
            {"query": "x", "document_id": "a", "group": 7},
            {"query": "y", "document_id": "a", "group": "7"},
            {"query": "Some  Words", "document_id": "b"},
            {"query": "some words", "document_id": "b"},
            {"query": "z", "document_id": "a"},
            {"query": "z", "document_id": "b", "group": "late"},
        ]
    )
    assert data.groups == {"q0": "7", "q1": "7", "q2": "some words", "q3": "some words", "q4": "late"}


def test_queries_without_a_relevant_document_are_left_out() -> None:
    rows = [{"query": "x", "document_id": "a", "relevance": 0}, {"query": "y", "document_id": "b"}]
    data = read(rows)
    assert (data.queries, data.qrels) == ({"q1": "y"}, {"q1": {"b": 1}})


def test_a_row_may_come_again() -> None:
    assert read([ROWS[0], ROWS[0]]).qrels == {"q0": {"a": 2}}


OK = {"query": "x", "document_id": "a"}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([OK, {**OK, "doc_id": "a"}], r"row 1: unknown column 'doc_id'; the columns are query, .*Rename it"),
        ([{"query": "x"}], r"row 0: expected a query with either a document_id or a passage, got .*'query'"),
        ([{"document_id": "a"}], r"row 0: expected a query with"),
        ([{**OK, "passage": "Bees make honey."}], r"row 0: .*either a document_id or a passage"),
        (
            [{"query": "x", "document_id": "d"}],
            r"row 0: document_id 'd' is not the id of any of the 3 documents",
        ),
        ([{"query": "x", "document_id": 1}], r"row 0: document_id must be a str .*got 1"),
        (
            [{"query": " \n", "document_id": "a"}],
            r"row 0: query must be a text that is not blank, got ' \\n'",
        ),
        ([{"query": 5, "document_id": "a"}], r"row 0: query must be a text that is not blank, got 5"),
        ([{"query": "x", "passage": ""}], r"row 0: passage must be a text"),
        ([{"query": "ab\ud800", "document_id": "a"}], r"row 0: query holds a lone surrogate at position 2"),
        ([{"query": "x", "passage": "\udfff"}], r"row 0: passage holds a lone surrogate at position 0"),
        (
            [{"query": "x", "passage": "Unknown."}],
            r"row 0: the passage 'Unknown.' is not .*unknown_passages='add'",
        ),
        ([{**OK, "relevance": "x"}], r"row 0: relevance must be a whole number of at least 0, got 'x'"),
        ([{**OK, "relevance": -1}], r"row 0: relevance .* got -1"),
        ([{**OK, "relevance": 0.5}], r"row 0: relevance .* got 0.5"),
        ([{**OK, "relevance": float("nan")}], r"row 0: relevance .* got nan"),
        ([{**OK, "relevance": float("inf")}], r"row 0: relevance .* got inf"),
        ([{**OK, "relevance": [1]}], r"row 0: relevance .* got \[1\]"),
        (
            [{**OK, "relevance": 2}, OK],
            r"row 1: document 'a' has relevance 1 .* 2 in an earlier row. Keep one",
        ),
        (
            [{**OK, "group": 1}, {**OK, "group": 2}],
            r"row 1: this query is of group '2' here and of group '1'",
        ),
        ([{**OK, "negatives": "Bees."}], r"row 0: negatives must be a list of texts, got 'Bees.'"),
        ([{**OK, "negatives": ["Bees.", ""]}], r"row 0: negatives must be a text that is not blank, got ''"),
        ([{**OK, "negatives": [3]}], r"row 0: negatives must be a text that is not blank, got 3"),
        ([{**OK, "negatives": 3}], r"row 0: negatives must be a list of texts, got 3"),
        ([], r"training data are empty; expected at least one row"),
        ([{**OK, "relevance": 0}], r"No query has a relevant document"),
        (["x"], r"row 0: expected a dict with columns query, document_id, .*got 'x'"),
        (
            {"query": ["x"], "document_id": ["a"]},
            r"must be a datasets.Dataset, a list of dicts, or a path, got dict",
        ),
        (None, r"a list of dicts, or a path, got NoneType"),
        (3, r"a list of dicts, or a path, got int"),
    ],
)
def test_bad_rows(rows: Any, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(rows)
    str(caught.value).encode()  # can be printed


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        (
            "x.jsonl",
            b'{"query": "x", "document_id": "a"}\nnot json\n',
            DataError,
            r"x.jsonl, line 2: not a line of JSON",
        ),
        (
            "x.jsonl",
            b'[{"query": "x"}]',
            DataError,
            r"x.jsonl, line 1: expected a JSON object .*got a list.*a line",
        ),
        ("x.jsonl", b'{"query": "x", "id": "a"}', DataError, r"x.jsonl, line 1: unknown column 'id'"),
        ("x.jsonl", b"", DataError, r"are empty"),
        ("x.jsonl", "caf\xe9".encode("latin-1"), DataError, r"x.jsonl is not UTF-8: .*Save it as UTF-8"),
        (
            "x.jsonl",
            b'{"query": "\\ud800", "document_id": "a"}',
            DataError,
            r"line 1: query holds a lone surrogate",
        ),
        (
            "x.csv",
            b"query,document_id\nx,a\ny\n",
            DataError,
            r"x.csv, line 3: expected 2 fields as in the first",
        ),
        ("x.csv", b"query,document_id\nx,a,b\n", DataError, r"x.csv, line 2: expected 2 fields"),
        ("x.csv", b"query,document_id\nx,d\n", DataError, r"x.csv, line 2: document_id 'd' is not the id"),
        ("x.csv", b"query,document_id\n,a\n", DataError, r"x.csv, line 2: expected a query with"),
        ("x.csv", b"query,document_id\n\xff,a\n", DataError, r"x.csv is not UTF-8"),
        (
            "x.csv",
            b"query,passage\nx," + b"y" * 140_000,
            DataError,
            r"x.csv is no .csv file that can be read: field",
        ),
        ("x.csv", b"", DataError, r"are empty"),
        ("x.parquet", b"PAR1 and no more", DataError, r"x.parquet is no .parquet file that can be read"),
        (
            "x.txt",
            b"",
            DataError,
            r"ending in .jsonl, .json, .csv, .tsv, .parquet, or a BEIR folder, got '.txt'",
        ),
        ("x", b"", DataError, r"or a BEIR folder, got ''"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, content: bytes, error: type[Exception], message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(error, match=message):
        read(path)


@pytest.mark.parametrize("name", ["no.jsonl", "no.csv", "no.parquet", "folder", "no.txt"])
def test_a_file_that_is_not_there(tmp_path: Path, name: str) -> None:
    with pytest.raises(StorageError, match=f"{name} cannot be read: there is no such file"):
        read(tmp_path / name)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ["q0\ta\t1", "q0\tb"],
            r"train.tsv, line 2: expected query id, document id and relevance, separated by",
        ),
        (["query document score", "q0 a 1"], r"train.tsv, line 2: expected query id"),
        (["q9\ta\t1"], r"train.tsv, line 1: query 'q9' is not in queries.jsonl"),
        (["q0\tz\t1"], r"train.tsv, line 1: document_id 'z' is not the id"),
        (["q0\ta\t0.5"], r"train.tsv, line 1: relevance must be a whole number of at least 0, got '0.5'"),
        (["query-id\tcorpus-id\tscore", "q0\ta\tx"], r"train.tsv, line 2: relevance .*got 'x'"),
        (["query-id\tcorpus-id\tscore", "q0\ta\t-1"], r"train.tsv, line 2: relevance .*got '-1'"),
    ],
)
def test_bad_beir_folders(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(beir(tmp_path, lines))


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "queries.jsonl").touch()
    with pytest.raises(
        DataError, match=r"is no BEIR folder: expected queries.jsonl and qrels/train.tsv in it"
    ):
        read(tmp_path)


def test_unknown_passages_is_checked() -> None:
    with pytest.raises(InvalidArgumentError, match="'refuse' or 'add', got 'drop'"):
        read(ROWS, unknown_passages="drop")
