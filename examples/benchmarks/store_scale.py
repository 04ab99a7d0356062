"""How a FaissStore grows: loading, reopening, exact search beside raw FAISS, HNSW, memory and disk.

    python examples/benchmarks/store_scale.py 10000 100000 1000000

The vectors are a clustered mixture of stated intrinsic dimension: 1,000 Gaussian clusters in 32 dimensions, bent by a
fixed random layer of 128 tanh units into 384 dimensions, with 5 % isotropic noise, scaled to length one. Queries are
other draws of the same mixture. Every cell is measured in a process of its own; exact search and raw FAISS alternate.
"""

import multiprocessing
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import faiss
import numpy as np
import typer
from langchain_core.embeddings import Embeddings

from langchain_rerank_retriever import FaissStore

DIMENSION, CLUSTERS, INTRINSIC = 384, 1_000, 32
CHUNK = 10_000
K = 100
QUERIES = 100


def mixture(count: int, seed: int) -> Iterator[np.ndarray]:
    """Unit vectors, shape ``(<= CHUNK, DIMENSION)`` at a time; another seed gives other draws of the same mixture."""
    fixed, rng = np.random.default_rng(0), np.random.default_rng(seed)
    centres = fixed.standard_normal((CLUSTERS, INTRINSIC), dtype=np.float32)
    first = fixed.standard_normal((INTRINSIC, 128), dtype=np.float32) / np.sqrt(INTRINSIC)
    second = fixed.standard_normal((128, DIMENSION), dtype=np.float32) / np.sqrt(128)
    for start in range(0, count, CHUNK):
        size = min(CHUNK, count - start)
        latent = centres[rng.integers(0, CLUSTERS, size)]
        latent = latent + 0.5 * rng.standard_normal((size, INTRINSIC), dtype=np.float32)
        rows = np.tanh(latent @ first) @ second
        rows += 0.05 * rng.standard_normal(rows.shape, dtype=np.float32)
        yield (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def queries() -> np.ndarray:
    return next(mixture(QUERIES, seed=2))


class Ready(Embeddings):
    """Stands for the model whose vectors are ready; gives the store's probe sentences some vectors."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Vectors that depend on the texts' lengths alone."""
        return [np.random.default_rng(len(text)).standard_normal(DIMENSION).tolist() for text in texts]

    def embed_query(self, text: str) -> list[float]:
        """The vector of a document."""
        return self.embed_documents([text])[0]


def anonymous_megabytes() -> float:
    """Memory of this process that is no file's: what the machine cannot take back."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def load(folder: Path, count: int, settings: dict[str, Any]) -> dict[str, float]:
    """Fill a store in calls of CHUNK, each durable when it returns, and close it."""
    seconds = processor = 0.0
    store = FaissStore(Ready(), path=folder, **settings)
    for place, rows in enumerate(mixture(count, seed=1)):
        ids = [str(place * CHUNK + i) for i in range(len(rows))]
        texts = [
            f"Passage {name} of the collection, in a few words that say what it is about" for name in ids
        ]
        started, used = time.perf_counter(), time.process_time()
        store.add_embeddings(texts, rows, ids=ids)
        seconds += time.perf_counter() - started
        processor += time.process_time() - used
    started = time.perf_counter()
    store.close()
    closing = time.perf_counter() - started
    return {"vectors/s": count / seconds, "per processor": count / processor, "close": closing}


def reopen(folder: Path, mapped: bool) -> dict[str, float]:
    vector = queries()[0]
    # What the first store of a process loads is no part of it.
    with FaissStore(Ready()) as store:
        store.add_texts(["warm"])
        store.similarity_search("warm")
    started = time.perf_counter()
    store = FaissStore(Ready(), path=folder, memory_map=mapped, read_only=True)
    store.similarity_search_by_vector(vector, k=K)
    seconds = time.perf_counter() - started
    for query in queries():
        store.similarity_search_by_vector(query, k=K)
    return {"seconds": seconds, "MB": anonymous_megabytes()}


def exact(folder: Path, count: int) -> dict[str, float]:
    """Medians of searches that alternate with raw FAISS over the same vectors."""
    raw = faiss.IndexFlatIP(DIMENSION)
    for rows in mixture(count, seed=1):
        raw.add(rows)
    with FaissStore(Ready(), path=folder, read_only=True) as store:
        ours, theirs = [], []
        for query in queries()[:40]:
            started = time.perf_counter()
            found = store.similarity_search_with_score_by_vector(query, k=K)
            middle = time.perf_counter()
            _, expected = raw.search(query[None], K)
            ours.append(middle - started)
            theirs.append(time.perf_counter() - middle)
            if {document.id for document, _ in found} != {str(row) for row in expected[0]}:
                raise ValueError("the store and raw FAISS disagree")
    return {"ours": float(np.median(ours)) * 1e3, "raw": float(np.median(theirs)) * 1e3}


def build(folder: Path) -> dict[str, float]:
    """Wait for the HNSW graph that the store builds in the background once it is opened."""
    started, used = time.perf_counter(), time.process_time()
    with FaissStore(Ready(), path=folder) as store:
        info = store.wait_until_ready()
        seconds, processor = time.perf_counter() - started, time.process_time() - used
    return {
        "seconds": seconds,
        "processor": processor,
        "ef": float(info.ef or 0),
        "measured": float(info.recall or 0),
    }


def approximate(exact_folder: Path, folder: Path, mapped: bool) -> dict[str, float]:
    found, seconds = [], []
    with FaissStore(Ready(), path=folder, read_only=True, memory_map=mapped) as store:
        for query in queries():
            store.similarity_search_by_vector(query, k=K)
        for query in queries():
            started = time.perf_counter()
            found.append({document.id for document in store.similarity_search_by_vector(query, k=K)})
            seconds.append(time.perf_counter() - started)
        megabytes = anonymous_megabytes()
    with FaissStore(Ready(), path=exact_folder, read_only=True, memory_map=True) as store:
        right = [{d.id for d in store.similarity_search_by_vector(query, k=K)} for query in queries()]
    recall = np.mean([len(ours & theirs) / len(theirs) for ours, theirs in zip(found, right)])
    return {"recall": float(recall), "ms": float(np.median(seconds)) * 1e3, "MB": megabytes}


def in_child(function: Callable[..., dict[str, float]], *arguments: Any) -> dict[str, float]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def megabytes(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.iterdir()) / 1e6


def column(scratch: Path, count: int, *, hnsw: bool) -> dict[str, str]:
    """All figures of one size."""
    flat, graph = scratch / f"flat-{count}", scratch / f"hnsw-{count}"
    loaded = in_child(load, flat, count, {"lexical": False})
    mapped, checked = in_child(reopen, flat, True), in_child(reopen, flat, False)
    scans = in_child(exact, flat, count)
    cells = {
        "bulk load, vectors/s": f"{loaded['vectors/s']:,.0f}",
        "bulk load, vectors per second of processor time": f"{loaded['per processor']:,.0f}",
        "close, with the snapshot": f"{loaded['close']:.2f} s",
        "reopen to the first answer, mapped": f"{mapped['seconds']:.2f} s",
        "reopen to the first answer, checked": f"{checked['seconds']:.2f} s",
        "RssAnon, mapped": f"{mapped['MB']:,.0f} MB",
        "RssAnon, in memory": f"{checked['MB']:,.0f} MB",
        "exact query": f"{scans['ours']:.1f} ms",
        "exact query, raw IndexFlatIP": f"{scans['raw']:.1f} ms",
        "disk": f"{megabytes(flat):,.0f} MB",
    }
    if not hnsw:
        return cells
    with_words = in_child(load, graph, count, {"index": "hnsw"})
    built = in_child(build, graph)
    for_mapped = in_child(approximate, flat, graph, True)
    opened = in_child(reopen, graph, True)
    return cells | {
        "bulk load with the lexical index, vectors/s": f"{with_words['vectors/s']:,.0f}",
        "the same, per second of processor time": f"{with_words['per processor']:,.0f}",
        "HNSW build": f"{built['seconds']:.0f} s ({built['processor']:.0f} s of processor time)",
        "HNSW ef, recall@100 measured at the build": f"{built['ef']:.0f}, {built['measured']:.3f}",
        "HNSW recall@100": f"{for_mapped['recall']:.3f}",
        "HNSW query": f"{for_mapped['ms']:.1f} ms",
        "HNSW reopen to the first answer, mapped": f"{opened['seconds']:.2f} s",
        "HNSW RssAnon, mapped": f"{for_mapped['MB']:,.0f} MB",
        "HNSW disk": f"{megabytes(graph):,.0f} MB",
    }


def main(
    sizes: Annotated[list[int], typer.Argument(help="Numbers of vectors.")] = [10_000, 100_000],  # noqa: B006
    hnsw: Annotated[bool, typer.Option(help="Also build and measure HNSW.")] = True,
    scratch: Annotated[Path | None, typer.Option(help="Where stores are made and removed again.")] = None,
) -> None:
    with TemporaryDirectory(dir=scratch) as folder:
        columns = {count: column(Path(folder), count, hnsw=hnsw) for count in sizes}
    print("| |" + "".join(f" {count:,} |" for count in sizes))
    print("|---|" + "---|" * len(sizes))
    for name in columns[sizes[-1]]:
        print(f"| {name} |" + "".join(f" {columns[count][name]} |" for count in sizes))


if __name__ == "__main__":
    typer.run(main)
