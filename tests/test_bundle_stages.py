"""A bundle whose re-ranker is a cascade."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from langchain_rerank_retriever import CrossEncoderReranker, CrossEncoderScorer, RerankRetriever
from langchain_rerank_retriever.errors import FormatError, InvalidArgumentError
from langchain_rerank_retriever.testing import HashEmbeddings
from tests.test_bundle import (
    DOCUMENTS,
    QUERIES,
    Foreign,
    assert_same_answers,
    edit,
    make_cross_encoder,
    snapshot,
)


@pytest.fixture(scope="module")
def scorers(
    minilm_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[CrossEncoderScorer]]:
    folders = [make_cross_encoder(minilm_folder, tmp_path_factory.mktemp("model"), seed) for seed in (1, 2)]
    models = [
        CrossEncoderScorer(folder, precision="float32", max_length=length, threads=1)
        for folder, length in zip(folders, (32, 64), strict=True)
    ]
    yield models
    for model in models:
        model.close()


def made_of(reranker: Any) -> RerankRetriever:
    return RerankRetriever.from_documents(DOCUMENTS, embeddings=HashEmbeddings(), reranker=reranker, k=6)


def load(folder: Path, **arguments: Any) -> RerankRetriever:
    return RerankRetriever.load_local(folder, embeddings=HashEmbeddings(), **arguments)


@pytest.fixture
def cascade(scorers: list[CrossEncoderScorer], tmp_path: Path) -> tuple[RerankRetriever, Path]:
    cheap, dear = scorers
    made = made_of([CrossEncoderReranker(model=cheap, top_n=4, score_threshold=-50.0), dear])
    made.save_local(tmp_path / "bundle")
    return made, tmp_path / "bundle"


def closing(retriever: RerankRetriever) -> None:
    retriever.recall.close()
    stages = retriever.reranker if isinstance(retriever.reranker, list) else [retriever.reranker]
    for stage in stages:
        (stage.model if isinstance(stage, CrossEncoderReranker) else stage).close()


def test_there_and_back(cascade: tuple[RerankRetriever, Path], scorers: list[CrossEncoderScorer]) -> None:
    made, folder = cascade
    assert json.loads((folder / "bundle.json").read_text())["format"] == 2
    assert {path.name for path in folder.iterdir()} == {
        "bundle.json",
        "cross_encoder",
        "cross_encoder-2",
        "store",
    }
    loaded = load(folder)
    try:
        first, second = loaded.reranker
        assert (type(first), first.top_n, first.score_threshold) == (CrossEncoderReranker, 4, -50.0)
        assert [first.model.fingerprint, second.fingerprint] == [one.fingerprint for one in scorers]
        assert [first.model.max_length, second.max_length] == [32, 64]
        assert_same_answers(made, loaded)
        rows = loaded.explain(QUERIES[0]).candidates
        assert [row.dropped_by for row in rows] == [
            row.dropped_by for row in made.explain(QUERIES[0]).candidates
        ]
        before = snapshot(folder)
        loaded.save_local(folder)  # what has not changed is kept
        assert {name: data for name, data in snapshot(folder).items() if "cross_encoder" in name} == {
            name: data for name, data in before.items() if "cross_encoder" in name
        }
    finally:
        closing(loaded)


def test_saved_anew_with_one_stage(
    cascade: tuple[RerankRetriever, Path], scorers: list[CrossEncoderScorer]
) -> None:
    _, folder = cascade
    made_of(scorers[1]).save_local(folder)
    assert json.loads((folder / "bundle.json").read_text())["format"] == 1
    assert sum(path.name.startswith("cross_encoder") for path in folder.iterdir()) == 1
    loaded = load(folder)
    try:
        assert loaded.reranker.fingerprint == scorers[1].fingerprint
    finally:
        closing(loaded)


def test_a_compressor_alone(scorers: list[CrossEncoderScorer], tmp_path: Path) -> None:
    made = made_of(CrossEncoderReranker(model=scorers[0], top_n=2))
    made.save_local(tmp_path / "bundle")
    loaded = load(tmp_path / "bundle")
    try:
        assert (type(loaded.reranker), loaded.reranker.top_n) == (CrossEncoderReranker, 2)
        assert_same_answers(made, loaded)
    finally:
        closing(loaded)


def test_one_foreign_stage_makes_all_of_it_foreign(scorers: list[CrossEncoderScorer], tmp_path: Path) -> None:
    reranker = [CrossEncoderReranker(model=Foreign(), top_n=3), scorers[0]]
    made = made_of(reranker)
    made.save_local(tmp_path / "bundle")
    assert {path.name for path in (tmp_path / "bundle").iterdir()} == {"bundle.json", "store"}
    with pytest.raises(
        InvalidArgumentError,
        match=r"its reranker: .*a list of .*CrossEncoderReranker, .*CrossEncoderScorer.*Pass the same",
    ):
        load(tmp_path / "bundle")
    loaded = load(tmp_path / "bundle", reranker=reranker)
    with loaded.recall:
        assert_same_answers(made, loaded)


@pytest.mark.parametrize(
    "change",
    [
        lambda stages: stages[0].pop("folder"),
        lambda stages: stages[0].pop("score_threshold"),
        lambda stages: stages[1].pop("max_length"),
        lambda stages: stages.insert(0, "text"),
        lambda stages: stages.insert(0, None),
        lambda stages: stages[0].update(folder="../elsewhere"),
        lambda stages: stages[0].update(folder="cross_encoder-9"),
        lambda stages: stages[1].update(fingerprint="another"),
        lambda stages: stages.clear(),
        lambda stages: stages[0].pop("top_n"),
        lambda stages: stages[0].update(score_threshold="high"),
        lambda stages: stages[0].update(top_n="many"),
    ],
)
def test_a_damaged_cascade(cascade: tuple[RerankRetriever, Path], change: Any) -> None:
    _, folder = cascade
    edit(folder, lambda manifest: change(manifest["reranker"]["stages"]))
    with pytest.raises(FormatError):
        load(folder)


def test_info_names_the_stages(cascade: tuple[RerankRetriever, Path]) -> None:
    from typer.testing import CliRunner

    from langchain_rerank_retriever.cli.app import app

    done = CliRunner().invoke(app, ["info", str(cascade[1])])
    assert done.exit_code == 0, done.output
    assert "cross_encoder/, of which 4 are left, then cross_encoder-2/" in " ".join(done.stdout.split())
