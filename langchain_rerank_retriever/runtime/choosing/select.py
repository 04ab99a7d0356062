"""What may be asked of a model's place, and what there is on this machine."""

import time
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, get_args

from langchain_rerank_retriever.errors import InvalidArgumentError

if TYPE_CHECKING:
    import torch

BackendName = Literal["auto", "torch", "openvino"]
Precision = Literal["auto", "float32", "bfloat16", "float16", "int8"]

#: bf16 must beat float32 by this factor to be taken: a small gain is not worth the lost digits.
WORTHWHILE = 1.3

#: Seconds. The product takes a hundredth of that where the processor has the instructions for it.
LONG = 0.1


def check_backend(backend: str, precision: str) -> None:
    """Refuse what is unknown, and what does not go together.

    Raises:
        InvalidArgumentError: The message lists what there is.
    """
    if backend not in get_args(BackendName):
        raise InvalidArgumentError(f"backend: expected one of {get_args(BackendName)}, got {backend!r}.")
    if precision not in get_args(Precision):
        raise InvalidArgumentError(f"precision: expected one of {get_args(Precision)}, got {precision!r}.")
    if backend == "torch" and precision == "int8":
        raise InvalidArgumentError(
            "precision='int8' needs backend='openvino' (or 'auto', which takes it then). On torch use 'auto', "
            "'float32', 'bfloat16' or 'float16'."
        )


def check_positive(name: str, value: int | None) -> None:
    """Refuse a count that is given and not a whole number of at least 1.

    Raises:
        InvalidArgumentError: The message names the argument.
    """
    if value is not None and (type(value) is not int or value < 1):
        raise InvalidArgumentError(f"{name}: expected a whole number of at least 1 or None, got {value!r}.")


@dataclass(frozen=True, slots=True)
class Placement:
    """Where and how fast a model runs; none of it decides what it computes, but for rounding."""

    device: str | None
    backend: str
    precision: str
    batch_size: int | None
    threads: int | None

    def check(self) -> None:
        """Refuse wrong settings before anything is loaded.

        Raises:
            InvalidArgumentError: The message names the argument and lists what there is.
        """
        check_backend(self.backend, self.precision)
        if self.wants_openvino and self.device is not None and not self.device.startswith("cpu"):
            raise InvalidArgumentError(
                f"device={self.device!r}: OpenVINO runs on the CPU here. Use device='cpu', or backend='torch' with "
                "precision='auto'."
            )
        check_positive("batch_size", self.batch_size)
        check_positive("threads", self.threads)

    @property
    def wants_openvino(self) -> bool:
        """Whether nothing else will do; int8 is there only."""
        return self.backend == "openvino" or self.precision == "int8"

    def on_torch(self) -> "Placement":
        """Return the same with torch as the backend."""
        return replace(self, backend="torch")


def choose_device(device: str | None) -> str:
    """Return the device to run on: the given one, else a GPU where there is one, else ``"cpu"``.

    Raises:
        InvalidArgumentError: The device is not known to torch, or not on this machine.
    """
    import torch

    if device is None:
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        kind = torch.device(device).type
    except (RuntimeError, TypeError) as error:
        raise InvalidArgumentError(f"device: torch does not know {device!r} ({error}). Try 'cpu'.") from error
    missing = {"cuda": not torch.cuda.is_available(), "mps": not torch.backends.mps.is_available()}
    if missing.get(kind, False):
        raise InvalidArgumentError(f"device: {device!r} was asked for, but this machine has none. Try 'cpu'.")
    return device


def choose_dtype(precision: str, device: str) -> "torch.dtype":
    """Return the number type of the language model's weights on a device."""
    import torch

    if precision != "auto":
        dtype: torch.dtype = getattr(torch, precision)
        return dtype
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if kind == "cpu" and bfloat16_is_faster():
        return torch.bfloat16
    return torch.float16 if kind == "mps" else torch.float32


@lru_cache(maxsize=1)
def bfloat16_is_faster() -> bool:
    """Time one matrix product in both types on this CPU; once a process, well under 0.3 s, or 1.5 s where it is slow.

    A processor that lists bf16 may still emulate it, three to seven times slower than float32: only time
    tells. Without AVX-512 it is emulated, sixty times slower.
    """
    import torch

    left, right = torch.ones(256, 768), torch.ones(768, 1536)
    with torch.inference_mode():
        single = _best_time(left, right)
        half = _best_time(left.to(torch.bfloat16), right.to(torch.bfloat16))
    return half * WORTHWHILE < single


def _best_time(left: "torch.Tensor", right: "torch.Tensor") -> float:
    # The first product pays for setting up; the best of the rest is the least disturbed by other work.
    times: list[float] = []
    while len(times) < 5 and (len(times) < 2 or times[-1] < LONG):
        start = time.perf_counter()
        left @ right
        times.append(time.perf_counter() - start)
    return min(times[1:])
