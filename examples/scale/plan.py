"""What a corpus of any size needs, by calculation from measured unit costs.

    python examples/scale/plan.py 10e6 100e6 1e9

Every number of `Measured` was measured (README.md beside this file says how and on what); every number of `Assumed` is
an assumption. Change either and run it again.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import typer

GB = 1e9


@dataclass(frozen=True)
class Measured:
    """Costs of one passage, query or pair, with a 384-dimensional model of 22 million parameters in bf16.

    Attributes:
        encoded_per_core_second: Passages of 237 tokens that one processor core embeds in a second.
        shard_bytes: A passage of 1,500 bytes in the shards, of which the vector is 1,536 bytes.
        pairs_per_core_second: (Query, passage) pairs of 210 tokens that one core scores in a second.
        milvus_loaded_per_second: Passages that one client adds to one Milvus server in a second.
        milvus_query_ms: One dense query to Milvus, 20,000 vectors.
        hnsw_query_ms: One HNSW query of this package's store, a million vectors.
        hnsw_build_core_seconds: Building that graph, for each vector.
    """

    encoded_per_core_second: float = 62.0
    shard_bytes: float = 2_120.0
    pairs_per_core_second: float = 75.0
    milvus_loaded_per_second: float = 3_200.0
    milvus_query_ms: float = 5.0
    hnsw_query_ms: float = 1.6
    hnsw_build_core_seconds: float = 2 * 88.0 / 1e6


@dataclass(frozen=True)
class Assumed:
    """What was not measured.

    Attributes:
        dimension: Of the vectors, float32.
        graph_links: HNSW's M: each vector has 2 M links of 4 bytes in the lowest layer.
        memory_overhead: What a query node needs over vectors and links, as a factor.
        text_bytes: Of a passage. LangChain's Milvus store keeps texts in the collection, beside the vectors.
        node_memory: Bytes of memory of a query node of Milvus, and the share of them that is filled.
        cores: Of the Ray cluster.
        shards: A job's shards, about as many as Ray schedules with ease.
        loaders: Clients that load at the same time, each as fast as one; the servers keep up.
        candidates: Passages of a query that the cross-encoder scores.
        queries_per_second: That are to be answered.
    """

    dimension: int = 384
    graph_links: int = 16
    memory_overhead: float = 1.2
    text_bytes: float = 1_500.0
    node_memory: tuple[float, float] = (64 * GB, 0.75)
    cores: int = 256
    shards: int = 10_000
    loaders: int = 16
    candidates: int = 30
    queries_per_second: float = 10.0


@dataclass(frozen=True)
class Plan:
    """What a corpus needs.

    Attributes:
        passages: How many there are.
        unit: What one costs.
        assumed: What the calculation takes for granted.
    """

    passages: float
    unit: Measured = Measured()
    assumed: Assumed = Assumed()

    @property
    def rows_per_shard(self) -> int:
        """Passages of a shard, at least the 5,000 that are the default."""
        return max(5_000, math.ceil(self.passages / self.assumed.shards / 1_000) * 1_000)

    @property
    def shard_gigabytes(self) -> float:
        """The encoded corpus on shared storage."""
        return self.passages * self.unit.shard_bytes / GB

    @property
    def encode_core_hours(self) -> float:
        """Work of embedding."""
        return self.passages / self.unit.encoded_per_core_second / 3600

    @property
    def encode_hours(self) -> float:
        """Time of embedding on the assumed cluster; it scales with cores, for shards share nothing."""
        return self.encode_core_hours / self.assumed.cores

    @property
    def shard_seconds(self) -> float:
        """What a killed worker of one core loses at most."""
        return self.rows_per_shard / self.unit.encoded_per_core_second

    @property
    def load_hours(self) -> float:
        """Time of loading through `add_embeddings`."""
        return self.passages / self.unit.milvus_loaded_per_second / self.assumed.loaders / 3600

    @property
    def index_gigabytes(self) -> float:
        """Memory of Milvus' query nodes for HNSW over float32, one replica."""
        links = 2 * self.assumed.graph_links * 4
        return self.passages * (4 * self.assumed.dimension + links) * self.assumed.memory_overhead / GB

    @property
    def text_gigabytes(self) -> float:
        """Texts in the collection: on disk, and in memory too where query nodes load all fields."""
        return self.passages * self.assumed.text_bytes / GB

    @property
    def query_nodes(self) -> int:
        """Query nodes of one replica, for the index alone."""
        size, filled = self.assumed.node_memory
        return math.ceil(self.index_gigabytes * GB / (size * filled))

    @property
    def index_core_hours(self) -> float:
        """Building HNSW, by what this package's store takes for a million: a lower bound, for it grows faster."""
        return self.passages * self.unit.hnsw_build_core_seconds / 3600

    @property
    def rerank_cores(self) -> int:
        """Cores that score the candidates of the assumed queries; it does not depend on the corpus."""
        pairs = self.assumed.candidates * self.assumed.queries_per_second
        return math.ceil(pairs / self.unit.pairs_per_core_second)


ROWS: tuple[tuple[str, Callable[[Plan], str]], ...] = (
    ("passages of a shard", lambda plan: f"{plan.rows_per_shard:,}"),
    ("encoded corpus on shared storage", lambda plan: f"{plan.shard_gigabytes:,.0f} GB"),
    ("embedding, core hours", lambda plan: f"{plan.encode_core_hours:,.0f}"),
    ("embedding, on the assumed cores", lambda plan: f"{plan.encode_hours:,.1f} h"),
    ("lost with a killed worker, at most", lambda plan: f"{plan.shard_seconds:,.0f} s of one core"),
    ("loading by the assumed clients", lambda plan: f"{plan.load_hours:,.1f} h"),
    ("building HNSW, core hours", lambda plan: f"{plan.index_core_hours:,.1f}"),
    ("memory of the index, one replica", lambda plan: f"{plan.index_gigabytes:,.0f} GB"),
    ("texts in Milvus, more memory if it loads them", lambda plan: f"{plan.text_gigabytes:,.0f} GB"),
    ("query nodes, one replica, texts not loaded", lambda plan: f"{plan.query_nodes}"),
    ("cores that re-rank the assumed queries", lambda plan: f"{plan.rerank_cores}"),
)


def table(sizes: list[float]) -> str:
    """A table with a column for each number of passages."""
    plans = [Plan(size) for size in sizes]
    lines = ["| passages |" + "".join(f" {size:,.0f} |" for size in sizes), "|---|" + "---|" * len(sizes)]
    lines += [f"| {name} |" + "".join(f" {cell(plan)} |" for plan in plans) for name, cell in ROWS]
    return "\n".join(lines)


def main(
    sizes: Annotated[list[float], typer.Argument(help="Numbers of passages.")] = [10e6, 100e6, 1e9],  # noqa: B006
) -> None:
    """Print the table."""
    print(table(sizes))


if __name__ == "__main__":
    typer.run(main)
