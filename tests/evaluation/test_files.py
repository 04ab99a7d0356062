"""Queries, judgements, runs and evaluations from files."""

import json
from pathlib import Path

import ir_measures
import numpy as np
import pytest

from langchain_rerank_retriever.errors import DataError, InvalidArgumentError, StorageError
from langchain_rerank_retriever.evaluation import (
    Evaluation,
    judge,
    judge_run,
    load_evaluation,
    read_qrels,
    read_queries,
    save_evaluation,
    write_run,
)

QRELS = {"q1": {"a": 2, "b": 0}, "q2": {"c": 1}}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("queries.jsonl", '{"_id": "q1", "text": "one, two"}\n{"id": "q2", "text": "둘"}\n'),
        ("queries.tsv", "q1\tone, two\nq2\t둘\n"),
        ("QUERIES.TSV", "q1\tone, two\r\n\r\nq2\t둘\r\n"),
    ],
)
def test_queries(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_bytes(content.encode())
    assert read_queries(tmp_path / name) == {"q1": "one, two", "q2": "둘"}


def test_a_text_with_tabs(tmp_path: Path) -> None:
    (tmp_path / "q.tsv").write_text("q1\tone\ttwo\n")
    assert read_queries(tmp_path / "q.tsv") == {"q1": "one\ttwo"}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "q.tsv",
            "q1\tone\nq2 two\n",
            r"q.tsv, line 2: expected a query id, a tab and the text, got 'q2 two'",
        ),
        ("q.tsv", "\tone\n", r"line 1: expected a query id"),
        ("q.tsv", "q\tone\nq\ttwo\n", r"line 2: the id 'q' is there twice"),
        ("q.jsonl", '{"text": "x"}', r"q.jsonl, line 1: expected an id in _id"),
    ],
)
def test_queries_that_are_none(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        read_queries(tmp_path / name)


@pytest.mark.parametrize(
    "content",
    [
        "q1 0 a 2\nq1 0 b 0\nq2 0 c 1\n",
        "q1\t0\ta\t2\nq1\t0\tb\t0\nq2\t0\tc\t1\n",
        "query-id\tcorpus-id\tscore\nq1\ta\t2\nq1\tb\t0\nq2\tc\t1\n",
        "\nq1\ta\t2\nq1\tb\t0\nq2\tc\t1\n",
    ],
)
def test_judgements_of_either_kind(tmp_path: Path, content: str) -> None:
    (tmp_path / "qrels").write_text(content)
    assert read_qrels(tmp_path / "qrels") == QRELS


def test_judgements_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(DataError, match="empty"):
        read_qrels(tmp_path / "empty")
    with pytest.raises(StorageError, match="there is no such file"):
        read_qrels(tmp_path / "none")


# -- runs ------------------------------------------------------------------------------------------------------


def test_a_run_is_judged_like_its_rankings(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    names = [f"d{number}" for number in range(50)]
    qrels = {f"q{one}": {name: int(rng.integers(0, 3)) for name in rng.choice(names, 9)} for one in range(12)}
    rankings = {query: list(map(str, rng.permutation(names)[:20])) for query in qrels}
    write_run(tmp_path / "bm25.run", rankings)
    measures = ["nDCG@10", "AP", "R@20"]
    evaluation = judge_run(tmp_path / "bm25.run", qrels, measures)
    assert evaluation == judge(rankings, qrels, measures, name="bm25")
    theirs = ir_measures.calc_aggregate(
        [ir_measures.parse_measure(name) for name in measures],
        qrels,
        ir_measures.read_trec_run(str(tmp_path / "bm25.run")),
    )
    assert evaluation.means == pytest.approx({str(measure): value for measure, value in theirs.items()})


def test_a_query_without_a_line_counts_0(tmp_path: Path) -> None:
    write_run(tmp_path / "run", {"q1": ["a"], "q2": [], "q3": ["x"]})
    with pytest.warns(UserWarning, match=r"nothing for 1 of 2 judged queries: 'q2'. Each counts 0") as caught:
        evaluation = judge_run(tmp_path / "run", QRELS, ["RR"], name="mine")
    assert (evaluation.name, evaluation["RR"], evaluation.queries) == ("mine", 0.5, 2)
    assert evaluation.unjudged_queries == 1
    assert caught[0].filename == __file__


def test_a_run_of_other_queries(tmp_path: Path) -> None:
    write_run(tmp_path / "run", {"7": ["a"]})
    with pytest.raises(DataError, match=r"has none of the 2 judged queries: it names '7', the .* 'q1', 'q2'"):
        judge_run(tmp_path / "run", QRELS)
    with pytest.raises(InvalidArgumentError, match="Unknown measure"):
        judge_run(tmp_path / "run", {"7": {"a": 1}}, ["foo"])


# -- evaluations -----------------------------------------------------------------------------------------------


def test_an_evaluation_comes_back(tmp_path: Path) -> None:
    evaluation = judge({"q1": ["b", "문서 a"], "q2": []}, QRELS, name="시험")
    save_evaluation(evaluation, tmp_path / "new" / "one.json")
    assert load_evaluation(tmp_path / "new" / "one.json") == evaluation
    assert json.loads((tmp_path / "new" / "one.json").read_text(encoding="utf-8")) == evaluation.to_dict()


def test_an_earlier_one_stays_where_the_new_one_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    save_evaluation(judge({"q1": ["a"], "q2": []}, QRELS), path)
    before = path.read_bytes()
    broken = Evaluation("x\ud800", {}, {}, {})
    with pytest.raises(DataError, match="lone surrogate"):
        save_evaluation(broken, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '"text"', '{"name": "x"}'])
def test_what_is_no_evaluation(tmp_path: Path, content: str) -> None:
    (tmp_path / "one.json").write_text(content)
    with pytest.raises(DataError, match=r"one.json.*not a saved evaluation"):
        load_evaluation(tmp_path / "one.json")


def test_an_evaluation_that_is_damaged(tmp_path: Path) -> None:
    data = judge({"q1": ["a"], "q2": []}, QRELS).to_dict()
    for damage in ({"ranking": [1]}, {"means": 3}, {"per_query": {"RR": 3}}, {"ranking": {"q1": 3}}):
        (tmp_path / "one.json").write_text(json.dumps(data | damage))
        with pytest.raises(DataError, match=r"one\.json"):
            load_evaluation(tmp_path / "one.json")
    with pytest.raises(StorageError, match=r"The evaluation .* there is no such file"):
        load_evaluation(tmp_path / "none.json")


def test_ties_of_a_foreign_run_are_told(tmp_path: Path) -> None:
    path = tmp_path / "foreign.run"
    path.write_text("q Q0 b 1 0.5 x\nq Q0 a 2 0.5 x\nr Q0 a 1 0.5 x\nr Q0 b 2 0.4 x\n", encoding="utf-8")
    qrels = {"q": {"b": 1}, "r": {"a": 1}}
    with pytest.warns(
        UserWarning, match=r"equal scores for 1 of 2 judged queries: 'q'.*trec_eval orders them by id"
    ):
        mine = judge_run(path, qrels, ["RR"])
    # trec_eval puts the larger id first, so that here they happen to agree; with the ids exchanged they do not.
    theirs = ir_measures.calc_aggregate([ir_measures.RR], qrels, list(ir_measures.read_trec_run(str(path))))
    assert (mine["RR"], theirs[ir_measures.RR]) == (1.0, 1.0)
    with pytest.warns(UserWarning, match="equal scores"):
        mine = judge_run(path, {"q": {"a": 1}, "r": {"a": 1}}, ["RR"])
    assert mine["RR"] == 0.75
