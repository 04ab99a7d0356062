"""The user's own data to better models.

`tune` is the one call: `tuning` checks what it is given, `phases` are its steps in order. The rooms behind them:

* `data`: the user's data, read, checked and split.
* `fit`: data to trained encoders.
* `proof`: what held-out queries prove, and the decision that follows.
"""

from langchain_rerank_retriever.training.phases import TuningResult
from langchain_rerank_retriever.training.proof.report import TuningReport
from langchain_rerank_retriever.training.tuning import tune

__all__ = ["TuningReport", "TuningResult", "tune"]
