"""The cross-encoder's losses: each falls, each orders better, and what is saved gives logits."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from langchain_rerank_retriever import CrossEncoderScorer
from langchain_rerank_retriever.training.fit import cross_encoder as module
from langchain_rerank_retriever.training.fit.cross_encoder import PassageList, fit_cross_encoder, warm_start
from langchain_rerank_retriever.training.fit.losses import ranking_loss
from langchain_rerank_retriever.training.fit.recipe import CrossEncoderLoss, Recipe
from langchain_rerank_retriever.training.fit.schedule import Budget
from langchain_rerank_retriever.training.fit.trainer import Fitted, Training

LOSSES: tuple[CrossEncoderLoss, ...] = ("listwise", "bce", "mse", "lambda")


@pytest.fixture
def lists() -> list[PassageList]:
    """Right passages are calm, wrong ones are not."""
    rng = np.random.default_rng(0)
    nouns = ("cat", "dog", "bee", "fish", "bird", "horse")
    made = []
    for number in range(48):
        noun = nouns[number % len(nouns)]
        wrong = tuple(f"{one} number {rng.integers(99)} is loud" for one in rng.choice(nouns, 5))
        made.append(PassageList(f"a calm {noun}", (f"{noun} number {rng.integers(99)} is calm", *wrong)))
    return made


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """So small a model bears a higher learning rate."""
    monkeypatch.setattr(module, "FINE_TUNE_LEARNING_RATE", 1e-3)


def fit(model: Any, lists: list[PassageList], folder: Path, loss: CrossEncoderLoss, steps: int) -> Fitted:
    return fit_cross_encoder(
        model,
        lists,
        Training(
            folder=folder,
            budget=Budget(steps=steps),
            seed=5,
            bf16=False,
            recipe=Recipe(cross_encoder_loss=loss),
        ),
        new_head=False,
    )


def misplaced(scorer: CrossEncoderScorer, lists: list[PassageList]) -> float:
    """How many wrong passages stand above the right one, on average."""
    above = 0
    for one in lists:
        scores = scorer.score([(one.query, text) for text in one.passages])
        above += sum(score >= scores[0] for score in scores[1:])
    return above / len(lists)


def expected_loss(name: CrossEncoderLoss, table: np.ndarray) -> float:
    """The formulas, of scores of shape (lists, passages) with the right passage first."""
    if name == "listwise":
        target = np.exp([10.0] + [0.0] * (table.shape[1] - 1))
        log_softmax = table - np.log(np.exp(table).sum(1, keepdims=True))
        return float(-(target / target.sum() * log_softmax).sum(1).mean())
    labels = np.zeros_like(table)
    labels[:, 0] = 1
    if name == "mse":
        return float(((table - labels) ** 2).mean())
    positive, negative = -np.log(1 / (1 + np.exp(-table))), -np.log(1 / (1 + np.exp(table)))
    return float(((table.shape[1] - 1) * labels * positive + (1 - labels) * negative).mean())


@pytest.mark.parametrize("name", ["listwise", "bce", "mse"])
def test_the_loss_is_its_formula(
    cross_encoder: Path, lists: list[PassageList], name: CrossEncoderLoss
) -> None:
    scorer = CrossEncoderScorer(cross_encoder)
    model = scorer.load_trainable()
    batch = lists[:6]
    table = np.array([scorer.score([(one.query, text) for text in one.passages]) for one in batch], float)
    columns = module._columns(batch, name)
    *inputs, labels = columns.values()
    import torch

    given: Any = [torch.tensor(one) for one in labels] if name == "listwise" else torch.tensor(labels)
    with torch.no_grad():
        value = float(ranking_loss(model, name, negatives=5)(inputs, given))
    assert value == pytest.approx(expected_loss(name, table), rel=2e-2)  # the scorer may compute in bf16


@pytest.mark.parametrize("name", LOSSES)
def test_each_loss_falls_and_orders(
    cross_encoder: Path, lists: list[PassageList], tmp_path: Path, name: CrossEncoderLoss
) -> None:
    start = CrossEncoderScorer(cross_encoder)
    before = misplaced(start, lists)
    first = fit(start.load_trainable(), lists, tmp_path / "one", name, 1)
    fitted = fit(start.load_trainable(), lists, tmp_path / "many", name, 60)
    assert fitted.steps == 60
    assert fitted.loss < 0.7 * first.loss
    assert misplaced(CrossEncoderScorer(tmp_path / "many"), lists) < 0.3 * before


@pytest.mark.parametrize("name", LOSSES)
def test_what_is_saved_gives_logits(
    cross_encoder: Path, lists: list[PassageList], tmp_path: Path, name: CrossEncoderLoss
) -> None:
    import torch

    # A cross-encoder whose predict gives probabilities, as sentence-transformers saves one with one label.
    from sentence_transformers import CrossEncoder
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    given = CrossEncoder(str(cross_encoder), device="cpu")
    given.save_pretrained(str(tmp_path / "sigmoid"), create_model_card=False)
    assert "Sigmoid" in (tmp_path / "sigmoid" / "config_sentence_transformers.json").read_text()
    model = CrossEncoderScorer(tmp_path / "sigmoid").load_trainable()
    fit(model, lists, tmp_path / "m", name, 20)
    pairs = [(one.query, text) for one in lists[:4] for text in one.passages]
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "m").eval()
    tokens = AutoTokenizer.from_pretrained(tmp_path / "m")(
        [q for q, _ in pairs], [p for _, p in pairs], padding=True, return_tensors="pt"
    )
    with torch.no_grad():
        logits = plain(**tokens).logits[:, 0].numpy()
    scores = CrossEncoderScorer(tmp_path / "m", precision="float32").score(pairs)
    np.testing.assert_allclose(scores, logits, atol=1e-4)
    assert np.min(scores) < 0
    predicted = CrossEncoder(str(tmp_path / "m"), device="cpu").predict(pairs, show_progress_bar=False)
    np.testing.assert_allclose(predicted, logits, atol=1e-4)


@pytest.mark.parametrize("name", LOSSES)
def test_a_step_takes_as_many_pairs_with_every_loss(
    cross_encoder: Path, lists: list[PassageList], tmp_path: Path, name: CrossEncoderLoss
) -> None:
    model = CrossEncoderScorer(cross_encoder).load_trainable()
    sizes: list[int] = []
    model.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0]["input_ids"])))
    fit(model, lists, tmp_path / "m", name, 3)
    assert sizes == [4 * 6] * 3


@pytest.mark.parametrize("name", LOSSES)
def test_lists_of_different_lengths(cross_encoder: Path, tmp_path: Path, name: CrossEncoderLoss) -> None:
    lists = [PassageList("a", ("b", "c")), PassageList("d", ("e", "f", "g")), PassageList("h", ("i", "j"))]
    model = CrossEncoderScorer(cross_encoder).load_trainable()
    assert np.isfinite(fit(model, lists, tmp_path / "m", name, 2).loss)


def test_a_warm_start_learns_and_is_saved_as_modules(
    bi_encoder: Path, lists: list[PassageList], tmp_path: Path
) -> None:
    import torch

    torch.manual_seed(0)
    model = warm_start(bi_encoder)
    fit_cross_encoder(
        model,
        lists,
        Training(folder=tmp_path / "m", budget=Budget(steps=80), seed=5, bf16=False),
        new_head=True,
    )
    scorer = CrossEncoderScorer(tmp_path / "m")
    assert misplaced(scorer, lists) < 0.5
    names = [one["type"].rsplit(".", 1)[-1] for one in json.loads((tmp_path / "m/modules.json").read_text())]
    assert names == ["Transformer", "Pooling", "Dense", "Dense"]


def test_the_new_head_learns_at_its_own_rate(
    bi_encoder: Path, lists: list[PassageList], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sentence_transformers.cross_encoder import CrossEncoderTrainer

    rates: dict[int, float] = {}
    create = CrossEncoderTrainer.create_optimizer

    def spy(self: Any, *args: Any, **kwargs: Any) -> Any:
        optimizer = create(self, *args, **kwargs)
        for group in optimizer.param_groups:
            for one in group["params"]:
                rates.setdefault(id(one), group["lr"])  # later calls come when it follows the schedule
        return optimizer

    monkeypatch.setattr(CrossEncoderTrainer, "create_optimizer", spy)
    model = warm_start(bi_encoder)
    fit_cross_encoder(
        model,
        lists,
        Training(folder=tmp_path / "m", budget=Budget(steps=1), seed=5, bf16=False),
        new_head=True,
    )
    heads = {id(one) for module in list(model)[2:] for one in module.parameters()}
    assert len(heads) == 4
    for one, rate in rates.items():
        assert rate == pytest.approx(7.5e-4 if one in heads else 1.5e-4)
