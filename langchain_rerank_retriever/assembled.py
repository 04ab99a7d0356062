"""What a retriever is made of: its settings, checked; and how it is made, changed and kept."""

import threading
import warnings
from collections.abc import Iterable
from typing import Any, Self

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import InMemoryVectorStore, VectorStore
from pydantic import ConfigDict, PrivateAttr, ValidationInfo, field_validator

from langchain_rerank_retriever import bundle
from langchain_rerank_retriever.answering.options import SETTINGS, checked
from langchain_rerank_retriever.answering.stages import stages_of
from langchain_rerank_retriever.blend import Blend
from langchain_rerank_retriever.bundled_model import Placed
from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.protocols import RecallMode
from langchain_rerank_retriever.recall import source_of
from langchain_rerank_retriever.runtime.choosing.select import BackendName, Precision
from langchain_rerank_retriever.store import FaissStore


class AssembledRetriever(BaseRetriever):
    """The parts and settings of a `RerankRetriever`, where they are described; how it answers is written there."""

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    recall: Any
    reranker: Any = None
    k: int = 4
    fetch_k: int = 100
    recall_mode: RecallMode | None = None
    score_threshold: float | None = None
    blend: Blend | None = None
    timeout: float | None = None
    collapse: str | None = None
    early_stop: bool = False
    lambda_mult: float | None = None

    _report: dict[str, Any] | None = PrivateAttr(default=None)

    @field_validator("recall")
    @classmethod
    def _check_recall(cls, recall: Any) -> Any:
        source_of(recall)
        return recall

    @field_validator("reranker")
    @classmethod
    def _check_reranker(cls, reranker: Any) -> Any:
        stages_of(reranker)
        return reranker

    @field_validator(*SETTINGS, mode="before")
    @classmethod
    def _check_setting(cls, value: Any, info: ValidationInfo) -> Any:
        return checked(str(info.field_name), value)

    @field_validator("timeout")
    @classmethod
    def _check_timeout(cls, timeout: float | None) -> float | None:
        # Python's locks cannot wait longer: a query would end in a bare OverflowError.
        if timeout is not None and not 0 < timeout <= threading.TIMEOUT_MAX:
            raise InvalidArgumentError(
                f"expected seconds above 0 and up to {threading.TIMEOUT_MAX:.0f}, or None for no limit, got {timeout!r}"
            )
        return timeout

    # -- making, changing, keeping -----------------------------------------------------------------------------

    @classmethod
    def from_documents(
        cls,
        documents: Iterable[Document],
        *,
        embeddings: Embeddings,
        reranker: Any = None,
        path: Any = None,
        index: str | None = None,
        lexical: bool | str | None = None,
        memory_map: bool | None = None,
        threads: int | None = None,
        **fields: Any,
    ) -> Self:
        """Index documents in a new `FaissStore` and make a retriever over it.

        Args:
            documents: What to search; a document without an id gets one.
            embeddings: The bi-encoder.
            reranker: See the class.
            path: Folder to keep the store in; None keeps it in memory.
            index: How the store searches: `"flat"`, `"hnsw"` or `"auto"`, see `FaissStore`.
            lexical: Whether there is a lexical index, or the language that it is made for, see `FaissStore`.
            memory_map: Whether the store leaves its vectors in a file, see `FaissStore`.
            threads: CPU threads that build the store's index, see `FaissStore`.
            **fields: Any other field of the class.
        """
        # Made first, so that a mistyped field is found before anything is embedded or written.
        retriever = cls(recall=InMemoryVectorStore(embeddings), reranker=reranker, **fields)
        how = {"path": path, "index": index, "lexical": lexical, "memory_map": memory_map, "threads": threads}
        store = FaissStore.from_documents(list(documents), embeddings, **how)
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
        index: str | None = None,
        lexical: bool | str | None = None,
        memory_map: bool | None = None,
        threads: int | None = None,
        **fields: Any,
    ) -> Self:
        """Index texts in a new `FaissStore` and make a retriever over it, as `from_documents` does.

        Args:
            texts: What to search.
            metadatas: One for each text.
            ids: One for each text; None has them made.
            embeddings: The bi-encoder.
            reranker: See the class.
            path: Folder to keep the store in; None keeps it in memory.
            index: How the store searches, see `FaissStore`.
            lexical: Whether there is a lexical index, or its language, see `FaissStore`.
            memory_map: Whether the store leaves its vectors in a file, see `FaissStore`.
            threads: CPU threads that build the store's index, see `FaissStore`.
            **fields: Any other field of the class.
        """
        retriever = cls(recall=InMemoryVectorStore(embeddings), reranker=reranker, **fields)
        how = {"path": path, "index": index, "lexical": lexical, "memory_map": memory_map, "threads": threads}
        store = FaissStore.from_texts(list(texts), embeddings, metadatas, ids=ids, **how)
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
        Where models run is not kept, nor a precision that not every machine has (int8, float16; a warning says so):
        `load_local` takes both.

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
        memory_map: bool | None = None,
        threads: int | None = None,
        backend: BackendName | None = None,
        precision: Precision | None = None,
        device: str | None = None,
        batch_size: int | None = None,
    ) -> Self:
        """Open a bundle; nothing is downloaded, nothing is unpickled.

        The opened bundle is live: `add_documents` and `delete` are durable in its folder.

        Args:
            folder: What `save_local` or `tune` wrote.
            embeddings: Instead of the bundle's bi-encoder; must give the same vectors. Needed where the bundle
                was saved with embeddings that are not a `PooledEmbeddings`.
            reranker: Instead of the bundle's cross-encoder; needed where that was foreign.
            recall: Instead of the bundle's store; needed where that was foreign. Over what is no `FaissStore` the
                blend is the one that needs no scores of recall, and a `recall_mode` other than dense is dropped with
                a warning.
            read_only: Refuse changes to the store.
            memory_map: Whether the bundle's store leaves its vectors in a file and reads from it what searches need;
                None does so from 512 MiB on. See `FaissStore`.
            threads: CPU threads of the models that are loaded here, and of the store where it builds an index; for
                torch a setting of the whole process. None leaves it to the libraries.
            backend: Of the bundle's own models, as `CrossEncoderScorer` takes it; None is `"auto"`. This and what
                follows has no effect on models that are passed in, and is refused where both are.
            precision: Of the bundle's own models; None is what they were saved with. `"int8"` is for the cross-encoder
                alone, since the vectors of the store were made by the bi-encoder as it is. It is calibrated on pairs
                of the store's documents, or where it has fewer than 16 on the documentation that comes with Python;
                the correlation with float32 on them is `reranker.quantisation`, and below 0.99 it is refused. That
                takes a minute or two on two cores, is done once, and kept in the user's cache folder.
                `langchain-rerank evaluate --precision int8` tells what it does to the answers.
            device: Of the bundle's own models, for instance `"cuda:1"`; None takes a GPU where there is one.
            batch_size: Of the bundle's own models: the largest number of texts or pairs in a batch; None leaves it to
                the token budget.

        Raises:
            FormatError: If the folder is no bundle, is damaged, or is of a newer version.
            ModelMismatchError: If `embeddings` are not what the index was built with, or those of `recall` not
                those of the foreign store that the bundle was saved over.
            InvalidArgumentError: If a foreign part is not passed in; if a value is wrong or would have no effect; if
                int8 changes the scores too much.
        """
        parts = bundle.load(
            folder,
            embeddings=embeddings,
            reranker=reranker,
            recall=recall,
            read_only=read_only,
            memory_map=memory_map,
            placed=Placed(
                device=device, backend=backend, precision=precision, batch_size=batch_size, threads=threads
            ),
        )
        settings = {
            **parts.settings,
            "recall_mode": _possible_mode(parts.recall, parts.settings["recall_mode"]),
        }
        retriever = cls(recall=parts.recall, reranker=parts.reranker, blend=parts.blend, **settings)
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


def _possible_mode(recall: Any, mode: RecallMode | None) -> RecallMode | None:
    """Give up a bundle's recall mode where what was passed in has no lexical side."""
    if mode in (None, "dense") or "lexical" in source_of(recall).stage_scores:
        return mode
    warnings.warn(
        f"The bundle's recall_mode={mode!r} needs a FaissStore with a lexical index; what is passed as recall gives "
        "its own order. What the bundle's report says of quality does not hold for it: evaluate() tells.",
        stacklevel=3,
    )
    return None
