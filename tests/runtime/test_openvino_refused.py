"""What OpenVINO cannot compute is refused by name, and runs on torch where nobody insists."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from langchain_rerank_retriever import CrossEncoderScorer, PooledEmbeddings
from langchain_rerank_retriever.errors import (
    InvalidArgumentError,
    MissingExtraError,
    ModelLoadError,
)
from langchain_rerank_retriever.runtime.backends import openvino_library
from langchain_rerank_retriever.runtime.backends.openvino_model import Example, convert
from tests.runtime import tiny
from tests.runtime.conftest import Script

pytestmark = pytest.mark.usefixtures("cache", "speeds")

FIX = "Use backend='torch', or 'auto'"
TEXTS = ["the cat sits on the table", "a dog", "", "music"]


def routed(folder: Path) -> Path:
    """A model that takes queries and documents to different last layers."""
    import torch
    from sentence_transformers.base.modules import Dense, Router, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    torch.manual_seed(1)
    transformer = Transformer(str(tiny.save_language_model(folder / "plain", "bert")))
    routes = {name: [Dense(32, 16)] for name in ("query", "document")}
    router = Router(routes, default_route="document")
    return tiny.save_modules(folder / "whole", [transformer, Pooling(32, "mean"), router])


def leaving_the_prompt_out(folder: Path) -> Path:
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    transformer = Transformer(str(tiny.save_language_model(folder / "plain", "bert")))
    pooling = Pooling(32, "mean", include_prompt=False)
    prompts = {"query": "question: ", "document": "map: "}
    return tiny.save_modules(folder / "whole", [transformer, pooling], prompts=prompts)


def static(folder: Path) -> Path:
    """A model without a language model, which reads texts in its own way."""
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    tokenizer = tiny.tokenizer("bert").backend_tokenizer
    weights = np.random.default_rng(0).standard_normal((tokenizer.get_vocab_size(), 16))
    return tiny.save_modules(folder / "whole", [StaticEmbedding(tokenizer, embedding_weights=weights)])


CASES = pytest.mark.parametrize(
    ("save", "reason"),
    [
        (leaving_the_prompt_out, "pooling over all of a text"),
        (static, "reads its inputs in a way of its own"),
        (routed, "computes something else: off by"),
    ],
)


@CASES
def test_asked_for_by_name(save: Callable[[Path], Path], reason: str, tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=f"{reason}.*{FIX}"):
        PooledEmbeddings(save(tmp_path), backend="openvino", precision="float32")


@CASES
# What another test measured of a model of this shape says nothing about converting it.
@pytest.mark.usefixtures("openvino_may_be_taken", "cache")
def test_not_asked_for_by_name(
    save: Callable[[Path], Path], reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from sentence_transformers import SentenceTransformer

    folder = save(tmp_path)
    # Heard whatever another test has made of this logger.
    caplog.set_level(logging.WARNING, logger="sentence_transformers.base.model")
    with PooledEmbeddings(folder, precision="float32", normalize=False) as model:
        assert model.backend == "torch"
        queries, documents = model.encode(TEXTS, kind="query"), model.encode(TEXTS)
    warnings = [one.message for one in caplog.records if one.levelno == logging.WARNING]
    assert [reason in one and one.endswith("It runs on torch.") for one in warnings] == [True]
    exact = SentenceTransformer(str(folder), device="cpu")
    np.testing.assert_allclose(queries, exact.encode_query(TEXTS), atol=1e-5)
    np.testing.assert_allclose(documents, exact.encode_document(TEXTS), atol=1e-5)


# ---------------------------------------------------------------- converters that fail, or lie


def converter(monkeypatch: pytest.MonkeyPatch, make: Callable[..., Any]) -> None:
    """Put a converter in the place of OpenVINO's; it is given that and what that is given."""
    library = openvino_library.openvino()
    real = library.convert_model
    monkeypatch.setattr(library, "convert_model", lambda *args, **kwargs: make(real, *args, **kwargs))


def changed(change: Callable[[Any, Any, Any], Any]) -> Callable[..., Any]:
    """A converter of a model that computes something else."""

    def make(real: Any, module: Any, *, example_input: Any) -> Any:
        import torch

        class Changed(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.module = module

            def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any) -> Any:
                return change(
                    lambda mask: self.module(input_ids, mask, token_type_ids), attention_mask, torch
                )

        return real(Changed().eval(), example_input=example_input)

    return make


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda run, mask, torch: run(torch.ones_like(mask)), id="reads the padding"),
        pytest.param(lambda run, mask, torch: run(mask) * 1.01, id="a hundredth too large"),
        pytest.param(lambda run, mask, torch: run(mask)[:, :-1], id="a dimension less"),
        pytest.param(lambda run, mask, torch: run(mask) + mask.shape[1] * 0.0001, id="depends on the width"),
    ],
)
def test_a_model_that_was_converted_wrongly(
    change: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny.save_language_model(tmp_path / "model", "bert")
    converter(monkeypatch, changed(change))
    with pytest.raises(ModelLoadError, match=rf"OpenVINO converts this model to one that .*{FIX}"):
        PooledEmbeddings(folder, backend="openvino", precision="float32")


def test_a_model_of_fixed_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(real: Any, module: Any, *, example_input: Any) -> Any:
        converted = real(module, example_input=example_input)
        converted.reshape({name: list(value.shape) for name, value in example_input.items()})
        return converted

    folder = tiny.save_language_model(tmp_path / "model", "bert")
    converter(monkeypatch, make)
    with pytest.raises(ModelLoadError, match=rf"one that cannot read \(1, 6\) tokens .*{FIX}"):
        PooledEmbeddings(folder, backend="openvino", precision="float32")


def fails(real: Any, *args: Any, **kwargs: Any) -> Any:
    raise RuntimeError("no conversion for aten::frobnicate\nsecond line")


def test_a_converter_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny.save_language_model(tmp_path / "model", "bert")
    converter(monkeypatch, fails)
    message = r"cannot convert this model \(RuntimeError: no conversion for aten::frobnicate\)"
    with pytest.raises(ModelLoadError, match=f"{message}.*{FIX}"):
        PooledEmbeddings(folder, backend="openvino", precision="float32")


@pytest.mark.usefixtures("openvino_may_be_taken")
def test_a_converter_that_fails_where_nobody_insists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, speeds: Script
) -> None:
    from sentence_transformers import SentenceTransformer

    speeds({"openvino": 0.1})
    folder = tiny.save_language_model(tmp_path / "model", "bert")
    with PooledEmbeddings(folder, precision="float32", normalize=False) as model:
        assert model.backend == "openvino"
    # The same shape, for which OpenVINO is known to be faster.
    other = tiny.save_language_model(tmp_path / "other", "bert", seed=5)
    converter(monkeypatch, fails)
    with PooledEmbeddings(other, precision="float32", normalize=False) as model:
        assert model.backend == "torch"
        got = model.encode(TEXTS)
    assert "aten::frobnicate" in caplog.text
    assert "It runs on torch." in caplog.text
    np.testing.assert_allclose(got, SentenceTransformer(str(other), device="cpu").encode(TEXTS), atol=1e-5)


def test_inputs_that_are_not_converted() -> None:
    inputs = {"input_ids": np.ones((1, 3), np.int64), "bbox": np.ones((1, 3, 4), np.int64)}
    with pytest.raises(ModelLoadError, match=f"the model reads 'bbox', expected no more than .*{FIX}"):
        convert(None, "scores", [Example(inputs, np.ones((1, 1), np.float32))])  # type: ignore[arg-type]


# ---------------------------------------------------------------- what is not there


def hide(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    from importlib.util import find_spec

    for name in names:
        monkeypatch.delitem(__import__("sys").modules, name, raising=False)
    monkeypatch.setattr(
        openvino_library, "find_spec", lambda name: None if name in names else find_spec(name)
    )


@pytest.mark.parametrize("make", [PooledEmbeddings, CrossEncoderScorer])
def test_without_the_extra(make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny.save_classifier(tmp_path / "model", "bert")
    hide(monkeypatch, "openvino")
    with pytest.raises(MissingExtraError, match=r"langchain-rerank-retriever\[openvino\]"):
        make(folder, backend="openvino")


@pytest.mark.usefixtures("openvino_may_be_taken")
def test_torch_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny.save_language_model(tmp_path / "model", "bert")
    hide(monkeypatch, "openvino")
    with PooledEmbeddings(folder) as model:
        assert model.backend == "torch"


def test_a_number_type_that_the_processor_has_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny.save_language_model(tmp_path / "model", "bert")
    monkeypatch.setattr(openvino_library, "capabilities", lambda: frozenset({"float32", "int8"}))
    with pytest.raises(
        InvalidArgumentError, match="'bfloat16': OpenVINO has float32, int8 on this processor"
    ):
        PooledEmbeddings(folder, backend="openvino", precision="bfloat16")


def test_another_device() -> None:
    with pytest.raises(InvalidArgumentError, match="device='cuda': OpenVINO runs on the CPU here"):
        PooledEmbeddings("anything", backend="openvino", device="cuda")
