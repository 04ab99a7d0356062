"""Files to records: what is found, what is read, and what is said of what cannot be."""

import csv
import datetime
import itertools
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from langchain_rerank_retriever.cli.documents.chunks import Splitter, documents_of
from langchain_rerank_retriever.cli.documents.reading import Reading, SeenIds
from langchain_rerank_retriever.cli.documents.records import Columns, Record
from langchain_rerank_retriever.cli.documents.sources import Source, find_sources
from langchain_rerank_retriever.errors import DataError, InvalidArgumentError, RerankError, StorageError


def reading(
    *paths: Path, encoding: str = "utf-8", skip_bad: bool = False, whole_rows: bool = True, **columns: Any
) -> Reading:
    return Reading(
        find_sources(paths).sources,
        Columns(**columns),
        encoding=encoding,
        skip_bad=skip_bad,
        whole_rows=whole_rows,
    )


def read(*paths: Path, **options: Any) -> list[Record]:
    return list(reading(*paths, **options))


def refused(*paths: Path, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(*paths, **options)
    return str(caught.value)


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., Path]:
    def make(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return make


# ---------------------------------------------------------------- which files


def test_names_are_relative_to_the_folder(file: Callable[..., Path], tmp_path: Path) -> None:
    for name in ("b/guide/z.md", "b/a.txt", "b/.git/x.md", "b/.hidden.md", "b/picture.png", "b/LICENSE"):
        file(name, "text")
    found = find_sources([tmp_path / "b"])
    assert [source.name for source in found.sources] == ["a.txt", "guide/z.md"]
    assert found.others == 2
    (tmp_path / "b").rename(tmp_path / "elsewhere")
    assert [source.name for source in find_sources([tmp_path / "elsewhere"]).sources] == [
        "a.txt",
        "guide/z.md",
    ]


def test_a_file_that_is_given_twice_is_read_once(file: Callable[..., Path], tmp_path: Path) -> None:
    path = file("b/sub/a.txt", "text")
    assert [source.name for source in find_sources([tmp_path / "b", path, path]).sources] == ["sub/a.txt"]


@pytest.mark.parametrize("name", ["A.MD", "a.Jsonl", "a.TXT"])
def test_endings_in_capitals(file: Callable[..., Path], name: str) -> None:
    assert len(find_sources([file(name, "{}")]).sources) == 1


def test_files_that_cannot_be_taken(file: Callable[..., Path], tmp_path: Path) -> None:
    file("one/a.md", "x")
    file("two/a.md", "y")
    (tmp_path / "empty").mkdir()
    with pytest.raises(StorageError, match=r"nothing cannot be read: there is no such file or folder"):
        find_sources([tmp_path / "nothing"])
    with pytest.raises(DataError, match=r"a\.pdf: expected a file ending in \.jsonl, .*\.md.*, got '\.pdf'"):
        find_sources([file("a.pdf", "x")])
    with pytest.raises(DataError, match=r"empty has no file ending in \.jsonl"):
        find_sources([tmp_path / "empty"])
    with pytest.raises(DataError, match=r"one/a\.md and .*two/a\.md would both be called 'a\.md'"):
        find_sources([tmp_path / "one", tmp_path / "two"])
    (tmp_path / "odd").mkdir()
    Path(str(tmp_path / "odd") + "/\udcff.md").write_text("x")
    with pytest.raises(DataError, match="is not UTF-8"):
        find_sources([tmp_path / "odd"])


# ---------------------------------------------------------------- rows


def test_json_lines(file: Callable[..., Path]) -> None:
    rows = [
        {"id": 1, "text": "one", "tags": ["a"], "none": None},
        {"_id": "x", "page_content": "two", "metadata": {"deep": {"er": 1}}},
        {"text": "three"},
    ]
    first, second, third = read(file("a.jsonl", "\n\n".join(map(json.dumps, rows))))
    origin = {"source": "a.jsonl", "indexed_from": "a.jsonl"}
    assert (first.id, first.text, first.metadata) == ("1", "one", {"tags": ["a"], **origin})
    assert (second.id, second.text, second.metadata) == ("x", "two", {"deep": {"er": 1}, **origin})
    assert third.id.startswith("a.jsonl#")
    assert third.place.endswith("a.jsonl, line 5")


@pytest.mark.parametrize(("name", "delimiter"), [("a.csv", ","), ("a.tsv", "\t")])
def test_delimited(tmp_path: Path, name: str, delimiter: str) -> None:
    text = 'A "quoted" text,\tof\nthree\n\nlines.' + " long" * 50_000
    path = tmp_path / name
    with path.open("w", encoding="utf-8-sig", newline="") as lines:
        writer = csv.writer(lines, delimiter=delimiter)
        writer.writerows([["id", "question", "answer"], ["1", "왜?", text], ["2", "", "short"]])
    first, second = read(path, text=("answer",))
    assert (first.id, first.text, first.metadata["question"]) == ("1", text, "왜?")
    assert (second.id, second.text, "question" in second.metadata) == ("2", "short", False)
    assert first.place.endswith(f"{name}, line 2")
    assert second.place.endswith(f"{name}, line 6")


def test_parquet(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    when = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
    rows = [
        {"id": n, "text": f"text {n}", "when": when, "score": float("nan"), "many": [1, 2]}
        for n in range(600)
    ]
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    records = read(path)
    assert [record.id for record in records] == [str(n) for n in range(600)]
    assert records[5].metadata["when"] == "2026-01-02 00:00:00+00:00"
    assert (records[5].metadata["score"], records[5].metadata["many"]) == (None, [1, 2])
    assert records[5].place.endswith("a.parquet, row 6")


def test_columns_that_are_named(file: Callable[..., Path]) -> None:
    path = file("a.csv", "key,title,text,extra,source\n7,T,words,e,web\n")
    (record,) = read(path, id="key", text=("title", "text"), metadata=("extra", "title"))
    assert (record.id, record.text) == ("7", "T\nwords")
    assert record.metadata == {"source": "a.csv", "extra": "e", "title": "T", "indexed_from": "a.csv"}
    (record,) = read(path, text=("text",))
    # A table's own source stays; the file is known by another name.
    assert (record.metadata["source"], record.metadata["indexed_from"]) == ("web", "a.csv")


def test_ids_by_the_text_stay_where_rows_come_and_go(file: Callable[..., Path]) -> None:
    before = {one.text: one.id for one in read(file("a.csv", "text\nfirst\nsecond\nthird\n"))}
    after = {one.text: one.id for one in read(file("a.csv", "text\nnew\nthird\nfirst\n"))}
    assert {text: after[text] for text in ("first", "third")} == {
        text: before[text] for text in ("first", "third")
    }


def test_equal_texts_without_ids_are_all_there(file: Callable[..., Path]) -> None:
    records = read(file("a.csv", "q,text\n1,same\n2,same\n3,same\n"))
    assert [record.metadata["q"] for record in records] == ["1", "2", "3"]
    base = records[0].id
    assert [record.id for record in records] == [base, f"{base}-2", f"{base}-3"]


BAD = [
    ("a.jsonl", '{"text": "x"}\n{"text": \n', "a.jsonl, line 2: not a line of JSON"),
    ("a.jsonl", '{"text": "x"}\n[1]\n', "a.jsonl, line 2: expected a JSON object, got a list"),
    ("a.jsonl", "[" * 100_000, "a.jsonl, line 1: not a line of JSON"),
    (
        "a.jsonl",
        '{"text": "x"}\n{"name": "x"}\n',
        "line 2: there is no column text or page_content or content or",
    ),
    ("a.jsonl", '{"text": 3}\n', "line 1: expected text in the column 'text', got 3"),
    ("a.jsonl", '{"text": "  "}\n', "line 1: there is no text in the column text"),
    ("a.jsonl", '{"text": "\\ud800"}\n', "line 1: The text at position 0 holds a lone surrogate"),
    (
        "a.jsonl",
        '{"text": "x", "id": 1.5}\n',
        "line 1: the id in the column 'id' must be a text or a whole number",
    ),
    ("a.jsonl", '{"text": "x", "id": true}\n', "line 1: the id in the column 'id' must be"),
    ("a.jsonl", '{"text": "x", "id": "a\\u0000"}\n', "line 1: The id 'a\\x00' at position 0 holds a NUL"),
    ("a.jsonl", '{"text": "x", "id": 1}\n{"text": "y", "id": 1}\n', "line 2: the id '1' is that of "),
    ("a.csv", "text,b\nx,1\ny\n", "a.csv, line 3: expected 2 fields as in the first line, got 1"),
    ("a.csv", 'text,b\nx,1\n"y,2\n', "a.csv, line 3: not a row of a .csv file: unexpected end of data"),
    ("a.csv", "", "a.csv is empty; expected the names of the columns in the first line"),
    ("a.csv", "text,text\nx,y\n", "a.csv, line 1: the column 'text' is there twice"),
    ("a.csv", "one,two\nx,y\n", "a.csv, line 2: there is no column text or"),
    (
        "a.csv",
        "text\n왜\n".encode("cp949"),
        "a.csv, line 2: not UTF-8, there is the byte 0xbf. Say what it is, for",
    ),
    ("a.jsonl", b'{"text": "a"}\n{"text": "\xff"}\n', "a.jsonl, line 2: not UTF-8, there is the byte 0xff"),
    ("a.txt", b"one\ntwo\n\xb0\xa1\n", "a.txt, line 3: not UTF-8, there is the byte 0xb0"),
    (
        "a.txt",
        "text".encode("utf-16-le"),
        "a.txt is not text: it has NUL bytes in it. For UTF-16, give --encoding",
    ),
    ("a.parquet", b"PAR1 nonsense", "a.parquet is no Parquet file that can be read: "),
]


@pytest.mark.parametrize(("name", "content", "message"), BAD)
def test_what_is_said_of_a_bad_line(
    file: Callable[..., Path], name: str, content: str | bytes, message: str
) -> None:
    told = refused(file(name, content))
    assert message in told
    assert "\n" not in told


@pytest.mark.parametrize(("name", "content", "message"), BAD)
def test_a_bad_line_is_skipped_and_told(
    file: Callable[..., Path], name: str, content: str | bytes, message: str
) -> None:
    """Only what is bad: the good lines before and after it are read."""
    good = file("good.jsonl", '{"text": "good", "id": "good"}\n')
    one = reading(file(name, content), good, skip_bad=True)
    records = list(one)
    assert "good" in [record.id for record in records]
    assert len(one.bad) == 1
    assert message in one.bad[0]
    assert one.incomplete == {name}
    assert list(one) == records
    assert len(one.bad) == 1  # of the last time through


def test_good_lines_after_a_bad_one_are_read(file: Callable[..., Path]) -> None:
    path = file("a.csv", 'text,b\nx,1\n"a"b,2\nshort\nz,3\n')
    one = reading(path, skip_bad=True)
    assert [record.text for record in one] == ["x", "z"]
    assert len(one.bad) == 2


def test_columns_that_are_not_there(file: Callable[..., Path]) -> None:
    path = file("a.csv", "id,text\n1,x\n")
    for option, columns in (
        ("--id-column", {"id": "key"}),
        ("--text-column", {"text": ("key",)}),
        ("--metadata-column", {"metadata": ("key",)}),
    ):
        assert f"a.csv, line 2: there is no column 'key' ({option}); there are id, text." in refused(
            path, **columns
        )


def test_chunks_need_the_names_of_their_metadata(file: Callable[..., Path]) -> None:
    path = file("a.csv", "text,parent\nx,y\n")
    assert read(path)[0].metadata["parent"] == "y"
    assert "line 2: the column 'parent' has the name of what chunks keep" in refused(path, whole_rows=False)


def test_another_encoding(file: Callable[..., Path]) -> None:
    (record,) = read(file("a.csv", "text\n고양이\n".encode("cp949")), encoding="cp949")
    assert record.text == "고양이"
    (record,) = read(file("a.txt", "고양이".encode("utf-16")), encoding="utf-16")
    assert record.text == "고양이"


def test_an_empty_text_file_has_no_documents(file: Callable[..., Path]) -> None:
    assert read(file("a.md", " \n\n")) == []


def test_one_row_in_memory_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    row = json.dumps({"text": "word " * 2000})
    with path.open("w") as lines:
        for _ in range(400):
            lines.write(f"{row}\n")
    assert path.stat().st_size > 3_900_000
    tracemalloc.start()
    try:
        assert sum(1 for _ in reading(path)) == 400
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


def test_ids_that_were_seen() -> None:
    seen = SeenIds()
    assert [seen.add("a", "first"), seen.add("b"), seen.add("a", "second")] == [None, None, "first"]
    assert ("a" in seen, "c" in seen) == (True, False)
    seen.close()


# ---------------------------------------------------------------- chunks


class Words:
    """A tokenizer of words with two special tokens, as most models have."""

    def __call__(self, texts: list[str], **_: Any) -> dict[str, list[list[int]]]:
        return {"input_ids": [[0] * (len(text.split()) + 2) for text in texts]}


class Letters:
    """A tokenizer that knows no Korean word: a token for each letter."""

    def __call__(self, texts: list[str], **_: Any) -> dict[str, list[list[int]]]:
        return {"input_ids": [[0] * (len(text.replace(" ", "")) + 2) for text in texts]}


class Model:
    def __init__(self, tokenizer: Any, length: int | None) -> None:
        self.tokenizer = tokenizer
        self.max_seq_length = length

    def load_trainable(self) -> list[Any]:
        return [self]


def splitter(
    tokenizer: Any = None, length: int | None = 34, size: int | None = None, overlap: int | None = None
) -> Splitter:
    pytest.importorskip("langchain_text_splitters")
    return Splitter(Model(tokenizer or Words(), length), size, overlap)  # type: ignore[arg-type]


def words(texts: list[str]) -> list[int]:
    return [len(text.split()) for text in texts]


def test_a_chunk_is_what_the_model_reads() -> None:
    text = " ".join(f"w{n}" for n in range(500))
    assert max(words(splitter(length=34).pieces(text, markdown=False))) == 32
    assert max(words(splitter(length=None).pieces(text, markdown=False))) == 256
    assert max(words(splitter(length=8192).pieces(text, markdown=False))) == 256
    assert max(words(splitter(length=8192, size=400).pieces(text, markdown=False))) == 400


def test_chunks_overlap_and_lose_nothing() -> None:
    text = " ".join(f"w{n}" for n in range(500))
    for overlap in (None, 0, 10):
        pieces = splitter(overlap=overlap).pieces(text, markdown=False)
        shared = [len(set(one.split()) & set(other.split())) for one, other in itertools.pairwise(pieces)]
        assert set(shared) == {4 if overlap is None else overlap}
        assert {word for piece in pieces for word in piece.split()} == set(text.split())


def test_paragraphs_and_sentences_are_kept_whole() -> None:
    sentence = "One two three four five six seven eight nine ten."
    text = f"{sentence} {sentence}\n\n{sentence} {sentence} {sentence} {sentence}"
    pieces = splitter(overlap=0).pieces(text, markdown=False)
    assert pieces == [f"{sentence} {sentence}", f"{sentence} {sentence} {sentence}", sentence]


def test_korean_is_cut_between_sentences() -> None:
    first, second, third = "고양이는 정원에서 잔다.", "강아지는 강가에서 짖는다!", "새는 숲에서 노래하나요?"
    pieces = splitter(Letters(), size=24, overlap=0).pieces(f"{first} {second} {third}", markdown=False)
    assert pieces == [f"{first} {second}", third]
    # One sentence that is too long is cut between words, and a word that is too long anywhere.
    pieces = splitter(Letters(), size=6, overlap=0).pieces(
        "고양이는 정원에서 가나다라마바사아자", markdown=False
    )
    assert pieces == ["고양이는", "정원에서", "가나다라마바", "사아자"]


def test_chinese_is_cut_between_sentences() -> None:
    pieces = splitter(Letters(), size=8, overlap=0).pieces("猫在花园里。狗在河边。鸟在森林。", markdown=False)
    assert pieces == ["猫在花园里。", "狗在河边。", "鸟在森林。"]


def test_headings_of_markdown_begin_a_chunk() -> None:
    text = "# Cats\n\none two three four\n\nfive six seven\n\n## Dogs\n\nseven eight nine"
    pieces = splitter(length=14, overlap=0).pieces(text, markdown=True)
    assert pieces == ["# Cats\n\none two three four\n\nfive six seven", "## Dogs\n\nseven eight nine"]
    assert splitter(length=14, overlap=0).pieces(text, markdown=False)[1].startswith("##") is False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 33}, "--chunk-size 33 is more than the 32 tokens that the model reads"),
        ({"size": 10, "overlap": 10}, "--chunk-overlap must be below the size of a chunk, 10, got 10"),
        ({"overlap": 32}, "--chunk-overlap must be below the size of a chunk, 32, got 32"),
    ],
)
def test_sizes_that_do_not_fit(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        splitter(**arguments)


def test_chunks_name_the_whole() -> None:
    class Halves:
        def pieces(self, text: str, *, markdown: bool) -> list[str]:
            assert markdown
            return text.split("|")

    source = Source(Path("x/guide/a.md"), "guide/a.md")
    record = Record("place", source, "guide/a.md", True, "one|two", {"indexed_from": "guide/a.md"})
    first, second = documents_of(record, Halves())
    assert [first.id, second.id] == ["guide/a.md#1", "guide/a.md#2"]
    assert second.page_content == "two"
    assert second.metadata == {"indexed_from": "guide/a.md", "parent": "guide/a.md", "chunk": 2}
    (whole,) = documents_of(record, None)
    assert (whole.id, whole.page_content, whole.metadata) == (record.id, record.text, record.metadata)


def test_every_error_is_of_the_package(file: Callable[..., Path]) -> None:
    for name, content, _ in BAD:
        with pytest.raises(RerankError):
            read(file(name, content))
