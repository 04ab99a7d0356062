"""What holds of the retriever over any database server, whichever way its scores run."""

import asyncio
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore

from langchain_rerank_retriever import PooledEmbeddings, RerankRetriever
from langchain_rerank_retriever.errors import RecallError
from langchain_rerank_retriever.testing import CORPUS, RecallConformance
from tests.conftest import HashEmbeddings
from tests.engines import corpus
from tests.engines.corpus import QUESTIONS

#: The asynchronous client of Milvus belongs to the event loop that uses it first.
ONE_LOOP = pytest.mark.asyncio(loop_scope="session")


class Engine(Protocol):
    """A server under test."""

    def fill(
        self, name: str, embeddings: Embeddings, documents: Sequence[Document], vectors: np.ndarray
    ) -> VectorStore: ...

    def open(self, name: str, embeddings: Embeddings) -> VectorStore: ...

    def crash(self) -> None: ...

    def start(self) -> None: ...


class Drawn(Embeddings):
    """Random unit vectors; the text of a query is the number of its vector."""

    def __init__(self, count: int, dimension: int, seed: int) -> None:
        drawn = np.random.default_rng(seed).standard_normal((count, dimension))
        self.vectors = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return self.vectors[int(text)].tolist()


class Asker(threading.Thread):
    """Asks the same question again and again, and keeps what came of it."""

    def __init__(self, retriever: RerankRetriever, question: str, expected: list[str | None]) -> None:
        super().__init__(daemon=True)
        self.retriever, self.question, self.expected = retriever, question, expected
        self.store = type(getattr(retriever.recall, "vectorstore", retriever.recall)).__name__
        self.done = threading.Event()
        self.right = self.failed = 0
        self.wrong: list[Any] = []
        self.slowest_failure = 0.0

    def run(self) -> None:
        while not self.done.is_set():
            started = time.monotonic()
            try:
                answer = names(self.retriever.invoke(self.question))
            except RecallError as error:
                self.slowest_failure = max(self.slowest_failure, time.monotonic() - started)
                if error.source != self.store:
                    self.wrong.append(error)
                self.failed += 1
                time.sleep(0.05)
            except BaseException as error:
                self.wrong.append(error)
            else:
                if answer != self.expected:
                    self.wrong.append(answer)
                self.right += 1


def names(documents: Sequence[Document]) -> list[str | None]:
    return [document.id for document in documents]


def wait_until(condition: Any, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def empty(store: VectorStore, only: Document) -> None:
    """Delete the only document of a store, and wait until that is seen.

    Of its writes a Milvus client waits for insertions only: a deletion is seen a moment later.
    """
    store.delete([str(only.id)])
    wait_until(lambda: not store.similarity_search(only.page_content))


def texts(documents: Sequence[Document]) -> list[str]:
    return [document.page_content for document in documents]


def scores(documents: Sequence[Document]) -> list[float]:
    return [document.metadata["relevance_score"] for document in documents]


class StoreContract:
    """The tests; a subclass says how the engine is asked."""

    #: Arguments of `invoke`, and of the store's search, that keep one topic, or numbers of 4 and above.
    stars: ClassVar[dict[str, Any]]
    high_numbers: ClassVar[dict[str, Any]]

    @staticmethod
    def reported(cosine: np.ndarray) -> np.ndarray:
        """Give the score that the store reports for a cosine similarity."""
        raise NotImplementedError

    # ------------------------------------------------------------ the same answers as over FAISS

    @pytest.mark.parametrize("question", QUESTIONS)
    def test_the_same_top_10(
        self, retriever: RerankRetriever, over_faiss: RerankRetriever, question: str
    ) -> None:
        expected, found = over_faiss.invoke(question), retriever.invoke(question)
        assert len(found) == 10
        assert texts(found) == texts(expected)
        assert names(found) == names(expected)
        assert scores(found) == pytest.approx(scores(expected), abs=1e-5)
        assert {one.metadata["relevance_kind"] for one in found} == {"probability"}
        assert [one.metadata["recall_rank"] for one in found] == [
            one.metadata["recall_rank"] for one in expected
        ]

    @pytest.mark.parametrize("question", QUESTIONS)
    def test_the_same_order_without_a_reranker(
        self, served: VectorStore, over_faiss: RerankRetriever, question: str
    ) -> None:
        expected = RerankRetriever(over_faiss.recall, k=20).invoke(question)
        found = RerankRetriever(served, k=20).invoke(question)
        assert names(found) == names(expected)
        cosine = np.array([one.metadata["recall_score"] for one in expected])
        reported = [one.metadata["recall_score"] for one in found]
        assert reported == pytest.approx(self.reported(cosine), abs=1e-5)

    @ONE_LOOP
    async def test_batch_and_async_give_what_invoke_gives(self, retriever: RerankRetriever) -> None:
        expected = [retriever.invoke(question) for question in QUESTIONS]
        for answers in (
            retriever.batch(list(QUESTIONS)),
            await retriever.abatch(list(QUESTIONS)),
            [await retriever.ainvoke(question) for question in QUESTIONS],
        ):
            assert [names(one) for one in answers] == [names(one) for one in expected]
            for one, other in zip(answers, expected, strict=True):
                assert scores(one) == pytest.approx(scores(other), abs=1e-5)

    @ONE_LOOP
    async def test_many_at_once(self, retriever: RerankRetriever) -> None:
        questions = QUESTIONS * 4
        answers = await asyncio.gather(*(retriever.ainvoke(question) for question in questions))
        expected = {question: names(retriever.invoke(question)) for question in QUESTIONS}
        assert [names(one) for one in answers] == [expected[question] for question in questions]

    def test_random_vectors_come_in_the_order_of_brute_force(self, engine: Engine) -> None:
        drawn, count = Drawn(3_010, 384, seed=5), 3_000
        documents = [Document(id=f"r{place}", page_content=f"text {place}") for place in range(count)]
        store = engine.fill("random", drawn, documents, drawn.vectors[:count])
        retriever = RerankRetriever(store, k=100)
        for query in range(count, count + 10):
            cosine = drawn.vectors[:count].astype(float) @ drawn.vectors[query].astype(float)
            found = retriever.invoke(str(query))
            places = [int(str(name)[1:]) for name in names(found)]
            assert len(set(places)) == 100
            # Vectors that are as near as makes no difference in float32 may change places.
            assert np.all(np.diff(cosine[places]) <= 1e-6)
            assert cosine[places[-1]] >= np.sort(cosine)[-100] - 1e-6
            reported = [one.metadata["recall_score"] for one in found]
            assert reported == pytest.approx(self.reported(cosine[places]), abs=1e-5)

    # ------------------------------------------------------------ filters

    def test_a_filter_of_the_call(self, retriever: RerankRetriever, over_faiss: RerankRetriever) -> None:
        for arguments, same in (
            (self.stars, {"topic": "stars"}),
            (self.high_numbers, {"number": {"$gte": 4}}),
        ):
            expected = over_faiss.invoke(QUESTIONS[0], filter=same)
            assert texts(retriever.invoke(QUESTIONS[0], **arguments)) == texts(expected)

    @ONE_LOOP
    async def test_a_filter_of_the_stores_retriever(
        self, bundle: Path, served: VectorStore, over_faiss: RerankRetriever
    ) -> None:
        fixed = served.as_retriever(search_kwargs=self.stars.get("search_kwargs", self.stars))
        retriever = RerankRetriever.load_local(bundle, recall=fixed)
        expected = texts(over_faiss.invoke(QUESTIONS[3], filter={"topic": "stars"}))
        assert texts(retriever.invoke(QUESTIONS[3])) == expected
        assert texts(await retriever.ainvoke(QUESTIONS[3])) == expected

    # ------------------------------------------------------------ few, none, twice

    def test_fewer_than_asked_for(self, retriever: RerankRetriever) -> None:
        assert len(retriever.invoke(QUESTIONS[0], k=10, **self.stars)) == 6
        everything = retriever.explain(QUESTIONS[0], k=500, fetch_k=500)
        assert set(names(everything.documents)) == {one.id for one in corpus.documents()}
        assert len(everything.documents) == len(corpus.documents())

    @ONE_LOOP
    async def test_an_empty_store(
        self, engine: Engine, embeddings: PooledEmbeddings, vectors: np.ndarray, bundle: Path
    ) -> None:
        store = engine.fill("emptied", embeddings, corpus.documents()[:1], vectors[:1])
        empty(store, corpus.documents()[0])
        retriever = RerankRetriever.load_local(bundle, recall=store)
        assert retriever.invoke(QUESTIONS[0]) == []
        assert await retriever.ainvoke(QUESTIONS[0]) == []

    def test_a_text_under_two_ids_is_two_documents(
        self, engine: Engine, embeddings: PooledEmbeddings, vectors: np.ndarray
    ) -> None:
        first = corpus.documents()[0]
        twins = [first, first.model_copy(update={"id": "twin"})]
        store = engine.fill("twins", embeddings, twins, vectors[[0, 0]])
        assert set(names(RerankRetriever(store).invoke("sand"))) == {first.id, "twin"}

    # ------------------------------------------------------------ what goes wrong

    @ONE_LOOP
    async def test_a_model_of_another_dimension(self, engine: Engine, served: VectorStore) -> None:
        retriever = RerankRetriever(engine.open("corpus", HashEmbeddings(dimension=32)))
        message = rf"(?s)Recall from {type(served).__name__} failed: .*dimension.*another model"
        with pytest.raises(RecallError, match=message):
            retriever.invoke(QUESTIONS[0])
        with pytest.raises(RecallError, match=message):
            await retriever.ainvoke(QUESTIONS[0])

    @ONE_LOOP
    async def test_the_server_goes_away_and_comes_back(
        self, engine: Engine, retriever: RerankRetriever
    ) -> None:
        """Queries in flight and those that follow fail, soon and as what they are; then they work as before."""
        expected = {question: names(retriever.invoke(question)) for question in QUESTIONS[:4]}
        askers = [Asker(retriever, question, answer) for question, answer in expected.items()]
        for asker in askers:
            asker.start()
        try:
            wait_until(lambda: all(asker.right >= 3 for asker in askers))
            engine.crash()
            wait_until(lambda: all(asker.failed for asker in askers))
            with pytest.raises(RecallError):
                await retriever.ainvoke(QUESTIONS[0])
            engine.start()
            before = [asker.right for asker in askers]
            wait_until(lambda: all(asker.right >= one + 3 for asker, one in zip(askers, before)))
        finally:
            for asker in askers:
                asker.done.set()
            for asker in askers:
                asker.join(30)
        assert [asker.wrong for asker in askers] == [[]] * len(askers)
        assert max(asker.slowest_failure for asker in askers) < 20
        for question, answer in expected.items():
            assert names(await retriever.ainvoke(question)) == answer


class KitContract(RecallConformance):
    """The kit that is shipped for others' stores."""

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _filled(cls, engine: Engine) -> None:
        embeddings = HashEmbeddings()
        vectors = np.array(embeddings.embed_documents([document.page_content for document in CORPUS]))
        engine.fill("kit", embeddings, CORPUS, vectors.astype(np.float32))
        empty(engine.fill("kit_emptied", embeddings, CORPUS[:1], vectors[:1].astype(np.float32)), CORPUS[0])

    @pytest.fixture
    def recall(self, engine: Engine) -> VectorStore:
        return engine.open("kit", HashEmbeddings())

    @pytest.fixture
    def empty_recall(self, engine: Engine) -> VectorStore:
        return engine.open("kit_emptied", HashEmbeddings())
