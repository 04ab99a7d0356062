"""The user's own data to better models.

`tune` is the one call: `tuning` checks what it is given, `phases` are its steps in order (`scored` those for scored
sentence pairs), `run_folder` keeps what is done for a run that goes on after a kill. In a launch of several processes
`following` has the others train with the main one, over the channel of `processes`. The rooms behind them:

* `data`: the user's data, read, checked and split; `weak_pairs` and `generate_queries` make some where there is none.
* `fit`: data to trained encoders, by a `Recipe`.
* `proof`: what held-out queries prove, and the decision that follows.
"""

from langchain_rerank_retriever.training.data import (
    DataCard,
    GeneratedQueries,
    WeakPairs,
    data_card,
    generate_queries,
    weak_pairs,
)
from langchain_rerank_retriever.training.fit.recipe import Recipe
from langchain_rerank_retriever.training.phases import TuningResult
from langchain_rerank_retriever.training.proof.report import TuningReport
from langchain_rerank_retriever.training.tuning import tune

__all__ = [
    "DataCard",
    "GeneratedQueries",
    "Recipe",
    "TuningReport",
    "TuningResult",
    "WeakPairs",
    "data_card",
    "generate_queries",
    "tune",
    "weak_pairs",
]
