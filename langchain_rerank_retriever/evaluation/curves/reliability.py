"""How true the probabilities of a fitted blend are: the share that is relevant of those with a like probability."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.evaluation.paired import Floats
from langchain_rerank_retriever.evaluation.result import Evaluation
from langchain_rerank_retriever.tables import as_html

#: Of the expected calibration error, whatever is drawn: it grows with the number of bins, and ten are usual.
ERROR_BINS = 10

#: A share of 200 is known to about 7 %.
_CANDIDATES_PER_BIN = 200
_MOST_BINS = 100


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Candidates whose probabilities are alike.

    Attributes:
        probability: Their mean.
        share: How many of them are relevant, 0 to 1.
        count: How many there are.
        interval: 95 % interval of the share (Wilson 1927), candidates taken as independent.
    """

    probability: float
    share: float
    count: int
    interval: tuple[float, float]


@dataclass(frozen=True, slots=True, repr=False)
class Reliability:
    """How true the probabilities of one system are; a notebook shows it as a table.

    Attributes:
        name: The system's.
        bins: By rising probability.
        expected_calibration_error: Mean over the candidates of the difference between probability and share of their
            bin, if there were ten bins (Naeini et al. 2015); 0 is true.
        candidates: How many there are.
    """

    name: str
    bins: tuple[ReliabilityBin, ...]
    expected_calibration_error: float
    candidates: int

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON types."""
        return {**asdict(self), "bins": [asdict(one) for one in self.bins]}

    def __repr__(self) -> str:
        return f"<Reliability of {self.name!r}: {self._words()}>"

    def _repr_html_(self) -> str:
        """Show as a table in a notebook."""
        header = ["probability", "share that is relevant", "95% interval", "candidates"]
        rows = [
            [
                f"{one.probability:.4f}",
                f"{one.share:.4f}",
                "{:.4f} to {:.4f}".format(*one.interval),
                str(one.count),
            ]
            for one in self.bins
        ]
        return as_html([header, *rows], f"{self.name}: {self._words()}")

    def _words(self) -> str:
        error = self.expected_calibration_error
        return f"expected calibration error {error:.4f} over {self.candidates} candidates"


def reliability(evaluation: Evaluation, *, bins: int | None = None) -> Reliability:
    """Hold the `relevance_score` of every candidate against the judgements.

    Candidates without a judgement count as not relevant. Candidates that the cross-encoder did not score have no
    probability and take no part.

    Args:
        evaluation: Of a retriever whose `relevance_kind` is `"probability"`: one with a fitted blend.
        bins: Each holds as many candidates as any other, as far as equal probabilities allow (Nguyen and O'Connor
            2015). None takes one for every 200 candidates, from 10 to 100 of them: nearly all candidates are not
            relevant, so that few bins would say nothing of probabilities that are not near 0.

    Raises:
        InvalidArgumentError: If no candidate has a probability, or `bins` is below 1.
    """
    scored = [
        (one.relevance_score, evaluation.qrels.get(query_id, {}).get(one.document_id, 0) > 0)
        for query_id, trace in evaluation.traces.items()
        if trace.relevance_kind == "probability"
        for one in trace.candidates
        if one.relevance_score is not None
    ]
    if not scored:
        raise InvalidArgumentError(
            f"The evaluation {evaluation.name!r} has no candidates with a probability. Only a retriever with a fitted "
            f"blend, as tune() makes it, gives one."
        )
    probability, relevant = (np.array(column, dtype=np.float64) for column in zip(*scored, strict=True))
    return reliability_of(probability, relevant, bins=bins, name=evaluation.name)


def has_probabilities(evaluation: Evaluation) -> bool:
    """Whether `reliability` can be computed."""
    return any(
        trace.relevance_kind == "probability"
        and any(one.relevance_score is not None for one in trace.candidates)
        for trace in evaluation.traces.values()
    )


def reliability_of(
    probability: Floats, relevant: Floats, *, bins: int | None = None, name: str = "probabilities"
) -> Reliability:
    """Hold probabilities against what is relevant.

    Args:
        probability: Shape `(n,)`, n at least 1.
        relevant: 1.0 or 0.0 for each.
        bins: As for `reliability`.
        name: What they are of.

    Raises:
        InvalidArgumentError: If there are none, or `bins` is below 1.
    """
    if bins is None:
        bins = min(max(probability.size // _CANDIDATES_PER_BIN, ERROR_BINS), _MOST_BINS)
    if bins < 1 or probability.size == 0 or probability.shape != relevant.shape:
        raise InvalidArgumentError(
            f"Expected at least one bin and one probability, and as many judgements; got {bins} bins, "
            f"{probability.size} probabilities and {relevant.size} judgements."
        )
    error = sum(
        some.size * abs(some.mean() - theirs.mean())
        for some, theirs in _binned(probability, relevant, ERROR_BINS)
    )
    return Reliability(
        name=name,
        bins=tuple(_bin(some, theirs) for some, theirs in _binned(probability, relevant, bins)),
        expected_calibration_error=float(error) / probability.size,
        candidates=int(probability.size),
    )


def _binned(probability: Floats, relevant: Floats, bins: int) -> Iterator[tuple[Floats, Floats]]:
    """Divide probabilities and judgements into bins of equal mass, without those that ties leave empty."""
    # As scikit-learn computes them: the last bit decides on which side of an edge its equals fall.
    edges = np.percentile(probability, np.linspace(0, 1, bins + 1) * 100)
    places = np.searchsorted(edges[1:-1], probability)
    for place in np.unique(places):
        yield probability[places == place], relevant[places == place]


def _bin(probability: Floats, relevant: Floats) -> ReliabilityBin:
    from scipy.stats import binomtest

    test = binomtest(int(relevant.sum()), relevant.size)
    interval = test.proportion_ci(0.95, method="wilson")
    return ReliabilityBin(
        float(probability.mean()),
        float(relevant.mean()),
        int(relevant.size),
        (float(interval.low), float(interval.high)),
    )
