"""What a run tunes, as hashes: a killed run is resumed only by one of the same."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from langchain_core.documents import Document

from langchain_rerank_retriever.embeddings import PooledEmbeddings
from langchain_rerank_retriever.runtime.served import ServedModel


def identity_of(
    documents: Iterable[Document],
    data: Mapping[str, Any],
    encoder: PooledEmbeddings,
    reranker: Any,
    settings: Mapping[str, Any],
) -> dict[str, str]:
    """Name and hash everything that must be the same on resuming.

    Args:
        documents: The corpus.
        data: Training and held-out data by name, each anything whose `repr` tells all of it.
        encoder: The bi-encoder to start from.
        reranker: What the cross-encoder starts from; a name or folder counts by its name.
        settings: Everything else, by name.
    """
    reranked = reranker.fingerprint if isinstance(reranker, ServedModel) else reranker
    named = {**data, "embeddings": encoder.fingerprint, "reranker": str(reranked), **settings}
    return {"documents": _documents(documents)} | {
        name: _hash([repr(value)]) for name, value in named.items()
    }


def _documents(documents: Iterable[Document]) -> str:
    return _hash(repr((one.id, one.page_content, one.metadata)) for one in documents)


def _hash(texts: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode("utf-8", "surrogatepass"))
        digest.update(b"\0")
    return digest.hexdigest()
