"""A backend of words: a row is as long as its text has words, its value is that length."""

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from langchain_rerank_retriever.runtime.backend import Row
from langchain_rerank_retriever.runtime.serving.answer import Answer


class WordBackend:
    """Records its batches, and can be held before each of them."""

    def __init__(self, *, largest: int = 1000) -> None:
        self.batches: list[list[str]] = []
        self.tokenised: list[int] = []
        self.threads: set[int] = set()
        self.largest = largest
        self.gate = threading.Semaphore(10**6)
        self.entered = threading.Semaphore(0)

    def hold(self) -> None:
        self.gate = threading.Semaphore(0)

    def start(self) -> None:
        self.threads.add(threading.get_ident())

    def tokenise(self, items: Sequence[Any], kind: str) -> list[Row]:
        if any("untokenisable" in item for item in items):
            raise TypeError("cannot tokenise this")
        self.tokenised.append(len(items))
        return [Row(place, max(1, len(item.split())), item, (kind, None)) for place, item in enumerate(items)]

    def run(self, rows: Sequence[Row]) -> np.ndarray:
        self.entered.release()
        self.gate.acquire()
        self.batches.append([row.payload for row in rows])
        if len(rows) > self.largest:
            raise MemoryError("too many rows")
        if any("poison" in row.payload for row in rows):
            raise RuntimeError("poisoned")
        return np.array([row.length for row in rows], dtype=np.float32)


def values(answer: Answer) -> list[float]:
    return answer.result(timeout=10).values.tolist()


def texts(word: str, *lengths: int) -> list[str]:
    return [" ".join([word] * length) for length in lengths]
