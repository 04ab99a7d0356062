import json
import multiprocessing
import os
import signal
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset
from langchain_core.documents import Document

from langchain_rerank_retriever.distributed import encode_corpus, encoded_shards, unique
from langchain_rerank_retriever.distributed.shards import MANIFEST, ShardFolder
from langchain_rerank_retriever.errors import (
    DataError,
    FormatError,
    InvalidArgumentError,
    ModelMismatchError,
)
from tests.conftest import HashEmbeddings

from .helpers import corpus, write_jsonl, write_parquet


class Slow(HashEmbeddings):
    """Takes long enough to be killed."""

    def embed_documents(self, texts: Any) -> list[list[float]]:
        time.sleep(0.02)
        return super().embed_documents(texts)


def everything(folder: Path) -> dict[str, tuple[str, dict[str, Any], list[float]]]:
    found: dict[str, tuple[str, dict[str, Any], list[float]]] = {}
    for shard in encoded_shards(folder):
        rows = zip(shard.ids, shard.texts, shard.metadatas, shard.vectors.tolist(), strict=True)
        for key, text, metadata, vector in rows:
            assert key not in found, "a document is there twice"
            found[key] = (text, metadata, vector)
    return found


@pytest.mark.parametrize("form", ["jsonl", "parquet", "dataset", "list", "documents"])
def test_every_form_of_a_corpus_gives_the_same_documents(
    tmp_path: Path, hash_embeddings: HashEmbeddings, form: str
) -> None:
    rows = corpus(53)
    source: Any = {
        "jsonl": lambda: write_jsonl(tmp_path / "a.jsonl", rows),
        "parquet": lambda: write_parquet(tmp_path / "a.parquet", rows, group=7),
        "dataset": lambda: Dataset.from_list(rows),
        "list": lambda: rows,
        "documents": lambda: [
            Document(id=row["id"], page_content=row["text"], metadata={"year": row["year"]}) for row in rows
        ],
    }[form]()
    result = encode_corpus(source, hash_embeddings, tmp_path / "out", rows_per_shard=10)
    assert (result.shards, result.rows, result.made_of, result.written) == (6, 53, 53, 6)
    expected = HashEmbeddings().embed_documents([row["text"] for row in rows])
    found = everything(tmp_path / "out")
    assert list(found) == [row["id"] for row in rows]
    for row, vector in zip(rows, expected, strict=True):
        text, metadata, got = found[row["id"]]
        assert (text, metadata) == (row["text"], {"year": row["year"]})
        np.testing.assert_allclose(got, vector, atol=1e-6)


def test_shards_are_plain_parquet(tmp_path: Path, hash_embeddings: HashEmbeddings) -> None:
    encode_corpus(corpus(5), hash_embeddings, tmp_path / "out", rows_per_shard=2)
    table = pq.read_table(tmp_path / "out" / "000001.parquet")
    assert table.schema.names == ["id", "text", "metadata", "vector"]
    assert table.column("id").to_pylist() == ["d2", "d3"]
    assert str(table.schema.field("vector").type) == "fixed_size_list<element: float>[32]"


def test_a_second_call_makes_what_is_missing_or_damaged_only(
    tmp_path: Path, hash_embeddings: HashEmbeddings
) -> None:
    out, rows = tmp_path / "out", corpus(40)
    encode_corpus(rows, hash_embeddings, out, rows_per_shard=10)
    before = everything(out)
    assert encode_corpus(rows, hash_embeddings, out, rows_per_shard=10).written == 0
    (out / "000001.parquet").unlink()
    content = bytearray((out / "000002.parquet").read_bytes())
    content[len(content) // 3] ^= 1
    (out / "000002.parquet").write_bytes(content)
    (out / "000003.parquet").write_bytes(b"")
    with pytest.raises(FormatError, match=r"000001\.parquet is damaged.*Call encode_corpus again"):
        everything(out)
    hash_embeddings.calls.clear()
    result = encode_corpus(rows, hash_embeddings, out, rows_per_shard=10, verify=True)
    assert (result.written, result.rows) == (3, 40)
    assert [len(texts) for texts in hash_embeddings.calls] == [10, 10, 10]
    assert everything(out) == before


def test_a_restart_reads_footers_only_and_finds_what_is_cut_off_or_foreign(
    tmp_path: Path, hash_embeddings: HashEmbeddings, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, rows = tmp_path / "out", corpus(60)
    encode_corpus(rows, hash_embeddings, out, rows_per_shard=10)
    before = everything(out)
    for name in ("shards.read_shard", "shard_file.read_shard", "unique._ids"):
        monkeypatch.setattr(f"langchain_rerank_retriever.distributed.{name}", None)
    assert encode_corpus(rows, hash_embeddings, out, rows_per_shard=10).written == 0
    monkeypatch.undo()
    content = (out / "000001.parquet").read_bytes()
    (out / "000001.parquet").write_bytes(content[: len(content) // 2])
    (out / "000002.parquet").write_bytes(content[:-1])
    write_parquet(out / "000003.parquet", rows[:10])
    (out / "000004.parquet").write_text("years of work")
    result = encode_corpus(rows, hash_embeddings, out, rows_per_shard=10)
    assert (result.written, result.rows) == (4, 60)
    assert everything(out) == before


def test_an_unfinished_folder_is_not_read(tmp_path: Path, hash_embeddings: HashEmbeddings) -> None:
    def breaks() -> Any:
        yield from corpus(25)
        raise OSError("the network is gone")

    with pytest.raises(OSError, match="network"):
        encode_corpus(breaks(), hash_embeddings, tmp_path, rows_per_shard=10)
    with pytest.raises(FormatError, match="not complete"):
        next(encoded_shards(tmp_path))
    assert encode_corpus(corpus(25), hash_embeddings, tmp_path, rows_per_shard=10).written == 1


@pytest.mark.parametrize("count", [25, 35, 40])
def test_another_corpus_is_refused(tmp_path: Path, hash_embeddings: HashEmbeddings, count: int) -> None:
    encode_corpus(corpus(35), hash_embeddings, tmp_path, rows_per_shard=10)
    others = corpus(count)
    others[-1] = {**others[-1], "text": "changed"}
    with pytest.raises(InvalidArgumentError, match="same rows"):
        encode_corpus(others, hash_embeddings, tmp_path, rows_per_shard=10)
    assert len(everything(tmp_path)) == 35


def test_fewer_rows_are_refused(tmp_path: Path, hash_embeddings: HashEmbeddings) -> None:
    encode_corpus(corpus(40), hash_embeddings, tmp_path, rows_per_shard=10)
    with pytest.raises(InvalidArgumentError, match=r"holds 000002\.parquet, and the rows .* end before it"):
        encode_corpus(corpus(20), hash_embeddings, tmp_path, rows_per_shard=10)


def test_another_model_is_refused(tmp_path: Path, hash_embeddings: HashEmbeddings) -> None:
    encode_corpus(corpus(4), hash_embeddings, tmp_path)
    with pytest.raises(ModelMismatchError, match=r"32 dimensions.*16 dimensions"):
        encode_corpus(corpus(4), HashEmbeddings(16), tmp_path)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (
            {"text": "no id"},
            r"shard 1: row 1: expected a value in the column 'id', got columns \['text'\].*id_column",
        ),
        ({"id": "a"}, "column 'text'.*text_column"),
        ({"id": 1.5, "text": "a"}, "an id must be a str or a whole number, got 1.5"),
        ({"id": True, "text": "a"}, "an id must be"),
        ({"id": "", "text": "a"}, "an id must be"),
        ({"id": "d2", "text": "a"}, "positions 0 and 1"),
        ({"id": "a", "text": 5}, "position 1 must be a str, got int"),
        ({"id": "a", "text": "\ud800"}, "lone surrogate"),
        ({"id": "a", "text": "a", "year": float("nan")}, "the number nan"),
        ({"id": "a", "text": "a", "year": 1, "metadata": {"year": 2}}, "'year' is a column, and a key"),
    ],
)
def test_a_row_that_cannot_be_embedded_is_named(
    tmp_path: Path, hash_embeddings: HashEmbeddings, row: dict[str, Any], told: str
) -> None:
    with pytest.raises(DataError, match=told):
        encode_corpus([*corpus(3), row], hash_embeddings, tmp_path, rows_per_shard=2)
    # What came before it is kept.
    assert (tmp_path / "000000.parquet").exists()


def test_ids_columns_and_metadata_as_they_come(tmp_path: Path, hash_embeddings: HashEmbeddings) -> None:
    when = pytest.importorskip("datetime").date(2026, 1, 2)
    rows = [
        {"key": 7, "body": "a", "metadata": {"lang": "ko"}, "title": None, "day": when},
        {"key": 8, "body": ""},
    ]
    encode_corpus(rows, hash_embeddings, tmp_path, id_column="key", text_column="body", metadata_default=str)
    found = everything(tmp_path)
    assert found["7"][1] == {"lang": "ko", "title": None, "day": "2026-01-02"}
    assert found["8"][:2] == ("", {})


@pytest.mark.parametrize("at_once", [5, 1000])
def test_an_id_in_two_shards_is_refused(
    tmp_path: Path, hash_embeddings: HashEmbeddings, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr("langchain_rerank_retriever.distributed.unique.AT_ONCE", at_once)
    rows = [*corpus(35), {"id": "d13", "text": "another one"}]
    with pytest.raises(DataError, match="The id 'd13' is in shard 1 and in shard 3"):
        encode_corpus(rows, hash_embeddings, tmp_path / "twice", rows_per_shard=10)
    with pytest.raises(FormatError, match="not complete"):
        next(encoded_shards(tmp_path / "twice"))
    assert encode_corpus(corpus(35), hash_embeddings, tmp_path / "once", rows_per_shard=10).rows == 35


def test_the_check_of_ids_takes_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten bytes an id, besides what one shard takes."""
    shards, rows, at_once = 40, 5_000, 100_000
    for number in range(shards):
        ids = [f"{number}-{place}" for place in range(rows)]
        pq.write_table(pa.table({"id": ids}), tmp_path / f"{number:06d}.parquet")
    monkeypatch.setattr(unique, "AT_ONCE", at_once)
    folder = ShardFolder(tmp_path)
    tracemalloc.start()
    try:
        unique.check_unique(folder, 1, rows)
        own = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        unique.check_unique(folder, shards, shards * rows)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # By chance a pass gets some more than its share.
    assert 7.8 * at_once < peak < 10.2 * at_once + 2 * own


def test_ids_of_the_same_hash_are_not_taken_for_the_same(
    tmp_path: Path, hash_embeddings: HashEmbeddings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "langchain_rerank_retriever.distributed.unique._hashes",
        lambda ids: np.array([len(key) for key in ids]),
    )
    assert encode_corpus(corpus(35), hash_embeddings, tmp_path, rows_per_shard=10).rows == 35


def test_a_vector_that_is_no_vector_is_refused(tmp_path: Path) -> None:
    class Broken(HashEmbeddings):
        def embed_documents(self, texts: Any) -> list[list[float]]:
            return [[float("nan")] * 32 for _ in texts]

    with pytest.raises(DataError, match="shard 0: The vector at position 0 holds NaN"):
        encode_corpus(corpus(3), Broken(), tmp_path)
    assert not (tmp_path / "000000.parquet").exists()


def test_an_empty_corpus_is_a_folder_without_shards(tmp_path: Path, hash_embeddings: HashEmbeddings) -> None:
    result = encode_corpus([], hash_embeddings, tmp_path)
    assert (result.shards, result.rows) == (0, 0)
    assert everything(tmp_path) == {}


@pytest.mark.parametrize("size", [0, -1, 2.0, True])
def test_a_size_that_is_none_is_refused(tmp_path: Path, hash_embeddings: HashEmbeddings, size: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="rows_per_shard"):
        encode_corpus([], hash_embeddings, tmp_path, rows_per_shard=size)


def _encode(source: Path, output: Path) -> None:
    encode_corpus(source, Slow(), output, rows_per_shard=10)


def test_a_build_killed_again_and_again_loses_and_doubles_nothing(tmp_path: Path) -> None:
    rows = corpus(400)
    source, out = write_jsonl(tmp_path / "a.jsonl", rows), tmp_path / "out"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    kills = 0
    rng = np.random.default_rng(0)
    while True:
        child = context.Process(target=_encode, args=(source, out))
        child.start()
        child.join(rng.uniform(0.15, 0.4) if kills < 6 else 120)
        if child.exitcode is not None:
            assert child.exitcode == 0
            break
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        kills += 1
    assert kills >= 2
    found = everything(out)
    assert list(found) == [row["id"] for row in rows]
    expected = HashEmbeddings().embed_documents([row["text"] for row in rows])
    np.testing.assert_allclose([vector for _, _, vector in found.values()], expected, atol=1e-5)
    assert json.loads((out / MANIFEST).read_text())["complete"]["rows"] == 400
    assert {file.suffix for file in out.iterdir()} == {".parquet", ".json"}
