"""`tune` from documents and data to a bundle, with small random models."""

import copy
import json
import resource
import signal
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
from langchain_rerank_retriever.training.fit import encoders, sentence_pairs
from langchain_rerank_retriever.training.fit.schedule import Schedule
from langchain_rerank_retriever.training.proof.systems import ORDER
from tests.training.conftest import about_animals, animals, small_bert
from tests.training.fit.test_sentence_pairs import evaluator_says, scored

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


def test_the_same_again(
    tuned: Run, bi_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = []
    monkeypatch.setattr(phases, "warns_of_long_indexing", lambda _, update: watched.append(1) or update)
    other = tune(
        tuned.documents,
        tuned.questions,
        embeddings=PooledEmbeddings(bi_encoder),
        output_dir=tmp_path / "bundle",
        steps=2,
        seed=1,
    )
    # Only before training can a promise be too short to train in.
    assert watched == [1]
    assert answers(other.retriever, tuned.questions) == answers(tuned.result.retriever, tuned.questions)
    first, second = tuned.result.report.to_dict(), other.report.to_dict()
    for part in ("chosen", "verdict", "blend", "depth_curve", "decisions", "data"):
        assert first[part] == second[part], part
    assert [one["measures"] for one in first["systems"]] == [one["measures"] for one in second["systems"]]
    other.retriever.recall.close()


def test_vectors_that_are_not_normalised(
    documents: list[Document], questions: Rows, bi_encoder: Path, tmp_path: Path
) -> None:
    with PooledEmbeddings(bi_encoder, normalize=False) as encoder:
        result = tune(
            documents, questions, embeddings=encoder, reranker=None, output_dir=tmp_path / "bundle", steps=1
        )
    served = result.retriever.recall.embeddings
    assert served.normalize is False
    assert np.linalg.norm(served.encode(["the cat in the garden"])) != pytest.approx(1.0, abs=0.01)
    result.retriever.recall.close()


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


@pytest.mark.parametrize("phase", ["_train_bi_encoder", "_train_cross_encoder", "_mine", "_report"])
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


# ---------------------------------------------------------------- ended early, killed, resumed


def test_ctrl_c_keeps_what_was_learned(
    documents: list[Document],
    questions: Rows,
    bi_encoder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended = Schedule.on_step_end

    def pressed(schedule: Schedule, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        if state.global_step == 2:
            signal.raise_signal(signal.SIGINT)
        return ended(schedule, args, state, control, **kwargs)

    monkeypatch.setattr(Schedule, "on_step_end", pressed)
    result = tune(documents, questions, embeddings=bi_encoder, output_dir=tmp_path / "bundle", steps=50)
    data = check_report(result)
    only_the_bundle(tmp_path)
    assert data["training"]["bi_encoder"]["steps"] == 2
    assert data["training"]["bi_encoder"]["ended_early"]
    assert "cross_encoder" not in data["training"]
    assert "tuned" in [system["name"] for system in data["systems"]]
    result.retriever.recall.close()


def test_a_run_is_resumed_only_by_one_of_the_same(
    documents: list[Document],
    questions: Rows,
    bi_encoder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("the power is gone")

    arguments: dict[str, Any] = {"embeddings": bi_encoder, "output_dir": tmp_path / "bundle", "steps": 1}
    monkeypatch.setattr(phases.Tuning, "_ship", fail)
    with pytest.raises(RuntimeError, match="the power is gone"):
        tune(documents, questions[:30], **arguments)
    for changed, named in (
        ({"documents": [*documents, Document(id="new", page_content="one more")]}, "documents"),
        ({"training_data": questions[:29]}, "dev data, training data|training data"),
        ({"seed": 3}, "seed"),
        ({"steps": 2}, "budget"),
        ({"recipe": Recipe(batch_size=8)}, "recipe"),
        ({"reranker": None}, "reranker"),
    ):
        given = {"documents": documents, "training_data": questions[:30], **arguments, **changed}
        with pytest.raises(InvalidArgumentError, match=f"had other .*({named}).*resume=False"):
            tune(given.pop("documents"), given.pop("training_data"), resume=True, **given)


def test_a_disk_that_fills_up(
    documents: list[Document], questions: Rows, bi_encoder: Path, tmp_path: Path
) -> None:
    """No file may grow beyond two megabytes, so the store can be written and no model can."""
    target = tmp_path / "bundle"
    store = FaissStore.from_documents(documents[:5], PooledEmbeddings(bi_encoder), path=None)
    RerankRetriever(store, k=2).save_local(target)
    arguments: dict[str, Any] = {"embeddings": bi_encoder, "output_dir": target, "steps": 2}
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, before[1]))
    try:
        with pytest.raises(StorageError, match=r"resume=True to go on"):
            tune(documents, questions[:30], **arguments)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert len(RerankRetriever.load_local(target, read_only=True).recall) == 5
    result = tune(documents, questions[:30], resume=True, **arguments)
    assert len(result.retriever.recall) == 60
    result.retriever.recall.close()
    only_the_bundle(tmp_path)


def test_a_cross_encoder_with_two_labels_is_refused_at_once(
    documents: list[Document],
    questions: Rows,
    bi_encoder: Path,
    minilm_folder: Path,
    tmp_path: Path,
) -> None:
    from transformers import AutoTokenizer, BertForSequenceClassification

    BertForSequenceClassification(small_bert(num_labels=2)).save_pretrained(tmp_path / "model")
    AutoTokenizer.from_pretrained(minilm_folder).save_pretrained(tmp_path / "model")
    with pytest.raises(InvalidArgumentError, match=r"expected a cross-encoder with one label.*has 2"):
        tune(
            documents,
            questions,
            embeddings=bi_encoder,
            reranker=tmp_path / "model",
            output_dir=tmp_path / "bundle",
            steps=1,
        )
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]


def test_what_a_model_does_not_have_is_refused_at_once(
    documents: list[Document], questions: Rows, bi_encoder: Path, tmp_path: Path
) -> None:
    arguments: dict[str, Any] = {"embeddings": bi_encoder, "output_dir": tmp_path / "bundle", "steps": 1}
    with pytest.raises(InvalidArgumentError, match="matryoshka_dims must be at most 32"):
        tune(documents, questions, recipe=Recipe(matryoshka_dims=(64,)), **arguments)
    with pytest.raises(ModelLoadError, match="no-such"):
        tune(documents, questions, reranker=str(tmp_path / "no-such"), **arguments)
    assert list(tmp_path.iterdir()) == []


def test_passages_of_held_out_data_are_added_too(
    documents: list[Document], questions: Rows, bi_encoder: Path, tmp_path: Path
) -> None:
    result = tune(
        documents,
        questions[:30],
        held_out=[{"query": "unheard of", "passage": "Quite new text."}, *questions[30:40]],
        unknown_passages="add",
        embeddings=bi_encoder,
        reranker=None,
        output_dir=tmp_path / "bundle",
        steps=1,
    )
    assert len(result.retriever.recall) == 61
    result.retriever.recall.close()


def test_hardly_any_time(
    documents: list[Document], questions: Rows, bi_encoder: Path, tmp_path: Path
) -> None:
    result = tune(documents, questions[:30], embeddings=bi_encoder, output_dir=tmp_path / "b", minutes=0.1)
    data = check_report(result)
    skipped = {
        name: f"no time to train a {name}" in str(result.report) for name in ("bi-encoder", "cross-encoder")
    }
    assert skipped["bi-encoder"] == ("bi_encoder" not in data["training"])
    assert skipped["cross-encoder"] == ("cross_encoder" not in data["training"])
    result.retriever.recall.close()


@pytest.mark.parametrize("trained", [(False, True), (True, False), (False, False)])
def test_time_for_one_encoder_or_none(
    trained: tuple[bool, bool],
    documents: list[Document],
    questions: Rows,
    bi_encoder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(phases.Plan, "affordable", lambda self, **_: trained)
    result = tune(documents, questions, embeddings=bi_encoder, output_dir=tmp_path / "bundle", steps=1)
    data = check_report(result)
    assert ("bi_encoder" in data["training"]) == trained[0]
    assert ("cross_encoder" in data["training"]) == trained[1]
    assert len(data["warnings"]) == 2 - sum(trained)
    values = {system["name"]: system["measures"] for system in data["systems"]}
    if not trained[0]:
        assert values["tuned"] == values["base"]
    result.retriever.recall.close()


def test_a_recipe_and_epochs(
    documents: list[Document], questions: Rows, bi_encoder: Path, tmp_path: Path
) -> None:
    recipe = Recipe(batch_size=16, cross_encoder_loss="bce", distill="kl", false_negatives="margin")
    result = tune(
        documents, questions, embeddings=bi_encoder, output_dir=tmp_path / "b", epochs=1, recipe=recipe
    )
    training = check_report(result)["training"]
    assert training["bi_encoder"]["steps"] == 7  # 104 pairs, 16 a step
    assert training["cross_encoder"]["steps"] == 26  # 104 queries, 4 a step
    assert training["distilled_bi_encoder"]["steps"] >= 1
    assert training["hard_negatives"]["queries"] == 104
    assert training["hard_negatives"]["known_positives"] > 0
    result.retriever.recall.close()


def test_the_data_card_is_in_the_report(tuned: Run) -> None:
    card = tuned.result.report.to_dict()["data_card"]
    assert (card["documents"], card["queries"], card["held_out_queries"]) == (60, 104, 26)
    assert card["positives"] == [1, 1.0, 1]
    assert card["truncation"]["limit"] == 128
    assert card["truncation"]["documents"] == 0
    assert card["doubtful_positives"]["count"] == 0


# ---------------------------------------------------------------- scored sentence pairs


def scored_rows(count: int = 200) -> Rows:
    first, second, scores = scored(count)
    return [
        {"sentence1": one, "sentence2": other, "score": score}
        for one, other, score in zip(first, second, scores, strict=True)
    ]


def test_scored_pairs(
    documents: list[Document], language_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sentence_pairs, "LEARNING_RATE", 3e-3)  # so small a model bears it
    test = scored_rows(300)[200:]
    encoder = PooledEmbeddings(language_model, pooling="max")
    result = tune(
        documents,
        scored_rows(),
        held_out=test,
        embeddings=encoder,
        output_dir=tmp_path / "bundle",
        steps=60,
        score_range=(0, 5),
    )
    only_the_bundle(tmp_path)
    data = json.loads(json.dumps(result.report.to_dict(), allow_nan=False))
    columns = [[row[name] for row in test] for name in ("sentence1", "sentence2", "score")]
    assert data["chosen"] == "tuned"
    assert data["held_out_queries"] == 100
    assert "100 held-out sentence pairs. Chosen: tuned. Spearman" in str(result.report)
    tuned_encoder = result.retriever.recall.embeddings
    for system, one in zip(data["systems"], (encoder, tuned_encoder), strict=True):
        expected = evaluator_says(one.load_trainable(), *columns)
        assert system["measures"] == pytest.approx(expected, abs=0.01)
    assert data["systems"][1]["measures"]["Spearman"] > data["systems"][0]["measures"]["Spearman"] + 0.1
    assert len(result.retriever.recall) == 60
    result.retriever.recall.close()
    assert len(RerankRetriever.load_local(tmp_path / "bundle", read_only=True).recall) == 60


def test_scored_pairs_without_documents_or_gain(bi_encoder: Path, tmp_path: Path) -> None:
    rows = scored_rows(60)
    rng = np.random.default_rng(0)
    shuffled = [{**row, "score": float(rng.random())} for row in rows]
    result = tune([], shuffled, embeddings=bi_encoder, output_dir=tmp_path / "bundle", steps=1)
    assert result.report.systems[0].name == "base"
    assert len(result.retriever.recall) == 0
    if result.report.chosen == "base":
        assert "Nothing was promoted" in result.report.verdict
    result.retriever.recall.close()


def test_scored_pairs_train_no_cross_encoder(bi_encoder: Path, cross_encoder: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="train the bi-encoder alone; expected reranker=None"):
        tune(
            [],
            scored_rows(20),
            embeddings=bi_encoder,
            reranker=str(cross_encoder),
            output_dir=tmp_path / "bundle",
            score_range=(0, 5),
        )
    assert list(tmp_path.iterdir()) == []


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
