"""The example does what its page says, without a cluster; the call with one differs by an argument."""

from pathlib import Path

import pytest

from langchain_rerank_retriever import FaissStore, PooledEmbeddings
from tests.distributed.helpers import corpus, write_jsonl
from tests.engines.example import example
from tests.runtime import tiny


def test_it_encodes_and_loads_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_jsonl(tmp_path / "corpus.jsonl", corpus(12))
    model = str(tiny.save_language_model(tmp_path / "model", "bert"))
    for told in ("1 of them made", "0 of them made"):
        example("ray_encode").main(source, tmp_path / "encoded", tmp_path / "store", model=model)
        out = capsys.readouterr().out
        assert "12 documents in 1 shards" in out
        assert told in out
        assert "12 in the store" in out
    with PooledEmbeddings(model) as opened, FaissStore.load_local(tmp_path / "store", opened) as store:
        assert [one.metadata for one in store.get_by_ids(["d3"])] == [{"year": 1903}]
