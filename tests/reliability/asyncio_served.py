"""Our own model classes in front of models that have no weights, so that a thousand calls take seconds."""

import threading
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from langchain_core.documents import Document

from langchain_rerank_retriever import CrossEncoderScorer, FaissStore, PooledEmbeddings, RerankRetriever
from langchain_rerank_retriever.runtime.backend import Row
from langchain_rerank_retriever.runtime.serving.worker import Worker

DIMENSION = 16
#: What the model cannot read; the query that has it fails, and no other.
POISON = "poison"


class Poisoned(RuntimeError):
    """What the model raises at such a text."""


class NoWeights:
    """Values of texts and pairs by their checksum; batches can be held up by a gate, as on a slow machine."""

    def __init__(self, *, pairs: bool) -> None:
        self.pairs = pairs
        self.open = threading.Event()
        self.open.set()
        self.batches = 0

    def start(self) -> None:
        pass

    def tokenise(self, items: Sequence[Any], kind: str) -> list[Row]:
        texts = [item if isinstance(item, str) else "\n".join(item) for item in items]
        return [Row(place, 1 + len(text) // 6, text, (kind, None)) for place, text in enumerate(texts)]

    def run(self, rows: Sequence[Row]) -> Any:
        self.open.wait()
        self.batches += 1
        if any(POISON in row.payload for row in rows):
            raise Poisoned("a text that no model reads")
        if self.pairs:
            return np.array([pair_score(row.payload) for row in rows], dtype=np.float32)
        return np.stack([vector(row.payload) for row in rows])


def pair_score(text: str) -> float:
    """From -8 to 8, with ties."""
    return zlib.crc32(text.encode()) % 129 / 8 - 8


def vector(text: str) -> np.ndarray:
    return np.random.default_rng(zlib.crc32(text.encode())).standard_normal(DIMENSION).astype(np.float32)


def scorer(backend: Any = None, **settings: Any) -> CrossEncoderScorer:
    """A cross-encoder whose own worker drives the given backend."""
    made = object.__new__(CrossEncoderScorer)
    settings = {"budget": 512, "chunk": 256, "name": "scorer", **settings}
    made._worker = Worker(backend or NoWeights(pairs=True), **settings)
    made._finalizer = made._worker.close  # type: ignore[assignment]
    made._settings = {"model_name": "no weights"}
    made._knows_cut = True
    return made


def embeddings(backend: Any = None, **settings: Any) -> PooledEmbeddings:
    """A bi-encoder likewise."""
    made = object.__new__(PooledEmbeddings)
    settings = {"budget": 512, "chunk": 256, "name": "embeddings", **settings}
    made._worker = Worker(backend or NoWeights(pairs=False), **settings)
    made._finalizer = made._worker.close  # type: ignore[assignment]
    made._settings = {"model_name": "no weights"}
    made._dimension, made._show_progress, made._fingerprint = DIMENSION, False, "no weights"
    return made


def documents(count: int) -> list[Document]:
    return [
        Document(id=str(number), page_content=f"document {number} of {count}", metadata={"number": number})
        for number in range(count)
    ]


def served(count: int = 60, **fields: Any) -> RerankRetriever:
    """A retriever over a store in memory, both models of which are served by workers."""
    settings = {"reranker": scorer(), "k": 5, "fetch_k": 20, **fields}
    return RerankRetriever.from_documents(documents(count), embeddings=embeddings(), **settings)


def close(retriever: RerankRetriever) -> None:
    """End the two workers and the store."""
    store: FaissStore = retriever.recall
    model: Any = store._engine.model.embeddings
    for part in (retriever.reranker, model, store):
        part.close()


def waiting(retriever: RerankRetriever) -> int:
    """Inputs that a worker still counts as unfinished."""
    model: Any = retriever.recall._engine.model.embeddings
    return int(retriever.reranker._worker._admission._waiting + model._worker._admission._waiting)
