"""What every backend does with what its model computed."""

import numpy as np

from langchain_rerank_retriever.errors import ScoringError
from langchain_rerank_retriever.protocols import FloatArray


def one_logit(scores: FloatArray) -> FloatArray:
    """Reduce (batch, 1) or (batch, 2) logits to (batch,); with two labels, relevant minus not relevant."""
    if scores.ndim == 1:
        return scores
    return scores[:, 0] if scores.shape[1] == 1 else scores[:, 1] - scores[:, 0]


def checked_values(values: FloatArray, count: int) -> FloatArray:
    """Return the values of a batch if there is one a row and all are finite.

    Raises:
        ScoringError: Saying what is wrong.
    """
    if len(values) != count:
        raise ScoringError(f"Expected {count} values from the model, got {len(values)}.")
    if not np.isfinite(values).all():
        raise ScoringError(
            "The model gave NaN or infinity. Its weights may be damaged, or the precision too small: "
            "try precision='float32'."
        )
    return values
