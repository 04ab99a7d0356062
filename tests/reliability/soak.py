"""One process that uses a store, and a retriever over it, for a long time, and what it takes of the machine."""

import gc
import os
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from langchain_core.cross_encoders import BaseCrossEncoder

from langchain_rerank_retriever import RerankRetriever
from langchain_rerank_retriever.store import FaissStore
from tests.store.helpers import FastEmbeddings

WORDS = tuple(f"word{number}" for number in range(300))
DIMENSION = 32


class Forgetful(FastEmbeddings):
    """Remembers no call, unlike the fakes of other tests, so that what grows is not the fake."""

    def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        return [self.vector(text).tolist() for text in texts]


class Overlap(BaseCrossEncoder):
    """Scores by words in common."""

    def score(self, text_pairs: Sequence[tuple[str, str]]) -> list[float]:
        return [float(len(set(query.split()) & set(passage.split()))) for query, passage in text_pairs]


@dataclass(frozen=True)
class Sample:
    """What the process and its folder take.

    Attributes:
        operations: How many were done before.
        resident: Bytes of memory.
        files: Open file descriptors.
        threads: Threads, those of libraries included.
        log: Bytes of SQLite's write-ahead log.
    """

    operations: int
    resident: int
    files: int
    threads: int
    log: int


class Use:
    """A store of a constant number of documents that are replaced, deleted, added and searched all the time."""

    def __init__(self, folder: Path, seed: int, documents: int) -> None:
        self._folder, self._rng = folder, random.Random(seed)
        self.store = FaissStore(Forgetful(DIMENSION), path=folder)
        self._retriever = RerankRetriever(self.store, reranker=Overlap(), k=4, fetch_k=10)
        self._names: deque[str] = deque()
        self.operations = 0
        self._made = 0
        for _ in range(0, documents, 500):
            self._add(500)
        self._kinds = {
            self._turn_over: 2,
            self._replace: 2,
            self._relabel: 1,
            self._dense: 6,
            self._filtered: 3,
            self._lexical: 4,
            self._fetch: 4,
            self._retrieve: 2,
        }

    def step(self) -> None:
        """One operation."""
        self._rng.choices(list(self._kinds), list(self._kinds.values()))[0]()
        self.operations += 1

    def sample(self) -> Sample:
        """What is taken now that nothing is under way."""
        self.store.wait_until_ready()
        gc.collect()
        log = self._folder / "store.db-wal"
        return Sample(
            self.operations,
            int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"),
            len(list(Path("/proc/self/fd").iterdir())),
            len(list(Path("/proc/self/task").iterdir())),
            log.stat().st_size if log.exists() else 0,
        )

    def _text(self, words: int) -> str:
        return " ".join(self._rng.choices(WORDS, k=words))

    def _add(self, count: int) -> None:
        names = [f"id{self._made + number}" for number in range(count)]
        self._made += count
        texts = [self._text(40) for _ in names]
        self.store.add_texts(texts, [{"n": self._rng.randrange(10)} for _ in names], ids=names)
        self._names.extend(names)

    def _turn_over(self) -> None:
        """Add as many as are deleted."""
        count = self._rng.choice((1, 1, 1, 5, 50))
        self._add(count)
        self.store.delete([self._names.popleft() for _ in range(count)])

    def _replace(self) -> None:
        self.store.add_texts([self._text(40)], [{"n": 1}], ids=[self._rng.choice(self._names)])

    def _relabel(self) -> None:
        found = self.store.get_by_ids([self._rng.choice(self._names)])
        self.store.add_documents([each.model_copy(update={"metadata": {"n": 2}}) for each in found])

    def _dense(self) -> None:
        self.store.similarity_search_with_score(self._text(5), k=10)

    def _filtered(self) -> None:
        # Another filter each time.
        self.store.similarity_search(self._text(5), k=10, filter={"n": {"$gte": self._rng.random() * 10}})

    def _lexical(self) -> None:
        self.store.lexical_search(self._text(3), k=10)

    def _fetch(self) -> None:
        self.store.get_by_ids(self._rng.sample(self._names, 5))

    def _retrieve(self) -> None:
        mode = self._rng.choice(("dense", "lexical", "hybrid"))
        self._retriever.invoke(self._text(5), recall_mode=mode)


def growth(samples: Sequence[Sample]) -> float:
    """Bytes of memory per operation, by the line through the samples."""
    line = np.polyfit([each.operations for each in samples], [each.resident for each in samples], 1)
    return float(line[0])


def size(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
