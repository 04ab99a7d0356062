"""In an interpreter of its own: import in a given order, use everything, then make children of it.

Run by hand: python -m tests.reliability.fork_program faiss BUNDLE --forks 60 --others 4
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from .fork_children import SECONDS, fork

#: What is imported before the rest: each brings an OpenMP of its own.
ORDERS = {
    "faiss": ("faiss", "torch"),
    "torch": ("torch", "faiss"),
    "package": ("langchain_rerank_retriever",),
}
QUERIES = ["cat in the house", "a long river", "what is music"]
WORKERS = 4


def load(bundle: str) -> Any:
    from langchain_rerank_retriever import RerankRetriever

    return RerankRetriever.load_local(bundle, read_only=True)


def answers(retriever: Any) -> list[list[list[Any]]]:
    """What is found and how it is scored, to so many digits as do not depend on the number of threads."""
    found = [retriever.invoke(query, k=5) for query in QUERIES]
    return [[[one.id, round(one.metadata["rerank_score"], 3)] for one in some] for some in found]


def compute() -> None:
    """Use the threads of both libraries in the calling thread, on more than one thread would do at once."""
    import faiss
    import numpy as np
    import torch

    matrix = torch.ones(700, 700)
    for _ in range(3):
        matrix = torch.tanh(matrix @ matrix)
    vectors = np.random.default_rng(0).random((4_000, 64), dtype=np.float32)
    index = faiss.IndexFlatL2(64)
    index.add(vectors)
    index.search(vectors[:500], 5)


def load_another(bundle: str, threads: int | None = None) -> list[float]:
    """Load the bundle's bi-encoder once more, measured anew, and embed with it."""
    from langchain_rerank_retriever import PooledEmbeddings

    with tempfile.TemporaryDirectory() as cache:
        # Without what was measured before, it is measured here, in this thread.
        os.environ["LANGCHAIN_RERANK_CACHE"] = cache
        settings: dict[str, Any] = {"precision": "float32", "backend": "torch", "threads": threads}
        with PooledEmbeddings(bi_encoder(bundle), **settings) as model:
            vectors: list[float] = model.encode(QUERIES * 20)[0].round(3).tolist()
    return vectors


def bi_encoder(bundle: str) -> Path:
    return next(path.parent for path in sorted(Path(bundle).rglob("modules.json")))


def child_of_another_kind(bundle: str, pipe: Any) -> None:
    """What a process that is not forked from this one does."""
    started = time.monotonic()
    compute()
    pipe.send([answers(load(bundle)), time.monotonic() - started])


class Report:
    """How many children answered, how long the slowest took, and what went wrong."""

    def __init__(self) -> None:
        self.children, self.slowest = 0, 0.0
        self.problems: list[str] = []

    def check(self, name: str, make: Callable[[], tuple[Any, float]], expected: Any) -> None:
        self.children += 1
        try:
            found, seconds = make()
        except AssertionError as error:
            self.problems.append(f"{name}: {error}")
            return
        self.slowest = max(self.slowest, seconds)
        if found != expected:
            self.problems.append(f"{name}: {found} instead of {expected}")


def forked(action: Callable[[], Any], leave: Callable[[int], object] = os._exit) -> tuple[Any, float]:
    child = fork(action, leave=leave)
    return child.answer(), child.seconds


def started(method: str, bundle: str) -> tuple[Any, float]:
    """A child by forkserver or spawn; the seconds are without its imports, which take what they take."""
    context: Any = multiprocessing.get_context(method)
    mine, its = context.Pipe()
    process = context.Process(target=child_of_another_kind, args=(bundle, its))
    process.start()
    try:
        if not mine.poll(SECONDS * 10):
            raise AssertionError("a child did not answer")
        found, seconds = mine.recv()
        process.join(SECONDS)
        if process.exitcode != 0:
            raise AssertionError(f"a child answered and then ended with {process.exitcode}")
        return found, seconds
    finally:
        process.kill()


def served_by_workers(retriever: Any, report: Report, expected: Any) -> None:
    """As a web server that loads its application first: workers at once, which end as processes do."""

    def serve() -> Any:
        async def main() -> Any:
            return await retriever.abatch(QUERIES, k=5)

        return [[[one.id for one in some] for some in asyncio.run(main())], answers(retriever)]

    ids = [[one for one, _ in some] for some in expected]
    children = [fork(serve, leave=sys.exit) for _ in range(WORKERS)]
    for child in children:
        report.check("worker", lambda child=child: (child.answer(), child.seconds), [ids, expected])


def run(order: str, bundle: str, *, forks: int, others: int) -> Report:
    report = Report()
    for name in ORDERS[order]:
        import_module(name)
    # One that is used and gone before the first fork leaves its threads behind.
    vectors = load_another(bundle)
    report.check("load after close", lambda: forked(lambda: load_another(bundle)), vectors)
    retriever = load(bundle)
    expected = answers(retriever)
    compute()
    for number in range(forks):

        def act(number: int = number) -> Any:
            if number % 2:
                compute()
            return answers(retriever)

        report.check("fork", lambda act=act: forked(act), expected)
    report.check("load with threads", lambda: forked(lambda: load_another(bundle, threads=2)), vectors)
    served_by_workers(retriever, report, expected)
    for method in ("forkserver", "spawn"):
        for _ in range(others):
            report.check(method, lambda method=method: started(method, bundle), expected)
    if answers(retriever) != expected:
        report.problems.append("the parent answers otherwise than before")
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("order", choices=ORDERS)
    parser.add_argument("bundle")
    parser.add_argument("--forks", type=int, default=4)
    parser.add_argument("--others", type=int, default=1)
    options = parser.parse_args()
    report = run(options.order, options.bundle, forks=options.forks, others=options.others)
    sys.stdout.write(json.dumps(vars(report)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
