"""What of the work on Ray can be tested without Ray; the rest is in tests/engines/ray."""

import gc
import json
import pickle
import socket
import sys
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from langchain_rerank_retriever import FaissStore, PooledEmbeddings
from langchain_rerank_retriever.distributed import RayCluster, encode_corpus
from langchain_rerank_retriever.distributed.encoding import EncodeJob
from langchain_rerank_retriever.distributed.ray_cluster import ShardWorker
from langchain_rerank_retriever.distributed.reranking import RerankJob
from langchain_rerank_retriever.distributed.shard_file import Header
from langchain_rerank_retriever.distributed.shards import ShardFolder
from langchain_rerank_retriever.distributed.slices import Slice, slices_of, staged
from langchain_rerank_retriever.errors import InvalidArgumentError, MissingExtraError, ShardError
from tests.conftest import HashEmbeddings
from tests.runtime import tiny

from .helpers import corpus, write_jsonl
from .test_reranking import Overlap


@pytest.mark.parametrize(
    "given", [{"workers": 0}, {"workers": 1.5}, {"tries": 0}, {"tries": True}, {"cpus": 0.0}, {"gpus": -1.0}]
)
def test_settings_that_are_none_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError, match=next(iter(given))):
        RayCluster(**given)


def test_without_ray_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"langchain-rerank-retriever\[ray\]"):
        encode_corpus(corpus(3), HashEmbeddings(), tmp_path / "out", cluster=RayCluster())
    # Nothing was begun that a call without a cluster could not go on with.
    assert encode_corpus(corpus(3), HashEmbeddings(), tmp_path / "out").written == 1


class FakeRay:
    """Ray as far as connecting goes; `Ray.init` raises what it is given."""

    def __init__(self, raises: Exception) -> None:
        self.raises, self.began = raises, 0
        self.exceptions = SimpleNamespace(RayError=type("RayError", (Exception,), {}))
        self.data = self

    def is_initialized(self) -> bool:
        return False

    def init(self, **_: Any) -> None:
        self.began += 1
        raise self.raises


def encode_on(fake: FakeRay, address: str | None, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.setitem(sys.modules, "ray.data", fake)
    encode_corpus(corpus(3), HashEmbeddings(), output, cluster=RayCluster(address=address))


@pytest.mark.parametrize("address", ["auto", "ray://head.example:10001", None])
def test_a_cluster_that_ray_does_not_reach_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str | None
) -> None:
    fake = FakeRay(ConnectionError("Could not find any running Ray instance"))
    told = "cannot be started on this machine" if address is None else f"Ray cluster at '{address}'"
    with pytest.raises(ShardError, match=rf"{told}: ConnectionError: Could not find any"):
        encode_on(fake, address, tmp_path / "out", monkeypatch)
    fake.raises = fake.exceptions.RayError("no")
    with pytest.raises(ShardError, match=told):
        encode_on(fake, address, tmp_path / "out", monkeypatch)
    # Nothing was begun that a call without a cluster could not go on with.
    assert encode_corpus(corpus(3), HashEmbeddings(), tmp_path / "out").written == 1


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_an_address_that_takes_no_connection_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeRay(ConnectionError("after minutes"))
    with socket.socket() as taken:
        # Bound, so that nobody else listens there, and not listened to.
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ShardError, match=rf"at '{address}': ConnectionRefusedError: .*ray start --head"):
            encode_on(fake, address, tmp_path / "out", monkeypatch)
        assert fake.began == 0
        taken.listen()
        with pytest.raises(ShardError, match=rf"at '{address}': ConnectionError: after minutes"):
            encode_on(fake, address, tmp_path / "out", monkeypatch)


@pytest.fixture
def folder(tmp_path: Path) -> ShardFolder:
    (tmp_path / ".work" / "tries").mkdir(parents=True)
    return ShardFolder(tmp_path)


def made(worker: ShardWorker, one: Slice) -> Any:
    told = worker({"slice": json.dumps(asdict(one))})
    return told["problem"] or Header(**json.loads(told["header"]))


def test_a_worker_makes_the_shard_of_a_slice(folder: ShardFolder) -> None:
    job = pickle.loads(pickle.dumps(EncodeJob(HashEmbeddings(), 10, "id", "text", None)))
    worker = ShardWorker(job, str(folder.path), tries=2)
    _, one, _ = (staged(part, folder.work) for part in slices_of(corpus(25), 10))
    header = made(worker, one)
    assert header == Header(1, one.digest, 10, 10) == folder.header(one)


def test_a_worker_names_the_shard_it_cannot_make(folder: ShardFolder) -> None:
    worker = ShardWorker(EncodeJob(HashEmbeddings(), 10, "key", "text", None), str(folder.path), tries=2)
    (one,) = (staged(part, folder.work) for part in slices_of(corpus(5), 10))
    assert "Shard 0 cannot be made: DataError: shard 0, which begins at " in made(worker, one)
    assert "id_column" in made(worker, one)


def test_a_shard_is_begun_only_so_often(folder: ShardFolder) -> None:
    """Every worker that begins one may end in it; here none does, and the shard is given each time anew."""
    (one,) = (staged(part, folder.work) for part in slices_of(corpus(5), 10))
    job = EncodeJob(HashEmbeddings(), 10, "id", "text", None)
    told = [made(ShardWorker(job, str(folder.path), tries=2), one) for _ in range(3)]
    assert [type(one) for one in told] == [Header, Header, str]
    assert "it was begun 2 times" in told[2]


def test_a_worker_keeps_its_store_open(tmp_path: Path, folder: ShardFolder) -> None:
    with FaissStore(HashEmbeddings(), path=tmp_path / "store") as store:
        store.add_texts(["one two", "three"], ids=["d0", "d1"])
        revision = store.revision
    rows = [{"query_id": f"q{n}", "query": "two", "document_ids": ["d1", "d0"]} for n in range(2)]
    job = RerankJob(str(tmp_path / "store"), revision, Overlap(), 1)
    worker = ShardWorker(job, str(folder.path), tries=1)
    gc.collect()
    headers = [made(worker, staged(one, folder.work)) for one in slices_of(rows, 1)]
    assert [header.rows for header in headers] == [2, 2]


def test_a_job_with_a_loaded_model_reaches_a_worker(tmp_path: Path, folder: ShardFolder) -> None:
    with PooledEmbeddings(tiny.save_language_model(tmp_path / "model", "bert"), backend="torch") as model:
        job = EncodeJob(model, 10, "id", "text", None)
        arrived = pickle.loads(pickle.dumps(job))
        assert arrived.identity == job.identity
        with arrived.model:
            source = write_jsonl(tmp_path / "a.jsonl", corpus(5))
            (one,) = slices_of(source, 10)
            assert made(ShardWorker(arrived, str(folder.path), tries=1), one).rows == 5
