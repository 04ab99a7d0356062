"""Judge any LangChain retriever on queries with known answers, and compare several without fooling oneself.

`evaluate` asks a retriever, `Judge` takes rankings that already exist; both give an `Evaluation`, and
`compare` says which of several is better, by how much, and whether there are enough queries to tell.
"""

from langchain_rerank_retriever.evaluation.compare import compare
from langchain_rerank_retriever.evaluation.comparison import ComparedSystem, Comparison
from langchain_rerank_retriever.evaluation.evaluate import evaluate
from langchain_rerank_retriever.evaluation.judge import Judge, judge
from langchain_rerank_retriever.evaluation.measures import DEFAULT_MEASURES
from langchain_rerank_retriever.evaluation.result import Evaluation

__all__ = [
    "DEFAULT_MEASURES",
    "ComparedSystem",
    "Comparison",
    "Evaluation",
    "Judge",
    "compare",
    "evaluate",
    "judge",
]
