"""An evaluation that is stopped goes on where it was, and what is not its own file stays as it is."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda

from langchain_rerank_retriever.errors import FormatError, InvalidArgumentError, RetrieverError, StorageError
from langchain_rerank_retriever.evaluation import evaluate
from langchain_rerank_retriever.evaluation.asker import Answer
from langchain_rerank_retriever.evaluation.run_file import opened_run_file
from langchain_rerank_retriever.evaluation.trace import QueryTrace
from tests.evaluation.test_evaluate import Explaining
from tests.evaluation.test_result import traced

QUERIES = {f"q{number}": f"text {number} é" for number in range(6)}
QRELS = {query: {"a": 1} for query in QUERIES}
MEASURES = ["RR@2"]
OF = {"retriever": "base", "asked": "one at a time", "queries": QUERIES}


class Counting:
    """Answers, notes what it was asked, and fails when it was asked often enough."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.asked: list[str] = []
        self._fails_at = fails_at

    def __call__(self, query: str) -> list[Document]:
        if len(self.asked) == self._fails_at:
            raise TimeoutError("the server is gone")
        self.asked.append(query)
        return [Document(id=name, page_content="") for name in ("x", "a")]


def ask(counting: Counting, path: Path, **changes: Any) -> Any:
    arguments = {"queries": QUERIES, "qrels": QRELS, "measures": MEASURES, "name": "base", "run_file": path}
    return evaluate(RunnableLambda(counting), **{**arguments, **changes})


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "base.jsonl"


@pytest.mark.parametrize("run", ["sequential", "async", "batch"])
def test_a_second_run_asks_only_what_is_missing(path: Path, run: str) -> None:
    first, second, third = Counting(fails_at=4), Counting(), Counting()
    with pytest.raises(RetrieverError, match="the server is gone"):
        ask(first, path, run=run, concurrency=2)
    result = ask(second, path, run=run, concurrency=2)
    assert sorted(first.asked + second.asked) == sorted(QUERIES.values())
    assert len(second.asked) == 2
    assert result["RR@2"] == 0.5
    assert list(result.ranking) == list(QUERIES)
    assert result.seconds["total"].keys() == QUERIES.keys()
    assert ask(third, path, run=run, concurrency=2) == result
    assert third.asked == []


def test_what_a_file_holds(path: Path) -> None:
    ask(Counting(), path)
    header, *answers = lines(path)
    assert header["format"] == "langchain-rerank run"
    assert (header["version"], header["retriever"], header["asked"]) == (1, "base", "one at a time")
    assert [answer["query"] for answer in answers] == list(QUERIES)
    assert answers[0]["ranking"] == ["x", "a"]
    assert answers[0]["seconds"]["total"] > 0


def test_traces_are_kept(path: Path) -> None:
    retriever = Explaining(
        answers={"one": [("dogs", "returned"), ("birds", "below_threshold"), ("cats", "below_k")]}
    )
    arguments = {
        "queries": {"q": "one"},
        "qrels": {"q": {"cats": 1}},
        "measures": ["RR@10"],
        "run_file": path,
    }
    result = evaluate(retriever, **arguments)
    # It would fail on every query if it were asked again.
    again = evaluate(Explaining(answers={}), **arguments)
    assert again == result
    assert [one.outcome for one in again.traces["q"].candidates] == ["returned", "below_threshold", "below_k"]
    assert again["RR@10"] == 0.5


def test_measures_and_judgements_may_change(path: Path) -> None:
    counting = Counting()
    ask(counting, path, qrels={"q0": {"a": 1}})
    assert len(counting.asked) == 1
    result = ask(counting, path, qrels={"q0": {"x": 1}, "q1": {"a": 1}}, measures=["RR@2", "AP"])
    assert counting.asked == [QUERIES["q0"], QUERIES["q1"]]
    assert result.per_query["AP"] == {"q0": 1.0, "q1": 0.5}


def test_a_torn_line_is_cut_off_and_asked_again(path: Path) -> None:
    whole = ask(Counting(), path)
    content = path.read_bytes()
    last = content.rstrip(b"\n").rfind(b"\n") + 1
    for length in range(last, len(content), 7):
        path.write_bytes(content[:length])
        counting = Counting()
        assert ask(counting, path).ranking == whole.ranking
        assert counting.asked == [QUERIES["q5"]]
        assert len(lines(path)) == len(QUERIES) + 1


def test_a_torn_first_line_is_written_again(path: Path) -> None:
    ask(Counting(), path)
    header = path.read_bytes().split(b"\n")[0]
    for length in (0, 1, 40, len(header)):
        path.write_bytes(header[:length])
        counting = Counting()
        ask(counting, path)
        assert len(counting.asked) == len(QUERIES)


def test_line_ends_in_ids_tear_nothing(path: Path) -> None:
    answer = Answer(("a\nb", "\u2028c\r", "\ud800"), {"total": 1.0}, None)
    trace = Answer(
        ("d",), {"total": 1.0}, QueryTrace((traced("d", recall_score=float("inf")),), {}, "recall_score")
    )
    with opened_run_file(path, **OF) as file:
        file.append("q\n0", answer)
        file.append("q1", trace)
    with opened_run_file(path, **OF) as file:
        assert file.answers == {"q\n0": answer, "q1": trace}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"queries": {**QUERIES, "q0": "another text"}}, "holds answers to other queries"),
        ({"queries": {**QUERIES, "q9": "one more"}}, "holds answers to other queries"),
        ({"name": "tuned"}, "holds answers of 'base', and 'tuned' is asked now"),
        ({"run": "async"}, "to queries asked one at a time, and 8 at once their times mean something else"),
    ],
)
def test_the_file_of_something_else_is_refused(path: Path, changes: dict[str, Any], message: str) -> None:
    ask(Counting(), path)
    content = path.read_bytes()
    counting = Counting()
    with pytest.raises(InvalidArgumentError, match=f"{message}.*Choose another run_file, or delete this one"):
        ask(counting, path, **changes)
    assert (counting.asked, path.read_bytes()) == ([], content)


def test_the_order_of_queries_does_not_matter(path: Path) -> None:
    ask(Counting(), path)
    counting = Counting()
    ask(counting, path, queries=dict(reversed(QUERIES.items())))
    assert counting.asked == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"some notes", "is not a run file.*not changed"),
        (b"some notes\n", "is not a run file.*not changed"),
        (b'{"name": "base", "means": {}}\n', "is not a run file.*not changed"),
        (b"[]\n", "is not a run file"),
        (b"\x80\x81\n", "is not a run file"),
    ],
)
def test_a_file_that_is_none_stays_as_it_is(path: Path, content: bytes, message: str) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(FormatError, match=message):
        ask(Counting(), path)
    assert path.read_bytes() == content


def test_a_newer_form_is_refused(path: Path) -> None:
    ask(Counting(), path)
    path.write_bytes(path.read_bytes().replace(b'"version": 1', b'"version": 2'))
    with pytest.raises(FormatError, match=r"version 2; this package reads .* version 1"):
        ask(Counting(), path)


@pytest.mark.parametrize(
    "damaged", [b"", b"{", b"[1]", b'{"query": "q1"}', b'{"query": "q1", "seconds": 3, "ranking": []}']
)
def test_damage_in_the_middle_is_told_with_its_line(path: Path, damaged: bytes) -> None:
    ask(Counting(), path)
    before = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([*before[:2], damaged, *before[3:]]))
    content = path.read_bytes()
    with pytest.raises(FormatError, match=r"Line 3 of .*base.jsonl is damaged"):
        ask(Counting(), path)
    assert path.read_bytes() == content


def test_two_processes_do_not_write_to_one_file(path: Path) -> None:
    with (
        opened_run_file(path, **OF),
        pytest.raises(StorageError, match=r"Another process writes to .*base.jsonl"),
    ):
        ask(Counting(), path)
    ask(Counting(), path)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be used"):
        ask(Counting(), tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be used"):
        ask(Counting(), tmp_path / "file" / "run.jsonl")


@pytest.mark.parametrize("run", ["sequential", "async", "batch"])
def test_a_disk_that_takes_half_a_line(path: Path, run: str) -> None:
    ask(Counting(), path, run=run, concurrency=3, qrels={"q0": {"a": 1}})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    line = len(path.read_bytes().splitlines()[-1])
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 3 * line // 2, hard))
    try:
        with pytest.raises(StorageError, match=r"base.jsonl cannot be used: .*(only a part|File too large)"):
            ask(Counting(), path, run=run, concurrency=3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not path.read_bytes().endswith(b"\n")
    counting = Counting()
    assert ask(counting, path, run=run, concurrency=3)["RR@2"] == 0.5
    assert 0 < len(counting.asked) < len(QUERIES)


SLOW = """
import sys, time
from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda
from langchain_rerank_retriever import evaluate

def answer(query):
    time.sleep(0.05)
    return [Document(id=query, page_content="")]

queries = {f"q{number}": f"d{number}" for number in range(200)}
evaluate(RunnableLambda(answer), queries, {one: {text: 1} for one, text in queries.items()}, measures=["RR@1"],
    name="slow", run_file=sys.argv[1])
"""


def test_a_killed_process_loses_nothing_that_was_answered(path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", SLOW, str(path)]) as process:
        deadline = time.monotonic() + 120
        while not (path.exists() and path.read_bytes().count(b"\n") > 5):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
    answered = path.read_bytes().count(b"\n") - 1
    assert 5 <= answered < 200
    asked = []

    def answer(query: str) -> Sequence[Document]:
        asked.append(query)
        return [Document(id=query, page_content="")]

    queries = {f"q{number}": f"d{number}" for number in range(200)}
    qrels = {one: {text: 1} for one, text in queries.items()}
    result = evaluate(RunnableLambda(answer), queries, qrels, measures=["RR@1"], name="slow", run_file=path)
    assert asked == [f"d{number}" for number in range(answered, 200)]
    assert (result["RR@1"], result.queries) == (1.0, 200)
