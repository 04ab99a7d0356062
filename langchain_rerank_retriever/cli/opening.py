"""A bundle, opened for the length of a command."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from langchain_rerank_retriever.bundled_model import Placed
from langchain_rerank_retriever.bundled_reranker import own_models
from langchain_rerank_retriever.cli.output import say
from langchain_rerank_retriever.retriever import RerankRetriever
from langchain_rerank_retriever.store import FaissStore


def opened_bundle(bundle: Path, opened: ExitStack, placed: Placed) -> RerankRetriever:
    """Open a bundle read-only, its models as they are asked to run; store and models are closed with the stack."""
    retriever = RerankRetriever.load_local(bundle, read_only=True, **placed.given())
    if isinstance(retriever.recall, FaissStore):
        opened.callback(retriever.recall.close)
    for model in own_models(retriever.reranker) or ():
        opened.callback(model.close)
    tell_quantisation(retriever.reranker)
    return retriever


def tell_quantisation(reranker: Any) -> None:
    """Say what int8 costs each cross-encoder that runs in it."""
    for model in own_models(reranker) or ():
        if (told := model.quantisation) is not None:
            say(f"int8: correlation {told.correlation:.4f} with float32 on {told.texts} pairs.", err=True)
