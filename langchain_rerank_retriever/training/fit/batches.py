"""How batches are drawn, and cut up where several processes train together."""

from collections.abc import Callable, Iterator
from typing import Any, Literal

from torch.utils.data import BatchSampler
from transformers import TrainerCallback

Batches = Literal["no-duplicates", "by-length", "random"]


def sampler_of(batches: Batches) -> Any:
    """Return what the trainer of sentence-transformers takes as its batch sampler.

    Args:
        batches: `"no-duplicates"`: no batch holds a text twice. `"by-length"`: texts of like length together.
            `"random"`: neither.
    """
    from sentence_transformers.base.sampler import BatchSamplers

    return {
        "no-duplicates": BatchSamplers.NO_DUPLICATES,
        "by-length": by_length,
        "random": BatchSamplers.BATCH_SAMPLER,
    }[batches]


def by_length(dataset: Any, **settings: Any) -> Any:
    """Make batches of pairs of like length, in random order: short sentences differ most in how much is padding.

    The trainer of sentence-transformers takes a function in place of the name of a batch sampler.
    """
    from sentence_transformers.base.sampler import DefaultBatchSampler
    from transformers.trainer_pt_utils import LengthGroupedSampler

    lengths = [max(map(len, pair)) for pair in zip(dataset["first"], dataset["second"], strict=True)]
    order = LengthGroupedSampler(settings["batch_size"], lengths=lengths, generator=settings["generator"])
    return DefaultBatchSampler(order, **settings)


class Shares(TrainerCallback):
    """Draws batches for all processes of a launch as one process would, and cuts each into equal shares.

    So a text that must not be in a batch twice is not in two processes' shares of it either, and all processes take as
    many steps. The trainer calls it in place of the name of a batch sampler; accelerate gives each process its share.

    Args:
        batches: How they are drawn.
        processes: How many there are.
    """

    def __init__(self, batches: Batches, processes: int) -> None:
        self._batches, self._processes = batches, processes
        self._cut: _Cut | None = None

    def __call__(self, dataset: Any, *, batch_size: int, **settings: Any) -> "_Cut":
        """Make the sampler; called by the trainer."""
        # The last batch of an epoch, often the only one, is no reason to hang here: its shares are equal, too.
        settings |= {"batch_size": batch_size * self._processes, "drop_last": False}
        whole = _SAMPLERS[self._batches](dataset, **settings)
        self._cut = _Cut(whole, self._processes)
        return self._cut

    def on_epoch_begin(
        self,
        args: Any,  # noqa: ARG002
        state: Any,
        control: Any,  # noqa: ARG002
        train_dataloader: Any = None,
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        """Tell the sampler the epoch; called by the trainer, which does not reach it in one that is resumed."""
        if self._cut is not None and train_dataloader is not None:
            self._cut.set_epoch(state.global_step // max(1, len(train_dataloader)))


class _Cut(BatchSampler):
    """Yields the shares of each batch one after the other; what is left of a batch that does not divide is left out."""

    def __init__(self, whole: Any, processes: int) -> None:
        super().__init__(whole, whole.batch_size, drop_last=False)
        self._whole, self._processes = whole, processes
        # Accelerate hands out whole rounds, of whatever size, where it is told none.
        self.batch_size: int | None = None  # type: ignore[assignment]

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self._whole:
            share = len(batch) // self._processes
            if share:
                for start in range(0, share * self._processes, share):
                    yield batch[start : start + share]

    def __len__(self) -> int:
        return len(self._whole) * self._processes

    def set_epoch(self, epoch: int) -> None:
        for one in (self._whole, self._whole.sampler):
            if hasattr(one, "set_epoch"):
                one.set_epoch(epoch)


def _no_duplicates(dataset: Any, **settings: Any) -> Any:
    from sentence_transformers.base.sampler import NoDuplicatesBatchSampler

    return NoDuplicatesBatchSampler(dataset, **settings)


def _random(dataset: Any, **settings: Any) -> Any:
    """Draw as accelerate has one process draw."""
    from accelerate.data_loader import SeedableRandomSampler
    from sentence_transformers.base.sampler import DefaultBatchSampler

    order = SeedableRandomSampler(dataset, generator=settings["generator"], data_seed=settings["seed"])
    return DefaultBatchSampler(order, **settings)


_SAMPLERS: dict[Batches, Callable[..., Any]] = {
    "no-duplicates": _no_duplicates,
    "by-length": by_length,
    "random": _random,
}
