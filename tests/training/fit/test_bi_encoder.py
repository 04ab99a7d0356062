"""The bi-encoder's loss and training, against sentence-transformers' plain loss and against numpy."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.training.fit import bi_encoder as module
from langchain_rerank_retriever.training.fit.bi_encoder import fit_bi_encoder
from langchain_rerank_retriever.training.fit.losses import in_batch_loss
from langchain_rerank_retriever.training.fit.recipe import Recipe
from langchain_rerank_retriever.training.fit.schedule import Budget
from langchain_rerank_retriever.training.fit.trainer import Training


def load(folder: Path) -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu").eval()


def vectors(model: Any, texts: list[str]) -> np.ndarray:
    table = model.encode(texts, show_progress_bar=False).astype(np.float64)
    return table / np.linalg.norm(table, axis=1, keepdims=True)


def symmetric(queries: np.ndarray, passages: np.ndarray) -> float:
    """The in-batch softmax in both directions, by its formula."""
    scores = 20 * queries @ passages.T
    rows = np.log(np.exp(scores).sum(1)) - np.diag(scores)
    columns = np.log(np.exp(scores).sum(0)) - np.diag(scores)
    return float((rows.mean() + columns.mean()) / 2)


def loss_and_gradient(
    model: Any, recipe: Recipe, pairs: list[tuple[str, str]]
) -> tuple[float, dict[str, Any]]:
    model.zero_grad()
    loss = in_batch_loss(model, recipe)
    features = [model.preprocess([pair[side] for pair in pairs]) for side in (0, 1)]
    value = loss(features, None)
    value.backward()
    gradients = {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}
    return float(value.detach()), gradients


def test_the_loss_is_its_formula(bi_encoder: Path, pairs: list[tuple[str, str]]) -> None:
    model = load(bi_encoder)
    batch = pairs[::7]
    expected = symmetric(vectors(model, [q for q, _ in batch]), vectors(model, [p for _, p in batch]))
    for recipe in (Recipe(), Recipe(mini_batch_size=3)):
        assert loss_and_gradient(model, recipe, batch)[0] == pytest.approx(expected, rel=1e-4)


def test_the_loss_of_leading_dimensions_is_added(bi_encoder: Path, pairs: list[tuple[str, str]]) -> None:
    model = load(bi_encoder)
    batch = pairs[::7]
    tables = [model.encode([pair[side] for pair in batch], show_progress_bar=False) for side in (0, 1)]
    expected = 0.0
    for dimension in (32, 16, 4):
        short = [one[:, :dimension].astype(np.float64) for one in tables]
        expected += symmetric(*(one / np.linalg.norm(one, axis=1, keepdims=True) for one in short))
    for recipe in (
        Recipe(matryoshka_dims=(4, 16)),
        Recipe(matryoshka_dims=(32, 4, 16, 4), mini_batch_size=2),
    ):
        assert loss_and_gradient(model, recipe, batch)[0] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("dims", [(), (8,)])
def test_parts_give_the_same_gradient(
    bi_encoder: Path, pairs: list[tuple[str, str]], dims: tuple[int, ...]
) -> None:
    model = load(bi_encoder)
    batch = pairs[::5]
    value, whole = loss_and_gradient(model, Recipe(matryoshka_dims=dims), batch)
    in_parts, parts = loss_and_gradient(model, Recipe(matryoshka_dims=dims, mini_batch_size=5), batch)
    assert in_parts == pytest.approx(value, rel=1e-5)
    assert whole.keys() == parts.keys()
    largest = max(float(one.abs().max()) for one in whole.values())
    for name, one in whole.items():
        np.testing.assert_allclose(parts[name], one, atol=1e-4 * largest, err_msg=name)


def test_a_dimension_that_the_model_does_not_have(bi_encoder: Path, pairs: list[tuple[str, str]]) -> None:
    with pytest.raises(InvalidArgumentError, match=r"at most 32, the model's dimension; got \(8, 33\)"):
        in_batch_loss(load(bi_encoder), Recipe(matryoshka_dims=(8, 33)))


def rank_of_right(model: Any, pairs: list[tuple[str, str]], dimension: int = 32) -> float:
    queries, passages = ([pair[side] for pair in pairs] for side in (0, 1))
    tables = [model.encode(one, show_progress_bar=False)[:, :dimension] for one in (queries, passages)]
    left, right = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in tables)
    scores = left @ right.T
    return float(np.mean([(scores[row] > scores[row, row]).sum() for row in range(len(pairs))]))


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(batch_size=8),
        Recipe(batch_size=16, mini_batch_size=4),
        Recipe(batch_size=8, matryoshka_dims=(4,)),
        Recipe(batch_size=8, mini_batch_size=4, matryoshka_dims=(4, 16)),
    ],
    ids=["plain", "parts", "nested", "nested in parts"],
)
def test_it_learns(
    bi_encoder: Path,
    pairs: list[tuple[str, str]],
    tmp_path: Path,
    recipe: Recipe,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from sentence_transformers import SentenceTransformer

    monkeypatch.setattr(module, "LEARNING_RATE", 1e-3)  # so small a model bears it
    model = load(bi_encoder)
    model.max_seq_length = 100
    before = rank_of_right(model, pairs)
    fitted = fit_bi_encoder(
        model,
        pairs,
        Training(folder=tmp_path / "m", budget=Budget(steps=60), seed=3, bf16=False, recipe=recipe),
    )
    assert fitted.steps == 60
    saved = SentenceTransformer(str(tmp_path / "m"), device="cpu")
    assert saved.max_seq_length == 100
    assert rank_of_right(saved, pairs) < 0.5 * before
    if recipe.matryoshka_dims:
        assert rank_of_right(saved, pairs, dimension=4) < 0.7 * rank_of_right(
            load(bi_encoder), pairs, dimension=4
        )


def test_determined_by_the_seed(bi_encoder: Path, pairs: list[tuple[str, str]], tmp_path: Path) -> None:
    tables = []
    for number, seed in enumerate((1, 1, 2)):
        model = load(bi_encoder)
        fit_bi_encoder(
            model,
            pairs,
            Training(
                folder=tmp_path / str(number),
                budget=Budget(steps=4),
                seed=seed,
                bf16=False,
                recipe=Recipe(batch_size=8, mini_batch_size=4, matryoshka_dims=(8,)),
            ),
        )
        tables.append(model.encode([pairs[0][0]], show_progress_bar=False))
    np.testing.assert_array_equal(tables[0], tables[1])
    assert np.abs(tables[0] - tables[2]).max() > 1e-6


def test_the_batch_is_as_large_as_asked_and_holds_no_text_twice(
    bi_encoder: Path, pairs: list[tuple[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    sizes: list[int] = []
    forward = MultipleNegativesRankingLoss.forward

    def spy(self: Any, features: Any, labels: Any) -> Any:
        rows = [one["input_ids"].tolist() for one in features]
        sizes.append(len(rows[0]))
        for column in rows:
            assert len({tuple(row) for row in column}) == len(column)
        return forward(self, features, labels)

    monkeypatch.setattr(MultipleNegativesRankingLoss, "forward", spy)
    fit_bi_encoder(
        load(bi_encoder),
        pairs,
        Training(
            folder=tmp_path / "m", budget=Budget(steps=5), seed=0, bf16=False, recipe=Recipe(batch_size=7)
        ),
    )
    assert sizes == [7] * 5
