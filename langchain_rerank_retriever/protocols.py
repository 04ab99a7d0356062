"""The few shapes that parts share, so that they need not know each other: models, and what a retriever explains.

A model of yours needs none of this: any LangChain embeddings or cross-encoder will do. One that has the methods of
these protocols is used better, without inheriting anything:

* `Encoder`: embeddings that give numpy and have a fingerprint, so that a store knows the model again;
* `PairScorer` and `AsyncPairScorer`: a cross-encoder whose `PairScores` also tell which pairs were cut, and which
  keeps a deadline.

What `RerankRetriever.explain` gives is an `Explanation` with an `ExplainedCandidate` for each document that was
recalled. Any retriever of yours that has such an `explain` is an `Explainer`, and is judged as closely:

```python
from langchain_rerank_retriever import RerankRetriever

retriever = RerankRetriever.from_documents(documents, embeddings=any_embeddings, reranker=any_cross_encoder)
best = retriever.explain("gift cards").candidates[0]
print(best.document.id, best.rank, best.recall_rank, best.rerank_score, best.outcome)  # returns 1 3 57.0 returned
```

See `langchain_rerank_retriever.retriever`, `langchain_rerank_retriever.evaluation`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from langchain_core.documents import Document
from numpy.typing import NDArray

from langchain_rerank_retriever.tables import as_html, known_columns, shortened

__all__ = [
    "AsyncPairScorer",
    "Encoder",
    "ExplainedCandidate",
    "Explainer",
    "Explanation",
    "PairScorer",
    "PairScores",
]

FloatArray = NDArray[np.float32]
TextKind = Literal["document", "query"]
RecallMode = Literal["dense", "lexical", "hybrid"]
RelevanceKind = Literal["probability", "rerank_score", "recall_score"]
Outcome = Literal["returned", "below_k", "below_threshold", "collapsed", "dropped_by_reranker"]
Unscored = Literal["timeout", "early_stop"]

#: Metadata keys that a retriever writes into the copies it returns. A store strips them when such a copy is
#: added again, so that a score never turns into metadata.
SCORE_KEYS = (
    "relevance_score",
    "relevance_kind",
    "recall_score",
    "recall_rank",
    "dense_score",
    "lexical_score",
    "rerank_score",
    "query_timed_out",
)


@runtime_checkable
class Encoder(Protocol):
    """A bi-encoder that gives its vectors as numpy and knows its own identity."""

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hash of all that decides the vectors: weights, tokenizer, pooling, prompts, normalisation, length."""
        ...

    def encode(self, texts: Sequence[str], *, kind: TextKind = "document") -> FloatArray:
        """Embed texts.

        Args:
            texts: The texts; an empty list is allowed.
            kind: Which of the model's prompts is put before the texts.

        Returns:
            Shape ``(len(texts), dimension)``, float32.
        """
        ...


@dataclass(frozen=True, slots=True)
class PairScores:
    """What a cross-encoder says of a list of (query, passage) pairs.

    Attributes:
        scores: One logit a pair, shape ``(n,)``, float32; higher is more relevant. NaN where a deadline came
            before the pair was scored, and nowhere else.
        truncated: Whether the pair was longer than the model reads, shape ``(n,)``, bool; False where it is
            not scored. None where the cross-encoder cannot tell.
    """

    scores: FloatArray
    truncated: NDArray[np.bool_] | None


@runtime_checkable
class PairScorer(Protocol):
    """A cross-encoder that also tells which pairs it had to cut, and keeps a deadline by itself."""

    def score_pairs(
        self, text_pairs: Sequence[tuple[str, str]], *, deadline: float | None = None
    ) -> PairScores:
        """Score (query, passage) pairs; an empty list gives empty arrays.

        Args:
            text_pairs: The pairs.
            deadline: A time of `time.monotonic` by which to return, the pairs at the head of the list scored first;
                None scores all.
        """
        ...


@runtime_checkable
class AsyncPairScorer(Protocol):
    """A pair scorer that can be awaited without a thread."""

    async def ascore_pairs(
        self, text_pairs: Sequence[tuple[str, str]], *, deadline: float | None = None
    ) -> PairScores:
        """Score (query, passage) pairs; see `PairScorer.score_pairs`."""
        ...


@dataclass(frozen=True, slots=True)
class ExplainedCandidate:
    """One recalled document with everything that decided its place.

    Attributes:
        document: As recalled, without score keys in its metadata.
        rank: Place in the final order, 1-based.
        recall_rank: Place in the recall order, 1-based.
        recall_score: What recall ordered by; higher is better, or None where the source gives no score.
        dense_score: Cosine similarity of query and document, None where it is not known.
        lexical_score: BM25 score, 0.0 where no term matches, None where it is not known.
        rerank_score: Cross-encoder logit, None where nothing was re-ranked.
        blended_score: Weighted sum of the standardised stage scores, None without a fitted blend.
        relevance_score: What the final order is by.
        truncated: Whether the cross-encoder saw only the beginning; None where that is not known.
        outcome: Returned, or why not. ``"collapsed"``: a better one of the same parent stands for it.
        unscored: Why the cross-encoder did not score it: ``"timeout"``, there was no time left, which may be why a
            `CrossEncoderReranker` dropped it; ``"early_stop"``, the best were too far ahead. None where it did, or
            where no cross-encoder took part.
        dropped_by: Which stage of re-ranking left it out, counted from 1; None where none did.
    """

    document: Document
    rank: int
    recall_rank: int
    recall_score: float | None
    dense_score: float | None
    lexical_score: float | None
    rerank_score: float | None
    blended_score: float | None
    relevance_score: float | None
    truncated: bool | None
    outcome: Outcome
    unscored: Unscored | None = None
    dropped_by: int | None = None


#: As many candidates as a reader of a notebook looks at.
_SHOWN = 20


@dataclass(frozen=True, slots=True, repr=False)
class Explanation:
    """How a query was answered; a notebook shows it as a table.

    Attributes:
        query: The query.
        documents: What ``invoke`` returns: new documents whose metadata carry the scores, best first.
        candidates: Every candidate in final order, returned or not.
        seconds: Wall time by stage: ``recall``, ``rerank``, ``blend``, ``total``, and ``diversify`` if that was
            asked for.
        relevance_kind: What ``relevance_score`` is.
    """

    query: str
    documents: tuple[Document, ...]
    candidates: tuple[ExplainedCandidate, ...]
    seconds: Mapping[str, float]
    relevance_kind: RelevanceKind

    @property
    def timed_out(self) -> bool:
        """Whether the retriever's ``timeout`` left candidates unscored; ``query_timed_out`` in returned metadata."""
        return any(one.unscored == "timeout" for one in self.candidates)

    @property
    def scored(self) -> int:
        """How many candidates the re-ranker gave a score."""
        return sum(one.rerank_score is not None for one in self.candidates)

    @property
    def truncated(self) -> int | None:
        """How many of the scored pairs the cross-encoder read only in part; None where it does not tell."""
        known = [one.truncated for one in self.candidates if one.truncated is not None]
        return sum(known) if known else None

    def __repr__(self) -> str:
        return (
            f"<Explanation of {shortened(self.query)!r}: {len(self.documents)} of {len(self.candidates)} candidates "
            f"returned, by {self.relevance_kind}>"
        )

    def _repr_html_(self) -> str:
        """Show the first candidates in final order, with what decided their places, as a table in a notebook."""
        shown = self.candidates[:_SHOWN]
        named = [["document", "text"]]
        named += [[str(one.document.id), shortened(one.document.page_content)] for one in shown]
        rest = f"; the first {_SHOWN}" if len(self.candidates) > _SHOWN else ""
        cells = [[*name, *why] for name, why in zip(named, scores_table(shown), strict=True)]
        return as_html(cells, f"{shortened(self.query)}: {len(self.candidates)} candidates{rest}")


def scores_table(candidates: Sequence[Any]) -> list[list[str]]:
    """Write what decided the places of candidates as rows of text, the header first.

    Args:
        candidates: With the attributes of `ExplainedCandidate`. A column of which nothing is known is left out.
    """
    names = ("recall_rank", "dense_score", "lexical_score", "rerank_score", "relevance_score", "outcome")
    header = ["recalled", "dense", "BM25", "cross-encoder", "relevance", "outcome"]
    return known_columns([header, *([_cell(getattr(one, name)) for name in names] for one in candidates)])


def _cell(value: float | str | None) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value).replace("_", " ")


class Explainer(Protocol):
    """A retriever that can say how it came to its answer."""

    def explain(self, query: str) -> Explanation:
        """Answer a query and keep every candidate with its scores."""
        ...
