"""Where and how a bundle's models run: what is asked when it is opened, and what it does not keep."""

import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document

from langchain_rerank_retriever import (
    CrossEncoderReranker,
    CrossEncoderScorer,
    FaissStore,
    PooledEmbeddings,
    RerankRetriever,
)
from langchain_rerank_retriever.bundled_calibration import calibration_pairs
from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.runtime.backends import openvino_model
from langchain_rerank_retriever.runtime.choosing import compiled
from langchain_rerank_retriever.runtime.choosing.calibration import TEXTS
from tests.runtime import tiny
from tests.runtime.conftest import cache, speeds
from tests.training.conftest import animals, bi_encoder, cross_encoder, language_model

__all__ = ["bi_encoder", "cache", "cross_encoder", "language_model", "speeds"]

pytestmark = pytest.mark.usefixtures("speeds")


def random_texts(count: int) -> list[str]:
    random = np.random.default_rng(3)
    return [" ".join(random.choice(tiny.WORDS, size=random.integers(3, 30))) for _ in range(count)]


@pytest.fixture(scope="module")
def scorer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_classifier(tmp_path_factory.mktemp("scorer"), "bert", seed=2)


@pytest.fixture(scope="module")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_language_model(tmp_path_factory.mktemp("encoder"), "bert")


@pytest.fixture(scope="module")
def make(
    encoder_folder: Path, scorer_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """Save a bundle of so many documents."""

    def save(
        documents: int = 40, *, stages: int = 1, precision: Any = "float32", reranker: bool = True
    ) -> Path:
        folder = tmp_path_factory.mktemp("made") / "bundle"
        given = [Document(page_content=text, id=str(place)) for place, text in enumerate(texts_of(documents))]
        with (
            PooledEmbeddings(encoder_folder, precision=precision) as embeddings,
            CrossEncoderScorer(scorer_folder, precision=precision) as scorer,
        ):
            cheap = [CrossEncoderReranker(model=scorer, top_n=5)] * (stages - 1)
            made = RerankRetriever.from_documents(
                given,
                embeddings=embeddings,
                reranker=([*cheap, scorer] if cheap else scorer) if reranker else None,
            )
            made.save_local(folder)
            made.recall.close()
        return folder

    return save


def texts_of(documents: int) -> list[str]:
    return random_texts(documents)


@pytest.fixture(scope="module")
def saved(make: Callable[..., Path]) -> Path:
    """A bundle of 40 documents that no test changes; its models were asked for in float32."""
    return make()


@pytest.fixture
def opened() -> Iterator[Callable[..., RerankRetriever]]:
    """Open a bundle, and close it after the test."""
    made: list[RerankRetriever] = []

    def load(folder: Path, **how: Any) -> RerankRetriever:
        made.append(RerankRetriever.load_local(folder, **how))
        return made[-1]

    yield load
    for one in made:
        one.recall.close()
        one.recall.embeddings.close()
        stages = one.reranker if isinstance(one.reranker, list) else [one.reranker]
        for stage in stages:
            model = getattr(stage, "model", stage)
            if model is not None:
                model.close()


@pytest.fixture
def quantised(cache: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many inputs each quantisation sees, from now on, with nothing in the cache."""
    calls: list[int] = []
    real = openvino_model.quantise

    def quantise(model: Any, calibration: Any, **options: Any) -> Any:
        calls.append(sum(len(batch["input_ids"]) for batch in calibration))
        return real(model, calibration, **options)

    monkeypatch.setattr(openvino_model, "quantise", quantise)
    return calls


# ---------------------------------------------------------------- int8


def test_int8_is_calibrated_on_the_bundles_own_documents(
    saved: Path, scorer_folder: Path, opened: Callable[..., RerankRetriever], quantised: list[int]
) -> None:
    import torch
    from sentence_transformers import CrossEncoder

    loaded = opened(saved, precision="int8")
    scorer = loaded.reranker
    assert (scorer.precision, scorer.backend, scorer.asked_precision) == ("int8", "openvino", "int8")
    # By hand: of 40 documents the first 32, each one's first twelve words with itself and with the next one.
    texts = texts_of(40)[:32]
    pairs = [
        (" ".join(text.split()[:12]), other)
        for text, following in zip(texts, texts[1:] + texts[:1], strict=True)
        for other in (text, following)
    ]
    assert quantised == [64]
    exact = CrossEncoder(str(scorer_folder), device="cpu").predict(pairs, activation_fn=torch.nn.Identity())
    coarse = np.array(scorer.score(pairs))
    told = scorer.quantisation
    assert told is not None
    assert told.texts == 64
    assert told.correlation == pytest.approx(np.corrcoef(exact, coarse)[0, 1], abs=1e-3)
    assert 1e-5 < np.abs(exact - coarse).max() < 0.5 * np.ptp(exact)


def test_int8_leaves_the_vectors_alone(saved: Path, opened: Callable[..., RerankRetriever]) -> None:
    plain, coarse = opened(saved, read_only=True), opened(saved, precision="int8", read_only=True)
    assert coarse.recall.embeddings.asked_precision == "float32"
    assert coarse.recall.embeddings.quantisation is None
    np.testing.assert_array_equal(
        coarse.recall.embeddings.encode(texts_of(3)), plain.recall.embeddings.encode(texts_of(3))
    )
    assert plain.reranker.quantisation is None


def test_it_is_calibrated_once(
    make: Callable[..., Path], opened: Callable[..., RerankRetriever], quantised: list[int]
) -> None:
    folder = make()
    first = opened(folder, precision="int8")
    first.recall.add_documents([Document(page_content=text) for text in texts_of(60)[40:]])
    second = opened(folder, precision="int8")
    pairs = [("a cat", text) for text in texts_of(5)]
    assert second.reranker.score(pairs) == first.reranker.score(pairs)
    assert second.reranker.quantisation == first.reranker.quantisation
    assert len(quantised) == 1
    # With 64 it has doubled: 32 of them were read before.
    second.recall.add_documents([Document(page_content=text) for text in texts_of(64)[60:]])
    opened(folder, precision="int8")
    assert quantised == [64, 128]


def test_a_store_too_small_to_calibrate_with(
    make: Callable[..., Path], opened: Callable[..., RerankRetriever], quantised: list[int]
) -> None:
    loaded = opened(make(15), precision="int8")
    assert quantised == [TEXTS]
    assert loaded.reranker.quantisation.texts == TEXTS


def test_each_stage_of_a_cascade(make: Callable[..., Path], opened: Callable[..., RerankRetriever]) -> None:
    cheap, dear = opened(make(stages=2), precision="int8").reranker
    assert (cheap.model.precision, dear.precision) == ("int8", "int8")
    assert cheap.model.quantisation.texts == dear.quantisation.texts == 64


def test_long_documents_are_calibrated_in_windows(
    scorer_folder: Path, encoder_folder: Path, tmp_path: Path, opened: Callable[..., RerankRetriever]
) -> None:
    long = [Document(page_content=" ".join([text] * 40)) for text in texts_of(16)]
    with (
        PooledEmbeddings(encoder_folder) as embeddings,
        CrossEncoderScorer(scorer_folder, long_documents="max") as scorer,
    ):
        made = RerankRetriever.from_documents(long, embeddings=embeddings, reranker=scorer)
        made.save_local(tmp_path / "bundle")
        made.recall.close()
    loaded = opened(tmp_path / "bundle", precision="int8")
    assert loaded.reranker.long_documents == "max"
    assert loaded.reranker.quantisation.texts == 32
    assert loaded.reranker.quantisation.correlation >= 0.99


def test_the_floor_refuses(saved: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "CORRELATION_FLOOR", 1.0001)
    with pytest.raises(
        InvalidArgumentError, match=r"correlation 0\.99\d\d with float32 on 64 calibration texts"
    ):
        RerankRetriever.load_local(saved, precision="int8")


def test_pairs_of_a_large_store() -> None:
    words = [f"word{place}" for place in range(20)]
    documents = (Document(page_content=f"n{place} {' '.join(words)}") for place in range(20_000))
    pairs = calibration_pairs(documents)
    assert pairs is not None
    assert len(pairs) == 128
    # 8,192 are read, in 64 steps of 128.
    assert [query.split()[0] for query, _ in pairs[::2]] == [f"n{128 * step}" for step in range(64)]
    assert [passage.split()[0] for _, passage in pairs[:4]] == ["n0", "n1", "n128", "n129"]
    assert {len(query.split()) for query, _ in pairs} == {12}
    assert next(documents).page_content.startswith("n8192 ")


def test_pairs_of_odd_documents() -> None:
    blank = [Document(page_content=" \n")] * 30
    assert calibration_pairs([*blank, *animals()[:15]]) is None
    pairs = calibration_pairs([*blank, *animals()[:16]])
    assert pairs is not None
    assert len(pairs) == 32
    # Of the last, the next one is the first.
    assert pairs[-1][1] == animals()[0].page_content
    endless = calibration_pairs([Document(page_content="검" * 5000)] * 16)
    assert endless is not None
    assert {(len(query), len(passage)) for query, passage in endless} == {(100, 2000)}


# ---------------------------------------------------------------- other values


def test_what_is_asked_holds_for_both_models(saved: Path, opened: Callable[..., RerankRetriever]) -> None:
    how = {"backend": "openvino", "precision": "float32", "device": "cpu", "batch_size": 7}
    loaded = opened(saved, **how)
    for model in (loaded.recall.embeddings, loaded.reranker):
        assert (model.backend, model.precision, model.device) == ("openvino", "float32", "cpu")
        assert "batch_size=7" in repr(model)


def test_what_is_not_asked_is_left_to_the_bundle(saved: Path, opened: Callable[..., RerankRetriever]) -> None:
    for how, expected in (({}, "float32"), ({"precision": "auto"}, "auto"), ({"batch_size": 3}, "float32")):
        loaded = opened(saved, read_only=True, **how)
        assert loaded.recall.embeddings.asked_precision == loaded.reranker.asked_precision == expected


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"precision": "int4"}, "precision: expected one of .*'int8'.*, got 'int4'"),
        ({"backend": "onnx"}, "backend: expected one of .*'openvino'.*, got 'onnx'"),
        ({"backend": "torch", "precision": "int8"}, "precision='int8' needs backend='openvino'"),
        ({"device": "cuda", "precision": "int8"}, "device='cuda': OpenVINO runs on the CPU"),
        ({"device": "abacus"}, "torch does not know 'abacus'"),
        ({"batch_size": 0}, "batch_size: expected a whole number of at least 1"),
        ({"threads": -1}, "threads: expected a whole number of at least 1"),
    ],
)
def test_wrong_values_are_refused_before_anything_is_opened(how: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        RerankRetriever.load_local("no-such-folder", **how)


def test_what_could_have_no_effect_is_refused(
    saved: Path, make: Callable[..., Path], opened: Callable[..., RerankRetriever], encoder_folder: Path,
    scorer_folder: Path,
) -> None:  # fmt: skip
    with (
        PooledEmbeddings(encoder_folder) as embeddings,
        CrossEncoderScorer(scorer_folder) as scorer,
    ):
        both = {"embeddings": embeddings, "reranker": scorer}
        with pytest.raises(
            InvalidArgumentError, match="backend, batch_size: for the bundle's own models, and none"
        ):
            RerankRetriever.load_local(saved, backend="torch", batch_size=2, **both)
        with pytest.raises(
            InvalidArgumentError, match="precision='int8' is for the bundle's own cross-encoder"
        ):
            RerankRetriever.load_local(saved, precision="int8", reranker=scorer)
        with pytest.raises(
            InvalidArgumentError, match="precision='int8' is for the bundle's own cross-encoder"
        ):
            RerankRetriever.load_local(make(reranker=False), precision="int8")
        # One of the two is the bundle's own; threads are the store's as well.
        loaded = opened(saved, embeddings=embeddings, batch_size=5)
        assert "batch_size=5" in repr(loaded.reranker)
        assert "batch_size=None" in repr(loaded.recall.embeddings)
        loaded.recall.close()
        with RerankRetriever.load_local(saved, threads=1, **both).recall as store:
            assert len(store) == 40


def test_int8_over_a_recall_that_is_passed_in(
    saved: Path, encoder_folder: Path, quantised: list[int]
) -> None:
    with (
        PooledEmbeddings(encoder_folder, precision="float32") as embeddings,
        FaissStore.from_texts(texts_of(16), embeddings) as store,
        RerankRetriever.load_local(saved, recall=store, precision="int8").reranker as scorer,
    ):
        assert scorer.quantisation is not None
        assert quantised == [scorer.quantisation.texts] == [32]


# ---------------------------------------------------------------- what is not kept


def test_saving_warns_of_int8(saved: Path, tmp_path: Path, opened: Callable[..., RerankRetriever]) -> None:
    loaded = opened(saved, precision="int8", read_only=True)
    message = r"precision='int8' of its cross-encoder.*RerankRetriever\.load_local\(folder, precision='int8'"
    with pytest.warns(UserWarning, match=message) as caught:
        loaded.save_local(tmp_path / "copy")
    assert [Path(one.filename).name for one in caught] == [Path(__file__).name]
    manifest = json.loads((tmp_path / "copy" / "bundle.json").read_text(encoding="utf-8"))
    assert manifest["reranker"]["precision"] == "auto"
    assert manifest["embeddings"]["precision"] == "float32"
    assert opened(tmp_path / "copy").reranker.quantisation is None


def test_saving_warns_of_a_bi_encoder(encoder_folder: Path, tmp_path: Path) -> None:
    message = r"does not keep precision='float16' of its bi-encoder.*=PooledEmbeddings\(\.\.\., precision='float16'\)\)"
    with PooledEmbeddings(encoder_folder, precision="float16") as embeddings:
        made = RerankRetriever.from_texts(["a cat", "a dog"], embeddings=embeddings)
        with pytest.warns(UserWarning, match=message):
            made.save_local(tmp_path / "bundle")
        made.recall.close()


@pytest.mark.parametrize("precision", ["auto", "float32", "bfloat16"])
def test_saving_what_is_kept_warns_of_nothing(make: Callable[..., Path], precision: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        folder = make(2, precision=precision)
    manifest = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
    assert manifest["reranker"]["precision"] == manifest["embeddings"]["precision"] == precision
