"""What the programs in here share: a model made on the spot, a few documents, the command."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import tiny
from langchain_core.documents import Document

import langchain_rerank_retriever
from langchain_rerank_retriever import PooledEmbeddings, RerankRetriever

if "site-packages" not in langchain_rerank_retriever.__file__:
    raise SystemExit(f"Not the installed package, but {langchain_rerank_retriever.__file__}.")

TEXTS = {
    "fish": "the fish swims in the river under the stone",
    "bird": "a small bird sits on the door of the house",
    "cat": "a cat sleeps in the garden in the sun",
    "paper": "the man plays music on paper",
}
DOCUMENTS = [Document(id=name, page_content=text) for name, text in TEXTS.items()]


class CheckFailedError(Exception):
    """What is installed does not do what it should."""


def check(right: bool, what: Any) -> None:
    """Fail unless something is right; also under `python -O`."""
    if not right:
        raise CheckFailedError(what)


def model(folder: Path) -> Path:
    """Make a bi-encoder of two small random layers."""
    from sentence_transformers.models import Pooling, Transformer

    language_model = Transformer(str(tiny.save_language_model(folder / "language-model", "bert")))
    modules = [language_model, Pooling(32, pooling_mode="mean")]
    return tiny.save_modules(folder / "model", modules)


def bundle(folder: Path, embeddings: PooledEmbeddings, **settings: Any) -> Path:
    """Save a retriever over the documents."""
    retriever = RerankRetriever.from_documents(
        DOCUMENTS, embeddings=embeddings, recall_mode="hybrid", k=2, **settings
    )
    retriever.save_local(folder)
    return folder


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run `langchain-rerank` of this environment."""
    program = Path(sys.executable).with_name("langchain-rerank")
    given = [str(program), *map(str, arguments)]
    return subprocess.run(given, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
