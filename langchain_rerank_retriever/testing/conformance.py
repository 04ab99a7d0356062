"""What stage one relies on, as tests to inherit."""

import asyncio
import copy
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar
from unittest import SkipTest

from langchain_core.documents import Document

from langchain_rerank_retriever.errors import RerankError
from langchain_rerank_retriever.protocols import SCORE_KEYS, Explanation, RecallMode
from langchain_rerank_retriever.recall.candidate import document_key
from langchain_rerank_retriever.retriever import RerankRetriever
from langchain_rerank_retriever.testing.fakes import ScriptedCrossEncoder

_TEXTS = {
    "bread": [
        "Knead the dough until it is smooth, then let it rest under a cloth.",
        "A sourdough starter needs flour and water every day.",
        "Bake the loaf in a hot oven with a bowl of steaming water.",
        "Rye flour makes a dense and dark crumb.",
    ],
    "bicycles": [
        "Loosen the axle nuts and pull the wheel out of the fork.",
        "A chain that is dry squeaks and wears the sprockets down.",
        "Pump the tyre up to the pressure that its sidewall names.",
        "Brake pads are worn when the groove can no longer be seen.",
    ],
    "stars": [
        "A red giant has burnt the hydrogen of its core.",
        "The parallax of a star tells how far away it is.",
        "Neutron stars spin many times a second and beam like lighthouses.",
        "Dust between the stars reddens their light.",
    ],
}

#: What the source under test must hold: twelve documents with ids, on three topics.
CORPUS: tuple[Document, ...] = tuple(
    Document(id=f"{topic}-{number}", page_content=text, metadata={"topic": topic, "number": number})
    for topic, texts in _TEXTS.items()
    for number, text in enumerate(texts)
)

QUERY = "how do I bake a loaf of rye bread from dough and flour"

#: Queries that a store's own query language, or its transport, may stumble over.
ODD_QUERIES = (
    'AND OR NOT "unbalanced (quote',
    "100% _under_score; DROP TABLE documents; --",
    "{'$where': 1} \\ / * ~ ^ :",
    "밀가루 반죽은 어떻게 하나요?",
    "🚲🍞",
    "word " * 500,
)


class RecallConformance:
    """Inherit this and define two fixtures: `recall`, which holds `CORPUS`, and `empty_recall`, which holds nothing.

    Both may be any `VectorStore`, `BaseRetriever`, or list of those. An `empty_recall` that is None leaves out what is
    tested with it, for a retriever that cannot be empty.

    Attributes:
        filter_arguments: Arguments of `RerankRetriever.invoke` by which only the documents on bread are found, such as
            `{"filter": {"topic": "bread"}}`, or `{"search_kwargs": {...}}` for arguments with other names. None for a
            source that takes no filter; then it is tested that one is refused.
        recall_mode: Of `RerankRetriever`; for a `FaissStore`.
        has_ids: False for a source whose documents have no id, neither their own nor a primary key in the metadata.
        is_exhaustive: False for a source that gives only some of the documents however many are asked for.
        finds_by_text: False for a source that need not find a document by its own text among the best three.
    """

    filter_arguments: ClassVar[Mapping[str, Any] | None] = None
    recall_mode: ClassVar[RecallMode | None] = None
    has_ids: ClassVar[bool] = True
    is_exhaustive: ClassVar[bool] = True
    finds_by_text: ClassVar[bool] = True

    def test_documents_are_those_of_the_corpus(self, recall: Any) -> None:
        """Text and metadata come back as they went in; a store may add to the metadata."""
        known = {document.page_content: document.metadata for document in CORPUS}
        found = self._found(recall)
        _expect(
            found,
            "nothing was found for a query whose words are in the corpus: is the source filled with CORPUS?",
        )
        for document in found:
            _expect(document.page_content in known, f"{document.page_content!r} is not a text of CORPUS")
            expected = known[document.page_content]
            got = {name: document.metadata.get(name) for name in expected}
            _expect(got == expected, f"metadata of {document.page_content!r}: expected {expected}, got {got}")

    def test_ids(self, recall: Any) -> None:
        """A document has one id, the one it was added with, by which duplicates are told."""
        found = self._found(recall)
        keys = [document_key(document) for document in found]
        _expect(len(set(keys)) == len(keys), f"a document came twice: {keys}")
        if self.has_ids:
            names = {document.page_content: f"id:{document.id}" for document in CORPUS}
            wrong = [one for one in found if document_key(one) != names[one.page_content]]
            _expect(
                not wrong, f"expected the ids of CORPUS, or a primary key in the metadata; got {wrong[:1]}"
            )

    def test_k_is_a_limit(self, recall: Any) -> None:
        """At most as many as asked for; more than there are is no error."""
        for fetch_k in (1, 3, len(CORPUS), 10 * len(CORPUS)):
            count = len(self._found(recall, fetch_k=fetch_k))
            _expect(count <= fetch_k, f"{fetch_k} candidates were asked for, {count} came")
            if self.is_exhaustive and self.recall_mode != "lexical":
                expected = min(fetch_k, len(CORPUS))
                _expect(count == expected, f"expected {expected} of {len(CORPUS)} documents, got {count}")

    def test_the_order_is_stable(self, recall: Any) -> None:
        """The same query gives the same candidates in the same order with the same scores."""
        first = self._explained(recall)
        for _ in range(3):
            _expect_same(self._explained(recall), first, "a second call")

    def test_a_document_is_found_by_its_text(self, recall: Any) -> None:
        """What does not find a text by itself was filled with another model than it is asked with."""
        if not self.finds_by_text:
            raise SkipTest("finds_by_text is False")
        for document in CORPUS:
            best = [one.page_content for one in self._found(recall, query=document.page_content, fetch_k=3)]
            _expect(
                document.page_content in best, f"{document.page_content!r} is not among its own best: {best}"
            )

    def test_async_is_the_same(self, recall: Any) -> None:
        """The async side gives what the sync side gives, scores aside, which only one side may have."""
        found = asyncio.run(self._retriever(recall).aexplain(QUERY, **self._arguments()))
        expected = [one.document.page_content for one in self._explained(recall).candidates]
        got = [one.document.page_content for one in found.candidates]
        _expect(got == expected, f"sync gives {expected}, async {got}")

    def test_a_filter_passes_through(self, recall: Any) -> None:
        """A filter leaves the documents that match, and fewer than asked for is no error; or it is refused."""
        if self.filter_arguments is None:
            _expect_refused(lambda: self._found(recall, filter={"topic": "bread"}))
            return
        expected = {document.page_content for document in CORPUS if document.metadata["topic"] == "bread"}
        found = {one.page_content for one in self._found(recall, **self.filter_arguments)}
        _expect(found <= expected, f"a filter let through {sorted(found - expected)}")
        if self.is_exhaustive and self.recall_mode != "lexical":
            _expect(found == expected, f"a filter left out {sorted(expected - found)}")
        _expect(bool(found), "a filter left nothing")

    def test_concurrent_queries(self, recall: Any) -> None:
        """Threads, and tasks of one event loop, do not disturb each other."""
        queries = [document.page_content for document in CORPUS] * 2
        expected = [self._found(recall, query=query) for query in queries]
        with ThreadPoolExecutor(8) as threads:
            found = list(threads.map(lambda query: self._found(recall, query=query), queries))
        _expect(found == expected, "queries in threads gave other documents than one after the other")

        async def at_once() -> list[Explanation]:
            retriever = self._retriever(recall)
            asked = (retriever.aexplain(query, **self._arguments()) for query in queries)
            return list(await asyncio.gather(*asked))

        texts = [[one.document.page_content for one in each.candidates] for each in asyncio.run(at_once())]
        wanted = [[one.page_content for one in each] for each in expected]
        _expect(texts == wanted, "queries in one event loop gave other documents than one after the other")

    def test_what_is_returned_is_a_copy(self, recall: Any) -> None:
        """Nothing that a caller, or a re-ranker, does to a result is seen by the next query."""
        before = copy.deepcopy(self._explained(recall).candidates)
        reranker = ScriptedCrossEncoder(lambda _, passage: float(len(passage)))
        for document in RerankRetriever(recall, reranker=reranker, recall_mode=self.recall_mode).invoke(
            QUERY
        ):
            document.metadata.clear()
            document.page_content = "changed"
        after = self._explained(recall).candidates
        _expect(after == before, "a changed result changed what the source gives")
        left = {key for one in after for key in one.document.metadata} & set(SCORE_KEYS)
        _expect(not left, f"scores of an earlier query are in the metadata: {sorted(left)}")

    def test_odd_queries(self, recall: Any) -> None:
        """Any text may be asked; operators and quotes are words like others."""
        for query in ODD_QUERIES:
            self._found(recall, query=query)

    def test_a_reranker_orders_all_candidates(self, recall: Any) -> None:
        """Every candidate reaches the re-ranker with its text, once."""
        reranker = ScriptedCrossEncoder(lambda _, passage: float(len(passage)))
        retriever = RerankRetriever(recall, reranker=reranker, recall_mode=self.recall_mode, k=len(CORPUS))
        lengths = [len(document.page_content) for document in retriever.invoke(QUERY)]
        _expect(
            lengths == sorted(lengths, reverse=True), f"not in the order of the re-ranker's scores: {lengths}"
        )
        _expect(len(reranker.asked[0]) == len(set(reranker.asked[0])), "a candidate was scored twice")

    def test_an_empty_source_gives_nothing(self, empty_recall: Any) -> None:
        """No document, no error."""
        if empty_recall is None:
            raise SkipTest("there is no empty_recall")
        found = self._found(empty_recall)
        _expect(found == [], f"expected nothing of an empty source, got {len(found)} documents")
        found = asyncio.run(self._retriever(empty_recall).ainvoke(QUERY))
        _expect(found == [], f"expected nothing of an empty source's async side, got {len(found)} documents")

    def _retriever(self, recall: Any) -> RerankRetriever:
        return RerankRetriever(recall, recall_mode=self.recall_mode)

    def _arguments(self, fetch_k: int = len(CORPUS), **arguments: Any) -> dict[str, Any]:
        return {"k": 1, "fetch_k": fetch_k, **arguments}

    def _explained(self, recall: Any, query: str = QUERY, **arguments: Any) -> Explanation:
        return self._retriever(recall).explain(query, **self._arguments(**arguments))

    def _found(self, recall: Any, query: str = QUERY, **arguments: Any) -> list[Document]:
        return [one.document for one in self._explained(recall, query, **arguments).candidates]


def _expect(condition: Any, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def _expect_refused(search: Callable[[], Any]) -> None:
    try:
        search()
    except RerankError:
        return
    raise AssertionError(
        "a filter was accepted, though filter_arguments is None: say which filter finds the documents on bread, or "
        "raise where there is a filter that is not used"
    )


def _expect_same(got: Explanation, expected: Explanation, when: str) -> None:
    _expect(
        got.candidates == expected.candidates,
        f"{when} gave {[one.document.id for one in got.candidates]}, "
        f"expected {[one.document.id for one in expected.candidates]} with the same scores",
    )
