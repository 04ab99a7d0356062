"""Scored sentence pairs: the losses by their formulas, correlations against sentence-transformers' evaluator."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from langchain_rerank_retriever import PooledEmbeddings
from langchain_rerank_retriever.errors import DataError
from langchain_rerank_retriever.training.data.pairs import ScoredPairs
from langchain_rerank_retriever.training.fit import sentence_pairs as module
from langchain_rerank_retriever.training.fit.encoders import train_sentence_pairs
from langchain_rerank_retriever.training.fit.losses import pair_loss
from langchain_rerank_retriever.training.fit.recipe import Recipe
from langchain_rerank_retriever.training.fit.schedule import Budget
from langchain_rerank_retriever.training.fit.sentence_pairs import fit_sentence_pairs
from langchain_rerank_retriever.training.fit.trainer import Training
from tests.training.conftest import PLACES, SUBJECTS


def scored(count: int = 160, seed: int = 0) -> tuple[list[str], list[str], list[float]]:
    """Sentences of an animal and a place; a pair's score, 0 to 5, is by the animal and not by the words around it."""
    rng = np.random.default_rng(seed)
    first, second, scores = [], [], []
    for _ in range(count):
        one, other = rng.choice(SUBJECTS, 2)
        other = one if rng.random() < 0.5 else other
        places = rng.choice(PLACES, 2)
        first.append(f"the {one} is in the {places[0]}")
        second.append(f"there was a {other} at a {places[1]} {'again ' * rng.integers(6)}".strip())
        scores.append(5.0 if one == other else float(rng.integers(0, 3)))
    return first, second, scores


def evaluator_says(model: Any, first: list[str], second: list[str], scores: list[float]) -> dict[str, float]:
    from sentence_transformers.sentence_transformer.evaluation import EmbeddingSimilarityEvaluator

    evaluator = EmbeddingSimilarityEvaluator(first, second, scores, main_similarity="cosine", write_csv=False)
    said = evaluator(model)
    return {"Pearson": said["pearson_cosine"], "Spearman": said["spearman_cosine"]}


@pytest.mark.parametrize(
    ("first", "second", "scores", "message"),
    [
        (["a"], ["b", "c"], [1.0, 2.0], "got 1, 2 and 2"),
        ([], [], [], "at least two different scores; got 0 pairs"),
        (["a"], ["b"], [1.0], "at least two different scores; got 1 pairs"),
        (["a", "b"], ["c", "d"], [2, 2], "got 2 pairs which all have the same"),
        (["a", "b"], ["c", "d"], [2, float("nan")], "NaN or infinite"),
    ],
)
def test_what_cannot_be_used(first: list[str], second: list[str], scores: list[float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        fit_sentence_pairs(
            None, first, second, scores, Training(folder=Path("m"), budget=Budget(steps=1), seed=0)
        )


def test_losses_are_their_formulas(bi_encoder: Path) -> None:
    import torch

    model = PooledEmbeddings(bi_encoder).load_trainable()
    first, second, scores = scored(12)
    tables = [model.encode(side, show_progress_bar=False).astype(np.float64) for side in (first, second)]
    left, right = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in tables)
    cosines, labels = (left * right).sum(1), np.array(scores) / 5
    features = [model.preprocess(side) for side in (first, second)]
    for name, expected in (
        ("cosine", float(((cosines - labels) ** 2).mean())),
        (
            "cosent",
            math.log(
                1
                + sum(
                    math.exp(20 * (cosines[low] - cosines[high]))
                    for low in range(12)
                    for high in range(12)
                    if labels[low] < labels[high]
                )
            ),
        ),
    ):
        with torch.no_grad():
            value = float(pair_loss(model, Recipe(pair_loss=name))(features, torch.tensor(labels)))
        assert value == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("pooling", ["cls", "mean", "max"])
@pytest.mark.parametrize("loss", ["cosent", "cosine"])
def test_a_plain_language_model_learns(
    language_model: Path, tmp_path: Path, pooling: str, loss: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LEARNING_RATE", 3e-3)  # so small a model bears it
    held_out = scored(100, seed=9)
    encoder = PooledEmbeddings(language_model, pooling=pooling, precision="float32")
    told: list[float] = []
    training = Training(
        folder=tmp_path / "m",
        budget=Budget(steps=100),
        seed=0,
        recipe=Recipe(pair_loss=loss, batch_size=16),
        on_progress=told.append,
    )
    pairs = ScoredPairs(*map(tuple, scored()), groups=("",) * 160)
    fitted = train_sentence_pairs(encoder, pairs, training)
    assert fitted.steps == 100
    assert told[-1] == 1.0
    tuned = PooledEmbeddings(tmp_path / "m")
    before, after = (evaluator_says(one.load_trainable(), *held_out) for one in (encoder, tuned))
    assert after["Spearman"] > before["Spearman"] + 0.15
    assert after["Pearson"] > before["Pearson"] + 0.15


def test_prompts_and_length(bi_encoder: Path, tmp_path: Path) -> None:
    model = PooledEmbeddings(bi_encoder, max_seq_length=90).load_trainable()
    seen: list[str] = []
    preprocess = model.preprocess
    model.preprocess = lambda texts, prompt=None, **kwargs: (
        seen.append(prompt) or preprocess(texts, prompt=prompt, **kwargs)
    )
    first, second, scores = scored(20)
    fit_sentence_pairs(
        model,
        first,
        second,
        scores,
        Training(folder=tmp_path / "m", budget=Budget(steps=2), seed=0, bf16=False),
        prompt="p: ",
    )
    assert {one for one in seen if one is not None} == {"p: "}
    assert model.max_seq_length == 90


def test_scores_are_brought_to_the_scale_of_cosines() -> None:
    first, second = ["a", "b", "c"], ["d", "e", "f"]
    for loss, scores, expected in (
        ("cosine", [1.0, 5.0, 2.0], [0.0, 1.0, 0.25]),
        ("cosine", [0.5, 0.75, 1.0], [0.5, 0.75, 1.0]),
        ("cosine", [-1.0, 1.0, 0.0], [0.0, 1.0, 0.5]),
        ("cosent", [1.0, 5.0, 2.0], [1.0, 5.0, 2.0]),
    ):
        made = module._columns(first, second, np.array(scores), Recipe(pair_loss=loss))
        assert made["score"] == expected
        assert list(made) == ["first", "second", "score"]


def test_determined_by_the_seed(bi_encoder: Path, tmp_path: Path) -> None:
    first, second, scores = scored(40)
    tables = []
    for number, seed in enumerate((1, 1, 2)):
        model = PooledEmbeddings(bi_encoder).load_trainable()
        fit_sentence_pairs(
            model,
            first,
            second,
            scores,
            Training(
                folder=tmp_path / str(number),
                budget=Budget(steps=4),
                seed=seed,
                bf16=False,
                recipe=Recipe(batch_size=8, matryoshka_dims=(8,)),
            ),
        )
        tables.append(model.encode(["the cat"], show_progress_bar=False))
    np.testing.assert_array_equal(tables[0], tables[1])
    assert np.abs(tables[0] - tables[2]).max() > 1e-6
