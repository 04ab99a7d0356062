"""Batches for several processes are those of one process, cut into equal shares."""

from typing import Any

import numpy as np
import pytest
import torch
from accelerate.data_loader import BatchSamplerShard
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_rerank_retriever.training.fit.batches import Batches, Shares, by_length

KINDS: tuple[Batches, ...] = ("no-duplicates", "by-length", "random")


def rows(count: int, different: int) -> Dataset:
    """Rows of which every so many have the same texts."""
    texts = [f"text {'long ' * (number % 5)}{number % different}" for number in range(count)]
    return Dataset.from_dict({"first": texts, "second": [f"passage {text}" for text in texts]})


def drawn(
    kind: Batches, data: Dataset, batch_size: int, processes: int, epoch: int = 0
) -> list[list[list[int]]]:
    """What accelerate hands to each process."""
    shares = Shares(kind, processes)
    given: dict[str, Any] = {"drop_last": True, "valid_label_columns": [], "seed": 3}
    sampler = shares(data, batch_size=batch_size, generator=torch.Generator().manual_seed(3), **given)
    sampler.set_epoch(epoch)
    handed = [
        list(BatchSamplerShard(_again(sampler, epoch), processes, rank, even_batches=False))
        for rank in range(processes)
    ]
    assert len(sampler) % processes == 0
    return handed


def _again(sampler: Any, epoch: int) -> Any:
    """Each process has a sampler of its own, in the same state."""
    sampler.set_epoch(epoch)
    whole = sampler.sampler
    if whole.generator is not None:
        whole.generator.manual_seed(3)
    return sampler


@settings(deadline=None, max_examples=40)
@given(
    kind=st.sampled_from(KINDS),
    count=st.integers(1, 40),
    different=st.integers(1, 40),
    batch_size=st.integers(1, 6),
    processes=st.integers(2, 4),
    epoch=st.integers(0, 2),
)
def test_shares_are_equal_and_make_up_the_batches_of_one_process(
    kind: Batches, count: int, different: int, batch_size: int, processes: int, epoch: int
) -> None:
    data = rows(count, different)
    alone = drawn(kind, data, batch_size * processes, 1, epoch)[0]
    handed = drawn(kind, data, batch_size, processes, epoch)
    together = [[row for share in step for row in share] for step in zip(*handed, strict=True)]
    for step in zip(*handed, strict=True):
        assert len({len(share) for share in step}) == 1
        assert 1 <= len(step[0]) <= batch_size
    whole = [batch[: len(batch) // processes * processes] for batch in alone]
    assert together == [batch for batch in whole if batch]


def test_no_text_is_twice_in_a_step_of_all_processes() -> None:
    data = rows(60, 12)
    handed = drawn("no-duplicates", data, 4, 3)
    for step in zip(*handed, strict=True):
        texts = [data["first"][row] for share in step for row in share]
        assert len(texts) == len(set(texts))


@pytest.mark.parametrize("kind", ["no-duplicates", "random"])
def test_epochs_differ(kind: Batches) -> None:
    data = rows(40, 40)
    assert drawn(kind, data, 4, 2, 0) == drawn(kind, data, 4, 2, 0) != drawn(kind, data, 4, 2, 1)


def test_the_epoch_is_told_from_the_step() -> None:
    """In an epoch that is gone on with, transformers does not reach the sampler."""
    from types import SimpleNamespace

    shares = Shares("random", 2)
    sampler = shares(
        rows(40, 40),
        batch_size=4,
        generator=torch.Generator(),
        drop_last=True,
        valid_label_columns=[],
        seed=3,
    )
    for step, epoch in ((0, 0), (4, 0), (5, 1), (12, 2)):
        shares.on_epoch_begin(None, SimpleNamespace(global_step=step), None, train_dataloader=range(5))
        assert sampler.sampler.epoch == sampler.sampler.sampler.epoch == epoch


def test_batches_are_of_like_length() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 200, size=400)
    data = Dataset.from_dict({"first": ["x" * n for n in lengths], "second": ["y"] * 400})
    given = {"batch_size": 8, "drop_last": False, "valid_label_columns": ["score"], "seed": 0}
    orders = []
    for seed in (0, 0, 1):
        generator = torch.Generator().manual_seed(seed)
        orders.append(list(by_length(data, generator=generator, **given)))
    assert orders[0] == orders[1] != orders[2]
    assert sorted(place for batch in orders[0] for place in batch) == list(range(400))
    spread = np.mean([np.ptp(lengths[batch]) for batch in orders[0]])
    assert spread < 0.3 * np.mean([np.ptp(lengths[start : start + 8]) for start in range(0, 400, 8)])
