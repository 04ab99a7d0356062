"""Any retriever can be asked; what it answers is judged as it is, and silence or shallowness is said."""

import asyncio
import dataclasses
import json
import signal
import threading
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_core.cross_encoders import BaseCrossEncoder
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda
from langchain_core.vectorstores import InMemoryVectorStore

from langchain_rerank_retriever import CrossEncoderReranker, RerankRetriever
from langchain_rerank_retriever.errors import DataError, InvalidArgumentError, RetrieverError
from langchain_rerank_retriever.evaluation import Evaluation, compare, evaluate
from langchain_rerank_retriever.protocols import ExplainedCandidate, Explanation, Outcome

RUNS = ["sequential", "async", "batch"]

TEXTS = {
    "cats": "cats purr and chase mice",
    "dogs": "dogs bark at the postman",
    "birds": "birds sing in the morning",
    "fish": "fish swim in cold water",
}
QUERIES = {"q1": "cats purr", "q2": "birds sing", "q3": "fish in cold water"}
QRELS = {"q1": {"cats": 2, "dogs": 0}, "q2": {"birds": 1}, "q3": {"fish": 1, "birds": 1}}


def documents(*ids: str) -> list[Document]:
    return [Document(id=name, page_content=f"text of {name}") for name in ids]


def answering(answers: dict[str, Sequence[str]]) -> RunnableLambda:
    return RunnableLambda(lambda query: documents(*answers[query]))


def candidate(name: str, rank: int, outcome: Outcome = "returned") -> ExplainedCandidate:
    return ExplainedCandidate(
        document=documents(name)[0],
        rank=rank,
        recall_rank=rank,
        recall_score=None,
        dense_score=None,
        lexical_score=None,
        rerank_score=None,
        blended_score=None,
        relevance_score=None,
        truncated=None,
        outcome=outcome,
    )


class Explaining(BaseRetriever):
    """Returns `k` of its candidates, and explains all of them."""

    answers: dict[str, list[tuple[str, str]]]
    k: int = 1

    def explain(self, query: str, *, last: str | None = None) -> Explanation:
        rows = [*self.answers[query], *([(last, "below_k")] if last else [])]
        candidates = tuple(
            candidate(name, rank, outcome) for rank, (name, outcome) in enumerate(rows, start=1)
        )
        seconds = {"recall": 0.001, "rerank": 0.003, "blend": 0.0, "total": 0.004}
        kept = tuple(row.document for row in candidates if row.outcome == "returned")
        return Explanation(query, kept, candidates, seconds, "recall_score")

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        raise AssertionError("explain() says more")


@pytest.mark.parametrize("run", RUNS)
def test_a_vector_store_retriever(hash_embeddings: Any, run: Any) -> None:
    store = InMemoryVectorStore(hash_embeddings)
    store.add_documents([Document(id=name, page_content=text) for name, text in TEXTS.items()])
    result = evaluate(
        store.as_retriever(search_kwargs={"k": 4}),
        QUERIES,
        QRELS,
        measures=["nDCG@4", "RR@4", "R@4"],
        run=run,
    )
    assert result["RR@4"] == result["R@4"] == 1.0
    assert result.name == "VectorStoreRetriever"
    assert set(result.ranking["q1"]) == set(TEXTS)
    assert result.latency_ms["total"]["p50"] > 0
    assert list(result.latency_ms) == ["total"]


def test_a_runnable() -> None:
    answers = {"cats purr": ["dogs", "cats"], "birds sing": [], "fish in cold water": ["birds", "x", "fish"]}
    result = evaluate(answering(answers), QUERIES, QRELS, measures=["RR@3", "R@3"], name="by hand")
    assert result.per_query["RR@3"] == {"q1": 0.5, "q2": 0.0, "q3": 1.0}
    assert result["RR@3"] == pytest.approx(0.5)
    assert result["R@3"] == pytest.approx(2 / 3)
    assert result.name == "by hand"
    assert result.ranking["q3"] == ("birds", "x", "fish")


def test_a_retriever_that_explains_is_judged_by_all_its_candidates() -> None:
    rows = [("dogs", "returned"), ("birds", "below_k"), ("cats", "below_k")]
    result = evaluate(
        Explaining(answers={"cats purr": rows}),
        {"q1": "cats purr"},
        {"q1": {"cats": 1}},
        measures=["RR@10", "Success@100"],
    )
    assert result["RR@10"] == pytest.approx(1 / 3)
    assert result["Success@100"] == 1.0
    assert result.latency_ms["recall"]["p95"] == pytest.approx(1.0)
    # By our clock, as that of every other retriever, and not the 4 ms that it says itself.
    assert 0 < result.latency_ms["total"]["p95"] != pytest.approx(4.0)


@pytest.mark.parametrize("outcome", ["below_threshold", "dropped_by_reranker", "collapsed"])
def test_what_no_k_would_return_is_not_judged(outcome: str) -> None:
    retriever = Explaining(answers={"q": [("dogs", "returned"), ("cats", outcome)]})
    result = evaluate(retriever, {"q1": "q"}, {"q1": {"cats": 1, "dogs": 0}})
    assert result["R@100"] == 0.0
    assert result.ranking["q1"] == ("dogs",)


def test_what_is_bound_to_a_retriever_reaches_explain() -> None:
    retriever = Explaining(answers={"q": [("dogs", "returned")]}).bind(last="cats")
    result = evaluate(retriever, {"q1": "q"}, {"q1": {"cats": 1}}, measures=["RR@10"])
    assert result["RR@10"] == 0.5


def test_what_became_of_the_candidates_is_kept() -> None:
    rows = [("dogs", "returned"), ("birds", "below_threshold"), ("cats", "below_k")]
    retriever = Explaining(answers={"q": rows})
    result = evaluate(
        retriever,
        {"q1": "q"},
        {"q1": {"metadata of cats": 1}},
        measures=["RR@10"],
        key=lambda document: f"metadata of {document.id}",
    )
    trace = result.traces["q1"]
    assert [(one.document_id, one.rank, one.outcome) for one in trace.candidates] == [
        (f"metadata of {name}", rank, outcome) for rank, (name, outcome) in enumerate(rows, start=1)
    ]
    assert trace.relevance_kind == "recall_score"
    assert trace.seconds == {"recall": 0.001, "rerank": 0.003, "blend": 0.0, "total": 0.004}
    assert result.ranking["q1"] == ("metadata of dogs", "metadata of cats")
    stages = {stage: {"q1": taken} for stage, taken in trace.seconds.items() if stage != "total"}
    assert {stage: taken for stage, taken in result.seconds.items() if stage != "total"} == stages
    assert (result.query_texts, result.qrels) == ({"q1": "q"}, {"q1": {"metadata of cats": 1}})


@pytest.mark.parametrize("run", RUNS)
def test_an_explain_of_another_library_is_not_ours(run: Any) -> None:
    explained = []

    class Other(BaseRetriever):
        def explain(self, query: str) -> str:
            explained.append(query)
            return "because"

        def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
            return documents("cats")

    queries = {f"q{number}": "x" for number in range(6)}
    qrels = {one: {"cats": 1} for one in queries}
    result = evaluate(Other(), queries, qrels, measures=["RR@1"], run=run, concurrency=2)
    assert (result["RR@1"], result.traces) == (1.0, {})
    assert len(explained) <= 2


def test_a_wrapper_that_does_more_than_pass_arguments_is_asked_itself() -> None:
    retriever = Explaining(answers={"q": [("dogs", "returned")]}).with_retry(stop_after_attempt=1)
    with pytest.raises(RetrieverError, match=r"explain\(\) says more"):
        evaluate(retriever, {"q1": "q"}, {"q1": {"cats": 1}}, measures=["RR@10"])


class Attributing(BaseRetriever):
    """Of another library, whose explain() takes more than a query."""

    def explain(self, inputs: Any, targets: Any) -> list[float]:
        raise AssertionError("nobody has inputs and targets")

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        return documents("dogs", "cats")


@pytest.mark.parametrize("run", RUNS)
def test_an_explain_that_takes_something_else_is_not_called(run: Any) -> None:
    result = evaluate(Attributing(), {"q1": "q"}, {"q1": {"cats": 1}}, measures=["RR@2"], run=run)
    assert result["RR@2"] == 0.5


class WordOverlap(BaseCrossEncoder):
    def score(self, text_pairs: list[tuple[str, str]]) -> list[float]:
        return [len(set(query.split()) & set(text.split())) / 10 for query, text in text_pairs]


@pytest.mark.parametrize("run", RUNS)
def test_a_compression_retriever(hash_embeddings: Any, run: Any) -> None:
    store = InMemoryVectorStore(hash_embeddings)
    store.add_documents([Document(id=name, page_content=text) for name, text in TEXTS.items()])
    retriever = ContextualCompressionRetriever(
        base_retriever=store.as_retriever(search_kwargs={"k": 4}),
        base_compressor=CrossEncoderReranker(model=WordOverlap(), top_n=2),
    )
    result = evaluate(retriever, QUERIES, QRELS, measures=["nDCG@2", "R@2"], run=run)
    assert result.ranking["q1"][0] == "cats"
    assert [len(ids) for ids in result.ranking.values()] == [2, 2, 2]
    assert result.traces == {}


@pytest.mark.parametrize("run", RUNS)
def test_our_own_retriever(hash_embeddings: Any, run: Any, tmp_path: Path) -> None:
    store = [Document(id=name, page_content=text) for name, text in TEXTS.items()]
    retriever = RerankRetriever.from_documents(
        store, embeddings=hash_embeddings, reranker=WordOverlap(), k=1, fetch_k=3
    )
    arguments: dict[str, Any] = {
        "measures": ["nDCG@3", "R@3"],
        "run": run,
        "run_file": tmp_path / "run.jsonl",
    }
    result = evaluate(retriever, QUERIES, QRELS, **arguments)
    for query, text in QUERIES.items():
        explanation, trace = retriever.explain(text), result.traces[query]
        assert result.ranking[query] == tuple(str(one.document.id) for one in explanation.candidates)
        for told, traced in zip(explanation.candidates, trace.candidates, strict=True):
            assert traced.document_id == told.document.id
            for field in dataclasses.fields(traced)[1:]:
                assert getattr(traced, field.name) == getattr(told, field.name)
        assert (trace.relevance_kind, trace.ranking) == ("rerank_score", result.ranking[query])
        assert trace.seconds.keys() == {"recall", "rerank", "blend", "total"}
    assert (result["nDCG@3"], len(result.ranking["q3"])) == (1.0, 3)
    assert result.truncated is None
    assert evaluate(retriever, QUERIES, QRELS, **arguments) == result
    assert Evaluation.from_dict(json.loads(json.dumps(result.to_dict(), allow_nan=False))) == result


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("binding", [dict, lambda: {"last": "cats"}])
def test_every_way_of_running_gives_the_same(run: Any, binding: Any) -> None:
    rows = {f"text {number}": [("dogs", "returned"), (f"d{number}", "below_k")] for number in range(9)}
    queries = {f"q{number}": f"text {number}" for number in range(9)}
    qrels = {f"q{number}": {f"d{number}": 2, "cats": 1} for number in range(9)}
    retriever = Explaining(answers=rows).bind(**binding())
    expected = evaluate(retriever, queries, qrels)
    result = evaluate(retriever, queries, qrels, run=run, concurrency=4)
    for field in ("means", "per_query", "ranking", "traces", "qrels"):
        assert getattr(result, field) == getattr(expected, field)
    assert list(result.ranking) == list(queries)
    assert (
        result.asked == {"sequential": "one at a time", "async": "4 at once", "batch": "in batches of 4"}[run]
    )


class Gathering(BaseRetriever):
    """Answers when so many queries are under way that all get through the barrier, and a little later."""

    barrier: Any

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        self.barrier.wait(timeout=30)
        time.sleep(0.02)
        return documents("a")


class Awaiting(Gathering):
    async def _aget_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        await asyncio.wait_for(self.barrier.wait(), timeout=30)
        await asyncio.sleep(0.02)
        return documents("a")


@pytest.mark.parametrize(
    ("retriever", "run"),
    [
        (Gathering(barrier=threading.Barrier(1)), "sequential"),
        (Gathering(barrier=threading.Barrier(12)), "async"),
        (Awaiting(barrier=asyncio.Barrier(12)), "async"),
        (Gathering(barrier=threading.Barrier(12)), "batch"),
    ],
)
def test_how_many_are_under_way_and_what_the_times_mean(retriever: BaseRetriever, run: Any) -> None:
    queries = {f"q{number}": "x" for number in range(24)}
    qrels = {one: {"a": 1} for one in queries}
    started = time.perf_counter()
    result = evaluate(retriever, queries, qrels, measures=["RR@1"], run=run, concurrency=12)
    taken = time.perf_counter() - started
    seconds = result.seconds["total"]
    assert seconds.keys() == queries.keys()
    if run == "batch":
        assert len(set(seconds.values())) == 2
        assert 2 * 0.02 <= sum(seconds.values()) <= taken
    else:
        assert min(seconds.values()) >= 0.02
    if run == "sequential":
        assert sum(seconds.values()) <= taken


async def test_async_within_a_running_loop() -> None:
    result = evaluate(answering({"x": ["a"]}), {"q": "x"}, {"q": {"a": 1}}, measures=["RR@1"], run="async")
    assert result["RR@1"] == 1.0


@pytest.mark.parametrize("run", RUNS)
def test_a_retriever_that_fails_names_the_query(run: Any) -> None:
    queries = {"q1": "one", "q2": "two", "q3": "three"}
    fails = answering({"one": ["a"], "three": ["a"]})
    with pytest.raises(RetrieverError, match=r"failed on query 'q2' \('two'\): KeyError: 'two'") as caught:
        evaluate(fails, queries, {one: {"a": 1} for one in queries}, run=run)
    assert caught.value.query_id == "q2"
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize("run", RUNS)
def test_a_retriever_whose_explain_fails_names_the_query(run: Any) -> None:
    with pytest.raises(RetrieverError, match="failed on query 'q2'"):
        evaluate(
            Explaining(answers={"one": [("a", "returned")]}),
            {"q1": "one", "q2": "two"},
            {"q1": {"a": 1}, "q2": {"a": 1}},
            run=run,
        )


def test_ctrl_c_is_not_a_failure_of_the_retriever() -> None:
    def answer(query: str) -> list[Document]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(RunnableLambda(answer), {"q": "x"}, {"q": {"a": 1}})


def test_ctrl_c_in_a_running_loop_asks_no_more() -> None:
    asked: list[str] = []

    def answer(query: str) -> list[Document]:
        asked.append(query)
        if len(asked) == 2:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        time.sleep(0.05)
        return documents("a")

    async def within() -> None:
        queries = {f"q{number}": "x" for number in range(200)}
        qrels = {one: {"a": 1} for one in queries}
        evaluate(RunnableLambda(answer), queries, qrels, run="async", concurrency=2)

    loop = asyncio.new_event_loop()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(within())
    finally:
        signal.signal(signal.SIGINT, before)
        loop.close()
    assert len(asked) < 20


def test_a_document_that_comes_twice_counts_at_its_first_place() -> None:
    result = evaluate(
        answering({"x": ["b", "b", "a", "a"]}), {"q": "x"}, {"q": {"a": 1}}, measures=["RR@4", "P@2"]
    )
    assert (result["RR@4"], result["P@2"]) == (0.5, 0.5)
    assert result.ranking["q"] == ("b", "a")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"run": "threads"}, "run must be one of 'sequential', 'async', 'batch', got 'threads'"),
        ({"concurrency": 0}, "concurrency must be a whole number of at least 1, got 0"),
        ({"concurrency": True}, "got True"),
        ({"concurrency": 2.5}, "got 2.5"),
    ],
)
def test_ways_of_running_that_there_are_not(arguments: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        evaluate(answering({}), {"q": "x"}, {"q": {"a": 1}}, **arguments)


def test_what_can_be_asked_in_one_way_only() -> None:
    class Plain:
        def invoke(self, query: str) -> list[Document]:
            return documents("a")

    assert evaluate(Plain(), {"q": "x"}, {"q": {"a": 1}}, measures=["RR@1"])["RR@1"] == 1.0
    with pytest.raises(InvalidArgumentError, match=r"got Plain, which has no ainvoke\(\)"):
        evaluate(Plain(), {"q": "x"}, {"q": {"a": 1}}, run="async")


def test_a_batch_must_have_an_answer_to_each() -> None:
    class Short(RunnableLambda):
        def batch(
            self, inputs: Any, config: Any = None, *, return_exceptions: bool = False, **kwargs: Any
        ) -> Any:
            return [documents("a")]

    queries = {"q1": "x", "q2": "y"}
    with pytest.raises(
        InvalidArgumentError, match=r"batch\(\) must return a list with one answer to each of 2"
    ):
        evaluate(Short(lambda query: []), queries, {one: {"a": 1} for one in queries}, run="batch")


def test_a_reranker_that_changes_nothing_changes_no_value() -> None:
    # Evaluators of re-rankers often put the relevant documents among the candidates, or count an ideal of those
    # found only; either way, doing nothing looks like an improvement.
    names = [f"d{number}" for number in range(30)]
    qrels = {f"q{number}": {names[number]: 1, "never found": 2} for number in range(10)}
    queries = {query: query for query in qrels}
    recall = RunnableLambda(lambda query: documents(*names))
    identity = recall | RunnableLambda(lambda found: sorted(found, key=lambda document: 0))
    before, after = (
        evaluate(system, queries, qrels, measures=["nDCG@10", "RR@10", "R@30"], name=name)
        for name, system in (("recall", recall), ("reranked", identity))
    )
    assert after.per_query == before.per_query
    assert after["R@30"] == 0.5
    assert after["RR@10"] == pytest.approx(sum(1 / rank for rank in range(1, 11)) / 10)
    row = compare([before, after]).row("reranked", "nDCG@10")
    assert (row.difference, row.p_value, row.ties) == (0.0, 1.0, 10)


def test_only_judged_queries_are_asked() -> None:
    asked = []

    def answer(query: str) -> list[Document]:
        asked.append(query)
        return documents("cats")

    queries = {**QUERIES, "new": "what about horses?"}
    result = evaluate(RunnableLambda(answer), queries, {"q1": {"cats": 1}, "q2": {}}, measures=["RR@1"])
    assert asked == ["cats purr"]
    assert (result.queries, result.unjudged_queries, result["RR@1"]) == (1, 3, 1.0)


def test_an_id_from_metadata() -> None:
    found = [Document(page_content="x", metadata={"source": "cats"})]
    result = evaluate(
        RunnableLambda(lambda query: found),
        {"q": "x"},
        {"q": {"cats": 1}},
        measures=["RR@1"],
        key=lambda document: document.metadata["source"],
    )
    assert result["RR@1"] == 1.0


@pytest.mark.parametrize("run", RUNS)
def test_progress_goes_to_stderr(capsys: pytest.CaptureFixture[str], run: Any) -> None:
    arguments: dict[str, Any] = {"measures": ["RR@1"], "run": run, "show_progress": True}
    evaluate(answering({"x": ["a"]}), {"q": "x"}, {"q": {"a": 1}}, **arguments)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Evaluating" in captured.err


def test_warns_once_where_measures_look_deeper_than_the_retriever() -> None:
    with pytest.warns(UserWarning, match=r"at most 1 documents.*R@100 looks at 100.*'k': 100") as caught:
        evaluate(answering({"x": ["a"], "y": []}), {"q": "x", "r": "y"}, {"q": {"a": 1}, "r": {"a": 1}})
    # From Python 3.12 on, ir-measures has deprecation warnings of its own.
    (told,) = [one for one in caught if one.category is UserWarning]
    assert told.filename == __file__


def test_does_not_warn_without_need() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        evaluate(answering({"x": ["a", "b"]}), {"q": "x"}, {"q": {"a": 1}}, measures=["RR@2", "AP"])
        evaluate(Explaining(answers={"x": [("a", "returned")]}), {"q": "x"}, {"q": {"a": 1}})


def test_warns_where_ids_do_not_meet() -> None:
    with pytest.warns(UserWarning, match=r"None of the 1 returned document ids \(such as 'A-1'\).*'a'.*key="):
        result = evaluate(answering({"x": ["A-1"]}), {"q": "x"}, {"q": {"a": 1}}, measures=["RR@1"])
    assert result["RR@1"] == 0.0


@pytest.mark.parametrize(
    ("queries", "qrels", "message"),
    [
        ({}, QRELS, "non-empty mapping of query id to text"),
        (["cats"], QRELS, "non-empty mapping of query id to text"),
        ({1: "cats"}, QRELS, r"query id in queries must be a non-empty string, got 1 \(int\)"),
        ({"q1": 5}, QRELS, r"text of query 'q1' must be a string, got 5 \(int\)"),
        (QUERIES, {}, "hold no judgement"),
        ({"q1": "cats"}, QRELS, "2 of 3 judged queries are not in queries: 'q2', 'q3'.*Add their texts"),
        (QUERIES, {"q1": {"cats": 0.3}}, "whole number"),
    ],
)
def test_unusable_data(queries: Any, qrels: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        evaluate(answering({}), queries, qrels)


def test_documents_without_ids() -> None:
    nameless = RunnableLambda(lambda query: [Document(page_content="x")])
    with pytest.raises(DataError, match=r"query 'q' has no id.*evaluate\(\.\.\., key="):
        evaluate(nameless, {"q": "x"}, {"q": {"a": 1}})
    with pytest.raises(DataError, match="key must return a non-empty string, got 3"):
        evaluate(nameless, {"q": "x"}, {"q": {"a": 1}}, key=lambda document: 3)
    with pytest.raises(DataError, match=r"key raised KeyError\('source'\) for a document of query 'q'"):
        evaluate(nameless, {"q": "x"}, {"q": {"a": 1}}, key=lambda document: document.metadata["source"])


@pytest.mark.parametrize("answer", ["text", None, ["text"], {"documents": []}])
def test_answers_that_are_no_documents(answer: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="must return a list of Documents, got"):
        evaluate(RunnableLambda(lambda query: answer), {"q": "x"}, {"q": {"a": 1}})


def test_an_answer_that_is_an_empty_string_is_no_empty_list() -> None:
    with pytest.raises(InvalidArgumentError, match="got str for query 'q'"):
        evaluate(RunnableLambda(lambda query: ""), {"q": "x"}, {"q": {"a": 1}})


def test_what_cannot_be_asked() -> None:
    with pytest.raises(InvalidArgumentError, match=r"got function, which has no invoke\(\).*RunnableLambda"):
        evaluate(documents, {"q": "x"}, {"q": {"a": 1}})


def test_a_measure_is_checked_before_anything_is_asked() -> None:
    with pytest.raises(InvalidArgumentError, match="foo"):
        evaluate(Explaining(answers={}), {"q": "x"}, {"q": {"a": 1}}, measures=["foo"])
