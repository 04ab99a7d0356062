"""Models and stores that do what a test tells them."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

import numpy as np
from langchain_core.cross_encoders import BaseCrossEncoder
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore
from numpy.typing import NDArray


class HashEmbeddings(Embeddings):
    """A deterministic embedder without a model: the words of a text, hashed into random vectors and added up.

    Texts that share words are similar, so rankings mean something; vectors have length one.

    Attributes:
        dimension: Length of a vector.
        seed: Another seed is another model.
        calls: The texts of every call of `embed_documents`.
    """

    def __init__(self, dimension: int = 32, seed: int = 0) -> None:
        self.dimension = dimension
        self.seed = seed
        self.calls: list[list[str]] = []

    def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        """Embed texts."""
        self.calls.append(list(texts))
        return [self._vector(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        """Embed a query, as a document is embedded."""
        return self._vector(text)

    def _vector(self, text: str) -> list[float]:
        vector = sum((self._word(word) for word in text.lower().split()), self._word(""))
        values: list[float] = (vector / np.linalg.norm(vector)).tolist()
        return values

    def _word(self, word: str) -> NDArray[np.float64]:
        digest = hashlib.sha256(f"{self.seed}:{word}".encode()).digest()
        return np.random.default_rng(int.from_bytes(digest[:8], "big")).standard_normal(self.dimension)


class ScriptedCrossEncoder(BaseCrossEncoder):
    """A cross-encoder that scores by a given function of query and passage, which may also raise.

    Attributes:
        asked: The pairs of every call.
    """

    def __init__(self, score: Callable[[str, str], float]) -> None:
        self._score = score
        self.asked: list[list[tuple[str, str]]] = []

    def score(self, text_pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Score pairs, one after the other."""
        self.asked.append(list(text_pairs))
        return [self._score(query, passage) for query, passage in text_pairs]


class FaultyStore(VectorStore):
    """A vector store in front of another, which fails as scripted: a server that goes away and comes back.

    Its searches, sync and async, with and without scores, are those of the other store; each takes the next step of the
    script first. Once the script is over, every search works. Documents are added and deleted as if nothing was wrong.

    Args:
        store: The store that is searched.
        script: For one search after the other the error that it raises, or None for one that works.
    """

    def __init__(self, store: VectorStore, script: Iterable[Exception | None]) -> None:
        self._store = store
        self._script = list(script)

    @property
    def embeddings(self) -> Embeddings | None:
        """Those of the other store."""
        return self._store.embeddings

    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        """Search, or fail.

        Args:
            query: Handed on, as all else is.
            k: How many documents.
            **kwargs: Of the other store.
        """
        self._step()
        return self._store.similarity_search(query, k, **kwargs)

    def similarity_search_with_score(self, *args: Any, **kwargs: Any) -> list[tuple[Document, float]]:
        """Search with scores, or fail."""
        self._step()
        return self._store.similarity_search_with_score(*args, **kwargs)

    def add_texts(
        self, texts: Iterable[str], metadatas: list[dict[str, Any]] | None = None, **kwargs: Any
    ) -> list[str]:
        """Add to the other store.

        Args:
            texts: Handed on, as all else is.
            metadatas: One for each text.
            **kwargs: Of the other store.
        """
        return self._store.add_texts(texts, metadatas, **kwargs)

    def delete(self, ids: list[str] | None = None, **kwargs: Any) -> bool | None:
        """Delete from the other store."""
        return self._store.delete(ids, **kwargs)

    @classmethod
    def from_texts(
        cls, texts: list[str], embedding: Embeddings, metadatas: Any = None, **kwargs: Any
    ) -> Self:
        """Refuse: there is nothing to put it in front of.

        Args:
            texts: Not used.
            embedding: Not used.
            metadatas: Not used.
            **kwargs: Not used.
        """
        raise NotImplementedError("Make the store first, then FaultyStore(store, script).")

    def _step(self) -> None:
        error = self._script.pop(0) if self._script else None
        if error is not None:
            raise error
