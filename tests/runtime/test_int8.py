"""int8: what it costs is told, from the texts it is told of, and refused where it costs too much."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from langchain_rerank_retriever import CrossEncoderScorer, PooledEmbeddings
from langchain_rerank_retriever.errors import InvalidArgumentError, MissingExtraError
from langchain_rerank_retriever.runtime.backends import openvino_library, openvino_model
from langchain_rerank_retriever.runtime.choosing import compiled
from langchain_rerank_retriever.runtime.choosing.calibration import TEXTS, default_calibration
from tests.runtime import tiny

pytestmark = pytest.mark.usefixtures("cache", "speeds")


def texts(count: int = 40) -> list[str]:
    random = np.random.default_rng(3)
    return [" ".join(random.choice(tiny.WORDS, size=random.integers(1, 30))) for _ in range(count)]


def pairs(count: int = 40) -> list[tuple[str, str]]:
    both = texts(2 * count)
    return list(zip(both[:count], both[count:], strict=True))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_language_model(tmp_path_factory.mktemp("encoder"), "bert")


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is quantised with, from now on."""
    calls: list[Any] = []
    real = openvino_model.quantise

    def quantise(model: Any, calibration: Any, **options: Any) -> Any:
        calls.append(calibration)
        return real(model, calibration, **options)

    monkeypatch.setattr(openvino_model, "quantise", quantise)
    return calls


def cosines(vectors: np.ndarray) -> np.ndarray:
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.array([unit[i] @ unit[j] for i in range(len(unit)) for j in range(i)])


def test_the_correlation_that_is_told(
    encoder: Path, seen: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    from sentence_transformers import SentenceTransformer

    caplog.set_level(logging.INFO)
    exact = SentenceTransformer(str(encoder), device="cpu").encode(texts())
    with PooledEmbeddings(encoder, precision="int8", calibration=texts()) as model:
        coarse = model.encode(texts())
        told = model.quantisation
        assert (model.backend, model.precision, model.asked_precision) == ("openvino", "int8", "int8")
    assert told is not None
    assert told.texts == 40
    assert told.correlation == pytest.approx(np.corrcoef(cosines(exact), cosines(coarse))[0, 1], abs=1e-3)
    # It is quantised: not what float32 gives, but near it.
    assert 1e-4 < np.abs(cosines(exact) - cosines(coarse)).max() < 0.2
    assert f"int8: correlation {told.correlation:.4f} with float32 on 40 texts." in caplog.text


def test_the_texts_given_are_those_used(encoder: Path, seen: list[Any]) -> None:
    with PooledEmbeddings(encoder, precision="int8", calibration=texts()):
        pass
    (batches,) = seen
    rows = [
        ids[mask == 1].tolist()
        for batch in batches
        for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)
    ]
    assert sorted(rows) == sorted(tiny.tokenizer("bert")(texts())["input_ids"])


def test_without_texts_pythons_are_used(encoder: Path, seen: list[Any]) -> None:
    with PooledEmbeddings(encoder, precision="int8") as model:
        told = model.quantisation
    assert told is not None
    assert told.texts == TEXTS
    assert sum(len(batch["input_ids"]) for batch in seen[0]) == len(default_calibration(pairs=False))


def test_a_second_load_does_not_quantise(encoder: Path, seen: list[Any]) -> None:
    loaded = []
    for _ in range(2):
        with PooledEmbeddings(encoder, precision="int8", calibration=texts()) as model:
            loaded.append((model.quantisation, model.encode(texts()).tolist()))
    assert loaded[0] == loaded[1]
    assert len(seen) == 1
    # Other texts give another model.
    with PooledEmbeddings(encoder, precision="int8", calibration=texts()[::-1]):
        assert len(seen) == 2


@pytest.mark.parametrize("labels", [1, 2])
def test_a_cross_encoder(labels: int, tmp_path: Path) -> None:
    import torch
    from sentence_transformers import CrossEncoder

    folder = tiny.save_classifier(tmp_path / "model", "bert", labels=labels, seed=2)
    whole = CrossEncoder(str(folder), device="cpu", max_length=tiny.LENGTH)
    exact = whole.predict(pairs(), activation_fn=torch.nn.Identity())
    exact = exact[:, 1] - exact[:, 0] if labels == 2 else exact
    with CrossEncoderScorer(folder, precision="int8", calibration=pairs()) as scorer:
        coarse = np.array(scorer.score(pairs()))
        told = scorer.quantisation
    assert told is not None
    assert told.correlation == pytest.approx(np.corrcoef(exact, coarse)[0, 1], abs=1e-3)
    assert 1e-5 < np.abs(exact - coarse).max() < 0.5 * np.ptp(exact)


@pytest.mark.filterwarnings("ignore")  # of tracing, done here by hand
def test_too_low_a_correlation(encoder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def noise(model: Any, calibration: Any, **options: Any) -> Any:
        """Quantise to next to nothing: other weights."""
        from langchain_rerank_retriever.runtime.models.bi_encoder import BiEncoderSettings, load_bi_encoder

        folder = tiny.save_language_model(cache.parent / "other", "bert", seed=9)
        other = load_bi_encoder(folder, BiEncoderSettings(None, True, None, None, None, None))
        import torch

        example = {name: torch.as_tensor(value) for name, value in calibration[0].items()}
        return openvino_library.openvino().convert_model(
            openvino_model._wrap(other, "sentence_embedding"), example_input=example
        )

    monkeypatch.setattr(openvino_model, "quantise", noise)
    message = (
        r"precision='int8' changes what this model computes: correlation -?0\.\d{4} with float32 on 40 calibration "
        r"texts, expected at least 0\.99\. Use precision='auto', or give texts like those"
    )
    with pytest.raises(InvalidArgumentError, match=message):
        PooledEmbeddings(encoder, precision="int8", calibration=texts())
    assert not cache.exists()


def test_the_floor(encoder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "CORRELATION_FLOOR", 1.0001)
    with pytest.raises(InvalidArgumentError, match=r"correlation 0\.99\d\d .* expected at least 1\.0001"):
        PooledEmbeddings(encoder, precision="int8", calibration=texts())
    assert not cache.exists()


def test_a_model_that_gives_the_same_for_everything_has_no_correlation(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    import torch
    from sentence_transformers import CrossEncoder

    folder = tiny.save_classifier(tmp_path / "model", "bert")
    whole = CrossEncoder(str(folder), device="cpu")
    with torch.no_grad():
        whole[0].model.classifier.weight.zero_()
    whole.save_pretrained(str(tmp_path / "constant"), create_model_card=False)
    with pytest.raises(InvalidArgumentError, match="correlation nan"):
        CrossEncoderScorer(tmp_path / "constant", precision="int8", calibration=pairs())
    assert not [one for one in recwarn if "invalid value" in str(one.message)]


def test_nothing_is_printed(encoder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from rich import get_console

    openvino_library.nncf()
    capfd.readouterr()
    with PooledEmbeddings(encoder, precision="int8", calibration=texts()) as model:
        model.encode(texts())
    assert capfd.readouterr() == ("", "")
    get_console().print("printed")
    assert "printed" in capfd.readouterr().out


def test_without_nncf(encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys
    from importlib.util import find_spec

    monkeypatch.delitem(sys.modules, "nncf", raising=False)
    monkeypatch.setattr(
        openvino_library, "find_spec", lambda name: None if name == "nncf" else find_spec(name)
    )
    with pytest.raises(MissingExtraError, match=r"langchain-rerank-retriever\[openvino\]"):
        PooledEmbeddings(encoder, precision="int8", calibration=texts())


REAL = [
    ("how do I sort a list", "sorted() returns a new list, list.sort() changes the list itself."),
    ("open a file", "open() returns a file object; use it in a with statement so that it is closed."),
    (
        "what is a decorator",
        "A function returning another function, usually applied with the @wrapper syntax.",
    ),
    ("capital of France", "Paris is the capital and the largest city of France."),
    ("why is the sky blue", "Air scatters short wavelengths of sunlight more than long ones."),
    ("boil an egg", "Put the egg into boiling water for six minutes if you like it soft."),
    ("symptoms of flu", "Fever, a dry cough, a headache and tiredness are typical of influenza."),
    ("train to Berlin", "The express leaves Hamburg every hour and needs less than two hours."),
]


@pytest.mark.slow  # quantising a real model takes about half a minute
@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_a_real_model_keeps_its_order(minilm_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from sentence_transformers import SentenceTransformer

    queries, passages = [query for query, _ in REAL], [passage for _, passage in REAL]
    whole = SentenceTransformer(str(minilm_folder), device="cpu")
    exact = whole.encode(queries) @ whole.encode(passages).T
    capfd.readouterr()
    with PooledEmbeddings(minilm_folder, precision="int8") as model:
        coarse = model.encode(queries, kind="query") @ model.encode(passages).T
        told = model.quantisation
    assert capfd.readouterr() == ("", "")
    assert told is not None
    assert 0.99 <= told.correlation < 1
    assert told.texts == TEXTS
    assert stats.spearmanr(exact.ravel(), coarse.ravel()).statistic >= 0.95
    assert coarse.argmax(axis=1).tolist() == list(range(len(REAL)))
    assert 1e-5 < np.abs(exact - coarse).max() < 0.1
