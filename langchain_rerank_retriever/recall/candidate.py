"""What recall is asked for and what it gives."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from langchain_core.documents import Document

from langchain_rerank_retriever.protocols import RecallMode
from langchain_rerank_retriever.recall.fusion import Floats

StageScore = Literal["dense", "lexical"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One recalled document; its rank is its place in the list.

    Attributes:
        document: As the source gave it.
        recall_score: What the source ordered by. Of a FaissStore higher is better; of a foreign store it is the
            number that store gave, on the store's own scale and in its own direction.
        dense_score: Cosine similarity of query and document, None where the source cannot tell.
        lexical_score: BM25, higher is better, 0.0 where no term matches, None where the source cannot tell.
    """

    document: Document
    recall_score: float | None = None
    dense_score: float | None = None
    lexical_score: float | None = None


@dataclass(frozen=True, slots=True)
class RecallRequest:
    """One query to a recall source.

    Attributes:
        query: The query text.
        fetch_k: How many candidates at most.
        mode: Which of the source's orders; None is the source's only or usual one.
        filter: Passed to the store as it is; None is no filter.
        stage_scores: The scores that every candidate must carry where the source can give them, whatever it is
            ordered by.
        fusion: Weights of the standardised dense and lexical scores for hybrid recall; None fuses by rank.
        search_kwargs: For foreign stores: further arguments of their search methods, such as Milvus's `expr`; None is
            none.
    """

    query: str
    fetch_k: int
    mode: RecallMode | None = None
    filter: Any = None
    stage_scores: frozenset[StageScore] = frozenset()
    fusion: Mapping[str, float] | None = None
    search_kwargs: Mapping[str, Any] | None = None


def stage_columns(candidates: Sequence[Candidate]) -> dict[str, Floats]:
    """Return the candidates' scores by stage, each of shape ``(n,)``, NaN where there is none."""
    return {
        "recall": _column([candidate.recall_score for candidate in candidates]),
        "dense": _column([candidate.dense_score for candidate in candidates]),
        "lexical": _column([candidate.lexical_score for candidate in candidates]),
    }


def _column(values: Sequence[float | None]) -> Floats:
    return np.array([np.nan if value is None else value for value in values], float)


class RecallSource(Protocol):
    """Anything that candidates can be recalled from."""

    @property
    def stage_scores(self) -> frozenset[StageScore]:
        """The stage scores that this source can give for any of its documents."""
        ...

    @property
    def score_is_opaque(self) -> bool:
        """Whether a `recall_score` is a foreign number: its scale, and which way is better, is not known."""
        ...

    def recall(self, request: RecallRequest) -> list[Candidate]:
        """Return at most `fetch_k` candidates, best first; fewer is normal, none is possible."""
        ...

    async def arecall(self, request: RecallRequest) -> list[Candidate]:
        """Do the same without blocking the event loop."""
        ...

    def scores_of(
        self, query: str, ids: Iterable[str], wanted: frozenset[StageScore]
    ) -> dict[StageScore, dict[str, float]]:
        """Score given documents for a query.

        Args:
            query: The query text.
            ids: Of the documents.
            wanted: The stages whose scores are asked for.

        Returns:
            By stage, by id; what the source does not know is left out.
        """
        ...


def document_id(document: Document) -> str | None:
    """Give a document's own id, else the primary key that Milvus (`pk`) or Qdrant (`_id`) leave in its metadata."""
    for name in (document.id, document.metadata.get("pk"), document.metadata.get("_id")):
        if name is not None and name != "":
            return str(name)
    return None


def document_key(document: Document) -> str:
    """Name a document, for removing duplicates and joining lists: by its id, else by a hash of the text."""
    name = document_id(document)
    if name is not None:
        return f"id:{name}"
    return "text:" + hashlib.sha256(document.page_content.encode("utf-8", "surrogatepass")).hexdigest()


def unique(candidates: list[Candidate], limit: int) -> list[Candidate]:
    """Keep the first candidate of every document, at most `limit` of them."""
    first: dict[str, Candidate] = {}
    for candidate in candidates:
        first.setdefault(document_key(candidate.document), candidate)
    return list(first.values())[:limit]
