"""BEIR folders: what is written comes back; what others write is read; what is wrong is named with its line."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.documents import Document

from langchain_rerank_retriever.errors import DataError, StorageError
from langchain_rerank_retriever.formats.beir import (
    read_beir_documents,
    read_beir_qrels,
    read_beir_queries,
    write_beir,
)

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
ids = st.text(
    st.characters(exclude_categories=("Cs",), exclude_characters='\t\r\n"'), min_size=1, max_size=6
).filter(lambda text: not text.startswith("\ufeff"))
contents = st.one_of(
    texts.map(lambda text: (text, {})),
    st.tuples(texts, texts).map(lambda both: (both[1], {"title": both[0]})),
    st.tuples(texts, texts).map(lambda both: ("\n".join(both), {"title": both[0], "page": 3})),
    texts.map(lambda text: (text, {"title": text})),
)
judgements = st.dictionaries(
    ids, st.dictionaries(ids, st.integers(-1, 3), min_size=1, max_size=3), min_size=1
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(ids, contents, max_size=4), st.dictionaries(ids, texts, max_size=4), judgements)
def test_a_data_set_comes_back(
    tmp_path_factory: pytest.TempPathFactory, corpus: dict, queries: dict, qrels: dict
) -> None:
    folder = tmp_path_factory.mktemp("beir")
    documents = [
        Document(id=name, page_content=content, metadata=metadata)
        for name, (content, metadata) in corpus.items()
    ]
    write_beir(folder, documents, queries, {"test": qrels, "dev": qrels})
    assert list(read_beir_documents(folder)) == documents
    assert read_beir_queries(folder) == queries
    assert read_beir_qrels(folder) == read_beir_qrels(folder, "dev") == qrels


def test_the_files(tmp_path: Path) -> None:
    document = Document(id="d", page_content="제목\n본문", metadata={"title": "제목", "page": 3})
    write_beir(tmp_path / "set", [document], {"q": "질문?"}, {"test": {"q": {"d": 2}}})
    assert (tmp_path / "set" / "corpus.jsonl").read_text(encoding="utf-8") == (
        '{"_id": "d", "title": "제목", "text": "본문", "metadata": {"page": 3}}\n'
    )
    assert (tmp_path / "set" / "queries.jsonl").read_text(
        encoding="utf-8"
    ) == '{"_id": "q", "text": "질문?"}\n'
    assert (tmp_path / "set" / "qrels" / "test.tsv").read_bytes() == (
        b"query-id\tcorpus-id\tscore\nq\td\t2\n"
    )
    assert [one.name for one in tmp_path.iterdir()] == ["set"]


def folder_of(path: Path, *, corpus: list[Any] = (), queries: list[Any] = (), qrels: str = "") -> Path:
    for name, rows in (("corpus", corpus), ("queries", queries)):
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        (path / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (path / "qrels").mkdir()
    (path / "qrels" / "test.tsv").write_text(qrels, encoding="utf-8")
    return path


def test_what_others_write(tmp_path: Path) -> None:
    folder_of(
        tmp_path,
        corpus=[
            {"_id": 7, "title": "", "text": "a", "metadata": {}},
            {"id": "8", "title": None, "text": "b"},
            {"_id": "9", "title": "only", "text": "", "metadata": None, "url": "left out"},
        ],
        queries=[{"id": "q1", "text": "x", "metadata": {"url": 1}}, "", {"_id": "q2", "text": "y"}],
        qrels="q1\t7\t1.0\nq1\t8\t-1\n\nq2\t9\t0\n",
    )
    assert list(read_beir_documents(tmp_path)) == [
        Document(id="7", page_content="a"),
        Document(id="8", page_content="b"),
        Document(id="9", page_content="only", metadata={"title": "only"}),
    ]
    assert read_beir_queries(tmp_path) == {"q1": "x", "q2": "y"}
    assert read_beir_qrels(tmp_path) == {"q1": {"7": 1, "8": -1}, "q2": {"9": 0}}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [{"_id": "a", "text": "x"}, {"text": "y"}],
            r"corpus.jsonl, line 2: expected an id in _id, got None",
        ),
        ([{"_id": True, "text": "x"}], "line 1: expected an id in _id, got True"),
        ([{"_id": "", "text": "x"}], "line 1: expected an id in _id, got ''"),
        ([{"_id": "a"}], "line 1: text must be a text, got None"),
        ([{"_id": "a", "text": 3}], "line 1: text must be a text, got 3"),
        ([{"_id": "a", "text": "x", "title": 3}], "line 1: title must be a text, got 3"),
        (
            [{"_id": "a", "text": "x", "metadata": [1]}],
            r"line 1: the metadata must be a JSON object, got \[1\]",
        ),
        ([{"_id": 1, "text": "x"}, {"_id": "1", "text": "y"}], "line 2: the id '1' is there twice"),
        (["{"], "line 1: not a line of JSON"),
        (["[]"], "line 1: expected a JSON object with columns _id, text, got a list"),
    ],
)
def test_documents_that_are_none(tmp_path: Path, rows: list[Any], message: str) -> None:
    folder_of(tmp_path, corpus=rows)
    with pytest.raises(DataError, match=message):
        list(read_beir_documents(tmp_path))


@pytest.mark.parametrize(
    ("qrels", "message"),
    [
        (
            "q\ta\t1\nq\tb\n",
            r"test.tsv, line 2: expected query id, document id and relevance, separated by tabs",
        ),
        ("query-id\tcorpus-id\tscore\nq\ta\tx\n", "line 2: the relevance must be a finite number, got 'x'"),
        (
            "q\ta\t1\nq\ta\t0\n",
            "line 2: document 'a' has relevance 0 for query 'q', and 1 in an earlier line",
        ),
        ("query-id\tcorpus-id\tscore\n", "test.tsv holds no judgement"),
    ],
)
def test_judgements_that_are_none(tmp_path: Path, qrels: str, message: str) -> None:
    folder_of(tmp_path, qrels=qrels)
    with pytest.raises(DataError, match=message):
        read_beir_qrels(tmp_path)


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no judgements qrels/test.tsv; expected a BEIR folder"):
        read_beir_qrels(tmp_path)
    with pytest.raises(
        StorageError, match=r"The queries .*queries.jsonl cannot be read: there is no such file"
    ):
        read_beir_queries(tmp_path)
    with pytest.raises(StorageError, match=r"The corpus .*corpus.jsonl cannot be read"):
        list(read_beir_documents(tmp_path))
    folder_of(tmp_path)
    with pytest.raises(DataError, match=r"no judgements qrels/dev.tsv; its splits are test"):
        read_beir_qrels(tmp_path, "dev")


@pytest.mark.parametrize(
    ("documents", "qrels", "message"),
    [
        ([Document(page_content="x")], {}, "document without an id cannot be judged: 'x'.*Give each one"),
        ([Document(id="a", page_content="x")] * 2, {}, "id 'a' is there twice"),
        (
            [Document(id="a", page_content="x", metadata={"n": float("nan")})],
            {},
            "'a' cannot be written as JSON",
        ),
        ([Document(id="a", page_content="x", metadata={"n": Path()})], {}, "'a' cannot be written as JSON"),
        ([Document(id="a", page_content="\ud800")], {}, "lone surrogate"),
        ([], {"a\tb": {"x": 1}}, r"query id 'a\\tb' cannot be written to a BEIR folder"),
        ([], {"a": {"x": 0.5}}, "query 'a', document 'x': the relevance must be a whole number"),
        ([], {"a": {'"x"': 1}}, "document id '\"x\"' cannot be written to a BEIR folder"),
    ],
)
def test_what_cannot_be_written(tmp_path: Path, documents: list[Document], qrels: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        write_beir(tmp_path / "set", documents, {}, {"test": qrels})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="is not empty"):
        write_beir(tmp_path, [], {}, {})
    assert [one.name for one in tmp_path.iterdir()] == ["file"]
