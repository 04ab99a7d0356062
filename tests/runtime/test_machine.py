"""What is said of the processor."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from langchain_rerank_retriever.runtime.choosing import machine


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    machine.processor.cache_clear()
    yield
    machine.processor.cache_clear()


def test_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = {"cpu_name": "A", "avx512_vnni": True, "avx2": True, "amx_bf16": False}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: facts, raising=False)
    monkeypatch.setattr(machine, "cores", lambda: 3)
    monkeypatch.setattr(machine.platform, "machine", lambda: "x86_64")
    assert machine.processor() == "A, x86_64, AVX512-VNNI AVX2, 3 cores"


def test_an_older_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(machine, "cores", lambda: 1)
    monkeypatch.setattr(machine.platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(machine.platform, "processor", lambda: "")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "SVE256")
    assert machine.processor() == "unknown processor, aarch64, SVE256, 1 cores"


@pytest.mark.parametrize(
    ("architecture", "facts", "saturates"),
    [
        ("x86_64", {"avx2": True, "avx_vnni": False}, True),
        ("x86_64", {"avx512_f": True, "avx512_vnni": True}, False),
        ("x86_64", {"avx_vnni": True}, False),
        ("AMD64", {"amx_int8": True}, False),
        ("x86_64", {}, True),
        ("aarch64", {"neon": True}, False),
    ],
)
def test_where_products_of_bytes_are_cut_off(
    monkeypatch: pytest.MonkeyPatch, architecture: str, facts: dict[str, bool], saturates: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: facts, raising=False)
    monkeypatch.setattr(machine.platform, "machine", lambda: architecture)
    assert machine.int8_saturates() is saturates


#: Of a process's groups: those of version 2, of version 1, and of both side by side.
NEW, OLD = "0::/a/b\n", "5:memory:/m\n4:cpu,cpuacct:/a/b\n3:cpuset:/c\n0::/\n"
OWN, OLD_OWN = "sys/fs/cgroup/a/b", "sys/fs/cgroup/cpu,cpuacct/a/b"


def old(folder: str, quota: str, period: str = "100000") -> dict[str, str]:
    return {f"{folder}/cpu.cfs_quota_us": quota, f"{folder}/cpu.cfs_period_us": period}


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        pytest.param(None, {}, 16, id="no groups"),
        pytest.param(NEW, {}, 16, id="nothing to read"),
        pytest.param(NEW, {f"{OWN}/cpu.max": "max 100000\n"}, 16, id="no limit"),
        pytest.param(NEW, {f"{OWN}/cpu.max": "200000 100000\n"}, 2, id="two"),
        pytest.param(NEW, {f"{OWN}/cpu.max": "150000 100000\n"}, 2, id="rounded up"),
        pytest.param(NEW, {f"{OWN}/cpu.max": "100001 50000\n"}, 3, id="another period"),
        pytest.param(NEW, {f"{OWN}/cpu.max": "1000 100000\n"}, 1, id="a part of one"),
        pytest.param(NEW, {f"{OWN}/cpu.max": "9900000 100000\n"}, 16, id="more than there are"),
        pytest.param(NEW, {f"{OWN}/cpu.max": "0 100000\n"}, 16, id="nothing"),
        pytest.param(NEW, {f"{OWN}/cpu.max": "200000 0\n"}, 16, id="no period"),
        pytest.param(NEW, {f"{OWN}/cpu.max": ""}, 16, id="empty"),
        pytest.param(NEW, {f"{OWN}/cpu.max": "two\n"}, 16, id="no number"),
        pytest.param(NEW, {f"{OWN}/cpu.max": "\u0662\u00e9\n"}, 16, id="no ASCII"),
        pytest.param(NEW, {f"{OWN}/cpu.max/x": ""}, 16, id="a folder"),
        pytest.param(NEW, {"sys/fs/cgroup/cpu.max": "300000 100000\n"}, 3, id="the root's"),
        pytest.param(None, {"sys/fs/cgroup/cpu.max": "300000 100000\n"}, 3, id="the root's, nothing known"),
        pytest.param("0::/\n", {"sys/fs/cgroup/cpu.max": "300000 100000\n"}, 3, id="in the root"),
        pytest.param(
            NEW,
            {f"{OWN}/cpu.max": "500000 100000\n", "sys/fs/cgroup/a/cpu.max": "400000 100000\n"},
            4,
            id="what contains it has less",
        ),
        pytest.param(
            NEW,
            {f"{OWN}/cpu.max": "max 100000\n", "sys/fs/cgroup/cpu.max": "700000 100000\n"},
            7,
            id="what contains it has some",
        ),
        pytest.param(
            NEW,
            {f"{OWN}/cpu.max": "500000 100000\n", "sys/fs/cgroup/c/cpu.max": "100000 100000\n"},
            5,
            id="another group's",
        ),
        pytest.param(
            "0::/../../x\n",
            {"sys/fs/cgroup/x/cpu.max": "100000 100000\n", "sys/cpu.max": "100000 100000\n"},
            16,
            id="outside",
        ),
        pytest.param("0::/a:b\n", {"sys/fs/cgroup/a:b/cpu.max": "200000 100000\n"}, 2, id="a colon"),
        pytest.param("nonsense\n\n", {"sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2, id="nonsense"),
        pytest.param(OLD, old(OLD_OWN, "-1\n"), 16, id="old: no limit"),
        pytest.param(OLD, old(OLD_OWN, "250000\n"), 3, id="old: rounded up"),
        pytest.param(OLD, old(OLD_OWN, "250000\n", "50000\n"), 5, id="old: another period"),
        pytest.param(OLD, {f"{OLD_OWN}/cpu.cfs_quota_us": "200000\n"}, 16, id="old: no period"),
        pytest.param(OLD, old("sys/fs/cgroup/cpu/a/b", "200000\n"), 2, id="old: by its shorter name"),
        pytest.param(OLD, old("sys/fs/cgroup/cpu", "200000\n"), 2, id="old: the root's"),
        pytest.param(OLD, old("sys/fs/cgroup/memory/m", "200000\n"), 16, id="old: of the memory"),
        pytest.param(
            "4:cpu:/a\n0::/u\n",
            old("sys/fs/cgroup/cpu/a", "600000\n") | {"sys/fs/cgroup/unified/u/cpu.max": "500000 100000\n"},
            5,
            id="both",
        ),
        pytest.param("4:cpuset,cpuacct:/a\n", old("sys/fs/cgroup/cpu/a", "200000\n"), 16, id="not of cpu"),
    ],
)
def test_cores_of_a_container(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, groups: str | None, files: dict[str, str], expected: int
) -> None:
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    if groups is not None:
        files = {**files, "proc/self/cgroup": groups}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert machine.cores(tmp_path) == expected


def test_fewer_cores_than_a_quota(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/cpu.max").write_text("400000 100000\n", encoding="ascii")
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: {5, 7}, raising=False)
    assert machine.cores(tmp_path) == 2
    # Where there is no such call, all that there are.
    monkeypatch.delattr(machine.os, "sched_getaffinity")
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 3)
    assert machine.cores(tmp_path) == 3
    monkeypatch.setattr(machine.os, "cpu_count", lambda: None)
    assert machine.cores(tmp_path) == 1
