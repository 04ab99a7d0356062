"""The user's own data to better models: read, split, train, mine, blend, promote, report.

`tune` is the one call; the modules are its steps in the order of their names in it.
"""

from langchain_rerank_retriever.training.phases import TuningResult
from langchain_rerank_retriever.training.report import TuningReport
from langchain_rerank_retriever.training.tuning import tune

__all__ = ["TuningReport", "TuningResult", "tune"]
