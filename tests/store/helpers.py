"""Fakes and oracles that the store's tests share. Nothing here uses the store's own arithmetic."""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from langchain_core.embeddings import Embeddings

from langchain_rerank_retriever.store import FaissStore


class FastEmbeddings(Embeddings):
    """A deterministic vector per text, from its checksum; texts are not similar to each other."""

    def __init__(self, dimension: int = 16, seed: int = 0) -> None:
        self.dimension = dimension
        self.seed = seed
        self.calls: list[list[str]] = []

    def vector(self, text: str) -> np.ndarray:
        return np.random.default_rng([self.seed, zlib.crc32(text.encode())]).standard_normal(self.dimension)

    def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        self.calls.append(list(texts))
        return [self.vector(text).tolist() for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return self.vector(text).tolist()


class FixedEmbeddings(Embeddings):
    """Gives whatever it is told for documents, and the sum of ASCII codes in a vector for anything else."""

    def __init__(self, answer: Any = None, dimension: int = 4) -> None:
        self.answer = answer
        self.dimension = dimension

    def embed_documents(self, texts: list[str]) -> Any:
        if self.answer is not None:
            return self.answer(texts) if callable(self.answer) else self.answer
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return [1.0, float(len(text)), float(sum(text.encode()) % 17), 2.0][: self.dimension]


def unit(vector: Any) -> np.ndarray:
    array = np.asarray(vector, dtype=np.float64)
    return array / np.linalg.norm(array)


def stored_vectors(store: FaissStore) -> dict[str, np.ndarray]:
    """The vectors as they lie in the database, by document id."""
    with store._engine.connections.reading() as connection:
        rows = connection.execute("SELECT id, value FROM document JOIN vector USING (pk)").fetchall()
    return {document_id: np.frombuffer(value, dtype="<f4") for document_id, value in rows}


def content(store: FaissStore) -> dict[str, tuple[str, dict[str, Any]]]:
    """Everything a user put in, by id, in order."""
    return {document.id: (document.page_content, document.metadata) for document in store.documents()}


def ranking(vectors: Mapping[str, np.ndarray], query: np.ndarray) -> list[tuple[str, float]]:
    """Ids with cosines by brute force, best first, ties in the mapping's order."""
    scored = [(name, float(unit(vector) @ unit(query))) for name, vector in vectors.items()]
    return sorted(scored, key=lambda pair: -pair[1])
