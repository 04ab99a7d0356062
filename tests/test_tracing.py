"""What tracers see of a query, and the retriever in the constructions of LangChain that people put it into."""

from collections.abc import Iterator

import pytest
from langchain_core.documents import Document
from langchain_core.runnables import ConfigurableField, RunnableParallel, RunnablePassthrough
from langchain_core.tools import create_retriever_tool
from langchain_core.tracers.base import BaseTracer
from langchain_core.tracers.schemas import Run

from langchain_rerank_retriever import FaissStore, RerankRetriever
from langchain_rerank_retriever.errors import ScoringError
from langchain_rerank_retriever.testing import HashEmbeddings, ScriptedCrossEncoder

TEXTS = ["red fox", "blue whale", "red whale in the blue sea", "green tea"]


class Tracer(BaseTracer):
    """Keeps every run of the first query."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[Run] = []

    def _persist_run(self, run: Run) -> None:
        self.runs.append(run)

    @property
    def run(self) -> Run:
        """The only run that is nobody's child."""
        (one,) = self.runs
        return one


def broken(_query: str, _passage: str) -> float:
    raise RuntimeError("the model is gone")


def overlap(query: str, passage: str) -> float:
    """Words in common, and a little less for every letter, so that there are no ties."""
    return len(set(query.split()) & set(passage.split())) - len(passage) / 100


@pytest.fixture
def store() -> Iterator[FaissStore]:
    with FaissStore(HashEmbeddings()) as store:
        store.add_documents(
            [
                Document(id=str(i), page_content=text, metadata={"length": len(text)})
                for i, text in enumerate(TEXTS)
            ]
        )
        yield store


def check_runs(run: Run, retriever: RerankRetriever) -> None:
    explained = retriever.explain("red whale")
    assert run.run_type == "retriever"
    assert [(child.name, child.run_type) for child in run.child_runs] == [
        ("recall", "retriever"),
        ("rerank", "chain"),
    ]
    recall, rerank = run.child_runs
    by_recall = sorted(explained.candidates, key=lambda one: one.recall_rank)
    assert recall.inputs == {"query": "red whale"}
    assert recall.outputs is not None
    assert rerank.outputs is not None
    assert [one.id for one in recall.outputs["documents"]] == [one.document.id for one in by_recall]
    assert [one.metadata for one in recall.outputs["documents"]] == [
        {
            **one.document.metadata,
            "recall_rank": one.recall_rank,
            "recall_score": one.recall_score,
            "dense_score": one.dense_score,
            **({} if one.lexical_score is None else {"lexical_score": one.lexical_score}),
        }
        for one in by_recall
    ]
    assert rerank.inputs["query"] == "red whale"
    assert [one.id for one in rerank.inputs["documents"]] == [one.document.id for one in by_recall]
    scores = {one.document.id: one.rerank_score for one in explained.candidates}
    found = rerank.outputs["documents"]
    assert [(one.id, one.metadata["rerank_score"]) for one in found] == [
        (one.document.id, scores[one.document.id]) for one in explained.candidates
    ]
    assert run.outputs is not None
    assert [one.id for one in run.outputs["documents"]] == [one.id for one in explained.documents]
    metadata = (run.extra or {})["metadata"]
    assert metadata["ls_retriever_name"] == "rerank"
    assert metadata["ls_vector_store_provider"] == "FaissStore"
    assert metadata["ls_embedding_provider"] == "HashEmbeddings"


def test_recall_and_rerank_are_child_runs(store: FaissStore) -> None:
    retriever, tracer = RerankRetriever(store, reranker=ScriptedCrossEncoder(overlap), k=2), Tracer()
    retriever.invoke("red whale", config={"callbacks": [tracer]})
    check_runs(tracer.run, retriever)


async def test_of_what_is_awaited_too(store: FaissStore) -> None:
    retriever, tracer = RerankRetriever(store, reranker=ScriptedCrossEncoder(overlap), k=2), Tracer()
    await retriever.ainvoke("red whale", config={"callbacks": [tracer]})
    check_runs(tracer.run, retriever)


def test_without_a_reranker_there_is_recall_alone(store: FaissStore) -> None:
    tracer = Tracer()
    RerankRetriever(store).invoke("red", config={"callbacks": [tracer]})
    assert [child.name for child in tracer.run.child_runs] == ["recall"]


def test_a_stage_that_fails_ends_its_run(store: FaissStore) -> None:
    tracer = Tracer()
    with pytest.raises((RuntimeError, ScoringError)):
        RerankRetriever(store, reranker=ScriptedCrossEncoder(broken)).invoke(
            "red", config={"callbacks": [tracer]}
        )
    recall, rerank = tracer.run.child_runs
    assert recall.error is None
    assert "the model is gone" in (rerank.error or "")
    assert "the model is gone" in (tracer.run.error or "")


def test_traces_take_nothing_from_the_answer(store: FaissStore) -> None:
    retriever = RerankRetriever(store, reranker=ScriptedCrossEncoder(overlap), k=2)
    assert retriever.invoke("red whale", config={"callbacks": [Tracer()]}) == retriever.invoke("red whale")


async def test_events_name_the_stages(store: FaissStore) -> None:
    chain = RunnablePassthrough() | RerankRetriever(store, reranker=ScriptedCrossEncoder(overlap), k=1)
    named = [(event["event"], event["name"]) async for event in chain.astream_events("red fox", version="v2")]
    order = [
        ("on_retriever_start", "RerankRetriever"),
        ("on_retriever_start", "recall"),
        ("on_retriever_end", "recall"),
        ("on_chain_start", "rerank"),
        ("on_chain_end", "rerank"),
        ("on_retriever_end", "RerankRetriever"),
    ]
    assert [event for event in named if event in order] == order


def test_in_parallel_and_bound_to_a_configuration(store: FaissStore) -> None:
    retriever = RerankRetriever(store, reranker=ScriptedCrossEncoder(overlap), k=1)
    tracer = Tracer()
    both = RunnableParallel(
        one=retriever.with_config(run_name="mine", tags=["a"]),
        two=retriever.configurable_fields(k=ConfigurableField(id="k")).with_config(configurable={"k": 3}),
    )
    found = both.invoke("red fox", config={"callbacks": [tracer]})
    assert [len(found["one"]), len(found["two"])] == [1, 3]
    names = {run.name: run for run in tracer.run.child_runs}
    assert names["mine"].tags is not None
    assert "a" in names["mine"].tags


def test_as_a_tool(store: FaissStore) -> None:
    retriever = RerankRetriever(store, reranker=ScriptedCrossEncoder(overlap), k=2)
    tool = create_retriever_tool(
        retriever, "animals", "Looks up animals.", response_format="content_and_artifact"
    )
    message = tool.invoke({"name": "animals", "args": {"query": "red fox"}, "id": "1", "type": "tool_call"})
    assert message.content.startswith("red fox")
    assert [document.id for document in message.artifact] == [
        document.id for document in retriever.invoke("red fox")
    ]
