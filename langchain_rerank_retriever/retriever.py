"""The retriever: recall, re-rank, blend, return."""

import time
import warnings
from collections.abc import Iterable, Sequence
from typing import Any, Self

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import InMemoryVectorStore, VectorStore
from pydantic import ConfigDict, PrivateAttr, ValidationError, field_validator

from langchain_rerank_retriever import bundle
from langchain_rerank_retriever.blend import Blend
from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.plan import Plan, checked_count, checked_threshold, make_plan
from langchain_rerank_retriever.protocols import Explanation, RecallMode
from langchain_rerank_retriever.ranking import explained, rank, returned_documents
from langchain_rerank_retriever.recall import Candidate, source_of
from langchain_rerank_retriever.rescore import Rescored, arescore, check_reranker, rescore
from langchain_rerank_retriever.store import FaissStore


class RerankRetriever(BaseRetriever):
    """Recall candidates, re-rank them with a cross-encoder, return the best with their scores.

    Setup::

        pip install langchain-rerank-retriever

    Instantiate::

        from langchain_rerank_retriever import CrossEncoderScorer, PooledEmbeddings, RerankRetriever

        retriever = RerankRetriever.from_documents(
            documents,
            embeddings=PooledEmbeddings("sentence-transformers/all-MiniLM-L6-v2"),
            reranker=CrossEncoderScorer("cross-encoder/ms-marco-MiniLM-L6-v2"),
        )

    Use::

        for document in retriever.invoke("how do I ...?", k=3):
            document.page_content, document.metadata["relevance_score"]

    Args:
        recall: A `FaissStore`, any `VectorStore`, any `BaseRetriever`, or a list of those, fused by reciprocal rank.
        reranker: A `CrossEncoderScorer` or any other `BaseCrossEncoder`, any `BaseDocumentCompressor`, or None for
            recall only.
        k: How many documents to return at most.
        fetch_k: How many candidates to recall and re-rank; where it is below `k`, `k` candidates are recalled.
        recall_mode: `"dense"`, `"lexical"` (BM25) or `"hybrid"`; None is dense, or a foreign source's own order.
        score_threshold: Leave out documents whose `relevance_score` is lower. Only a fitted blend gives that score a
            scale (a probability); without one, a warning says so once.
        blend: Fitted weights of the stages, as `tune` makes them; None orders by the re-ranker alone.
        timeout: Seconds after which no further pairs are scored. What is scored by then is ranked; the rest follows
            in recall order, without a `rerank_score`.

    Every returned document is a copy. Its metadata carry `relevance_score` (what it was ordered by) and
    `relevance_kind` (`"probability"`, `"rerank_score"` or `"recall_score"`), `recall_rank` (1-based), and
    `recall_score`, `dense_score`, `lexical_score`, `rerank_score` where they exist. What `timeout` left unscored is
    of the kind `"recall_score"`; a recall source without scores gives a rank and no `relevance_score`.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    recall: Any
    reranker: Any = None
    k: int = 4
    fetch_k: int = 100
    recall_mode: RecallMode | None = None
    score_threshold: float | None = None
    blend: Blend | None = None
    timeout: float | None = None

    _report: dict[str, Any] | None = PrivateAttr(default=None)
    _warned: bool = PrivateAttr(default=False)

    def __init__(self, recall: Any = None, **fields: Any) -> None:
        try:
            super().__init__(**{"recall": recall, **fields})
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(map(str, one['loc'])) or 'arguments'}: {one['msg']}" for one in error.errors()
            )
            raise InvalidArgumentError(f"RerankRetriever cannot be made: {problems}.") from error

    @field_validator("recall")
    @classmethod
    def _check_recall(cls, recall: Any) -> Any:
        source_of(recall)
        return recall

    @field_validator("reranker")
    @classmethod
    def _check_reranker(cls, reranker: Any) -> Any:
        if reranker is not None:
            check_reranker(reranker)
        return reranker

    @field_validator("k", "fetch_k", mode="before")
    @classmethod
    def _check_counts(cls, value: Any) -> int:
        return checked_count("the value", value)

    @field_validator("score_threshold", mode="before")
    @classmethod
    def _check_threshold(cls, value: Any) -> float | None:
        return checked_threshold(value)

    @field_validator("timeout")
    @classmethod
    def _check_timeout(cls, timeout: float | None) -> float | None:
        if timeout is not None and not timeout > 0:
            raise InvalidArgumentError(f"expected seconds above 0 or None, got {timeout!r}")
        return timeout

    # -- answering ---------------------------------------------------------------------------------------------

    def explain(  # the keyword arguments of invoke
        self,
        query: str,
        *,
        k: int | None = None,
        fetch_k: int | None = None,
        filter: Any = None,  # noqa: A002  # LangChain's name
        recall_mode: RecallMode | None = None,
        score_threshold: float | None = None,
    ) -> Explanation:
        """Answer a query and keep every candidate with its scores, ranks and fate; `invoke` returns `.documents`.

        Args:
            query: The query; a blank one is refused, since an embedded blank is near arbitrary documents.
            k: How many documents at most. None here and below takes the retriever's own setting.
            fetch_k: How many candidates; at least `k` are recalled.
            filter: Metadata filter, applied before the search; passed through as it is to a foreign store.
            recall_mode: `"dense"`, `"lexical"` or `"hybrid"`.
            score_threshold: Leave out documents whose `relevance_score` is lower.

        Raises:
            InvalidArgumentError: For a blank query, or an argument out of range.
            ScoringError: If the re-ranker returns something that is not a finite number for each candidate.
        """
        plan = self._plan(query, k, fetch_k, filter, recall_mode, score_threshold)
        candidates = plan.source.recall(plan.request)
        recalled = time.perf_counter()
        rescored = None
        if self.reranker is not None:
            texts = [candidate.document for candidate in candidates]
            rescored = rescore(self.reranker, query, texts, deadline=plan.deadline)
        return self._finish(plan, candidates, rescored, recalled)

    async def aexplain(
        self,
        query: str,
        *,
        k: int | None = None,
        fetch_k: int | None = None,
        filter: Any = None,  # noqa: A002
        recall_mode: RecallMode | None = None,
        score_threshold: float | None = None,
    ) -> Explanation:
        """Do what `explain` does without blocking the event loop."""
        plan = self._plan(query, k, fetch_k, filter, recall_mode, score_threshold)
        candidates = await plan.source.arecall(plan.request)
        recalled = time.perf_counter()
        rescored = None
        if self.reranker is not None:
            texts = [candidate.document for candidate in candidates]
            rescored = await arescore(self.reranker, query, texts, deadline=plan.deadline)
        return self._finish(plan, candidates, rescored, recalled)

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,  # noqa: ARG002  # its presence is how LangChain passes kwargs
        verbose: bool = False,  # noqa: ARG002  # LangChain hands its own argument on
        **arguments: Any,
    ) -> list[Document]:
        return list(self.explain(query, **arguments).documents)

    async def _aget_relevant_documents(
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,  # noqa: ARG002
        verbose: bool = False,  # noqa: ARG002
        **arguments: Any,
    ) -> list[Document]:
        return list((await self.aexplain(query, **arguments)).documents)

    def _plan(
        self,
        query: str,
        k: int | None,
        fetch_k: int | None,
        filter_: Any,
        recall_mode: RecallMode | None,
        score_threshold: float | None,
    ) -> Plan:
        plan = make_plan(
            query,
            source=source_of(self.recall),
            reranker=self.reranker,
            blend=self.blend,
            k=self.k if k is None else k,
            fetch_k=self.fetch_k if fetch_k is None else fetch_k,
            filter_=filter_,
            recall_mode=self.recall_mode if recall_mode is None else recall_mode,
            score_threshold=self.score_threshold if score_threshold is None else score_threshold,
            timeout=self.timeout,
        )
        if plan.score_threshold is not None and plan.variant is None and not self._warned:
            self._warned = True
            warnings.warn(
                "score_threshold is compared with a score that has no fixed scale: this retriever has no fitted "
                "blend. Tune it with tune(), which makes relevance_score a probability.",
                stacklevel=3,
            )
        return plan

    def _finish(
        self, plan: Plan, candidates: Sequence[Candidate], rescored: Rescored | None, recalled: float
    ) -> Explanation:
        reranked = time.perf_counter()
        ranking = rank(candidates, rescored, plan.variant)
        rows = explained(candidates, rescored, ranking, k=plan.k, score_threshold=plan.score_threshold)
        documents = returned_documents(rows, ranking.kind)
        done = time.perf_counter()
        seconds = {
            "recall": recalled - plan.started,
            "rerank": reranked - recalled,
            "blend": done - reranked,
            "total": done - plan.started,
        }
        return Explanation(plan.request.query, documents, rows, seconds, ranking.kind)

    # -- making, changing, keeping -----------------------------------------------------------------------------

    @classmethod
    def from_documents(
        cls,
        documents: Iterable[Document],
        *,
        embeddings: Embeddings,
        reranker: Any = None,
        path: Any = None,
        **fields: Any,
    ) -> Self:
        """Index documents in a new `FaissStore` and make a retriever over it.

        Args:
            documents: What to search; a document without an id gets one.
            embeddings: The bi-encoder.
            reranker: See the class.
            path: Folder to keep the store in; None keeps it in memory.
            **fields: Any other field of the class.
        """
        # Made first, so that a mistyped field is found before anything is embedded or written.
        retriever = cls(InMemoryVectorStore(embeddings), reranker=reranker, **fields)
        store = FaissStore.from_documents(list(documents), embeddings, path=path)
        return retriever.model_copy(update={"recall": store})

    @classmethod
    def from_texts(  # LangChain's own arguments
        cls,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        embeddings: Embeddings,
        reranker: Any = None,
        path: Any = None,
        **fields: Any,
    ) -> Self:
        """Index texts in a new `FaissStore` and make a retriever over it; see `from_documents`."""
        retriever = cls(InMemoryVectorStore(embeddings), reranker=reranker, **fields)
        store = FaissStore.from_texts(list(texts), embeddings, metadatas, ids=ids, path=path)
        return retriever.model_copy(update={"recall": store})

    def add_documents(self, documents: list[Document]) -> list[str]:
        """Add documents to the vector store that this retriever recalls from; a known id is replaced."""
        return self._own_store().add_documents(documents)

    def delete(self, ids: list[str]) -> bool | None:
        """Delete documents by id from the vector store that this retriever recalls from."""
        return self._own_store().delete(ids)

    def _own_store(self) -> VectorStore:
        if isinstance(self.recall, VectorStore):
            return self.recall
        raise InvalidArgumentError(
            f"Documents can be added and deleted only where recall is one vector store; here it is "
            f"{type(self.recall).__name__}. Change the store behind it."
        )

    def save_local(self, folder: Any) -> None:
        """Save both models, the index, the blend and the report as ONE folder, which may be moved.

        What is not ours (a hosted embedding, a foreign store) is recorded by kind and must be passed to
        `load_local`. A folder that already holds a bundle keeps opening as the old one until the new one is complete.

        Raises:
            FormatError: If the folder holds something that is not a bundle.
        """
        bundle.save(
            folder,
            recall=self.recall,
            reranker=self.reranker,
            blend=self.blend,
            settings={name: getattr(self, name) for name in bundle.SETTINGS},
            report=self._report,
        )

    @classmethod
    def load_local(
        cls,
        folder: Any,
        *,
        embeddings: Embeddings | None = None,
        reranker: Any = None,
        recall: Any = None,
        read_only: bool = False,
    ) -> Self:
        """Open a bundle; nothing is downloaded, nothing is unpickled.

        The opened bundle is live: `add_documents` and `delete` are durable in its folder.

        Args:
            folder: What `save_local` or `tune` wrote.
            embeddings: Instead of the bundle's bi-encoder; must give the same vectors. Needed where the bundle
                was saved with embeddings that are not a `PooledEmbeddings`.
            reranker: Instead of the bundle's cross-encoder; needed where that was foreign.
            recall: Instead of the bundle's store; needed where that was foreign.
            read_only: Refuse changes to the store.

        Raises:
            FormatError: If the folder is no bundle, is damaged, or is of a newer version.
            ModelMismatchError: If `embeddings` are not what the index was built with.
            InvalidArgumentError: If a foreign part is not passed in.
        """
        parts = bundle.load(
            folder, embeddings=embeddings, reranker=reranker, recall=recall, read_only=read_only
        )
        retriever = cls(parts.recall, reranker=parts.reranker, blend=parts.blend, **parts.settings)
        retriever._report = parts.report
        return retriever

    def with_report(self, report: dict[str, Any]) -> Self:
        """Return a copy that carries a tuning report, which `save_local` keeps in the bundle."""
        copy = self.model_copy()
        copy._report = report
        return copy

    @property
    def report(self) -> dict[str, Any] | None:
        """The report of the tuning run that made this retriever, None where there was none."""
        return self._report
