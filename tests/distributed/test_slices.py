import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.documents import Document

from langchain_rerank_retriever.distributed.slices import Slice, slices_of, staged
from langchain_rerank_retriever.errors import DataError, StorageError

from .helpers import corpus, write_jsonl, write_parquet


def rows_of(slices: list[Slice]) -> list[dict[str, Any]]:
    return [dict(row) for one in slices for row in one.rows()]


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 30), min_size=1, max_size=4),
    size=st.integers(1, 12),
    group=st.integers(1, 9),
    kind=st.sampled_from(["jsonl", "parquet"]),
)
def test_slices_of_files_have_every_row_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], size: int, group: int, kind: str
) -> None:
    folder = tmp_path_factory.mktemp("corpus")
    every, paths = corpus(sum(sizes)), []
    for place, count in enumerate(sizes):
        rows = every[sum(sizes[:place]) : sum(sizes[:place]) + count]
        path = folder / f"{place}.{kind}"
        if kind == "jsonl":
            paths.append(write_jsonl(path, rows))
        elif rows:
            paths.append(write_parquet(path, rows, group=group))
    if not paths:
        return
    slices = list(slices_of(paths, size))
    assert rows_of(slices) == every
    assert [one.number for one in slices] == list(range(len(slices)))
    assert all(len(one.rows()) == size for one in slices[:-1])
    assert rows_of(list(slices_of(folder, size))) == every


@pytest.mark.parametrize("form", ["list", "generator", "dataset", "iterable dataset", "documents"])
def test_what_iterates_is_cut(form: str) -> None:
    rows = corpus(23)
    documents = [
        Document(id=row["id"], page_content=row["text"], metadata={"year": row["year"]}) for row in rows
    ]
    source: Any = {
        "list": rows,
        "generator": (row for row in rows),
        "dataset": Dataset.from_list(rows),
        "iterable dataset": Dataset.from_list(rows).to_iterable_dataset(),
        "documents": documents,
    }[form]
    found = rows_of(list(slices_of(source, 10)))
    assert [row["id"] for row in found] == [row["id"] for row in rows]
    if form == "documents":
        assert found[0]["metadata"] == {"year": 1900}
    else:
        assert found == rows


def test_no_more_than_a_slice_is_read_ahead() -> None:
    taken = []

    def source() -> Any:
        for row in corpus(100):
            taken.append(row["id"])
            yield row

    slices = slices_of(source(), 10)
    next(slices)
    assert len(taken) == 10


@pytest.mark.parametrize("kind", ["list", "jsonl", "parquet"])
def test_a_digest_tells_rows_from_others(tmp_path: Path, kind: str) -> None:
    def digests(rows: list[dict[str, Any]], name: str) -> list[str]:
        writers = {"jsonl": write_jsonl, "parquet": write_parquet}
        source = rows if kind == "list" else writers[kind](tmp_path / f"{name}.{kind}", rows)
        return [one.digest for one in slices_of(source, 10)]

    rows = corpus(30)
    before = digests(rows, "a")
    assert digests(rows, "b") == before
    rows[15] = {**rows[15], "text": "another one"}
    after = digests(rows, "c")
    assert after[1] != before[1]
    # The footer of a Parquet file is that of all its rows.
    assert (after[0], after[2]) == (before[0], before[2]) or kind == "parquet"


def test_a_staged_slice_is_read_from_its_file(tmp_path: Path) -> None:
    held = next(iter(slices_of([{"id": "서울", "text": "강\n물", "score": 0.1}], 5)))
    filed = staged(held, tmp_path)
    assert filed.held == ()
    assert filed.digest == held.digest
    assert filed.rows() == held.rows() == [{"id": "서울", "text": "강\n물", "score": 0.1}]
    assert staged(filed, tmp_path / "nowhere") is filed
    assert json.loads(json.dumps(dataclasses.asdict(filed)))["number"] == 0


def test_blank_lines_and_a_byte_order_mark_are_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"id": "1"}\n\n  \n{"id": "2"}\r\n{"id": "3"}')
    slices = list(slices_of(path, 2))
    assert [[row["id"] for row in one.rows()] for one in slices] == [["1", "2"], ["3"]]


def test_an_empty_source_has_no_slices(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").touch()
    assert list(slices_of([], 3)) == []
    assert list(slices_of(tmp_path / "a.jsonl", 3)) == []


@pytest.mark.parametrize(
    ("source", "kind", "told"),
    [
        ({"id": "a"}, DataError, "got dict"),
        (3, DataError, "got int"),
        (["a row"], StorageError, "no file or folder"),
        ([{"id": "a"}, 5], DataError, "row 1: expected a dict or a LangChain Document, got int"),
        ([{"id": object()}], DataError, "row 0: .* metadata_default=str"),
        ("missing.jsonl", StorageError, "no file or folder"),
    ],
)
def test_what_is_no_source_is_refused(source: Any, kind: type[Exception], told: str) -> None:
    with pytest.raises(kind, match=told):
        list(slices_of(source, 2))


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="found none"):
        list(slices_of(tmp_path / "empty", 2))
    (tmp_path / "a.csv").write_text("id,text\n")
    with pytest.raises(DataError, match=r"a\.csv: expected a file ending in \.parquet"):
        list(slices_of(tmp_path / "a.csv", 2))
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 is not enough PAR1")
    with pytest.raises(StorageError, match=r"bad\.parquet is no Parquet file"):
        list(slices_of(tmp_path / "bad.parquet", 2))
    both = [write_jsonl(tmp_path / "b.jsonl", corpus(2)), write_parquet(tmp_path / "b.parquet", corpus(2))]
    with pytest.raises(DataError, match="got both"):
        list(slices_of(both, 2))
    torn = tmp_path / "torn.jsonl"
    torn.write_text('{"id": "1"}\n{"id": \n')
    (one,) = slices_of(torn, 5)
    with pytest.raises(DataError, match=r"torn\.jsonl, byte 12: not a line of JSON"):
        one.rows()


def test_a_row_group_larger_than_a_batch_is_read_in_part(tmp_path: Path) -> None:
    rows = [{"id": str(place)} for place in range(5000)]
    path = write_parquet(tmp_path / "a.parquet", rows, group=5000)
    slices = list(slices_of(path, 1500))
    assert [len(one.rows()) for one in slices] == [1500, 1500, 1500, 500]
    assert rows_of(slices) == rows
