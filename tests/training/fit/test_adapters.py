"""Low-rank training: what is saved is an ordinary model that differs by little rank."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from langchain_rerank_retriever import CrossEncoderScorer, tune
from langchain_rerank_retriever.errors import InvalidArgumentError, MissingExtraError
from langchain_rerank_retriever.training.fit.adapters import learning_rate, low_rank
from langchain_rerank_retriever.training.fit.bi_encoder import fit_bi_encoder
from langchain_rerank_retriever.training.fit.cross_encoder import PassageList, fit_cross_encoder, warm_start
from langchain_rerank_retriever.training.fit.recipe import Recipe
from langchain_rerank_retriever.training.fit.schedule import Budget
from langchain_rerank_retriever.training.fit.trainer import Training

RANK = 2


@pytest.fixture
def no_peft(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)


def load(folder: Path) -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu")


def weights(folder: Path) -> dict[str, np.ndarray]:
    return load_file(folder / "model.safetensors")


def fit(bi_encoder: Path, pairs: list[tuple[str, str]], folder: Path, seed: int = 1) -> Any:
    model = load(bi_encoder)
    recipe = Recipe(batch_size=8, lora_rank=RANK)
    fit_bi_encoder(
        model, pairs, Training(folder=folder, budget=Budget(steps=10), seed=seed, bf16=False, recipe=recipe)
    )
    return model


def check_low_rank(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> None:
    """Every matrix of the transformer's layers differs by a small rank, and nothing else differs at all."""
    assert before.keys() == after.keys()
    changed = []
    for name, old in before.items():
        difference = after[name].astype(np.float64) - old
        if not difference.any():
            continue
        changed.append(name)
        assert difference.ndim == 2, name
        # Float32 rounding of the sum is noise of full rank, far below what was learnt.
        tolerance = 1e-3 * np.linalg.norm(difference, 2)
        assert 1 <= np.linalg.matrix_rank(difference, tol=tolerance) <= RANK, name
    assert any("attention.self.query.weight" in name for name in changed)
    assert any("intermediate.dense.weight" in name for name in changed)
    assert not any("embeddings" in name for name in changed)


def test_bi_encoder(bi_encoder: Path, pairs: list[tuple[str, str]], tmp_path: Path) -> None:
    trained = fit(bi_encoder, pairs, tmp_path / "m")
    check_low_rank(weights(bi_encoder), weights(tmp_path / "m"))
    assert not [path for path in (tmp_path / "m").rglob("*") if "adapter" in path.name]
    texts = [query for query, _ in pairs[:5]]
    saved = load(tmp_path / "m").encode(texts, show_progress_bar=False)
    np.testing.assert_allclose(trained.encode(texts, show_progress_bar=False), saved, atol=1e-5)
    assert np.abs(saved - load(bi_encoder).encode(texts, show_progress_bar=False)).max() > 1e-3
    assert all(one.requires_grad for one in trained.parameters())


def test_it_loads_where_peft_is_not(bi_encoder: Path, pairs: list[tuple[str, str]], tmp_path: Path) -> None:
    fit(bi_encoder, pairs, tmp_path / "m")
    code = (
        "import sys; sys.modules['peft'] = None\n"
        "from sentence_transformers import SentenceTransformer\n"
        f"print(SentenceTransformer({str(tmp_path / 'm')!r}, device='cpu').encode(['a']).shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "(1, 32)", done.stderr


def test_determined_by_the_seed(bi_encoder: Path, pairs: list[tuple[str, str]], tmp_path: Path) -> None:
    for number, seed in enumerate((1, 1, 2)):
        fit(bi_encoder, pairs, tmp_path / str(number), seed)
    first, same, other = (weights(tmp_path / str(number)) for number in range(3))
    assert all((first[name] == same[name]).all() for name in first)
    assert any((first[name] != other[name]).any() for name in first)


def test_a_new_head_is_trained_whole(bi_encoder: Path, tmp_path: Path) -> None:
    import torch

    torch.manual_seed(0)
    model = warm_start(bi_encoder)
    heads = [one.linear.weight.detach().numpy().copy() for one in list(model)[2:]]
    lists = [
        PassageList(f"a {one}", (f"{one} is calm", f"{one} is loud")) for one in ("cat", "dog", "bee", "fish")
    ]
    fit_cross_encoder(
        model,
        lists,
        Training(
            folder=tmp_path / "m", budget=Budget(steps=10), seed=0, bf16=False, recipe=Recipe(lora_rank=RANK)
        ),
        new_head=True,
    )
    check_low_rank(weights(bi_encoder), weights(tmp_path / "m"))
    for before, place in zip(heads, (2, 3), strict=True):
        after = load_file(tmp_path / "m" / f"{place}_Dense" / "model.safetensors")["linear.weight"]
        rank = np.linalg.matrix_rank(after - before, tol=1e-4 * np.linalg.norm(after - before, 2))
        assert rank > RANK or after.shape[0] == 1
        assert (after != before).any()
    assert len(CrossEncoderScorer(tmp_path / "m").score([("a", "b")])) == 1


def test_a_sequence_classifier(cross_encoder: Path, tmp_path: Path) -> None:
    model = CrossEncoderScorer(cross_encoder).load_trainable()
    fit_cross_encoder(
        model,
        [PassageList("a", ("b", "c")), PassageList("d", ("e", "f"))],
        Training(
            folder=tmp_path / "m", budget=Budget(steps=5), seed=0, bf16=False, recipe=Recipe(lora_rank=RANK)
        ),
        new_head=False,
    )
    check_low_rank(weights(cross_encoder), weights(tmp_path / "m"))
    pairs = [("a", "b"), ("d", "f")]
    saved = CrossEncoderScorer(tmp_path / "m", precision="float32").score(pairs)
    np.testing.assert_allclose(saved, model.predict(pairs, show_progress_bar=False), atol=1e-4)


def test_without_peft(bi_encoder: Path, no_peft: None) -> None:
    with (
        pytest.raises(MissingExtraError, match=r"langchain-rerank-retriever\[peft\]"),
        low_rank(load(bi_encoder), 2, seed=0),
    ):
        pass


def test_without_peft_nothing_is_begun(bi_encoder: Path, no_peft: None, tmp_path: Path) -> None:
    with pytest.raises(MissingExtraError, match=r"langchain-rerank-retriever\[peft\]"):
        tune([], [], embeddings=bi_encoder, output_dir=tmp_path / "new", recipe=Recipe(lora_rank=RANK))
    assert list(tmp_path.iterdir()) == []


def test_no_rank_changes_nothing(bi_encoder: Path, no_peft: None) -> None:
    model = load(bi_encoder)
    names = [name for name, _ in model.named_parameters()]
    with low_rank(model, None, seed=0):
        assert [name for name, one in model.named_parameters() if one.requires_grad] == names
    assert learning_rate(0.01, Recipe()) == 0.01
    assert learning_rate(0.01, Recipe(lora_rank=4)) == pytest.approx(0.1)


def test_a_model_without_a_language_model() -> None:
    from types import SimpleNamespace

    with (
        pytest.raises(InvalidArgumentError, match="lora_rank needs"),
        low_rank(SimpleNamespace(transformers_model=None), 2, seed=0),
    ):
        pass
