"""What a tuning run starts from, checked and split."""

from collections.abc import Mapping
from dataclasses import dataclass

from langchain_core.documents import Document

from langchain_rerank_retriever.training.data.reading import TrainingData
from langchain_rerank_retriever.training.fit.recipe import DEFAULT_RECIPE, Recipe
from langchain_rerank_retriever.training.proof.fit_blend import Tables
from langchain_rerank_retriever.training.proof.stages import StageTable

#: Queries of the two held-out sets are kept in one table, under names that cannot collide.
DEV, TEST = "dev ", "test "


@dataclass(frozen=True, slots=True)
class Inputs:
    """Documents and queries of a run.

    Attributes:
        corpus: Document id to document.
        train: What the models train on.
        dev: Held out of training: what weights are fitted on and the decision is made by, cross-fitted.
        test: What only the report's figures come from; None where the user gave none, and they come from `dev`.
        seed: Of everything random.
        recipe: How the encoders are trained.
    """

    corpus: Mapping[str, Document]
    train: TrainingData
    dev: TrainingData
    test: TrainingData | None
    seed: int
    recipe: Recipe = DEFAULT_RECIPE

    @property
    def texts(self) -> dict[str, str]:
        """Document id to text."""
        return {key: document.page_content for key, document in self.corpus.items()}

    @property
    def queries(self) -> dict[str, str]:
        """Every held-out query."""
        queries = {DEV + key: text for key, text in self.dev.queries.items()}
        if self.test is not None:
            queries |= {TEST + key: text for key, text in self.test.queries.items()}
        return queries


def part(tables: Tables, prefix: str) -> dict[str, StageTable]:
    """Pick the tables of one of the two sets, under the names that its queries have in the data."""
    return {key.removeprefix(prefix): table for key, table in tables.items() if key.startswith(prefix)}
