"""What the processor can do, as far as it decides how fast a model runs."""

import os
import platform
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
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

#: Where control groups lie, by their version; the last of the second is where both are in use.
_MOUNTS = {2: ("", "unified"), 1: ("cpu", "cpu,cpuacct", "cpuacct,cpu")}


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


def cores(_root: Path = Path("/")) -> int:
    """Count the cores that this process may use: it may be kept to some, and a container to a share of their time.

    A part of a core counts as one.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min([count, *_quotas(_root)])


def _quotas(root: Path) -> Iterator[int]:
    """The cores' time that control groups of either version leave to this process, in whole cores."""
    own = _own_groups(root)
    for version, mounts in _MOUNTS.items():
        for mount in mounts:
            # What contains a group limits it, too.
            for folder in _upwards(root / "sys/fs/cgroup" / mount, own.get(version, "/")):
                quota = _quota(folder)
                if quota is not None:
                    yield quota


def _own_groups(root: Path) -> dict[int, str]:
    """The paths of this process's groups, by version."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return {}
    groups = {}
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            groups[2] = path
        elif "cpu" in controllers.split(","):
            groups[1] = path
    return groups


def _upwards(top: Path, path: str) -> Iterator[Path]:
    """A group's folder and all that contain it, as far as they can be seen from here."""
    parts = [part for part in path.split("/") if part]
    if ".." in parts:
        # The group lies outside of what this process sees.
        parts = []
    for length in range(len(parts), -1, -1):
        yield top.joinpath(*parts[:length])


def _quota(folder: Path) -> int | None:
    """A group's share of time in whole cores; None where it has no limit, or none that can be read."""
    for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        try:
            # A quota of "max", which is no number, or of -1 is none.
            words = [word for name in names for word in (folder / name).read_text(encoding="ascii").split()]
            quota, period = map(int, words)
        except (OSError, ValueError):
            continue
        if quota > 0 and period > 0:
            return -(-quota // period)
    return None
