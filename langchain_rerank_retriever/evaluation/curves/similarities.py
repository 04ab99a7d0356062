"""How far the similarities of what is relevant and of what is not lie apart, from one run."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.evaluation.paired import Floats
from langchain_rerank_retriever.evaluation.result import Evaluation


@dataclass(frozen=True, slots=True, init=False, repr=False, eq=False)
class Similarities:
    """Similarities of a query with documents that answer it, and with documents that do not.

    Attributes:
        name: Of the model or system.
        positives: Of pairs that belong together, given in any shape, kept as `(n,)`; higher is more similar.
        negatives: Of pairs that do not, likewise `(m,)`.

    Raises:
        InvalidArgumentError: If one is empty or holds what is no finite number.
    """

    name: str
    positives: Floats
    negatives: Floats

    def __init__(self, name: str, positives: ArrayLike, negatives: ArrayLike) -> None:
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "positives", _checked("positives", positives))
        object.__setattr__(self, "negatives", _checked("negatives", negatives))

    @property
    def separation(self) -> float:
        """In what share of pairs of the two a positive is the more similar, a tie counting half.

        It is the area under the ROC curve: 1 where every positive is above every negative, 0.5 at chance.
        """
        from scipy.stats import mannwhitneyu

        pairs = self.positives.size * self.negatives.size
        return float(mannwhitneyu(self.positives, self.negatives).statistic / pairs)

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON types."""
        return {
            "name": self.name,
            "positives": self.positives.tolist(),
            "negatives": self.negatives.tolist(),
            "separation": self.separation,
        }

    def __repr__(self) -> str:
        return (
            f"<Similarities of {self.name!r}: {self.positives.size} positives are above {self.negatives.size} "
            f"negatives in {self.separation:.1%} of pairs>"
        )


def similarities(evaluation: Evaluation) -> Similarities:
    """Divide the `dense_score` of every candidate into those of relevant documents and of others.

    They are of what was recalled: relevant documents that were not are missing, and the negatives are the most similar
    ones of all documents. Candidates without a judgement count as not relevant.

    Args:
        evaluation: Of a retriever with `explain()` that recalls by vectors, such as `RerankRetriever`.

    Raises:
        InvalidArgumentError: If no candidate of one of the two kinds has a `dense_score`.
    """
    sides: tuple[list[float], list[float]] = ([], [])
    for query_id, trace in evaluation.traces.items():
        judged = evaluation.qrels.get(query_id, {})
        for one in trace.candidates:
            if one.dense_score is not None:
                sides[judged.get(one.document_id, 0) <= 0].append(one.dense_score)
    positives, negatives = sides
    if not positives or not negatives:
        raise InvalidArgumentError(
            f"The evaluation {evaluation.name!r} has {len(positives)} relevant and {len(negatives)} other candidates "
            f"with a dense score; expected some of both, as a retriever gives that has vectors and explain()."
        )
    return Similarities(evaluation.name, positives, negatives)


def has_similarities(evaluation: Evaluation) -> bool:
    """Whether `similarities` can be computed."""
    found = {
        evaluation.qrels.get(query_id, {}).get(one.document_id, 0) > 0
        for query_id, trace in evaluation.traces.items()
        for one in trace.candidates
        if one.dense_score is not None
    }
    return len(found) == 2


def _checked(what: str, values: ArrayLike) -> Floats:
    array = np.asarray(values, dtype=np.float64).ravel()
    if array.size == 0 or not np.isfinite(array).all():
        raise InvalidArgumentError(
            f"{what} must be finite numbers, at least one; got {array.size} of which {int(np.isfinite(array).sum())} "
            f"are finite."
        )
    return array
