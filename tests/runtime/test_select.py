"""Settings of place and precision."""

import time

import pytest

from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.runtime.choosing import select


def test_unknown_names_list_the_known() -> None:
    with pytest.raises(InvalidArgumentError, match=r"'auto', 'torch', 'openvino'.*got 'onnx'"):
        select.check_backend("onnx", "auto")
    with pytest.raises(InvalidArgumentError, match=r"'float32', 'bfloat16'.*got 'fp8'"):
        select.check_backend("auto", "fp8")


def test_int8_is_not_for_torch() -> None:
    with pytest.raises(InvalidArgumentError, match="precision='int8' needs backend='openvino'"):
        select.check_backend("torch", "int8")


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "4"])
def test_counts(value: object) -> None:
    with pytest.raises(InvalidArgumentError, match="batch_size: expected a whole number of at least 1"):
        select.check_positive("batch_size", value)  # type: ignore[arg-type]


def test_an_unknown_device() -> None:
    with pytest.raises(InvalidArgumentError, match="torch does not know 'abacus'"):
        select.choose_device("abacus")


def test_a_device_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(InvalidArgumentError, match="'cuda:1' was asked for, but this machine has none"):
        select.choose_device("cuda:1")


@pytest.mark.parametrize(
    ("single", "half", "expected"), [(1.0, 0.3, "bfloat16"), (1.0, 0.9, "float32"), (1.0, 5.0, "float32")]
)
def test_bf16_is_chosen_only_where_it_is_faster(
    single: float, half: float, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    times = iter([single, half])
    monkeypatch.setattr(select, "_best_time", lambda left, right: next(times))
    select.bfloat16_is_faster.cache_clear()
    try:
        assert select.choose_dtype("auto", "cpu") == getattr(torch, expected)
    finally:
        select.bfloat16_is_faster.cache_clear()


def test_the_choice_is_quick_and_made_once() -> None:
    import torch  # noqa: F401

    select.bfloat16_is_faster.cache_clear()
    start = time.perf_counter()
    first = select.bfloat16_is_faster()
    # 0.3 s on a quiet machine, or where bf16 is emulated two products of 0.6 s each.
    assert time.perf_counter() - start < 2.0
    assert select.bfloat16_is_faster() is first
    assert select.bfloat16_is_faster.cache_info().misses == 1
