"""Importing the modules does no work and loads no torch."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["embeddings", "cross_encoder", "reranker", "runtime.serving.worker"])
def test_importing_loads_no_torch(module: str) -> None:
    code = (
        f"import sys, threading, langchain_rerank_retriever.{module}\n"
        "print(sorted({'torch', 'transformers', 'sentence_transformers'} & set(sys.modules)),"
        " threading.active_count())"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[] 1"
