"""A cross-encoder as a LangChain document compressor.

`CrossEncoderReranker` has the name and the fields of LangChain's class, and takes its place in a
`ContextualCompressionRetriever`; unlike that one it keeps ids and scores, and returns copies.

```python
from langchain_rerank_retriever import CrossEncoderReranker

reranker = CrossEncoderReranker(model=any_cross_encoder, top_n=2)
best = reranker.compress_documents(documents, "gift cards")
print([one.id for one in best])  # ['returns', 'payment']
```

In a `RerankRetriever` a cross-encoder needs no compressor around it. One is of use as a stage of a cascade, where it
says how many documents it leaves: `reranker=[CrossEncoderReranker(model=small, top_n=30), large]`; see
`langchain_rerank_retriever.retriever`. The model itself: `langchain_rerank_retriever.cross_encoder`.
"""

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from langchain_core.callbacks import Callbacks
from langchain_core.cross_encoders import BaseCrossEncoder
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.runnables import run_in_executor
from pydantic import ConfigDict, Field

from langchain_rerank_retriever.errors import ScoringError, valid_fields
from langchain_rerank_retriever.protocols import FloatArray

__all__ = ["CrossEncoderReranker"]


class CrossEncoderReranker(BaseDocumentCompressor):
    """Orders documents by a cross-encoder and keeps the best.

    Has the fields of LangChain's class of that name and takes its place in a
    ``ContextualCompressionRetriever``; unlike that class it keeps ids and scores and returns copies.

    Attributes:
        model: Any LangChain cross-encoder; higher scores are more relevant.
        top_n: How many documents to return, at least 1.
        score_threshold: Documents that score lower are left out; ``None`` leaves out none.

    Raises:
        InvalidArgumentError: A field is missing, unknown, or has a value that it cannot have.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid", protected_namespaces=())

    model: BaseCrossEncoder
    top_n: int = Field(default=3, ge=1)
    score_threshold: float | None = None

    def __init__(self, model: Any = None, **fields: Any) -> None:
        with valid_fields(type(self).__name__):
            super().__init__(**{"model": model, **fields})

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """Return the best documents, best first; equal scores keep the order of the input.

        Args:
            documents: Are not changed; an empty list gives an empty list.
            query: What they are scored against.
            callbacks: Not used; part of LangChain's signature.

        Returns:
            Copies whose metadata gain ``relevance_score`` and ``rerank_score`` (the model's score) and
            ``relevance_kind`` (``"rerank_score"``).

        Raises:
            ScoringError: The model gave NaN, infinity, or not one score a document.
        """
        del callbacks
        if not documents:
            return []
        return self._best(documents, self.model.score(_pairs(documents, query)))

    async def acompress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """Do as `compress_documents` without blocking the event loop: by the model's ``ascore``, else in a thread."""
        del callbacks
        if not documents:
            return []
        pairs = _pairs(documents, query)
        ascore = getattr(self.model, "ascore", None)
        scores = await (run_in_executor(None, self.model.score, pairs) if ascore is None else ascore(pairs))
        return self._best(documents, scores)

    def _best(self, documents: Sequence[Document], raw: Iterable[Any]) -> list[Document]:
        scores = _checked(raw, len(documents))
        order = np.argsort(-scores, kind="stable")
        if self.score_threshold is not None:
            order = order[scores[order] >= self.score_threshold]
        return [_with_score(documents[place], float(scores[place])) for place in order[: self.top_n]]


def _pairs(documents: Sequence[Document], query: str) -> list[tuple[str, str]]:
    return [(query, document.page_content) for document in documents]


def _checked(raw: Iterable[Any], expected: int) -> FloatArray:
    # Foreign models return lists, arrays, or a map; two columns would be read as twice the documents.
    try:
        scores: FloatArray = np.asarray(list(raw), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ScoringError(
            f"Expected {expected} numbers from the cross-encoder, got {raw!r} ({error})."
        ) from error
    if scores.ndim == 2 and scores.shape[1] == 1:
        scores = scores[:, 0]
    if scores.shape != (expected,):
        raise ScoringError(
            f"Expected {expected} scores from the cross-encoder, one a document, got shape {scores.shape}. "
            "A model with several labels has to be reduced to one score first."
        )
    bad = np.flatnonzero(~np.isfinite(scores))
    if bad.size:
        raise ScoringError(
            f"The cross-encoder gave {scores[bad[0]]} for document {bad[0]} of {expected}; expected a finite "
            "number."
        )
    return scores


def _with_score(document: Document, score: float) -> Document:
    metadata = copy.deepcopy(document.metadata)
    metadata |= {"relevance_score": score, "rerank_score": score, "relevance_kind": "rerank_score"}
    return document.model_copy(update={"metadata": metadata})
