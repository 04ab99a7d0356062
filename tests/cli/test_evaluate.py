"""`evaluate` and `compare`: figures that the library gives as well, files, and exit codes that a build can go by."""

import contextlib
import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import ir_measures
import pytest
from langchain_core.documents import Document

from langchain_rerank_retriever import RerankRetriever, compare, evaluate
from langchain_rerank_retriever.errors import MissingExtraError
from langchain_rerank_retriever.evaluation import (
    attribute,
    judge,
    load_evaluation,
    read_run,
    save_evaluation,
    write_beir,
    write_qrels,
    write_run,
)
from tests.training.conftest import about_animals, animals

from .conftest import Finished
from .test_commands import one_line

Run = Callable[..., Finished]

QUERIES = {f"q{number}": one["query"] for number, one in enumerate(about_animals()[:40])}
QRELS = {f"q{number}": {one["document_id"]: 1} for number, one in enumerate(about_animals()[:40])}
QRELS["q0"] = {**QRELS["q0"], "unicorn-moon": 2}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "animals"
    queries = QUERIES | {"train": "of another split"}
    write_beir(folder, animals(), queries, {"test": QRELS, "train": {"train": {"cat-garden": 1}}})
    write_qrels(folder / "animals.qrels", QRELS)
    lines = [f"{key}\t{text}\n" for key, text in queries.items()]
    (folder / "animals.tsv").write_text("".join(lines), encoding="utf-8")
    return folder


def test_what_is_printed(run: Run, bundle: Path, data: Path, tmp_path: Path) -> None:
    saved, report = tmp_path / "baseline.json", tmp_path / "report.html"
    finished = run("evaluate", bundle, "--beir", data, "--save", saved, "--html", report)
    assert (finished.code, finished.err) == (0, "")
    retriever = RerankRetriever.load_local(bundle, read_only=True)
    expected = evaluate(retriever, QUERIES, QRELS, name="bundle")
    loaded = load_evaluation(saved)
    assert (loaded.means, loaded.per_query, loaded.ranking) == (
        expected.means,
        expected.per_query,
        expected.ranking,
    )
    assert (loaded.name, loaded.unjudged_queries, loaded.qrels) == ("bundle", 0, QRELS)
    attribution = attribute(loaded, indexed=retriever.recall.get_by_ids)
    assert finished.out == f"{loaded}\n\n{attribution}\n"
    assert "not in the store" in finished.out
    assert attribution.advice in finished.out
    page = report.read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert f"{loaded['nDCG@10']:.4f}"[:5] in page


def test_the_same_as_json(run: Run, bundle: Path, data: Path) -> None:
    finished = run(
        "evaluate",
        bundle,
        "--queries",
        data / "animals.tsv",
        "--qrels",
        data / "animals.qrels",
        *shlex.split("--measures 'nDCG@5, P(rel=2)@1 nDCG@5' --name mine --json --k 5"),
    )
    assert (finished.code, finished.err) == (0, "")
    printed = json.loads(finished.out)
    expected = evaluate(
        RerankRetriever.load_local(bundle, read_only=True), QUERIES, QRELS, measures=["nDCG@5", "P(rel=2)@1"]
    )
    assert printed["means"] == expected.means
    assert (printed["name"], printed["queries"], printed["unjudged_queries"]) == ("mine", 40, 1)
    assert printed["intervals"].keys() == expected.means.keys()
    assert printed["latency_ms"]["total"]["p50"] > 0
    assert printed["attribution"]["k"] == 5
    assert printed["attribution"]["counts"]["not_indexed"] == 1
    assert printed["gate"] is None
    assert "ranking" not in printed


def test_as_markdown(run: Run, bundle: Path, data: Path) -> None:
    finished = run("evaluate", bundle, "--beir", data, "--measures", "RR@10", "--markdown")
    lines = finished.out.splitlines()
    assert lines[0] == "bundle: 40 queries"
    assert lines[2:4] == ["|  | mean | 95% interval | not judged |", "| --- | --- | --- | --- |"]
    assert lines[4].startswith("| RR@10 | 1.0000 | 1.0000 to 1.0000 | 9")
    assert lines[5].startswith("| milliseconds a query, p50 | ")
    assert "| not in the store | 1 |" in finished.out
    # All that the plain text says besides.
    plain = run("evaluate", bundle, "--beir", data, "--measures", "RR@10").out.splitlines()
    assert next(line for line in plain if "lost to recall" in line) in lines
    assert plain[-1] in lines
    assert any(line.startswith("All 40 queries have one value of RR@10") for line in lines)


def test_a_gate_in_markdown_is_a_list(run: Run, bundle: Path, data: Path) -> None:
    floors = ("--fail-below", "RR@10=0.5", "--fail-below", "P@1=0.5")
    finished = run("evaluate", bundle, "--beir", data, "--markdown", *floors)
    assert [line[:9] for line in finished.out.split("\n\n")[-1].splitlines()] == ["- passed:"] * 2


def test_a_baseline_is_not_replaced(run: Run, bundle: Path, data: Path, tmp_path: Path) -> None:
    saved = tmp_path / "baseline.json"
    run("evaluate", bundle, "--beir", data, "--save", saved)
    before = saved.read_bytes()
    other = tmp_path / "somewhere" / ".." / "baseline.json"
    (tmp_path / "somewhere").mkdir()
    finished = run("evaluate", bundle, "--beir", data, "--fetch-k", 3, "--against", saved, "--save", other)
    assert (finished.code, finished.out) == (2, "")
    assert "Save to another file" in finished.err
    assert saved.read_bytes() == before


def test_a_run_file_is_of_the_bundle_as_it_was(run: Run, bundle: Path, data: Path, tmp_path: Path) -> None:
    copy, answers = tmp_path / "bundle", tmp_path / "answers.jsonl"
    shutil.copytree(bundle, copy)
    options = ("--beir", data, "--run-file", answers)
    assert run("evaluate", copy, *options).code == 0
    assert run("evaluate", copy, *options).code == 0
    live = RerankRetriever.load_local(copy)
    with contextlib.closing(live.recall):
        # Under an id that is there: their number stays.
        live.add_documents([Document(id="cat-garden", page_content="a text that was not there")])
    kept = answers.read_bytes()
    finished = run("evaluate", copy, *options)
    assert finished.code == 2
    assert "as it was (bundle " in finished.err
    assert "and it has changed" in finished.err
    assert answers.read_bytes() == kept


def test_ids_that_trec_has_no_place_for_cost_nothing_else(
    run: Run, tmp_path: Path, bundle: Path, data: Path
) -> None:
    copy = tmp_path / "bundle"
    shutil.copytree(bundle, copy)
    live = RerankRetriever.load_local(copy)
    with contextlib.closing(live.recall):
        live.add_documents(
            [Document(id="User Guide.md#3", page_content="animals, all of them, cats and dogs")]
        )
    finished = run(
        "evaluate", copy, "--beir", data, "--trec-run", tmp_path / "run.txt", "--fail-below", "RR@10=2"
    )
    assert finished.code == 2
    assert "has a blank in it" in finished.err or "blank" in finished.err
    assert "FAILED: RR@10" in finished.out


def test_how_a_bundle_is_asked(run: Run, bundle: Path, data: Path, tmp_path: Path) -> None:
    saved = tmp_path / "one.json"
    options = ("--fetch-k", 7, "--recall-mode", "dense")
    finished = run("evaluate", bundle, "--beir", data, "--save", saved, *options)
    assert finished.code == 0
    evaluation = load_evaluation(saved)
    assert evaluation.name == "bundle (fetch_k=7, recall_mode=dense)"
    expected = evaluate(
        RerankRetriever.load_local(bundle, read_only=True).bind(fetch_k=7, recall_mode="dense"),
        QUERIES,
        QRELS,
    )
    assert evaluation.ranking == expected.ranking
    assert {len(ids) for ids in evaluation.ranking.values()} == {7}


def test_int8_beside_the_same_bundle(run: Run, bundle: Path, data: Path, tmp_path: Path) -> None:
    baseline, saved = tmp_path / "baseline.json", tmp_path / "int8.json"
    assert run("evaluate", bundle, "--beir", data, "--save", baseline).code == 0
    how = ("--precision", "int8", "--save", saved, "--against", baseline)
    finished = run("evaluate", bundle, "--beir", data, *how)
    assert finished.code == 0
    assert "passed: nDCG@10" in finished.out
    assert re.fullmatch(r"int8: correlation [01]\.\d{4} with float32 on 64 pairs\.\n", finished.err)
    assert [load_evaluation(path).name for path in (baseline, saved)] == ["bundle", "bundle (precision=int8)"]


def test_how_models_run_is_in_the_name(run: Run, bundle: Path, data: Path) -> None:
    how = ("--backend", "torch", "--precision", "float32", "--device", "cpu", "--batch-size", 4)
    finished = run("evaluate", bundle, "--beir", data, "--json", "--k", 3, *how)
    assert json.loads(finished.out)["name"] == (
        "bundle (k=3, device=cpu, backend=torch, precision=float32, batch_size=4)"
    )


def test_an_interrupted_run_goes_on(run: Run, bundle: Path, data: Path, tmp_path: Path) -> None:
    kept, saved = tmp_path / "answers", tmp_path / "one.json"
    command = ("evaluate", bundle, "--beir", data, "--run-file", kept, "--save", saved)
    assert run(*command).code == 0
    whole, first = kept.read_bytes(), load_evaluation(saved)
    kept.write_bytes(b"".join(whole.splitlines(keepends=True)[:20]))
    assert run(*command).code == 0
    assert len(kept.read_bytes().splitlines()) == len(whole.splitlines())
    assert load_evaluation(saved).ranking == first.ranking
    finished = run("evaluate", bundle, "--beir", data, "--run-file", kept, "--fetch-k", 3)
    assert finished.code == 2
    assert "holds answers of 'bundle', and 'bundle (fetch_k=3)' is asked now" in one_line(finished)


def test_a_run_file_is_judged(run: Run, data: Path, tmp_path: Path) -> None:
    rankings = {query: ["whale-river", *QRELS[query]] for query in QUERIES if query != "q9"}
    rankings = {query: list(dict.fromkeys(ids)) for query, ids in rankings.items()}
    write_run(tmp_path / "bm25.run", rankings)
    finished = run(
        "evaluate",
        tmp_path / "bm25.run",
        "--qrels",
        data / "qrels" / "test.tsv",
        "--json",
        "--trec-run",
        tmp_path / "again.run",
    )
    assert finished.code == 0
    assert finished.err.startswith("langchain-rerank: warning: ")
    assert finished.err.endswith("has nothing for 1 of 40 judged queries: 'q9'. Each counts 0.\n")
    printed = json.loads(finished.out)
    assert printed["name"] == "bm25"
    theirs = ir_measures.calc_aggregate(
        [ir_measures.parse_measure(name) for name in printed["means"]],
        QRELS,
        ir_measures.read_trec_run(str(tmp_path / "bm25.run")),
    )
    assert printed["means"] == pytest.approx({str(measure): value for measure, value in theirs.items()})
    assert read_run(tmp_path / "again.run") == {query: tuple(ids) for query, ids in rankings.items()}


def test_a_run_file_with_the_texts_of_its_queries(run: Run, data: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "bm25.run", {query: list(judged) for query, judged in QRELS.items()})
    finished = run("evaluate", tmp_path / "bm25.run", "--beir", data, "--save", tmp_path / "one.json")
    assert (finished.code, finished.err) == (0, "")
    evaluation = load_evaluation(tmp_path / "one.json")
    assert (evaluation["Success@10"], evaluation.query_texts) == (1.0, QUERIES)


# ---------------------------------------------------------------- the gate


def test_the_gate_lets_the_same_system_pass(run: Run, bundle: Path, data: Path, tmp_path: Path) -> None:
    saved = tmp_path / "baseline.json"
    run("evaluate", bundle, "--beir", data, "--save", saved, "--measures", "RR@10,R@20")
    finished = run(
        "evaluate",
        bundle,
        "--beir",
        data,
        "--against",
        saved,
        "--fail-below",
        "RR@10=0.5",
        "--fail-below",
        "P@1=0",
    )
    assert finished.code == 0
    gate = finished.out.split("\n\n")[-1].splitlines()
    assert [line.split()[:2] for line in gate] == [
        ["passed:", name] for name in ("RR@10", "P@1", "RR@10", "R@20")
    ]
    assert "nDCG@10 " not in finished.out.split("\n\n")[0]


def test_the_gate_stops_a_worse_system(run: Run, bundle: Path, data: Path, tmp_path: Path) -> None:
    saved, worse = tmp_path / "baseline.json", tmp_path / "worse.json"
    run("evaluate", bundle, "--beir", data, "--save", saved)
    options = ("--recall-mode", "dense", "--fetch-k", 3)
    finished = run("evaluate", bundle, "--beir", data, *options, "--against", saved, "--save", worse)
    assert (finished.code, finished.err) == (1, "")
    failed = [line for line in finished.out.splitlines() if line.startswith("FAILED: ")]
    assert len(failed) == 4
    assert failed[0].startswith("FAILED: nDCG@10 0.")
    assert "is significantly below the baseline's 0." in failed[0]
    # R@100 says less of its four candidates (k, above fetch_k) than of the baseline's: that is told.
    assert all("; it ranks at most 4 documents of 10" in line for line in failed if "@100" not in line)
    assert next(line for line in failed if "; it ranks at most 4 documents of 100" in line).startswith(
        "FAILED: R@100"
    )
    verdicts = {row.verdict for row in compare([load_evaluation(saved), load_evaluation(worse)]).rows}
    assert verdicts == {"baseline", "worse"}
    printed = json.loads(run("evaluate", bundle, "--beir", data, *options, "--against", saved, "--json").out)
    assert printed["gate"]["passed"] is False


def test_a_floor_that_is_missed(run: Run, bundle: Path, data: Path) -> None:
    finished = run("evaluate", bundle, "--beir", data, "--fail-below", "P(rel=2)@5=0.9")
    assert finished.code == 1
    assert finished.out.splitlines()[-1] == "FAILED: P(rel=2)@5 0.0000 is below 0.9"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "Expected either --beir FOLDER, or --queries FILE with --qrels FILE."),
        (("--beir", "DATA", "--qrels", "QRELS"), "Expected either --beir FOLDER, or"),
        (("--qrels", "QRELS"), "A bundle is asked: expected --queries FILE beside --qrels."),
        (("--beir", "DATA", "--split", "dev"), "has no judgements qrels/dev.tsv; its splits are test, train"),
        (("--beir", "DATA", "--measures", "nDCG@10,foo"), "Unknown measure 'foo'"),
        (("--beir", "DATA", "--fail-below", "nDCG@10"), "such as nDCG@10=0.70, got 'nDCG@10'"),
        (("--beir", "DATA", "--fail-below", "nDCG@10=nan"), "such as nDCG@10=0.70, got 'nDCG@10=nan'"),
        (("--beir", "DATA", "--fail-below", "foo=1"), "Unknown measure 'foo'"),
        (("--beir", "DATA", "--against", "none.json"), "The evaluation none.json cannot be read"),
        (("--beir", "DATA", "--against", "QRELS"), "is not a saved evaluation"),
        (("--beir", "DATA", "--recall-mode", "magic"), "recall_mode"),
        (("--beir", "DATA", "--precision", "int4"), "precision: expected one of"),
        (("--beir", "DATA", "--json", "--markdown"), "Expected one of --markdown and --json"),
    ],
)
def test_a_mistake_is_one_line(
    run: Run, bundle: Path, data: Path, options: tuple[str, ...], message: str
) -> None:
    places = {"DATA": data, "QRELS": data / "animals.qrels"}
    finished = run("evaluate", bundle, *(places.get(one, one) for one in options))
    assert finished.code == 2
    assert message in one_line(finished)


def test_mistakes_about_the_system(run: Run, data: Path, tmp_path: Path) -> None:
    finished = run("evaluate", tmp_path / "none", "--beir", data)
    assert finished.code == 2
    assert "is no bundle: no such folder" in one_line(finished)
    write_run(tmp_path / "run", {"q1": ["a"]})
    for option in (("--fetch-k", 3), ("--precision", "int8")):
        finished = run("evaluate", tmp_path / "run", "--beir", data, *option)
        assert finished.code == 2
        assert "is a run file, which is judged as it is" in one_line(finished)


def test_a_baseline_of_other_queries(run: Run, bundle: Path, data: Path, tmp_path: Path) -> None:
    saved, now = tmp_path / "old.json", tmp_path / "now.json"
    save_evaluation(judge({"q1": ["a"]}, {"q1": {"a": 1}}), saved)
    finished = run("evaluate", bundle, "--beir", data, "--against", saved, "--save", now)
    assert finished.code == 2
    assert "evaluated on different queries" in one_line(finished)
    assert load_evaluation(now).queries == 40  # what took long is kept


# ---------------------------------------------------------------- compare


@pytest.fixture
def saved(tmp_path: Path) -> list[Path]:
    """Three systems: the second is better than the first, the third is like it."""
    names = ["base", "tuned", "other"]
    qrels = {f"q{number}": {"a": 1} for number in range(60)}
    for name in names:
        ranked = {
            query: ["a"] if name == "tuned" or place % 2 else ["x", "a"] for place, query in enumerate(qrels)
        }
        save_evaluation(judge(ranked, qrels, ["RR@10"], name=name), tmp_path / f"{name}.json")
    return [tmp_path / f"{name}.json" for name in names]


def test_compare(run: Run, saved: list[Path], tmp_path: Path) -> None:
    finished = run("compare", *saved, "--html", tmp_path / "report.html")
    assert (finished.code, finished.err) == (0, "")
    comparison = compare([load_evaluation(one) for one in saved])
    assert finished.out == f"{comparison}\n"
    assert comparison.row("tuned", "RR@10").verdict == "better"
    assert "tuned" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert json.loads(run("compare", *saved, "--json").out) == comparison.to_dict()
    assert run("compare", *saved, "--markdown").out == f"{comparison.to_markdown()}\n"


def test_compare_with_another_baseline(run: Run, saved: list[Path]) -> None:
    printed = json.loads(run("compare", *saved, "--baseline", "tuned", "--json").out)
    assert printed["baseline"] == "tuned"
    assert printed["systems"][0]["measures"]["RR@10"]["verdict"] == "worse"


def test_systems_of_one_name_go_by_their_files(run: Run, saved: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "later"
    save_evaluation(load_evaluation(saved[0]), folder / "today.json")
    printed = json.loads(run("compare", saved[0], folder / "today.json", "--json").out)
    assert [one["name"] for one in printed["systems"]] == ["base", "today"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("BASE",), "Expected at least two files that evaluate --save wrote, got 1."),
        (("BASE", "none.json"), "The evaluation none.json cannot be read: there is no such file"),
        (("BASE", "BASE"), "Several evaluations are called 'base'"),
        (("BASE", "TUNED", "--baseline", "x"), "No evaluation is called 'x'; there are base, tuned"),
        (("BASE", "TUNED", "--json", "--markdown"), "Expected one of --markdown and --json"),
    ],
)
def test_what_cannot_be_compared(run: Run, saved: list[Path], options: tuple[str, ...], message: str) -> None:
    places = {"BASE": saved[0], "TUNED": saved[1]}
    finished = run("compare", *(places.get(one, one) for one in options))
    assert finished.code == 2
    assert message in one_line(finished)


# ---------------------------------------------------------------- the examples in --help


@pytest.mark.parametrize(("command", "examples"), [("evaluate", 3), ("compare", 1)])
def test_the_examples_of_help_work(
    run: Run,
    bundle: Path,
    data: Path,
    saved: list[Path],
    tmp_path: Path,
    command: str,
    examples: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    printed = " ".join(run(command, "--help").out.split())
    before = "Example|What int8 costs|In a build"
    found = re.findall(rf"(?:{before}): langchain-rerank (.*?) (?=(?:{before}):|[^\w./@=-])", printed)
    assert len(found) == examples
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my-bundle").symlink_to(bundle)
    (tmp_path / "scifact").symlink_to(data)
    for example in found:
        finished = run(*shlex.split(example))
        told = "int8: correlation" if "int8" in example else ""
        assert (finished.code, finished.err[: len(told) or None]) == (0, told)


def test_without_matplotlib_the_figures_are_printed_all_the_same(
    run: Run, saved: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def html_report(*_: object, **__: object) -> None:
        raise MissingExtraError("matplotlib", "plots")

    monkeypatch.setattr("langchain_rerank_retriever.cli.compare.html_report", html_report)
    finished = run("compare", *saved, "--html", tmp_path / "report.html")
    assert finished.code == 2
    assert "not enough queries to tell" in finished.out
    assert finished.err.startswith("langchain-rerank: This needs the package 'matplotlib'")
