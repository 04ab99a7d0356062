"""The demo, made small enough to be interrupted often: a part of numpy's documentation, and seconds of training."""

import os
from typing import Any

#: Names the folder of the small model to the processes that are the command.
MODEL = "TEST_SIGNALS_MODEL"
DOCUMENTS = 120


def make_small() -> None:
    """Within this process have `demo` take the small model, few documents and few queries to judge by."""
    from langchain_rerank_retriever.cli import corpus, demo

    def few(names: Any) -> corpus.DocumentationCorpus:
        return corpus.walk_packages(names, limit=DOCUMENTS)

    demo._language_model = lambda: os.environ[MODEL]
    demo.HELD_OUT_QUERIES = 20
    demo.walk_packages = few
