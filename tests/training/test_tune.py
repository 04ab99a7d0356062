"""`tune` from documents and data to a bundle, with small random models."""

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document

from langchain_rerank_retriever import CrossEncoderScorer, FaissStore, PooledEmbeddings, RerankRetriever, tune
from langchain_rerank_retriever.errors import (
    DataError,
    FormatError,
    InvalidArgumentError,
    ModelLoadError,
    RerankError,
    StorageError,
)
from langchain_rerank_retriever.training import Recipe, TuningResult, phases
from langchain_rerank_retriever.training.fit import encoders
from langchain_rerank_retriever.training.proof.systems import ORDER
from tests.training.conftest import about_animals, animals

Rows = list[dict[str, Any]]


def answers(retriever: RerankRetriever, rows: Rows) -> list[list[str]]:
    return [[str(one.id) for one in retriever.invoke(row["query"], k=10)] for row in rows[:15]]


def check_report(result: TuningResult) -> dict[str, Any]:
    data = json.loads(json.dumps(result.report.to_dict(), allow_nan=False))
    names = [system["name"] for system in data["systems"]]
    assert names[0] == "base"
    assert names == [name for name in ORDER if name in names]
    assert data["chosen"] in names
    for system in data["systems"]:
        assert {"nDCG@10", "Success@1", "Success@10", "RR@10", "R@100"} <= set(system["measures"])
        assert all(0 <= value <= 1 for value in system["measures"].values())
        assert 0 < system["latency_ms"]["p50"] <= system["latency_ms"]["p95"]
        assert f"{system['measures']['nDCG@10']:.3f}" in str(result.report)
    assert data["verdict"] in str(result.report)
    assert sum(data["seconds"].values()) > 0
    return data


def only_the_bundle(folder: Path) -> None:
    """No scratch folder is left beside the bundle."""
    assert [entry.name for entry in folder.iterdir()] == ["bundle"]


@dataclass
class Run:
    result: TuningResult
    folder: Path
    documents: list[Document]
    questions: Rows


@pytest.fixture(scope="module")
def tuned(bi_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """One whole run, with enough queries for everything to be fitted."""
    documents, questions = animals(), about_animals()
    before = copy.deepcopy(documents)
    folder = tmp_path_factory.mktemp("tuned")
    result = tune(
        documents, questions, embeddings=str(bi_encoder), output_dir=folder / "bundle", steps=2, seed=1
    )
    assert documents == before
    yield Run(result, folder, documents, questions)
    result.retriever.recall.close()


def test_the_whole_run(tuned: Run) -> None:
    data = check_report(tuned.result)
    only_the_bundle(tuned.folder)
    names = [system["name"] for system in data["systems"]]
    assert {"base", "bm25", "hybrid", "tuned", "tuned hybrid", "tuned + cross-encoder"} <= set(names)
    assert data["held_out_queries"] == 26
    assert data["data"] == {
        "documents": 60,
        "training_queries": 104,
        "fitting_queries": 26,
        "held_out_queries": 26,
    }
    assert data["training"]["bi_encoder"]["steps"] == data["training"]["cross_encoder"]["steps"] == 2
    assert data["training"]["bi_encoder"]["loss"] > 0
    assert data["blend"]["variants"]
    assert [one["candidate"] for one in data["decisions"]] == names[1:]
    # Words of the answer are in each query, and random vectors know nothing.
    by_name = {system["name"]: system["measures"]["nDCG@10"] for system in data["systems"]}
    assert by_name["bm25"] > 0.8 > by_name["base"]
    assert data["chosen"] != "base"


def test_the_bundle(tuned: Run) -> None:
    loaded = RerankRetriever.load_local(tuned.folder / "bundle", read_only=True)
    assert loaded.report == tuned.result.report.to_dict()
    assert answers(loaded, tuned.questions) == answers(tuned.result.retriever, tuned.questions)
    assert isinstance(loaded.recall, FaissStore)
    assert len(loaded.recall) == 60
    assert {one.id: one.metadata for one in loaded.recall.documents()} == {
        str(one.id): one.metadata for one in tuned.documents
    }
    loaded.recall.close()


def test_the_report_tells_of_what_is_served(tuned: Run) -> None:
    """nDCG@10 of the bundle on all queries is near that of the chosen system on the held-out ones."""
    report = tuned.result.report
    chosen = next(system for system in report.systems if system.name == report.chosen)
    found = [
        1.0 / np.log2(2 + ranked.index(row["document_id"])) if row["document_id"] in ranked else 0.0
        for row in tuned.questions[:60]
        for ranked in [[str(one.id) for one in tuned.result.retriever.invoke(row["query"], k=10)]]
    ]
    assert np.mean(found) == pytest.approx(chosen.measures["nDCG@10"], abs=0.15)


def test_the_same_again(tuned: Run, bi_encoder: Path, tmp_path: Path) -> None:
    other = tune(
        tuned.documents,
        tuned.questions,
        embeddings=PooledEmbeddings(bi_encoder),
        output_dir=tmp_path / "bundle",
        steps=2,
        seed=1,
    )
    assert answers(other.retriever, tuned.questions) == answers(tuned.result.retriever, tuned.questions)
    first, second = tuned.result.report.to_dict(), other.report.to_dict()
    for part in ("chosen", "verdict", "blend", "depth_curve", "decisions", "data"):
        assert first[part] == second[part], part
    assert [one["measures"] for one in first["systems"]] == [one["measures"] for one in second["systems"]]
    other.retriever.recall.close()


@pytest.mark.parametrize("kind", ["none", "folder", "scorer", "bi-encoder", "language model"])
def test_rerankers(
    kind: str,
    documents: list[Document],
    questions: Rows,
    bi_encoder: Path,
    cross_encoder: Path,
    language_model: Path,
    tmp_path: Path,
) -> None:
    scorer = CrossEncoderScorer(cross_encoder) if kind == "scorer" else None
    start: Any = {
        "none": None,
        "folder": cross_encoder,
        "scorer": scorer,
        "bi-encoder": str(bi_encoder),
        "language model": language_model,
    }[kind]
    before = None if scorer is None else scorer.score([("a", "b")])
    result = tune(
        documents,
        questions[:40],
        embeddings=bi_encoder,
        reranker=start,
        output_dir=tmp_path / "bundle",
        steps=1,
    )
    data = check_report(result)
    only_the_bundle(tmp_path)
    names = [system["name"] for system in data["systems"]]
    assert ("tuned + cross-encoder" in names) == (kind != "none")
    assert ("cross_encoder" in data["training"]) == (kind != "none")
    if scorer is not None:  # what the user passed in is as it was, and still open
        assert scorer.score([("a", "b")]) == before
    assert "too few queries to fit any weights" in data["verdict"]
    result.retriever.recall.close()


def test_held_out_data_are_what_is_reported(
    documents: list[Document], questions: Rows, bi_encoder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "held_out.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in questions[100:]), encoding="utf-8")
    target = tmp_path / "new" / "folder" / "bundle"
    result = tune(
        documents,
        questions[:100],
        held_out=path,
        embeddings=bi_encoder,
        reranker=None,
        output_dir=target,
        steps=1,
    )
    data = check_report(result)
    assert data["held_out_queries"] == 30
    assert data["data"]["fitting_queries"] == 20
    assert (target / "bundle.json").is_file()
    result.retriever.recall.close()


def test_passages_are_added_where_asked(
    documents: list[Document], questions: Rows, bi_encoder: Path, tmp_path: Path
) -> None:
    rows = [*questions[:30], {"query": "unheard of", "passage": "Quite new text."}]
    arguments: dict[str, Any] = {
        "embeddings": bi_encoder,
        "reranker": None,
        "output_dir": tmp_path / "bundle",
    }
    with pytest.raises(
        DataError, match=r"row 30: the passage 'Quite new text.' is not the text of any document"
    ):
        tune(documents, rows, steps=1, **arguments)
    result = tune(documents, rows, steps=1, unknown_passages="add", **arguments)
    assert len(result.retriever.recall) == 61
    assert result.report.data["documents"] == 61
    assert len(documents) == 60
    result.retriever.recall.close()


@pytest.mark.parametrize("phase", ["_train_bi_encoder", "_train_cross_encoder", "_rerank", "_report"])
def test_a_run_that_fails_leaves_the_earlier_bundle(
    phase: str,
    documents: list[Document],
    questions: Rows,
    bi_encoder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    target = tmp_path / "bundle"
    store = FaissStore.from_documents(documents[:5], PooledEmbeddings(bi_encoder), path=None)
    RerankRetriever(store, k=2).save_local(target)
    before = {path: path.read_bytes() for path in sorted(target.rglob("*")) if path.is_file()}

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("the power is gone")

    monkeypatch.setattr(phases.Tuning, phase, fail)
    with pytest.raises(RuntimeError, match="the power is gone"):
        tune(documents, questions[:30], embeddings=bi_encoder, output_dir=target, steps=1)
    assert {path: path.read_bytes() for path in sorted(target.rglob("*")) if path.is_file()} == before
    assert len(RerankRetriever.load_local(target, read_only=True).recall) == 5
    # What was done is kept for resuming, and goes when the run has ended.
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".bundle.tuning", "bundle"]
    monkeypatch.undo()
    resumed = tune(documents, questions[:30], embeddings=bi_encoder, output_dir=target, steps=1, resume=True)
    assert len(resumed.retriever.recall) == 60
    resumed.retriever.recall.close()
    only_the_bundle(tmp_path)


def test_an_earlier_bundle_is_replaced(
    documents: list[Document], questions: Rows, bi_encoder: Path, tmp_path: Path
) -> None:
    arguments: dict[str, Any] = {
        "embeddings": bi_encoder,
        "output_dir": tmp_path / "bundle",
        "reranker": None,
    }
    first = tune(documents[:60], questions[:20], steps=1, **arguments)
    first.retriever.recall.close()
    more = [*documents, Document(id="new", page_content="a new one")]
    second = tune(more, questions[:25], steps=1, **arguments)
    only_the_bundle(tmp_path)
    assert len(second.retriever.recall) == 61
    second.retriever.recall.close()
    assert len(RerankRetriever.load_local(tmp_path / "bundle", read_only=True).recall) == 61


def test_nothing_harmful_is_promoted(
    documents: list[Document], questions: Rows, bi_encoder: Path, tmp_path: Path
) -> None:
    """Answers at random to train on: there is nothing to learn, and by the true ones nothing is lost."""
    rng = np.random.default_rng(0)
    rows = [{**row, "document_id": str(documents[rng.integers(60)].id)} for row in questions[:100]]
    result = tune(
        documents,
        rows,
        held_out=questions[100:],
        embeddings=bi_encoder,
        output_dir=tmp_path / "bundle",
        steps=2,
    )
    data = check_report(result)
    assert data["chosen"] in ("base", "bm25", "hybrid")
    assert not any(decision["promoted"] for decision in data["decisions"])
    assert not data["signal"]["ok"]
    assert "no better than chance" in str(result.report)
    values = {system["name"]: system["measures"]["nDCG@10"] for system in data["systems"]}
    assert values[data["chosen"]] >= values["base"]
    result.retriever.recall.close()


# ---------------------------------------------------------------- bad input


def doc(id_: Any = "a", text: str = "text") -> Document:
    return Document(id=id_, page_content=text)


GOOD: list[Document] = [doc("a", "one"), doc("b", "two")]
ROWS: Rows = [{"query": "x", "document_id": "a"}, {"query": "y", "document_id": "b"}]


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails where a model is loaded or anything is indexed."""

    def fail(*_: Any, **__: Any) -> None:
        pytest.fail("work was begun before the arguments were checked")

    monkeypatch.setattr(phases, "fill_store", fail)
    monkeypatch.setattr(encoders, "fit_bi_encoder", fail)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"documents": []}, DataError, "There are no documents"),
        ({"documents": [doc(), doc(None)]}, DataError, r"document 1 has no id; .*Document\(id="),
        ({"documents": [doc(), doc("b"), doc()]}, DataError, "document 2: the id 'a' is there twice"),
        ({"documents": ["text"]}, DataError, "document 0: expected a LangChain Document, got str"),
        ({"training_data": []}, DataError, "are empty"),
        ({"training_data": ROWS[:1]}, DataError, "at least two different"),
        ({"training_data": "no.jsonl"}, StorageError, "there is no such file"),
        ({"held_out": [{"query": "z", "document_id": "c"}]}, DataError, "'c' is not the id of any of the 2"),
        (
            {"minutes": 1, "steps": 1},
            InvalidArgumentError,
            "one of minutes, steps and epochs, got minutes and",
        ),
        (
            {"recipe": Recipe(distill="kl"), "reranker": None},
            InvalidArgumentError,
            "needs a cross-encoder to",
        ),
        (
            {"recipe": Recipe(false_negatives="cross-encoder")},
            InvalidArgumentError,
            "needs a trained cross-enc",
        ),
        ({"minutes": 0, "steps": None}, InvalidArgumentError, "minutes must be a number above 0"),
        ({"steps": 0}, InvalidArgumentError, "steps must be a whole number"),
        ({"reranker": 5}, InvalidArgumentError, "reranker must be 'warm', a CrossEncoderScorer, .*got int"),
        ({"unknown_passages": "drop"}, InvalidArgumentError, "'refuse' or 'add'"),
    ],
)
@pytest.mark.usefixtures("no_work")
def test_bad_arguments(
    arguments: dict[str, Any], error: type[RerankError], message: str, bi_encoder: Path, tmp_path: Path
) -> None:
    given: dict[str, Any] = {
        "documents": GOOD,
        "training_data": ROWS,
        "embeddings": bi_encoder,
        "output_dir": tmp_path / "bundle",
        "steps": 1,
    } | arguments
    with pytest.raises(error, match=message):
        tune(given.pop("documents"), given.pop("training_data"), **given)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_work")
def test_a_folder_of_other_things_is_refused_at_once(bi_encoder: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(
        FormatError, match=r"holds other things \(thesis.txt\); expected a new or empty folder"
    ):
        tune(GOOD, ROWS, embeddings=bi_encoder, output_dir=tmp_path, steps=1)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(FormatError, match="is a file; expected a folder"):
        tune(GOOD, ROWS, embeddings=bi_encoder, output_dir=tmp_path / "thesis.txt", steps=1)


@pytest.mark.usefixtures("no_work")
def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="no-model"):
        tune(GOOD, ROWS, embeddings=str(tmp_path / "no-model"), output_dir=tmp_path / "bundle", steps=1)
    assert list(tmp_path.iterdir()) == []
