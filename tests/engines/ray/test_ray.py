"""Jobs on Ray: the same call embedded and on two nodes, and whatever is killed, nothing is lost or doubled."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest

from langchain_rerank_retriever import CrossEncoderScorer, FaissStore, PooledEmbeddings
from langchain_rerank_retriever.distributed import (
    encode_corpus,
    encoded_shards,
    load_shards,
    mine_negatives,
    rerank_candidates,
)
from tests.conftest import HashEmbeddings
from tests.distributed.helpers import corpus, write_jsonl, write_parquet
from tests.engines.ray.models import POISON
from tests.engines.ray.nodes import ENVIRONMENT, Node, two_nodes, wait_until
from tests.runtime import tiny
from tests.test_bundle import make_cross_encoder

pytestmark = [pytest.mark.engine, pytest.mark.enable_socket, pytest.mark.timeout(600)]

TEXTS, ROWS = 400, 10

Cluster = tuple[str, list[Node]]


class Driver:
    """A job in a process of its own.

    Args:
        place: A folder for its files.
        cluster: What `RayCluster` gets.
        told: What else `tests.engines.ray.drive` gets.
    """

    def __init__(self, place: Path, cluster: dict[str, Any], **told: Any) -> None:
        self.output, self._said = place / "out", place / "said.json"
        self._said.unlink(missing_ok=True)
        given = {"job": "encode", "rows": ROWS, "output": str(self.output), "said": str(self._said), **told}
        self._log = (place / "driver.log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.engines.ray.drive", json.dumps({**given, "cluster": cluster})],
            env=os.environ | ENVIRONMENT,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    def shards(self) -> int:
        return len(list(self.output.glob("*.parquet")))

    def wait_for_shards(self, count: int) -> None:
        """Wait until the job is under way, and be sure that it still is."""
        wait_until(lambda: self.shards() >= count or self.process.poll() is not None, f"{count} shards")
        assert self.process.poll() is None, Path(self._log.name).read_text()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def said(self) -> dict[str, Any]:
        assert self.process.wait(300) == 0, Path(self._log.name).read_text()
        self._log.close()
        return dict(json.loads(self._said.read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with two_nodes() as running:
        yield running


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "corpus.jsonl", corpus(TEXTS))


def on(cluster: Cluster) -> dict[str, Any]:
    """Two workers, and on each node room for Ray's own tasks."""
    return {"address": cluster[0], "workers": 2, "cpus": 0.5}


def check_whole(output: Path) -> None:
    """Every document once, with the vector that one process gives it."""
    found = [
        (key, text, vector)
        for shard in encoded_shards(output)
        for key, text, vector in zip(shard.ids, shard.texts, shard.vectors, strict=True)
    ]
    rows = corpus(TEXTS)
    assert [(key, text) for key, text, _ in found] == [(row["id"], row["text"]) for row in rows]
    expected = HashEmbeddings().embed_documents([row["text"] for row in rows])
    np.testing.assert_allclose([vector for _, _, vector in found], expected, atol=1e-5)
    assert {file.suffix for file in output.iterdir()} == {".parquet", ".json"}


def test_embedded(tmp_path: Path, source: Path) -> None:
    driver = Driver(tmp_path, {"workers": 1}, source=str(source), model="hash")
    said = driver.said()
    assert (said["written"], said["rows"]) == (TEXTS // ROWS, TEXTS)
    check_whole(driver.output)
    assert not [one for one in psutil.process_iter() if is_ray_of(one, driver.process.pid)]


def is_ray_of(one: psutil.Process, driver: int) -> bool:
    try:
        return one.name() == "raylet" and f"_{driver}" in " ".join(one.cmdline())
    except psutil.NoSuchProcess:
        return False


def test_both_nodes_work_and_a_second_call_has_nothing_to_do(
    tmp_path: Path, source: Path, cluster: Cluster
) -> None:
    driver = Driver(tmp_path, on(cluster), source=str(source), model="paced", seconds=0.2)
    wait_until(lambda: all(node.workers() for node in cluster[1]), "a worker on each node")
    assert driver.said()["written"] == TEXTS // ROWS
    check_whole(driver.output)
    again = Driver(tmp_path, on(cluster), source=str(source), model="paced", seconds=0.2).said()
    assert (again["written"], again["shards"], again["rows"]) == (0, TEXTS // ROWS, TEXTS)


def test_a_killed_worker(tmp_path: Path, source: Path, cluster: Cluster) -> None:
    driver = Driver(tmp_path, on(cluster), source=str(source), model="paced", seconds=0.4)
    driver.wait_for_shards(3)
    (worker, *_) = cluster[1][1].workers() or cluster[1][0].workers()
    worker.send_signal(signal.SIGKILL)
    said = driver.said()
    assert (said["written"], said["rows"]) == (TEXTS // ROWS, TEXTS)
    check_whole(driver.output)


def test_a_killed_node(tmp_path: Path, source: Path) -> None:
    with two_nodes() as cluster:
        driver = Driver(tmp_path, on(cluster), source=str(source), model="paced", seconds=0.4)
        driver.wait_for_shards(3)
        raylet = cluster[1][1].raylet()
        assert raylet is not None
        raylet.send_signal(signal.SIGKILL)
        said = driver.said()
    assert (said["written"], said["rows"]) == (TEXTS // ROWS, TEXTS)
    check_whole(driver.output)


def test_a_killed_driver_and_the_next_one(tmp_path: Path, source: Path, cluster: Cluster) -> None:
    driver = Driver(tmp_path, on(cluster), source=str(source), model="paced", seconds=0.4)
    driver.wait_for_shards(5)
    driver.kill()
    # The cluster ends the workers of a lost driver by itself; what they still finish is whole, too.
    wait_until(lambda: not any(node.workers() for node in cluster[1]), "the end of the workers")
    done = driver.shards()
    assert 5 <= done < TEXTS // ROWS
    said = Driver(tmp_path, on(cluster), source=str(source), model="paced", seconds=0.0).said()
    # Fewer only by another number of seconds, which is no part of the model's identity.
    assert (said["written"], said["shards"], said["rows"]) == (TEXTS // ROWS - done, TEXTS // ROWS, TEXTS)
    check_whole(driver.output)


def test_a_shard_that_ends_every_worker_ends_the_job(tmp_path: Path, cluster: Cluster) -> None:
    rows = corpus(60)
    rows[37]["text"] = f"this text is {POISON}"
    source = write_jsonl(tmp_path / "corpus.jsonl", rows)
    said = Driver(tmp_path, {**on(cluster), "tries": 2}, source=str(source), model="deadly").said()
    assert said["error"] == "ShardError"
    assert said["message"].startswith(
        "Shard 3 cannot be made: ShardError: it was begun 2 times, and each time"
    )


def test_a_shard_that_cannot_be_made_is_named(tmp_path: Path, cluster: Cluster) -> None:
    rows = corpus(60)
    rows[37]["text"] = f"this text is {POISON}"
    source = write_parquet(tmp_path / "corpus.parquet", rows)
    said = Driver(tmp_path, on(cluster), source=str(source), model="broken").said()
    assert said["error"] == "ShardError"
    assert said["message"].startswith("Shard 3 cannot be made: DataError: shard 3, which begins at ")
    assert "position 7 holds NaN" in said["message"]


def test_a_real_model_gives_what_it_gives_here(tmp_path: Path, cluster: Cluster) -> None:
    folder = tiny.save_language_model(tmp_path / "model", "bert")
    rows = [
        {"id": str(place), "text": " ".join(tiny.WORDS[place % 7 : place % 41 + 8])} for place in range(200)
    ]
    source = write_parquet(tmp_path / "corpus.parquet", rows, group=33)
    driver = Driver(tmp_path, on(cluster), source=str(source), model="pooled", folder=str(folder), rows=40)
    assert driver.said()["rows"] == 200
    with PooledEmbeddings(folder, precision="float32", backend="torch") as model:
        expected = model.encode([row["text"] for row in rows])
        found = np.concatenate([shard.vectors for shard in encoded_shards(driver.output)])
        np.testing.assert_allclose(found, expected, atol=1e-5)
        with FaissStore(model) as store:
            assert load_shards(driver.output, store).added == len(store) == 200


def test_mining_and_reranking_give_what_they_give_here(
    tmp_path: Path, cluster: Cluster, minilm_folder: Path
) -> None:
    rows = corpus(60)
    with FaissStore(HashEmbeddings(), path=tmp_path / "store") as store:
        store.add_texts([row["text"] for row in rows], ids=[row["id"] for row in rows])
    queries = {f"q{place}": f"where is number {place}" for place in range(30)}
    qrels = {f"q{place}": {f"d{place}": 1} for place in range(30)}
    (tmp_path / "mine").mkdir()
    mined = Driver(
        tmp_path / "mine", on(cluster), job="mine", queries=queries, qrels=qrels, store=str(tmp_path / "store"),
        model="hash",
    )  # fmt: skip
    said = mined.said()
    assert said.get("rows") == 30, said
    mine_negatives(
        queries, qrels, tmp_path / "store", HashEmbeddings(), tmp_path / "here", queries_per_shard=ROWS
    )
    assert table(mined.output) == table(tmp_path / "here")

    candidates = [
        {"query_id": key, "query": text, "document_ids": [f"d{one}" for one in range(0, 60, 9)]}
        for key, text in queries.items()
    ]
    source = write_jsonl(tmp_path / "candidates.jsonl", candidates)
    folder = make_cross_encoder(minilm_folder, tmp_path / "cross-encoder", seed=1)
    (tmp_path / "rerank").mkdir()
    driver = Driver(
        tmp_path / "rerank", on(cluster), job="rerank", source=str(source), store=str(tmp_path / "store"),
        folder=str(folder),
    )  # fmt: skip
    assert driver.said()["counts"] == {"pairs": 30 * 7}
    with CrossEncoderScorer(folder, precision="float32", backend="torch") as scorer:
        rerank_candidates(source, tmp_path / "store", scorer, tmp_path / "ranked", queries_per_shard=ROWS)
    there, here = table(driver.output), table(tmp_path / "ranked")
    assert [row["query_id"] for row in there] == [row["query_id"] for row in here]
    np.testing.assert_allclose([row["score"] for row in there], [row["score"] for row in here], atol=1e-5)


def table(folder: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(folder.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def test_one_process_and_a_cluster_share_a_folder(tmp_path: Path, source: Path, cluster: Cluster) -> None:
    driver = Driver(tmp_path, on(cluster), source=str(source), model="hash")
    driver.said()
    (driver.output / "000007.parquet").unlink()
    assert encode_corpus(source, HashEmbeddings(), driver.output, rows_per_shard=ROWS).written == 1
    check_whole(driver.output)
