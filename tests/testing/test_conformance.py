"""The conformance kit passes what stage one can rely on, and finds what it cannot."""

import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar
from unittest import SkipTest

import pytest
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import InMemoryVectorStore

from langchain_rerank_retriever import FaissStore
from langchain_rerank_retriever.testing import CORPUS, HashEmbeddings, RecallConformance

BREAD = {"filter": {"topic": "bread"}}
IS_BREAD = {"filter": lambda document: document.metadata["topic"] == "bread"}


def filled(seed: int = 0) -> InMemoryVectorStore:
    store = InMemoryVectorStore(HashEmbeddings(seed=seed))
    store.add_documents(list(CORPUS))
    return store


class WordOverlap(BaseRetriever):
    """Somebody else's retriever: the documents that share words with the query, most first."""

    documents: Sequence[Document] = CORPUS

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        words = set(query.lower().split())
        shared = {
            one.page_content: len(words & set(one.page_content.lower().split())) for one in self.documents
        }
        ranked = sorted(self.documents, key=lambda one: -shared[one.page_content])
        return [one for one in ranked if shared[one.page_content]]


class TestFaissStore(RecallConformance):
    filter_arguments = BREAD

    @pytest.fixture
    def recall(self) -> Iterator[FaissStore]:
        with FaissStore.from_documents(list(CORPUS), HashEmbeddings()) as store:
            yield store

    @pytest.fixture
    def empty_recall(self) -> Iterator[FaissStore]:
        with FaissStore(HashEmbeddings()) as store:
            yield store


class TestFaissStoreLexical(TestFaissStore):
    recall_mode = "lexical"


class TestFaissStoreHybrid(TestFaissStore):
    recall_mode = "hybrid"


class TestInMemoryVectorStore(RecallConformance):
    filter_arguments = IS_BREAD

    @pytest.fixture
    def recall(self) -> InMemoryVectorStore:
        return filled()

    @pytest.fixture
    def empty_recall(self) -> InMemoryVectorStore:
        return InMemoryVectorStore(HashEmbeddings())


class TestRetriever(RecallConformance):
    is_exhaustive = False

    @pytest.fixture
    def recall(self) -> WordOverlap:
        return WordOverlap()

    @pytest.fixture
    def empty_recall(self) -> WordOverlap:
        return WordOverlap(documents=[])


class TestListOfSources(RecallConformance):
    @pytest.fixture
    def recall(self) -> Iterator[list[Any]]:
        with FaissStore.from_documents(list(CORPUS), HashEmbeddings()) as store:
            yield [store, filled(), WordOverlap()]

    @pytest.fixture
    def empty_recall(self) -> list[Any]:
        return [InMemoryVectorStore(HashEmbeddings()), WordOverlap(documents=[])]


# ---------------------------------------------------------------- what it finds


class Wrong(InMemoryVectorStore):
    """A store with one fault, by name."""

    def __init__(self, fault: str) -> None:
        super().__init__(HashEmbeddings())
        self.fault = fault
        self.random = random.Random(7)
        if fault != "empty":
            self.add_documents(list(CORPUS))
        if fault == "another model":
            self.embedding = HashEmbeddings(seed=9)

    def similarity_search_with_score(
        self, query: str, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        if self.fault == "ignores filters":
            kwargs.pop("filter", None)
        if self.fault == "chokes on quotes" and '"' in query:
            raise ValueError(query)
        if self.fault == "ignores k":
            k = 4
        hits = super().similarity_search_with_score(query, k, **kwargs)
        if self.fault == "shuffles":
            self.random.shuffle(hits)
        if self.fault == "loses ids":
            hits = [
                (Document(page_content=one.page_content, metadata=one.metadata), score) for one, score in hits
            ]
        if self.fault == "loses metadata":
            hits = [(Document(id=one.id, page_content=one.page_content), score) for one, score in hits]
        return hits

    async def asimilarity_search_with_score(self, *args: Any, **kwargs: Any) -> list[tuple[Document, float]]:
        hits = self.similarity_search_with_score(*args, **kwargs)
        return hits[::-1] if self.fault == "async differs" else hits


class Check(RecallConformance):
    filter_arguments = IS_BREAD


@pytest.mark.parametrize(
    ("fault", "test", "message"),
    [
        ("empty", "test_documents_are_those_of_the_corpus", "is the source filled with CORPUS"),
        ("loses metadata", "test_documents_are_those_of_the_corpus", "expected {'topic'"),
        ("loses ids", "test_ids", "expected the ids of CORPUS"),
        ("ignores k", "test_k_is_a_limit", "expected 12 of 12 documents, got 4"),
        ("shuffles", "test_the_order_is_stable", "a second call gave"),
        ("another model", "test_a_document_is_found_by_its_text", "not among its own best"),
        ("async differs", "test_async_is_the_same", "sync gives"),
        ("ignores filters", "test_a_filter_passes_through", "a filter let through"),
        ("shuffles", "test_concurrent_queries", "other documents than one after the other"),
    ],
)
def test_faults_are_found(fault: str, test: str, message: str) -> None:
    getattr(Check(), test)(Wrong("none"))
    with pytest.raises(AssertionError, match=message):
        getattr(Check(), test)(Wrong(fault))


def test_an_error_comes_through() -> None:
    with pytest.raises(RuntimeError, match="Recall from Wrong failed: ValueError"):
        Check().test_odd_queries(Wrong("chokes on quotes"))


def test_a_filter_that_is_ignored_is_no_refusal() -> None:
    with pytest.raises(AssertionError, match="a filter was accepted, though filter_arguments is None"):
        RecallConformance().test_a_filter_passes_through(Wrong("ignores filters"))


def test_an_empty_source_that_holds_something() -> None:
    Check().test_an_empty_source_gives_nothing(Wrong("empty"))
    with pytest.raises(AssertionError, match="expected nothing of an empty source, got 12"):
        Check().test_an_empty_source_gives_nothing(filled())
    with pytest.raises(SkipTest):
        Check().test_an_empty_source_gives_nothing(None)


def test_a_retriever_that_hands_out_its_own_objects() -> None:
    class Remembering(WordOverlap):
        last: ClassVar[list[int]] = []

        def _get_relevant_documents(
            self, query: str, *, run_manager: CallbackManagerForRetrieverRun
        ) -> list[Document]:
            # Marks what it gave before, as one would whose documents are changed by others.
            self.last.append(len(self.last))
            return [
                one.model_copy(
                    update={"metadata": {**one.metadata, "rerank_score": 1.0, "n": len(self.last)}}
                )
                for one in super()._get_relevant_documents(query, run_manager=run_manager)
            ]

    with pytest.raises(AssertionError, match="a changed result changed what the source gives"):
        Check().test_what_is_returned_is_a_copy(Remembering())


def test_pytest_is_not_needed_to_import_it() -> None:
    program = (
        "import sys; sys.modules['pytest'] = None; import langchain_rerank_retriever.testing as kit; "
        "kit.RecallConformance, kit.HashEmbeddings; "
        "print([name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
