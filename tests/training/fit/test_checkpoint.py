"""A training run that is killed and resumed ends as one that was not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.base.sampler import BatchSamplers
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

from langchain_rerank_retriever.training.fit.checkpoint import Checkpoints
from langchain_rerank_retriever.training.fit.schedule import Budget, Schedule
from langchain_rerank_retriever.training.fit.trainer import Fitted, common_arguments, run, without_model_card

WORDS = ("cat", "dog", "bee", "fish", "bird", "horse", "snake", "whale")


class Killed(BaseException):
    pass


def train(
    folder: Path, checkpoints: Checkpoints | None, progress: Callable[[float], None], steps: int = 12
) -> tuple[Fitted, dict[str, torch.Tensor]]:
    model = SentenceTransformer(str(folder), device="cpu")
    without_model_card(model)
    schedule = Schedule(Budget(steps=steps), progress)
    data = [(f"where is the {one} {n}", f"the {one} number {n} is here") for one in WORDS for n in range(3)]
    arguments: Any = {
        "output_dir": str(folder.parent if checkpoints is None else checkpoints.scratch),
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-3,
        "batch_sampler": BatchSamplers.NO_DUPLICATES,
        **common_arguments(schedule, seed=3, bf16=False),
    }
    trainer = SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(**arguments),
        train_dataset=Dataset.from_dict({"query": [q for q, _ in data], "passage": [p for _, p in data]}),
        loss=MultipleNegativesRankingLoss(model),
    )
    fitted = run(trainer, schedule, checkpoints)
    return fitted, model.state_dict()


def checkpoints_in(folder: Path, every: float = 0.0) -> Checkpoints:
    return Checkpoints(folder / "model.steps", elapsed=lambda: 5.0, every=every, times_its_cost=0.0)


def nothing(_share: float) -> None:
    pass


def kill_at(step: int, steps: int = 12) -> Callable[[float], None]:
    def progress(share: float) -> None:
        if share * steps >= step - 0.5:
            raise Killed

    return progress


@pytest.mark.parametrize("killed_at", [(2,), (7,), (3, 4, 9)])
def test_resumed_is_as_unbroken(killed_at: tuple[int, ...], bi_encoder: Path, tmp_path: Path) -> None:
    """Batches, learning rates and moments go on where they were: the weights are equal, bit for bit."""
    expected, weights = train(bi_encoder, None, nothing)
    start = SentenceTransformer(str(bi_encoder), device="cpu").state_dict()
    assert any(not torch.equal(start[name], weights[name]) for name in weights)
    kept = checkpoints_in(tmp_path)
    for step in killed_at:
        with pytest.raises(Killed):
            train(bi_encoder, kept, kill_at(step))
        found = kept.newest()
        assert found is not None
        # The step that was killed had not ended; the one before it had been kept.
        assert found[0].name == f"step-{step - 1}"
        assert found[1]["elapsed"] == 5.0
    fitted, resumed = train(bi_encoder, kept, nothing)
    assert fitted.steps == expected.steps == 12
    for name, tensor in weights.items():
        assert torch.equal(tensor, resumed[name]), name


def test_a_damaged_checkpoint_is_not_resumed_from(bi_encoder: Path, tmp_path: Path) -> None:
    kept = checkpoints_in(tmp_path)
    with pytest.raises(Killed):
        train(bi_encoder, kept, kill_at(5))
    newest = kept.newest()
    assert newest is not None
    (newest[0] / "optimizer.pt").write_bytes(b"damaged")
    assert kept.newest() is None
    fitted, _ = train(bi_encoder, kept, nothing)
    assert fitted.steps == 12


def test_one_checkpoint_is_kept_and_nothing_else(bi_encoder: Path, tmp_path: Path) -> None:
    kept = checkpoints_in(tmp_path)
    train(bi_encoder, kept, nothing)
    assert len(list(kept.folder.iterdir())) == 1
    assert list(kept.scratch.iterdir()) == []
    newest = kept.newest()
    assert newest is not None
    assert not list(newest[0].rglob("training_args.bin"))


def test_none_is_written_before_it_is_time(bi_encoder: Path, tmp_path: Path) -> None:
    kept = checkpoints_in(tmp_path, every=3600.0)
    train(bi_encoder, kept, nothing)
    assert kept.newest() is None
