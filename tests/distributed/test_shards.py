import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from langchain_rerank_retriever.distributed.shard_file import (
    Header,
    Made,
    read_header,
    read_shard,
    write_shard,
)
from langchain_rerank_retriever.distributed.shards import MANIFEST, ShardFolder, claimed
from langchain_rerank_retriever.distributed.slices import Slice
from langchain_rerank_retriever.errors import (
    FormatError,
    InvalidArgumentError,
    ModelMismatchError,
    StorageError,
)

IDENTITY = {"job": "encode", "model": "aa11", "model_name": "A", "rows_per_shard": 3}


def table(rows: int = 3) -> pa.Table:
    vectors = pa.array(np.random.default_rng(0).standard_normal(rows * 4, dtype=np.float32))
    return pa.table(
        {
            "id": [f"d{place}" for place in range(rows)],
            "text": ["a text" * place for place in range(rows)],
            "vector": pa.FixedSizeListArray.from_arrays(vectors, 4),
        }
    )


def test_every_damaged_byte_is_found_or_changes_nothing(tmp_path: Path) -> None:
    """Flip each byte of a shard: it is called damaged, or reads as it was written."""
    path, header = tmp_path / "a.parquet", Header(7, "digest", 2, 2, {"pairs": 5})
    write_shard(path, table(2), header)
    assert read_shard(path)[0] == header
    content, expected = path.read_bytes(), read_shard(path)[1]
    found = 0
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 0xFF
        path.write_bytes(damaged)
        try:
            got, read = read_shard(path)
        except FormatError:
            found += 1
            continue
        assert (got, read.to_pylist()) == (header, expected.to_pylist()), f"byte {place}"
    assert found > len(content) / 2


def test_every_damaged_byte_of_a_footer_is_found_or_changes_nothing(tmp_path: Path) -> None:
    path, header = tmp_path / "a.parquet", Header(7, "digest", 2, 2, {"pairs": 5})
    write_shard(path, table(2), header)
    content = path.read_bytes()
    footer = int.from_bytes(content[-8:-4], "little") + 8
    found = 0
    for place in range(len(content) - footer, len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 0xFF
        path.write_bytes(damaged)
        try:
            assert read_header(path) == header, f"byte {place}"
        except FormatError:
            found += 1
    assert found > footer / 4


def test_a_shard_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    path, header = tmp_path / "a.parquet", Header(7, "digest", 2, 2, {"pairs": 5})
    write_shard(path, table(2), header)
    written = pq.read_table(path)
    earlier = {name: value for name, value in written.schema.metadata.items() if b"header" not in name}
    pq.write_table(written.replace_schema_metadata(earlier), path)
    assert read_header(path) == header == read_shard(path)[0]
    # What is not signed by itself is believed only with the content.
    earlier[b"shard"] = earlier[b"shard"].replace(b"digest", b"another", 1)
    pq.write_table(written.replace_schema_metadata(earlier), path)
    with pytest.raises(FormatError, match="is damaged"):
        read_header(path)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_torn_shard_is_found(tmp_path: Path, share: float) -> None:
    path = tmp_path / "a.parquet"
    write_shard(path, table(), Header(0, "digest", 3, 3))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    for read in (read_shard, read_header):
        with pytest.raises(FormatError, match=r"a\.parquet is damaged"):
            read(path)


def test_another_parquet_file_is_no_shard(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(table(), tmp_path / "a.parquet")
    for read in (read_shard, read_header):
        with pytest.raises(FormatError, match="or no shard"):
            read(tmp_path / "a.parquet")


def test_the_manifest_says_what_the_shards_are(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with claimed(path, IDENTITY) as folder:
        header = folder.write(Slice(0, "d0"), Made(table()), 3)
        assert ShardFolder(path).manifest["complete"] is None
        whole = folder.finish([header])
    assert (whole["shards"], whole["rows"], whole["made_of"]) == (1, 3, 3)
    assert json.loads((path / MANIFEST).read_text()) == {"format": 1, **IDENTITY, "complete": whole}
    assert sorted(file.name for file in path.iterdir()) == ["000000.parquet", MANIFEST]


@pytest.mark.parametrize(
    ("change", "kind", "told"),
    [
        ({"model": "bb22"}, ModelMismatchError, r"of the model A \(aa11\), got A \(bb22\)"),
        ({"job": "mine"}, InvalidArgumentError, "job 'encode', and this is 'mine'"),
        ({"rows_per_shard": 5}, InvalidArgumentError, "rows_per_shard 3, got 5"),
    ],
)
def test_a_folder_of_something_else_is_refused(
    tmp_path: Path, change: dict[str, str], kind: type[Exception], told: str
) -> None:
    with claimed(tmp_path / "out", IDENTITY):
        pass
    before = (tmp_path / "out" / MANIFEST).read_text()
    with pytest.raises(kind, match=told), claimed(tmp_path / "out", {**IDENTITY, **change}):
        pass
    assert (tmp_path / "out" / MANIFEST).read_text() == before


def test_a_model_that_was_moved_is_the_same(tmp_path: Path) -> None:
    with claimed(tmp_path, IDENTITY):
        pass
    with claimed(tmp_path, {**IDENTITY, "model_name": "moved"}):
        pass


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InvalidArgumentError, match=r"no manifest\.json"), claimed(tmp_path, IDENTITY):
        pass
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 99}'])
def test_a_manifest_that_cannot_be_read_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / MANIFEST).write_text(content)
    with pytest.raises(FormatError, match=r"damaged|newer version"), claimed(tmp_path, IDENTITY):
        pass


def test_two_do_not_work_on_one_folder(tmp_path: Path) -> None:
    # The lock is of the file as it was opened, so it holds within a process too.
    with (
        claimed(tmp_path, IDENTITY),
        pytest.raises(StorageError, match="Another process"),
        claimed(tmp_path, IDENTITY),
    ):
        pass
    with claimed(tmp_path, IDENTITY):
        pass


def test_what_a_killed_run_left_is_swept(tmp_path: Path) -> None:
    with claimed(tmp_path, IDENTITY):
        pass
    (tmp_path / ".work" / "staged").mkdir(parents=True)
    (tmp_path / ".000000.parquet.tmp-abc").touch()
    with claimed(tmp_path, IDENTITY) as folder:
        assert [file.name for file in folder.work.iterdir()] == ["lock"]
    assert [file.name for file in tmp_path.iterdir()] == [MANIFEST]


def test_what_a_killed_worker_left_is_swept(tmp_path: Path) -> None:
    with claimed(tmp_path, IDENTITY) as folder:
        folder.write(Slice(0, "d0"), Made(table()), 3)
        (tmp_path / ".000000.parquet.tmp-abc").touch()
    assert {file.name for file in tmp_path.iterdir()} == {MANIFEST, "000000.parquet"}


def test_a_run_that_fails_keeps_its_shards_and_frees_the_folder(tmp_path: Path) -> None:
    def fails() -> None:
        with claimed(tmp_path, IDENTITY) as folder:
            folder.write(Slice(0, "d0"), Made(table()), 3)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fails()
    with claimed(tmp_path, IDENTITY) as folder:
        assert folder.header(Slice(0, "d0")) == Header(0, "d0", 3, 3)
        assert folder.header(Slice(1, "d1")) is None
        with pytest.raises(InvalidArgumentError, match=r"000000\.parquet was made of other rows"):
            folder.header(Slice(0, "d1"))
