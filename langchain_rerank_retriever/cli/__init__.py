"""The command `langchain-rerank`.

Standard output is data, standard error is progress. Exit codes: 0 it went well, 1 the answer is "no", 2 a mistake of
the user's, told in one line.
"""

from langchain_rerank_retriever.cli.app import main

__all__ = ["main"]
