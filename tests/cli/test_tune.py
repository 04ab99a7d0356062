"""The command `tune`: what it hands to `tune()`, what it prints, and how it exits; and once for real."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from langchain_core.documents import Document

from langchain_rerank_retriever import FaissStore, PooledEmbeddings, RerankRetriever
from langchain_rerank_retriever.cli import tune as command
from langchain_rerank_retriever.cli.whole_labels import of_chunks
from langchain_rerank_retriever.errors import DataError
from langchain_rerank_retriever.training import TuningReport
from langchain_rerank_retriever.training.proof.report import SystemReport
from tests.training.conftest import animals

from .conftest import Finished

Run = Callable[..., Finished]

FAQ = (
    "question,answer,kind\nHow do I reset it?,Press the button.,a\nHow can it be reset?,Press the button.,b\n"
    "Where is the manual?,In the kitchen.,c\n"
)


def report(chosen: str, *, ok: bool = True) -> TuningReport:
    systems = [SystemReport(name, {"nDCG@10": 0.5}, {"p50": 1.0, "p95": 2.0}) for name in ("base", "tuned")]
    return TuningReport(
        systems,
        chosen,
        26,
        f"Chosen: {chosen}.",
        [],
        {},
        None,
        {},
        {},
        {},
        signal={"ok": ok},
    )


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """What `tune()` was called with, in place of calling it; `report` is what it returns."""
    given: dict[str, Any] = {"report": report("tuned")}

    def tune(documents: Any, training_data: Any, **arguments: Any) -> Any:
        given.update(documents=documents, training_data=training_data, **arguments)
        given["fingerprint"] = arguments["embeddings"].fingerprint
        return SimpleNamespace(report=given["report"])

    monkeypatch.setattr(command, "tune", tune)
    return given


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(json.dumps({"id": one.id, "text": one.page_content}) + "\n" for one in animals()))
    return path


@pytest.fixture
def train(tmp_path: Path) -> Path:
    path = tmp_path / "train.jsonl"
    rows = [
        {"query": f"Where does the {one.id.partition('-')[0]} of the {one.id.partition('-')[2]} live?"}
        | {"document_id": one.id}
        for one in animals()
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def one_line(finished: Finished) -> str:
    assert (finished.code, finished.out) == (2, ""), finished
    (line,) = finished.err.splitlines()
    assert line.startswith("langchain-rerank: ")
    return line


def test_what_is_handed_on(
    run: Run, asked: dict[str, Any], corpus: Path, train: Path, tmp_path: Path, bi_encoder: Path
) -> None:
    output = tmp_path / "out"
    finished = run("tune", corpus, train, "--model", bi_encoder, "--output", output)
    assert (finished.code, finished.err) == (0, "")
    assert "Chosen: tuned." in finished.out
    assert finished.out.endswith(
        f'The bundle is in {output}. Ask it: langchain-rerank search {output} "..."\n'
    )
    assert {one.id: one.page_content for one in asked["documents"]} == {
        one.id: one.page_content for one in animals()
    }
    assert asked["training_data"] == train
    assert (asked["reranker"], asked["output_dir"], asked["held_out"]) == ("warm", output, None)
    assert (asked["minutes"], asked["steps"], asked["seed"], asked["resume"]) == (None, None, 0, False)
    assert asked["show_progress"] is False  # standard error is no terminal here
    options = ("--minutes", 2, "--seed", 3, "--resume", "--reranker", "none", "--held-out", train, "--json")
    finished = run("tune", corpus, train, "--model", bi_encoder, *options)
    data = json.loads(finished.out)
    assert (data["bundle"], data["better"], data["chosen"]) == ("tuned-bundle", True, "tuned")
    assert (asked["minutes"], asked["seed"], asked["resume"], asked["held_out"]) == (2.0, 3, True, train)
    assert asked["reranker"] is None


@pytest.mark.parametrize(
    ("chosen", "ok", "code"),
    [("base", True, 1), ("tuned", True, 0), ("hybrid", True, 0), ("hybrid", False, 1)],
)
def test_exit_code_is_the_answer(
    run: Run,
    asked: dict[str, Any],
    corpus: Path,
    train: Path,
    bi_encoder: Path,
    chosen: str,
    ok: bool,
    code: int,
) -> None:
    asked["report"] = report(chosen, ok=ok)
    finished = run("tune", corpus, train, "--model", bi_encoder, "--json")
    assert finished.code == code
    assert json.loads(finished.out)["better"] is (code == 0)


def test_questions_and_answers_of_one_table(
    run: Run, asked: dict[str, Any], tmp_path: Path, bi_encoder: Path
) -> None:
    faq = tmp_path / "faq.csv"
    faq.write_text(FAQ)
    columns = ["--text-column", "answer", "--query-column", "question", "--passage-column", "answer"]
    assert run("tune", faq, faq, *columns, "--model", bi_encoder).code == 0
    # One document for one answer: as two, each would be wrong for the other's question.
    assert [one.page_content for one in asked["documents"]] == ["Press the button.", "In the kitchen."]
    assert asked["training_data"] == [
        {"query": "How do I reset it?", "passage": "Press the button."},
        {"query": "How can it be reset?", "passage": "Press the button."},
        {"query": "Where is the manual?", "passage": "In the kitchen."},
    ]
    columns[-1] = "nothing"
    line = one_line(run("tune", faq, faq, *columns, "--model", bi_encoder))
    assert (
        "faq.csv, line 2: there is nothing in the column 'nothing'; there are question, answer, kind." in line
    )


def test_documents_of_a_bundle(
    run: Run, asked: dict[str, Any], train: Path, tmp_path: Path, bi_encoder: Path, cross_encoder: Path
) -> None:
    bundle = tmp_path / "bundle"
    with (
        PooledEmbeddings(bi_encoder) as embeddings,
        FaissStore.from_documents(animals(), embeddings) as store,
    ):
        RerankRetriever(store).save_local(bundle)
        fingerprint = embeddings.fingerprint
    assert run("tune", "--bundle", bundle, train).code == 0
    assert [one.id for one in asked["documents"]] == [one.id for one in animals()]
    assert asked["fingerprint"] == fingerprint
    assert run("tune", "--bundle", bundle, train, "--model", cross_encoder).code == 0
    assert asked["fingerprint"] != fingerprint


def test_mistakes_are_one_line(
    run: Run, asked: dict[str, Any], corpus: Path, train: Path, tmp_path: Path, bi_encoder: Path
) -> None:
    (tmp_path / "bad.jsonl").write_text('{"text": "x", "id": "1"}\n{\n')
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thing").write_text("x")
    model = ("--model", bi_encoder)
    for arguments, message in (
        (
            (train, *model),
            "Expected documents before the training data, or --bundle FOLDER with documents in it; got",
        ),
        ((corpus, train, "--bundle", "x", *model), "got both."),
        ((corpus, train), "Name the bi-encoder to start from: --model NAME."),
        ((train, "--bundle", "no-bundle"), "no-bundle is no bundle: no such folder"),
        ((corpus, train, *model, "--output", tmp_path / "other"), "other holds other things (thing)"),
        ((tmp_path / "bad.jsonl", train, *model), "bad.jsonl, line 2: not a line of JSON"),
        (
            (corpus, tmp_path / "no.jsonl", *model, "--query-column", "q"),
            "no.jsonl cannot be read: there is no such",
        ),
        ((corpus, tmp_path, *model, "--query-column", "q"), "columns can be named of files ending in"),
    ):
        assert message in one_line(run("tune", *arguments)), arguments
    assert "documents" not in asked


def test_mistakes_that_tune_finds(
    run: Run, corpus: Path, train: Path, tmp_path: Path, bi_encoder: Path
) -> None:
    arguments = ["tune", corpus, "--model", bi_encoder, "--output", tmp_path / "out"]
    (tmp_path / "unknown.jsonl").write_text('{"query": "x", "document_id": "nobody"}\n')
    assert "unknown.jsonl, line 1: document_id 'nobody' is not the id of any of the" in one_line(
        run(*arguments, tmp_path / "unknown.jsonl")
    )
    assert "there is no such file" in one_line(run(*arguments, tmp_path / "nothing.jsonl"))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run(run: Run, corpus: Path, train: Path, tmp_path: Path, minilm_folder: Path) -> None:
    """Index, tune what was indexed, and index into what was tuned, with the real small model."""
    bundle, output = tmp_path / "bundle", tmp_path / "out"
    assert run("index", corpus, "--into", bundle, "--model", minilm_folder).code == 0
    finished = run("tune", "--bundle", bundle, train, "--steps", 2, "--output", output, "--json")
    assert finished.code in (0, 1), finished.err
    data = json.loads(finished.out)
    assert finished.code == (0 if data["better"] else 1)
    assert data["systems"][0]["name"] == "base"
    info = run("info", output).out
    assert f"{data['held_out_queries']} held-out queries. " in info
    assert f"tried       {data['chosen']} (served): nDCG@10 " in info
    assert info.count("tried ") == len(data["systems"])
    again = json.loads(run("index", corpus, "--into", output, "--json").out)
    assert (again["unchanged"], again["added"], again["changed"]) == (len(animals()), 0, 0)
    found = json.loads(run("search", output, animals()[0].page_content, "-k", 1, "--json").out)
    assert Document(**found["documents"][0]).id == animals()[0].id


def chunked(whole: str, count: int) -> list[Document]:
    return [
        Document(id=f"{whole}#{n}", page_content=f"{whole} {n}", metadata={"parent": whole, "chunk": n})
        for n in range(1, count + 1)
    ]


def test_labels_that_name_what_was_cut(capsys: pytest.CaptureFixture[str]) -> None:
    documents = [*chunked("a.md", 2), *chunked("b.md", 9), Document(id="c", page_content="c")]
    rows = [{"query": "x", "document_id": "a.md", "relevance": 2}, {"query": "y", "document_id": "c"}]
    assert of_chunks(rows, documents) == [
        {"query": "x", "document_id": "a.md#1", "relevance": 2},
        {"query": "x", "document_id": "a.md#2", "relevance": 2},
        {"query": "y", "document_id": "c"},
    ]
    assert "1 label names a document that was cut" in capsys.readouterr().err
    assert of_chunks(rows[1:], documents) is not None
    assert of_chunks(None, documents) is None
    untouched = [{"query": "x", "document_id": "a.md#1"}]
    assert of_chunks(untouched, documents) is untouched
    # A document that is there whole is meant itself.
    there = [*documents, Document(id="a.md", page_content="a")]
    assert of_chunks(rows, there) is rows
    with pytest.raises(DataError, match=r"'b\.md' was cut into 9 chunks.*'b\.md#1' to 'b\.md#9'"):
        of_chunks([{"query": "x", "document_id": "b.md"}], documents)
