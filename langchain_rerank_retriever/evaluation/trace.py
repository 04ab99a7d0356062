"""What a retriever with `explain()` did with each candidate of a query, kept without the documents' texts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, Self, cast

from langchain_core.documents import Document

from langchain_rerank_retriever.errors import DataError
from langchain_rerank_retriever.protocols import (
    ExplainedCandidate,
    Explanation,
    Outcome,
    RelevanceKind,
    Unscored,
    scores_table,
)
from langchain_rerank_retriever.tables import as_html

#: Candidates that would not be returned however large `k` is.
NEVER_RETURNED: tuple[Outcome, ...] = ("below_threshold", "collapsed", "dropped_by_reranker")


class Truncation(NamedTuple):
    """How many of the pairs that a cross-encoder scored it read only in part.

    Attributes:
        pairs: Those longer than the model reads.
        scored: All of which this is known.
    """

    pairs: int
    scored: int


@dataclass(frozen=True, slots=True)
class TracedCandidate:
    """One recalled document with what decided its place; see `ExplainedCandidate` for the scores.

    Attributes:
        document_id: As in the judgements.
        rank: Place in the final order, 1-based.
        recall_rank: Place in the recall order, 1-based.
        recall_score: Higher is better, here and below; None where it is not known.
        dense_score: Cosine similarity.
        lexical_score: BM25 score.
        rerank_score: Cross-encoder logit.
        relevance_score: What the final order is by.
        truncated: Whether the cross-encoder saw only the beginning; None where that is not known.
        outcome: Returned, or why not.
        unscored: Why the cross-encoder did not score it; None where it did, or where none took part.
    """

    document_id: str
    rank: int
    recall_rank: int
    recall_score: float | None
    dense_score: float | None
    lexical_score: float | None
    rerank_score: float | None
    relevance_score: float | None
    truncated: bool | None
    outcome: Outcome
    unscored: Unscored | None

    @classmethod
    def of(cls, candidate: ExplainedCandidate, document_id: str) -> Self:
        """Take over all but the document and what follows from the rest."""
        return cls(
            document_id=document_id,
            rank=candidate.rank,
            recall_rank=candidate.recall_rank,
            recall_score=_number(candidate.recall_score),
            dense_score=_number(candidate.dense_score),
            lexical_score=_number(candidate.lexical_score),
            rerank_score=_number(candidate.rerank_score),
            relevance_score=_number(candidate.relevance_score),
            truncated=None if candidate.truncated is None else bool(candidate.truncated),
            outcome=candidate.outcome,
            unscored=candidate.unscored,
        )


_COLUMNS = tuple(field.name for field in fields(TracedCandidate))


@dataclass(frozen=True, slots=True, repr=False)
class QueryTrace:
    """How one query was answered; a notebook shows it as a table.

    Attributes:
        candidates: Every candidate in final order, returned or not.
        seconds: Wall time by stage: `recall`, `rerank`, `blend`, `total`.
        relevance_kind: What `relevance_score` is.
    """

    candidates: tuple[TracedCandidate, ...]
    seconds: Mapping[str, float]
    relevance_kind: RelevanceKind

    @classmethod
    def of(cls, explanation: Explanation, id_of: Callable[[Document], str]) -> Self:
        """Keep of an explanation what an evaluation needs.

        Args:
            explanation: What a retriever said.
            id_of: Gives the id of a document in the judgements.
        """
        return cls(
            candidates=tuple(
                TracedCandidate.of(candidate, id_of(candidate.document))
                for candidate in explanation.candidates
            ),
            seconds={stage: float(taken) for stage, taken in explanation.seconds.items()},
            relevance_kind=explanation.relevance_kind,
        )

    @property
    def ranking(self) -> tuple[str, ...]:
        """Ids of the candidates that some `k` would return, best first."""
        return tuple(one.document_id for one in self.candidates if one.outcome not in NEVER_RETURNED)

    @property
    def truncation(self) -> Truncation | None:
        """How many of the scored pairs were read only in part; None where the cross-encoder does not tell."""
        known = [
            one.truncated
            for one in self.candidates
            if one.truncated is not None and one.rerank_score is not None
        ]
        return Truncation(sum(known), len(known)) if known else None

    @property
    def reranked(self) -> bool:
        """Whether anything but recall took part in the order."""
        return any(one.rerank_score is not None or one.rank != one.recall_rank for one in self.candidates)

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON types; the candidates as one list a column, which is a third of the size."""
        return {
            "candidates": {
                column: [getattr(candidate, column) for candidate in self.candidates] for column in _COLUMNS
            },
            "seconds": dict(self.seconds),
            "relevance_kind": self.relevance_kind,
        }

    def __repr__(self) -> str:
        returned = sum(one.outcome == "returned" for one in self.candidates)
        return f"<QueryTrace: {returned} of {len(self.candidates)} candidates returned, by {self.relevance_kind}>"

    def _repr_html_(self) -> str:
        """Show every candidate in final order, with what decided its place, as a table in a notebook."""
        named = [["document"], *([one.document_id] for one in self.candidates)]
        cells = [[*name, *why] for name, why in zip(named, scores_table(self.candidates), strict=True)]
        return as_html(cells, f"{len(self.candidates)} candidates, by {self.relevance_kind}")

    @classmethod
    def from_dict(cls, data: Any) -> Self:
        """Make the trace that `to_dict` described.

        Raises:
            DataError: If it did not.
        """
        try:
            columns = [data["candidates"][column] for column in _COLUMNS]
            candidates = tuple(TracedCandidate(*row) for row in zip(*columns, strict=True))
            return cls(candidates, dict(data["seconds"]), cast("RelevanceKind", data["relevance_kind"]))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"This is not a saved trace of a query: {error!r}.") from error


def truncation_of(traces: Mapping[str, QueryTrace]) -> Truncation | None:
    """Add up the truncation of many queries; None where nothing is known of any."""
    known = [one for trace in traces.values() if (one := trace.truncation) is not None]
    return Truncation(sum(one.pairs for one in known), sum(one.scored for one in known)) if known else None


def _number(value: float | None) -> float | None:
    # Scores of foreign stores may be numpy's, which JSON does not take.
    return None if value is None else float(value)
