"""What is said of the processor."""

from collections.abc import Iterator

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
