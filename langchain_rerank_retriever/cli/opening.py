"""A bundle, opened for the length of a command."""

from contextlib import ExitStack
from pathlib import Path

from langchain_rerank_retriever.cross_encoder import CrossEncoderScorer
from langchain_rerank_retriever.retriever import RerankRetriever
from langchain_rerank_retriever.store import FaissStore


def opened_bundle(bundle: Path, opened: ExitStack) -> RerankRetriever:
    """Open a bundle read-only; its store and models are closed with the stack."""
    retriever = RerankRetriever.load_local(bundle, read_only=True)
    for part in (retriever.recall, retriever.reranker):
        if isinstance(part, FaissStore | CrossEncoderScorer):
            opened.callback(part.close)
    return retriever
