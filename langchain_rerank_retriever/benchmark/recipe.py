"""The recipe that LangChain's documentation gives for re-ranking, to compare with.

Its classes are imported by name, when they are asked for: the packages they are in are being sunset, so nothing of
this package may depend on them, and where they are missing everything but the comparison works.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from langchain_core.cross_encoders import BaseCrossEncoder
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import VectorStore

from langchain_rerank_retriever.errors import MissingExtraError
from langchain_rerank_retriever.runtime.models.quiet import quiet

#: As they are imported, and as they are installed.
_PACKAGES = {
    "langchain_huggingface": "langchain-huggingface",
    "langchain_community": "langchain-community",
    "langchain_classic": "langchain-classic",
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """`HuggingFaceEmbeddings`, `HuggingFaceCrossEncoder`, and what LangChain makes of them.

    Batches, number types, threads and device are the libraries' own choice, as they are for whoever follows the
    documentation: batches of 32, float32, all cores, a GPU where there is one.
    """

    embeddings: Embeddings
    cross_encoder: BaseCrossEncoder

    def index(self, documents: Sequence[Document]) -> VectorStore:
        """Embed documents into a `FAISS` store in memory."""
        store: VectorStore = _named("langchain_community.vectorstores", "FAISS").from_documents(
            list(documents), self.embeddings
        )
        return store

    def index_vectors(self, documents: Sequence[Document], vectors: Sequence[Sequence[float]]) -> VectorStore:
        """Put documents with ready vectors into a `FAISS` store in memory."""
        store: VectorStore = _named("langchain_community.vectorstores", "FAISS").from_embeddings(
            list(zip([document.page_content for document in documents], vectors, strict=True)),
            self.embeddings,
            [document.metadata for document in documents],
            [document.id for document in documents],
        )
        return store

    def retriever(self, store: VectorStore, *, fetch_k: int, k: int) -> BaseRetriever:
        """Recall `fetch_k` documents from a store, and return the `k` that the cross-encoder likes best."""
        compressor = _named("langchain_classic.retrievers.document_compressors", "CrossEncoderReranker")
        retriever: BaseRetriever = _named("langchain_classic.retrievers", "ContextualCompressionRetriever")(
            base_compressor=compressor(model=self.cross_encoder, top_n=k),
            base_retriever=store.as_retriever(search_kwargs={"k": fetch_k}),
        )
        return retriever


def missing_package() -> str | None:
    """Name a package that the recipe needs and that is not installed, None where all are."""
    return next((name for module, name in _PACKAGES.items() if find_spec(module) is None), None)


def load_recipe(
    bi_encoder: Path, cross_encoder: Path, *, max_seq_length: int | None, max_length: int | None
) -> Recipe:
    """Load models as the recipe does.

    Args:
        bi_encoder: Folder of a sentence-transformers model.
        cross_encoder: Folder of a cross-encoder.
        max_seq_length: Tokens after which a text is cut; None is the model's own.
        max_length: Tokens after which a pair is cut; None is the model's own.

    Raises:
        MissingExtraError: A package that the recipe needs is not installed.
    """
    missing = missing_package()
    if missing is not None:
        raise MissingExtraError(missing, "bench")
    # A length is no argument of these classes; model_kwargs goes on to the libraries' own.
    lengths = {} if max_length is None else {"max_length": max_length}
    with quiet():
        embeddings = _named("langchain_huggingface", "HuggingFaceEmbeddings")(
            model_name=str(bi_encoder), encode_kwargs={"normalize_embeddings": True}
        )
        scorer = _named("langchain_community.cross_encoders", "HuggingFaceCrossEncoder")(
            model_name=str(cross_encoder), model_kwargs=lengths
        )
    if max_seq_length is not None:
        embeddings._client.max_seq_length = max_seq_length  # the only way to it
    return Recipe(embeddings, scorer)


def _named(module: str, name: str) -> Any:
    with _without_farewells():
        return getattr(import_module(module), name)


@contextmanager
def _without_farewells() -> Iterator[None]:
    """Keep the packages from saying that they are being sunset: whoever compares with them knows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield
