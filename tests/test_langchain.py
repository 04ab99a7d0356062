"""The retriever in LangChain: events of progress, chains, agents, configuration, and indexing into our store."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.cross_encoders import BaseCrossEncoder
from langchain_core.documents import Document
from langchain_core.documents.compressor import BaseDocumentCompressor
from langchain_core.indexing import InMemoryRecordManager, index
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, ToolCall
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import ConfigurableField, RunnableLambda, RunnablePassthrough
from langchain_core.tools import create_retriever_tool

from langchain_rerank_retriever import CrossEncoderReranker, FaissStore, RerankRetriever
from langchain_rerank_retriever.answering import scoring
from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.testing import HashEmbeddings, ScriptedCrossEncoder

Told = list[tuple[str, dict[str, Any]]]


class Listener(BaseCallbackHandler):
    def __init__(self) -> None:
        self.told: Told = []
        self.runs: list[Any] = []

    def on_custom_event(self, name: str, data: Any, *, run_id: Any, **_: Any) -> None:
        self.told.append((name.removeprefix("rerank_retriever."), data))
        self.runs.append(run_id)


class AsyncListener(AsyncCallbackHandler):
    def __init__(self) -> None:
        self.told: Told = []

    async def on_custom_event(self, name: str, data: Any, **_: Any) -> None:
        self.told.append((name.removeprefix("rerank_retriever."), data))


class Deaf(BaseCallbackHandler):
    """Hears of runs, as tracers do, and of nothing else."""


class Sized(BaseCrossEncoder):
    """Keeps how many pairs it was given at a time."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def score(self, text_pairs: Sequence[tuple[str, str]]) -> list[float]:  # type: ignore[override]
        self.sizes.append(len(text_pairs))
        return [float(passage.rpartition(" ")[2]) for _, passage in text_pairs]


class FirstTwo(BaseDocumentCompressor):
    def compress_documents(self, documents: Any, query: str, callbacks: Any = None) -> Any:
        return documents[:2]


@pytest.fixture
def store() -> Iterator[FaissStore]:
    with FaissStore(HashEmbeddings()) as store:
        store.add_documents(
            [Document(id=str(number), page_content=f"whale {number}") for number in range(70)]
        )
        yield store


def stage(scored: int | None, candidates: int = 70, *, of: tuple[int, int] = (1, 1)) -> dict[str, Any]:
    return {"stage": of[0], "stages": of[1], "candidates": candidates, "scored": scored}


WHOLE = [
    ("recalled", {"candidates": 70}),
    ("scored", stage(32)),
    ("scored", stage(64)),
    ("scored", stage(70)),
    ("reranked", {**stage(70), "dropped": 0, "unscored": None}),
]


# ---------------------------------------------------------------- events of progress


def test_a_listener_is_told_of_every_part(store: FaissStore) -> None:
    listener, model = Listener(), Sized()
    retriever = RerankRetriever(store, reranker=model, fetch_k=70)
    found = retriever.invoke("whale", config={"callbacks": [listener]})
    assert listener.told == WHOLE
    assert len(set(listener.runs)) == 1
    assert model.sizes == [32, 32, 6]
    assert found == retriever.invoke("whale")


@pytest.mark.parametrize("kind", [Listener, AsyncListener])
@pytest.mark.parametrize("awaitable", [False, True])
async def test_an_awaited_one_is_told_in_the_same_order(
    store: FaissStore, kind: Any, awaitable: bool
) -> None:
    listener = kind()
    model = ScriptedCrossEncoder(lambda _, passage: len(passage)) if awaitable else Sized()
    await RerankRetriever(store, reranker=model, fetch_k=70).ainvoke("x", config={"callbacks": [listener]})
    assert listener.told == WHOLE


def test_where_nobody_listens_nothing_is_divided(store: FaissStore, monkeypatch: pytest.MonkeyPatch) -> None:
    class Ignoring(Listener):
        @property
        def ignore_custom_event(self) -> bool:
            return True

    ignoring = Ignoring()
    for handlers in ([], [Deaf()], [AsyncCallbackHandler()], [ignoring]):
        model = Sized()
        RerankRetriever(store, reranker=model, fetch_k=70).invoke("x", config={"callbacks": handlers})
        assert model.sizes == [70]
    assert ignoring.told == []


async def test_events_of_a_chain_are_streamed(store: FaissStore) -> None:
    chain = RunnablePassthrough() | RerankRetriever(store, reranker=Sized(), fetch_k=70)
    events = [event async for event in chain.astream_events("whale", version="v2")]
    told = [(one["name"], one["data"]) for one in events if one["event"] == "on_custom_event"]
    assert told == [(f"rerank_retriever.{name}", data) for name, data in WHOLE]
    (own,) = [
        one["run_id"]
        for one in events
        if one["event"] == "on_retriever_start" and one["name"] == "RerankRetriever"
    ]
    assert {one["run_id"] for one in events if one["event"] == "on_custom_event"} == {own}


def test_each_stage_of_a_cascade_says_what_it_dropped(store: FaissStore) -> None:
    listener = Listener()
    stages = [CrossEncoderReranker(model=Sized(), top_n=5), FirstTwo()]
    RerankRetriever(store, reranker=stages, fetch_k=40).invoke("x", config={"callbacks": [listener]})
    assert listener.told == [
        ("recalled", {"candidates": 40}),
        ("scored", stage(32, 40, of=(1, 2))),
        ("scored", stage(40, 40, of=(1, 2))),
        ("reranked", {**stage(40, 40, of=(1, 2)), "dropped": 35, "unscored": None}),
        ("reranked", {**stage(None, 5, of=(2, 2)), "dropped": 3, "unscored": None}),
    ]


def test_a_timeout_is_told(store: FaissStore, monkeypatch: pytest.MonkeyPatch) -> None:
    listener, model = Listener(), Sized()
    retriever = RerankRetriever(store, reranker=model, fetch_k=70, timeout=1000)
    # The clock says: the query comes, the first part begins, and then it is too late.
    times = iter([0.0, 1.0])
    monkeypatch.setattr(scoring.time, "monotonic", lambda: next(times, 2000.0))
    retriever.invoke("x", config={"callbacks": [listener]})
    assert model.sizes == [16]
    assert listener.told[1:] == [
        ("scored", stage(16)),
        ("reranked", {**stage(16), "dropped": 0, "unscored": "timeout"}),
    ]


# ---------------------------------------------------------------- chains and agents


async def test_a_chain_streams_its_answer(store: FaissStore) -> None:
    model = GenericFakeChatModel(messages=iter([AIMessage("It is whale 69.")]))
    prompt = ChatPromptTemplate.from_template("{context}\n\n{question}")
    retriever = RerankRetriever(store, reranker=Sized(), fetch_k=70, k=1)
    chain = {"context": retriever, "question": RunnablePassthrough()} | prompt | model | StrOutputParser()
    chunks = [chunk async for chunk in chain.astream("which whale?")]
    assert len(chunks) > 1
    assert "".join(chunks) == "It is whale 69."


class Calling(GenericFakeChatModel):
    """A model that has been told of its tools."""

    def bind_tools(self, tools: Any, **_: Any) -> "Calling":
        assert [tool.name for tool in tools] == ["whales"]
        return self


def test_an_agent_looks_it_up(store: FaissStore) -> None:
    retriever = RerankRetriever(store, reranker=Sized(), fetch_k=70, k=2)
    call = AIMessage("", tool_calls=[ToolCall(name="whales", args={"query": "largest"}, id="1")])
    model = Calling(messages=iter([call, AIMessage("Whale 69.")]))
    agent = create_agent(model, [create_retriever_tool(retriever, "whales", "Looks up whales.")])
    messages = agent.invoke({"messages": [("user", "Which is the largest?")]})["messages"]
    assert [one.type for one in messages] == ["human", "ai", "tool", "ai"]
    assert messages[2].content == "whale 69\n\nwhale 68"
    assert messages[3].content == "Whale 69."


# ---------------------------------------------------------------- what wraps a runnable


def test_settings_by_configuration(store: FaissStore) -> None:
    fields = {name: ConfigurableField(id=name) for name in ("k", "fetch_k", "score_threshold")}
    model = Sized()
    retriever = RerankRetriever(store, reranker=model).configurable_fields(**fields)
    with pytest.warns(UserWarning, match="score_threshold is compared"):
        found = retriever.invoke(
            "x", config={"configurable": {"k": 50, "fetch_k": 70, "score_threshold": 65.0}}
        )
    assert [one.page_content for one in found] == [f"whale {number}" for number in (69, 68, 67, 66, 65)]
    assert model.sizes == [70]
    assert len(retriever.with_config(configurable={"k": 3}).invoke("x")) == 3
    with pytest.raises(InvalidArgumentError, match="k"):
        retriever.invoke("x", config={"configurable": {"k": 0}})


def test_names_tags_and_metadata_reach_the_run(store: FaissStore) -> None:
    class Started(BaseCallbackHandler):
        seen: tuple[Any, ...] = ()

        def on_retriever_start(self, _: Any, query: str, **run: Any) -> None:
            if run["parent_run_id"] is None:
                self.seen = (query, run["name"], run["tags"], run["metadata"]["tenant"])

    handler = Started()
    named = RerankRetriever(store).with_config(
        run_name="lookup", tags=["prod"], metadata={"tenant": 7}, callbacks=[handler]
    )
    named.invoke("whale")
    assert handler.seen == ("whale", "lookup", ["prod"], 7)


class Flaky(Sized):
    """Fails as many times as it is told."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self.failures = failures

    def score(self, text_pairs: Sequence[tuple[str, str]]) -> list[float]:  # type: ignore[override]
        if self.failures:
            self.failures -= 1
            raise ConnectionError("the model is gone")
        return super().score(text_pairs)


def test_retries_and_fallbacks(store: FaissStore) -> None:
    best = RerankRetriever(store, reranker=Sized(), fetch_k=70, k=1).invoke("x")
    flaky = RerankRetriever(store, reranker=Flaky(1), fetch_k=70, k=1)
    again = flaky.with_retry(
        retry_if_exception_type=(ConnectionError,), wait_exponential_jitter=False, stop_after_attempt=2
    )
    assert again.invoke("x") == best
    recall_alone = RerankRetriever(store, k=1)
    gone = RerankRetriever(store, reranker=Flaky(99), k=1)
    assert gone.with_fallbacks([recall_alone]).invoke("x") == recall_alone.invoke("x")
    with pytest.raises(ConnectionError, match="the model is gone"):
        gone.invoke("x")


async def test_batches(store: FaissStore) -> None:
    retriever = RerankRetriever(store, reranker=Sized(), fetch_k=70, k=1)
    for found in (
        retriever.batch(["a", " ", "b"], return_exceptions=True),
        await retriever.abatch(["a", " ", "b"], return_exceptions=True),
    ):
        assert isinstance(found[1], InvalidArgumentError)
        assert [one.page_content for one in (*found[0], *found[2])] == ["whale 69"] * 2
    with pytest.raises(InvalidArgumentError, match="blank"):
        retriever.batch(["a", " "])
    ended = [pair async for pair in retriever.abatch_as_completed(["a", "b", "c"])]
    assert sorted(place for place, _ in ended) == [0, 1, 2]
    assert {found[0].page_content for _, found in ended} == {"whale 69"}


async def test_many_streams_do_not_mix(store: FaissStore) -> None:
    retriever = RerankRetriever(store, reranker=Sized(), fetch_k=70)
    listeners = [Listener() for _ in range(3)]
    await retriever.abatch(["a", "b", "c"], config=[{"callbacks": [one]} for one in listeners])
    assert [one.told for one in listeners] == [WHOLE] * 3
    both = RunnableLambda(lambda query: query) | {"one": retriever, "two": retriever}
    listener = Listener()
    both.invoke("a", config={"callbacks": [listener]})
    by_run: dict[Any, Told] = {}
    for run, told in zip(listener.runs, listener.told, strict=True):
        by_run.setdefault(run, []).append(told)
    assert list(by_run.values()) == [WHOLE] * 2


# ---------------------------------------------------------------- the indexing API


def page(source: str, text: str) -> Document:
    return Document(page_content=text, metadata={"source": source})


@pytest.mark.parametrize("cleanup", ["full", "incremental"])
def test_indexing_with_a_record_manager(cleanup: Any) -> None:
    manager = InMemoryRecordManager("namespace")
    manager.create_schema()
    first = [page("a", "red fox"), page("a", "blue whale"), page("b", "green tea")]
    with FaissStore(HashEmbeddings()) as store:

        def indexed(documents: list[Document]) -> dict[str, int]:
            done = index(
                documents, manager, store, cleanup=cleanup, source_id_key="source", key_encoder="sha256"
            )
            return {name.removeprefix("num_"): count for name, count in done.items() if count}

        def texts() -> set[str]:
            return {one.page_content for one in store.documents()}

        assert indexed(first) == {"added": 3}
        assert indexed(first) == {"skipped": 3}
        assert indexed([first[0], page("a", "grey whale")]) == {
            "added": 1,
            "skipped": 1,
            # Only full knows that b is gone.
            "deleted": 2 if cleanup == "full" else 1,
        }
        left = {"red fox", "grey whale"} | (set() if cleanup == "full" else {"green tea"})
        assert texts() == left
        found = RerankRetriever(store, k=9, recall_mode="lexical").invoke("whale")
        assert [one.page_content for one in found] == ["grey whale"]
        assert store.verify(deep=True).problems == ()
