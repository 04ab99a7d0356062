"""What OpenVINO computes against sentence-transformers itself, on small random models of many architectures."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from langchain_rerank_retriever import CrossEncoderScorer, PooledEmbeddings
from langchain_rerank_retriever.runtime.backends import openvino_library
from tests.runtime import tiny
from tests.runtime.conftest import Script

pytestmark = pytest.mark.usefixtures("cache", "speeds")

ARCHITECTURES = pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)


def sentence(words: int, start: int = 0) -> str:
    return " ".join(tiny.WORDS[(start + 7 * place) % len(tiny.WORDS)] for place in range(words))


#: One word, five, sixty, more than a model reads, nothing, unknown words: padded together.
TEXTS = ["cat", sentence(5), sentence(60, 3), sentence(300, 5), "", "  ", sentence(20, 11), "Zzz qqq"]
PAIRS = [
    ("cat", "dog"),
    (sentence(5), sentence(60, 2)),
    (sentence(6, 1), sentence(300, 4)),
    (sentence(200, 3), "cat"),
    ("", ""),
    ("what", ""),
    (sentence(9, 8), sentence(30, 9)),
]


def reference(folder: Path, pooling: Any = "mean", *, normalize: bool = False) -> Any:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    transformer = Transformer(str(folder))
    transformer.max_seq_length = tiny.LENGTH
    modules = [transformer, Pooling(32, pooling)]
    return SentenceTransformer(modules=[*modules, Normalize()] if normalize else modules, device="cpu")


def logits(folder: Path, pairs: Any = PAIRS) -> np.ndarray:
    import torch
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(str(folder), device="cpu", max_length=tiny.LENGTH)
    return model.predict(pairs, activation_fn=torch.nn.Identity())


def openvino(folder: Path, **settings: Any) -> PooledEmbeddings:
    return PooledEmbeddings(folder, backend="openvino", precision="float32", **settings)


# ---------------------------------------------------------------- bi-encoders


@ARCHITECTURES
def test_vectors(architecture: str, tmp_path: Path) -> None:
    folder = tiny.save_language_model(tmp_path / "model", architecture)
    expected = reference(folder).encode(TEXTS)
    with openvino(folder, normalize=False) as model:
        got = model.encode(TEXTS)
        alone = np.concatenate([model.encode([text]) for text in TEXTS])
    assert (model.backend, model.precision) == ("openvino", "float32")
    # Texts differ by a thousand times of what is allowed.
    assert expected.std(axis=0).mean() > 0.1
    np.testing.assert_allclose(got, expected, atol=1e-4)
    np.testing.assert_allclose(alone, expected, atol=1e-4)


def test_modernbert_of_many_layers(tmp_path: Path) -> None:
    # Padding whose window is all padding must not reach, as NaN, into the layers above.
    folder = tiny.save_language_model(tmp_path / "model", "modernbert", num_hidden_layers=6)
    before = reference(folder).encode(TEXTS)
    with openvino(folder, normalize=False) as model:
        np.testing.assert_allclose(model.encode(TEXTS), before, atol=1e-4)


@pytest.mark.parametrize(
    ("architecture", "pooling"), [("bert", "cls"), ("mpnet", "max"), ("roberta", ("mean", "lasttoken"))]
)
def test_pooling(architecture: str, pooling: Any, tmp_path: Path) -> None:
    folder = tiny.save_language_model(tmp_path / "model", architecture)
    expected = reference(folder, pooling, normalize=True).encode(TEXTS)
    with openvino(folder, pooling=pooling) as model:
        np.testing.assert_allclose(model.encode(TEXTS), expected, atol=1e-5)


@pytest.fixture(scope="module")
def of_modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Transformer, Pooling, Dense, Normalize, with prompts."""
    import torch
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    folder = tmp_path_factory.mktemp("modules")
    transformer = Transformer(str(tiny.save_language_model(folder / "plain", "bert")))
    dense = Dense(32, 16, activation_function=torch.nn.Tanh())
    prompts = {"query": "question: ", "document": "map of the "}
    modules = [transformer, Pooling(32, "mean"), dense, Normalize()]
    return tiny.save_modules(folder / "whole", modules, prompts=prompts)


def test_a_dense_layer_and_prompts(of_modules: Path) -> None:
    from sentence_transformers import SentenceTransformer

    exact = SentenceTransformer(str(of_modules), device="cpu")
    with openvino(of_modules) as model:
        queries, documents = model.encode(TEXTS, kind="query"), model.encode(TEXTS)
    np.testing.assert_allclose(queries, exact.encode_query(TEXTS), atol=1e-5)
    np.testing.assert_allclose(documents, exact.encode_document(TEXTS), atol=1e-5)
    assert np.abs(queries - documents).max() > 0.1


def test_fewer_dimensions(of_modules: Path) -> None:
    from sentence_transformers import SentenceTransformer

    whole = SentenceTransformer(str(of_modules), device="cpu").encode_document(TEXTS)[:, :6]
    with openvino(of_modules, truncate_dim=6) as model:
        got = model.encode(TEXTS)
    np.testing.assert_allclose(got, whole / np.linalg.norm(whole, axis=1, keepdims=True), atol=1e-5)


def test_token_types_that_the_model_has_no_use_for(tmp_path: Path) -> None:
    folder = tiny.save_language_model(tmp_path / "model", "distilbert")
    tiny.tokenizer("bert").save_pretrained(folder)
    expected = reference(folder).encode(TEXTS)
    with openvino(folder, normalize=False) as model:
        np.testing.assert_allclose(model.encode(TEXTS), expected, atol=1e-4)


def test_padding_on_the_left(tmp_path: Path) -> None:
    folder = tiny.save_language_model(tmp_path / "model", "bert")
    tokenizer = tiny.tokenizer("bert")
    tokenizer.padding_side = "left"
    tokenizer.save_pretrained(folder)
    expected = reference(folder).encode(TEXTS, batch_size=len(TEXTS))
    with openvino(folder, normalize=False) as model:
        np.testing.assert_allclose(model.encode(TEXTS), expected, atol=1e-4)


def test_streams_side_by_side(tmp_path: Path, speeds: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("langchain_rerank_retriever.runtime.choosing.choice.cores", lambda: 12)
    speeds({"1": 1.0, "3": 0.5})
    folder = tiny.save_language_model(tmp_path / "model", "bert")
    expected = reference(folder).encode(TEXTS)
    with openvino(folder, normalize=False) as model:
        assert model.choice.streams == 3
        # More rows than streams, as many, fewer.
        for count in (8, 3, 2, 1):
            np.testing.assert_allclose(model.encode(TEXTS[:count]), expected[:count], atol=1e-4)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_fewer_digits(precision: Any, tmp_path: Path) -> None:
    if precision not in openvino_library.capabilities():
        pytest.skip(f"this processor has no {precision}")
    folder = tiny.save_language_model(tmp_path / "model", "bert")
    expected = reference(folder, normalize=True).encode(TEXTS)
    with PooledEmbeddings(folder, backend="openvino", precision=precision) as model:
        got = model.encode(TEXTS)
        assert model.precision == precision
    # Eight bits of a number are three digits, and errors add up; none at all would be float32.
    assert 1e-6 < np.abs(got - expected).max() < 0.03
    assert (got * expected).sum(axis=1).min() > 0.999
    assert got.dtype == np.float32


def test_threads(tmp_path: Path) -> None:
    folder = tiny.save_language_model(tmp_path / "model", "bert")
    for _ in range(2):  # compiled, and from the cache
        with openvino(folder, threads=1) as model:
            compiled = model._worker._backend.compiled
            assert compiled.get_property("INFERENCE_NUM_THREADS") == 1
            assert compiled.get_property("NUM_STREAMS") == 1


# ---------------------------------------------------------------- cross-encoders


@ARCHITECTURES
def test_logits_of_one_label(architecture: str, tmp_path: Path) -> None:
    folder = tiny.save_classifier(tmp_path / "model", architecture)
    expected = logits(folder)
    assert expected.std() > 0.05
    with CrossEncoderScorer(folder, backend="openvino", precision="float32") as scorer:
        np.testing.assert_allclose(scorer.score(PAIRS), expected, atol=1e-4)


@pytest.mark.parametrize("architecture", ["bert", "modernbert"])
def test_logits_of_two_labels(architecture: str, tmp_path: Path) -> None:
    folder = tiny.save_classifier(tmp_path / "model", architecture, labels=2)
    expected = logits(folder)
    with CrossEncoderScorer(folder, backend="openvino", precision="float32") as scorer:
        np.testing.assert_allclose(scorer.score(PAIRS), expected[:, 1] - expected[:, 0], atol=1e-4)


def test_a_cross_encoder_of_modules(tmp_path: Path) -> None:
    import torch
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules import Dense, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    transformer = Transformer(str(tiny.save_language_model(tmp_path / "plain", "roberta")))
    inner = Dense(32, 32, activation_function=torch.nn.Tanh())
    last = Dense(32, 1, activation_function=torch.nn.Identity(), module_output_name="scores")
    whole = CrossEncoder(modules=[transformer, Pooling(32, "cls"), inner, last], device="cpu")
    whole.save_pretrained(str(tmp_path / "model"), create_model_card=False)
    expected = logits(tmp_path / "model")
    with CrossEncoderScorer(tmp_path / "model", backend="openvino", precision="float32") as scorer:
        np.testing.assert_allclose(scorer.score(PAIRS), expected, atol=1e-4)


def test_windows_of_a_long_passage(tmp_path: Path) -> None:
    folder = tiny.save_classifier(tmp_path / "model", "bert")
    pair = ("cat", sentence(200, 5))
    # Three special tokens and the query leave 92 words a window; neighbours share an eighth of 96.
    parts = [" ".join(pair[1].split()[begin : begin + 92]) for begin in (0, 80, 160)]
    expected = logits(folder, [("cat", part) for part in parts])
    with CrossEncoderScorer(folder, backend="openvino", precision="float32", long_documents="max") as scorer:
        got = scorer.score([pair])
    np.testing.assert_allclose(got, [expected.max()], atol=1e-4)
    assert np.ptp(expected) > 1e-3
