"""How many floating-point operations a language model's forward pass takes, and how many a machine can do."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from langchain_rerank_retriever.errors import FormatError

if TYPE_CHECKING:
    import torch

#: Operations are a quadratic of the length, so three lengths determine them. Any model has so many positions.
_STEP = 16

#: Edges of the square matrices that are multiplied. A short product finds a moment in which nothing else runs, and a
#: large one keeps many cores or a GPU busy; the largest takes 400 MB in float32.
_EDGES = (1024, 2048, 4096, 8192)
#: A product that takes longer has enough to do for all cores: no larger one is tried.
_LONG_SECONDS = 0.02
#: Products of one size go on for so long, and are at least three: the first pays for setting up.
_TRIED_SECONDS = 0.4
_FEWEST_PRODUCTS = 3


@dataclass(frozen=True, slots=True)
class ForwardCost:
    """Operations for one row of n tokens: ``constant + per_token * n + per_square * n * n``.

    A multiplication and the addition that follows it are two operations. Linear layers are the part that grows
    with n, attention the part that grows with its square; norms and activations, about a hundredth, are left out, and
    so is what follows the language model.
    """

    constant: float
    per_token: float
    per_square: float

    def of(self, rows: int, tokens: int) -> float:
        """Return the operations for so many rows of so many tokens in all, taken to be equally long.

        Rows of different lengths take a little more, since attention grows with the square: in a model as wide as
        MiniLM, one hundredth for lengths of 321 +- 110, and three for lengths from half to twice the usual one.
        """
        if rows == 0:
            return 0.0
        return rows * self.constant + self.per_token * tokens + self.per_square * tokens * tokens / rows


def forward_cost(folder: Path) -> ForwardCost | None:
    """Count a language model's operations on a model without weights, built from its configuration.

    Args:
        folder: What sentence-transformers or transformers saved.

    Returns:
        None where the folder holds no transformer, or one that cannot run without weights (DeBERTa).
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    model = _skeleton(language_model_folder(folder))
    if model is None:
        return None
    counts = []
    for length in (_STEP, 2 * _STEP, 3 * _STEP):
        # Without a mask, because a mask is looked at, and here it would have no values.
        tokens = torch.ones(1, length, dtype=torch.long, device="meta")
        try:
            with FlopCounterMode(display=False) as counter, torch.no_grad():
                model(input_ids=tokens)
        except (RuntimeError, ValueError):
            return None
        counts.append(counter.get_total_flops())
    return _quadratic(counts)


def language_model_folder(folder: Path) -> Path:
    """Return where a model's ``config.json`` lies: in its folder, or in that of its first module.

    Raises:
        FormatError: ``modules.json`` is damaged.
    """
    listing = folder / "modules.json"
    if not listing.is_file():
        return folder
    try:
        return folder / str(json.loads(listing.read_text(encoding="utf-8"))[0]["path"])
    except (ValueError, LookupError, TypeError) as error:
        raise FormatError(f"{listing} is damaged: {error!r}. Save the model again.") from error


def _skeleton(folder: Path) -> "torch.nn.Module | None":
    import torch
    from transformers import AutoConfig, AutoModel

    if not (folder / "config.json").is_file():
        return None
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    try:
        with torch.device("meta"):
            # Eager attention is made of matrix products; the counter does not know every fused kernel.
            model: torch.nn.Module = AutoModel.from_config(  # type: ignore[no-untyped-call]
                config, attn_implementation="eager"
            )
    except (RuntimeError, ValueError):
        return None
    return model.eval()


def _quadratic(counts: list[int]) -> ForwardCost:
    """Return the quadratic through the counts at one, two and three steps."""
    first, second, third = counts
    per_square = (third - 2 * second + first) / (2 * _STEP**2)
    per_token = (second - first) / _STEP - 3 * _STEP * per_square
    return ForwardCost(first - per_token * _STEP - per_square * _STEP**2, per_token, per_square)


def matrix_peak(precision: str, device: str = "cpu") -> float:
    """Measure how many operations a second the machine does in a matrix product, with torch's own threads.

    Takes about a second.

    Args:
        precision: ``"float32"``, ``"bfloat16"`` or another number type of torch that has a matrix product.
        device: As torch names it.

    Returns:
        Operations a second of the fastest product; a multiplication and an addition are two.
    """
    import torch

    generator = torch.Generator().manual_seed(0)
    peak = 0.0
    for edge in _EDGES:
        # Random, because a processor clocks higher on zeros and ones.
        numbers = torch.randn(edge, edge, generator=generator).to(device, getattr(torch, precision))
        seconds = _fastest(partial(_product, numbers))
        peak = max(peak, 2 * edge**3 / seconds)
        if seconds > _LONG_SECONDS:
            break
    return peak


def _product(numbers: "torch.Tensor") -> None:
    import torch

    with torch.inference_mode():
        numbers @ numbers
    if numbers.device.type != "cpu":
        torch.accelerator.synchronize()


def _fastest(call: Callable[[], None]) -> float:
    taken: list[float] = []
    while len(taken) < _FEWEST_PRODUCTS or sum(taken) < _TRIED_SECONDS:
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    return min(taken[1:])
