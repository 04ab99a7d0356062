"""What the processor can do, as far as it decides how fast a model runs."""

import os
import platform
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

#: From the most to the least capable; names as torch reports them.
_FEATURES = (
    ("AMX", "amx_bf16"),
    ("AVX512-BF16", "avx512_bf16"),
    ("AVX512-VNNI", "avx512_vnni"),
    ("AVX-VNNI", "avx_vnni"),
    ("AVX512", "avx512_f"),
    ("AVX2", "avx2"),
    ("ARM-BF16", "bf16"),
    ("ARM-I8MM", "i8mm"),
    ("ARM-SVE", "sve"),
    ("ARM-NEON", "neon"),
)


@lru_cache(maxsize=1)
def processor() -> str:
    """Name the processor and its matrix instructions, for instance ``"AMD EPYC, x86_64, AVX512-BF16 AVX2, 2 cores"``.

    Two machines of which this says the same are taken to be equally fast at the same things.
    """
    import torch

    facts = _facts()
    name = facts.get("cpu_name") or platform.processor() or "unknown processor"
    known = " ".join(name for name, flag in _FEATURES if facts.get(flag))
    return (
        f"{name}, {platform.machine()}, {known or torch.backends.cpu.get_cpu_capability()}, {cores()} cores"
    )


def int8_saturates() -> bool:
    """Tell whether the processor adds two products of bytes up in 16 bits, and cuts off what does not fit.

    That is so on x86 without the instructions for neural networks (VNNI, AMX).
    """
    facts = _facts()
    adds_in_32_bits = any(facts.get(flag) for flag in ("avx512_vnni", "avx_vnni", "amx_int8"))
    return platform.machine() in ("x86_64", "AMD64") and not adds_in_32_bits


def _facts() -> Mapping[str, Any]:
    import torch

    # Older versions of torch that serve as well do not have it.
    capabilities = getattr(torch.cpu, "get_capabilities", None)
    return {} if capabilities is None else capabilities()


def cores() -> int:
    """Count the cores that this process may run on, which in a container are fewer than the machine's."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
