"""A bi-encoder learns what a teacher says, by either loss."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from langchain_rerank_retriever import PooledEmbeddings
from langchain_rerank_retriever.errors import DataError, InvalidArgumentError
from langchain_rerank_retriever.protocols import PairScores
from langchain_rerank_retriever.training.fit import distil as module
from langchain_rerank_retriever.training.fit.cross_encoder import PassageList
from langchain_rerank_retriever.training.fit.distil import distil_bi_encoder
from langchain_rerank_retriever.training.fit.encoders import distil
from langchain_rerank_retriever.training.fit.losses import distillation_loss
from langchain_rerank_retriever.training.fit.mining import Mined
from langchain_rerank_retriever.training.fit.recipe import Distillation, Recipe
from langchain_rerank_retriever.training.fit.schedule import Budget
from langchain_rerank_retriever.training.fit.trainer import Training
from tests.training.conftest import PLACES, SUBJECTS

LOSSES: tuple[Distillation, ...] = ("margin-mse", "kl")


class Teacher:
    """Wants passages by their place, in a fixed order."""

    def __init__(self, scale: float = 7.0, seconds: float = 0.0) -> None:
        self.scale, self.seconds, self.pairs = scale, seconds, 0

    def score_pairs(self, text_pairs: Sequence[tuple[str, str]]) -> PairScores:
        time.sleep(self.seconds)
        self.pairs += len(text_pairs)
        scores = []
        for _, passage in text_pairs:
            scores.append(100 + self.scale * PLACES.index(passage.split()[-1]))
        return PairScores(np.array(scores, np.float32), np.zeros(len(scores), bool))


def made(count: int, seed: int) -> list[PassageList]:
    rng = np.random.default_rng(seed)
    lists = []
    for _ in range(count):
        places = rng.permutation(PLACES)[:4]
        passages = tuple(f"a {rng.choice(SUBJECTS)} in a {place}" for place in places)
        lists.append(PassageList(f"where is the {rng.choice(SUBJECTS)}", passages))
    return lists


def agreement(model: Any, lists: list[PassageList]) -> float:
    """The mean correlation with the teacher over lists."""
    queries = model.encode([one.query for one in lists], show_progress_bar=False)
    values = []
    for query, one in zip(queries, lists, strict=True):
        table = model.encode(list(one.passages), show_progress_bar=False)
        cosines = table @ query / np.linalg.norm(table, axis=1)
        said = Teacher().score_pairs([(one.query, text) for text in one.passages]).scores
        values.append(np.corrcoef(cosines, said)[0, 1])
    return float(np.mean(values))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("scale", [0.01, 7.0])
def test_it_learns_from_a_teacher_of_any_scale(
    bi_encoder: Path, tmp_path: Path, loss: Distillation, scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LEARNING_RATE", 2e-3)  # so small a model bears it
    encoder = PooledEmbeddings(bi_encoder)
    held_out = made(40, seed=5)
    before = agreement(encoder.load_trainable(), held_out)
    told: list[float] = []
    training = Training(
        folder=tmp_path / "m",
        budget=Budget(steps=80),
        seed=0,
        recipe=Recipe(distill=loss),
        on_progress=told.append,
    )
    fitted = distil(encoder, Mined(made(300, seed=1), {}), Teacher(scale), training)
    assert (fitted.steps, told[-1]) == (80, 1.0)
    assert agreement(PooledEmbeddings(tmp_path / "m").load_trainable(), held_out) > before + 0.4


def test_the_losses_are_their_formulas(bi_encoder: Path) -> None:
    import torch

    model = PooledEmbeddings(bi_encoder).load_trainable()
    lists = made(5, seed=2)
    labels = np.random.default_rng(0).standard_normal((5, 4))
    columns = [[one.query for one in lists], *([one.passages[place] for one in lists] for place in range(4))]
    tables = [model.encode(column, show_progress_bar=False).astype(np.float64) for column in columns]
    query, *passages = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in tables)
    scores = 20 * np.stack([(query * one).sum(1) for one in passages], axis=1)
    margins, gold = scores[:, :1] - scores[:, 1:], labels[:, :1] - labels[:, 1:]
    own, target = (np.exp(one) / np.exp(one).sum(1, keepdims=True) for one in (scores, labels))
    expected = {
        "margin-mse": ((margins - gold) ** 2).mean(),
        "kl": (target * np.log(target / own)).sum(1).mean(),
    }
    features = [model.preprocess(column) for column in columns]
    for name in LOSSES:
        with torch.no_grad():
            value = distillation_loss(model, Recipe(distill=name))(features, torch.tensor(labels))
        assert float(value) == pytest.approx(expected[name], rel=1e-3)


def test_labels_spread_as_the_model_does(bi_encoder: Path) -> None:
    model = PooledEmbeddings(bi_encoder).load_trainable()
    lists = made(30, seed=3)
    scores = Teacher().score_pairs([(one.query, text) for one in lists for text in one.passages]).scores
    taught = module.Taught(lists, scores.reshape(30, 4))
    labels = module._on_the_scale_of(model, taught, module._Prompts("", ""))
    assert np.allclose(labels.mean(1), 0, atol=1e-4)
    for row, given in zip(labels, taught.scores, strict=True):
        assert np.corrcoef(row, given)[0, 1] == pytest.approx(1)
    spread = []
    for one in lists:
        query, *passages = model.encode([one.query, *one.passages], show_progress_bar=False)
        spread.append(np.var([20 * query @ x / np.linalg.norm(query) / np.linalg.norm(x) for x in passages]))
    assert np.var(labels, axis=1).mean() == pytest.approx(np.mean(spread), rel=1e-3)


def test_no_more_is_scored_than_is_trained_on(bi_encoder: Path, tmp_path: Path) -> None:
    teacher = Teacher()
    distil_bi_encoder(
        PooledEmbeddings(bi_encoder).load_trainable(),
        made(100, seed=1),
        teacher,
        Training(
            folder=tmp_path / "m", budget=Budget(steps=3), seed=0, bf16=False, recipe=Recipe(distill="kl")
        ),
    )
    assert teacher.pairs == 3 * module.LISTS_PER_STEP * 4


def test_a_slow_teacher_leaves_time_to_train(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SCORED_AT_ONCE", 5)
    taught = module._ask(Teacher(seconds=0.1), made(100, seed=1), by_the_clock(1.0))
    assert 15 <= len(taught.lists) <= 25
    assert taught.scores.shape == (len(taught.lists), 4)
    assert len(module._ask(Teacher(), made(100, seed=1), by_the_clock(1.0)).lists) == 100
    for spent, left in ((0.0, 1.0), (0.4, 0.6), (0.6, 0.4), (5.0, 0.3)):
        assert module._without(by_the_clock(1.0), spent).budget.seconds == pytest.approx(left)


def by_the_clock(seconds: float) -> Training:
    return Training(folder=Path("m"), budget=Budget(seconds=seconds), seed=0)


def test_the_teacher_stops_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SCORED_AT_ONCE", 5)
    training = Training(folder=Path("m"), budget=Budget(steps=50), seed=0, stopped=lambda: True)
    assert len(module._ask(Teacher(), made(100, seed=1), training).lists) == 5


def test_prompts(bi_encoder: Path, tmp_path: Path) -> None:
    model = PooledEmbeddings(bi_encoder).load_trainable()
    seen: list[str | None] = []
    preprocess = model.preprocess
    model.preprocess = lambda texts, prompt=None, **kwargs: (
        seen.append(prompt) or preprocess(texts, prompt=prompt, **kwargs)
    )
    distil_bi_encoder(
        model,
        made(16, seed=1),
        Teacher(),
        Training(
            folder=tmp_path / "m",
            budget=Budget(steps=1),
            seed=0,
            bf16=False,
            recipe=Recipe(distill="kl", matryoshka_dims=(8,)),
        ),
        query_prompt="q: ",
        document_prompt="d: ",
    )
    assert [one for one in seen if one is not None] == ["q: ", "d: ", "d: ", "d: ", "d: "]


class Flat:
    def score_pairs(self, text_pairs: Sequence[tuple[str, str]]) -> PairScores:
        return PairScores(np.ones(len(text_pairs), np.float32), np.zeros(len(text_pairs), bool))


@pytest.mark.parametrize(
    ("lists", "teacher", "recipe", "error", "message"),
    [
        ([], Teacher(), Recipe(distill="kl"), DataError, "at least two passages"),
        (
            [PassageList("a river", ("b river",))],
            Teacher(),
            Recipe(distill="kl"),
            DataError,
            "at least two passages",
        ),
        (made(3, 0), Flat(), Recipe(distill="kl"), DataError, "the same score"),
        (made(3, 0), Teacher(), Recipe(), InvalidArgumentError, "got None"),
    ],
)
def test_what_cannot_be_learnt(
    bi_encoder: Path, tmp_path: Path, lists: Any, teacher: Any, recipe: Recipe, error: Any, message: str
) -> None:
    with pytest.raises(error, match=message):
        distil_bi_encoder(
            PooledEmbeddings(bi_encoder).load_trainable(),
            lists,
            teacher,
            Training(folder=tmp_path / "m", budget=Budget(steps=1), seed=0, bf16=False, recipe=recipe),
        )


def test_short_lists_are_left_out() -> None:
    lists = [PassageList("x river", ("a river",)), *made(4, seed=0)]
    training = Training(folder=Path("m"), budget=Budget(steps=5), seed=0)
    taught = module._ask(Teacher(), lists, training)
    assert list(taught.lists) == lists[1:]
