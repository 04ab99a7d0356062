"""What is chosen on machines of scripted speeds."""

import itertools
import logging
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from langchain_rerank_retriever.errors import InvalidArgumentError, ModelLoadError
from langchain_rerank_retriever.runtime.backends import openvino_library
from langchain_rerank_retriever.runtime.backends.openvino_model import Compilation
from langchain_rerank_retriever.runtime.choosing import choice, derived
from langchain_rerank_retriever.runtime.choosing.choice import Ready, make_ready
from langchain_rerank_retriever.runtime.choosing.compiled import Quantisation, Source
from langchain_rerank_retriever.runtime.choosing.select import Placement
from tests.runtime.scripted import Cost, FakeOpenVINO, Machine, On, asked, on, per_token, source

__all__ = ["on"]

pytestmark = pytest.mark.usefixtures("cache", "openvino_may_be_taken")

# ---------------------------------------------------------------- which


@pytest.mark.parametrize(
    ("microseconds", "expected"),
    [(5, "openvino"), (9, "openvino"), (9.5, "torch"), (10, "torch"), (50, "torch")],
)
def test_openvino_has_to_be_clearly_faster(microseconds: float, expected: str, on: On) -> None:
    machine = on(Machine(openvino={"float32": per_token(microseconds)}))
    ready = make_ready(source(), asked())
    assert ready.choice.backend == expected
    assert isinstance(ready.backend, FakeOpenVINO) == (expected == "openvino")
    # Only what is used is kept.
    assert len(machine.kept) == (expected == "openvino")
    assert ready.choice.why == pytest.approx(
        {"openvino float32": microseconds, "openvino": microseconds, "torch": 10}
    )


@pytest.mark.parametrize(
    ("microseconds", "expected"), [(6, "bfloat16"), (7.5, "bfloat16"), (8, "float32"), (30, "float32")]
)
def test_fewer_digits_have_to_be_worth_it(microseconds: float, expected: str, on: On) -> None:
    on(Machine(openvino={"float32": per_token(10), "bfloat16": per_token(microseconds)}))
    ready = make_ready(source(), asked("openvino"))
    assert (ready.choice.backend, ready.choice.precision) == ("openvino", expected)


@pytest.mark.parametrize(
    ("cores", "several", "factor", "expected"),
    [(2, 2, 0.9, 2), (2, 2, 0.96, 1), (2, 2, 2.0, 1), (16, 4, 0.5, 4), (6, 2, 0.5, 2), (1, 2, 0.1, 1)],
)
def test_streams(cores: int, several: int, factor: float, expected: int, on: On) -> None:
    costs = {"float32": per_token(10), f"float32 x{several}": per_token(10 * factor)}
    machine = on(Machine(openvino=costs, cores=cores))
    ready = make_ready(source(), asked("openvino"))
    assert ready.choice.streams == expected
    assert machine.kept == [Compilation("float32", streams=expected)]
    assert [one.streams for one in machine.built] == ([1] if cores == 1 else [1, several])


def test_a_query_counts_as_much_as_a_batch_for_a_bi_encoder(on: On) -> None:
    def quick_to_answer(rows: int, tokens: int) -> float:
        return tokens * (2e-6 if rows == 1 else 11e-6)

    on(Machine(openvino={"float32": quick_to_answer}))
    assert make_ready(source(pairs=False), asked()).choice.backend == "openvino"
    ready = make_ready(source(pairs=False), asked("openvino"))
    assert ready.choice.why["openvino float32"] == pytest.approx(math.sqrt(2 * 11))
    # A cross-encoder is never asked for one pair.
    assert make_ready(source(pairs=True), asked()).choice.backend == "torch"


_widths = itertools.count(10)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(costs=st.lists(st.floats(1, 100), min_size=5, max_size=5))
def test_never_much_slower_than_the_fastest(costs: list[float], on: On) -> None:
    names = ("float32", "bfloat16", "float32 x2", "bfloat16 x2")
    by_name = dict(zip(names, costs[:4], strict=True))
    machine = on(
        Machine(per_token(costs[4]), {name: per_token(one) for name, one in by_name.items()}, cores=2)
    )
    found = make_ready(source(width=next(_widths)), asked()).choice
    name = found.precision + (f" x{found.streams}" if found.streams > 1 else "")
    cost = costs[4] if found.backend == "torch" else by_name[name]
    # Each preference gives away no more than it says. Streams are compared for the number type that was chosen.
    one_stream = min(by_name["float32"], by_name["bfloat16"])
    assert cost <= one_stream * 1.3 * 1.1 + 1e-6
    assert cost <= costs[4] + 1e-6
    assert machine.runs > 0


# ---------------------------------------------------------------- batches


def overhead(rows: int, tokens: int) -> float:
    return 0.01 + tokens * 1e-6


def caches_end(rows: int, tokens: int) -> float:
    return 1e-4 + tokens * (10e-6 if rows <= 8 else 14e-6)


@pytest.mark.parametrize(
    ("cost", "rows"),
    [
        pytest.param(per_token(10), 16, id="all the same"),
        pytest.param(lambda rows, tokens: tokens * (10 - rows / 100) * 1e-6, 16, id="hardly better"),
        pytest.param(overhead, 32, id="starting a batch is dear"),
        pytest.param(caches_end, 8, id="sixteen are too many"),
        # Four take 0.3 s, so eight would take 0.6 s and are not tried.
        pytest.param(per_token(670), 4, id="a large model"),
        pytest.param(per_token(2000), 4, id="a huge model"),
    ],
)
def test_the_batch(cost: Cost, rows: int, on: On) -> None:
    on(Machine(torch=cost))
    # A pair here is a word and a passage of 110.
    assert make_ready(source(), asked("torch")).choice.budget == rows * 111
    assert make_ready(source(pairs=False), asked("torch")).choice.budget == rows * 110


# ---------------------------------------------------------------- what was asked for


@pytest.mark.parametrize(
    ("precision", "half", "expected"),
    [
        ("auto", False, "float32"),
        ("auto", True, "bfloat16"),
        ("float32", True, "float32"),
        ("float16", False, "float16"),
    ],
)
def test_torch_asked_for(precision: str, half: bool, expected: str, on: On) -> None:
    machine = on(Machine(openvino={"float32": per_token(0.1)}, bfloat16_on_torch=half))
    ready = make_ready(source(), asked("torch", precision))
    assert (ready.choice.backend, ready.choice.precision) == ("torch", expected)
    assert machine.built == [("torch", expected)]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_openvino_and_a_number_type_asked_for(precision: str, on: On) -> None:
    slow = per_token(1000)
    machine = on(Machine(openvino={"float32": slow, "bfloat16": slow}))
    ready = make_ready(source(), asked("openvino", precision, threads=3))
    assert (ready.choice.backend, ready.choice.precision) == ("openvino", precision)
    assert machine.built == [Compilation(precision, threads=3)]


@pytest.mark.parametrize("backend", ["auto", "openvino"])
def test_int8_asked_for(backend: str, on: On) -> None:
    machine = on(Machine(openvino={"float32": per_token(10), "bfloat16": per_token(5)}))
    ready = make_ready(source(), asked(backend, "int8"))
    assert ready.quantisation == Quantisation(0.995, 128)
    assert machine.kept == [Compilation("bfloat16", int8=True)]
    # And again from what is kept.
    assert make_ready(source(), asked(backend, "int8")).quantisation == Quantisation(0.995, 128)


def test_a_number_type_that_only_torch_has(on: On) -> None:
    machine = on(Machine(openvino={"float32": per_token(0.1)}))
    assert make_ready(source(), asked("auto", "float16")).choice.backend == "torch"
    assert machine.built == [("torch", "float16")]


def test_a_refusal(on: On, caplog: pytest.LogCaptureFixture) -> None:
    on(Machine(refusal=ModelLoadError("OpenVINO cannot.")))
    with pytest.raises(ModelLoadError, match="OpenVINO cannot"):
        make_ready(source(), asked("openvino"))
    assert make_ready(source(), asked()).choice.backend == "torch"
    assert caplog.record_tuples == [
        (choice.logger.name, logging.WARNING, "OpenVINO cannot. It runs on torch.")
    ]
    # Known by now.
    caplog.clear()
    assert make_ready(source(), asked()).choice.backend == "torch"
    assert not caplog.records


def test_int8_that_costs_too_much_is_not_replaced(on: On) -> None:
    on(Machine(refusal=InvalidArgumentError("correlation 0.5")))
    for _ in range(2):
        with pytest.raises(InvalidArgumentError, match=r"correlation 0\.5"):
            make_ready(source(), asked("auto", "int8"))


def test_a_gpu_is_not_measured(on: On, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    import torch

    monkeypatch.setattr(choice, "choose_device", lambda device: "cuda:0")
    monkeypatch.setattr(choice, "choose_dtype", lambda precision, device: torch.bfloat16)
    machine = on(Machine())
    ready = make_ready(source(), asked())
    assert (ready.device, ready.choice.backend, ready.choice.precision) == ("cuda:0", "torch", "bfloat16")
    assert ready.choice.budget == choice.ACCELERATOR_BUDGET
    assert (machine.runs, machine.built) == (0, [("torch", "bfloat16")])
    assert not cache.exists()


@pytest.mark.parametrize(
    ("backend", "precision"), [("openvino", "auto"), ("auto", "int8"), ("openvino", "int8")]
)
def test_openvino_asked_for_where_there_is_a_gpu(
    backend: str, precision: str, on: On, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "choose_device", lambda device: device or "cuda")
    machine = on(Machine())
    ready = make_ready(source(), Placement(None, backend, precision, None, None))
    assert (ready.device, ready.choice.backend) == ("cpu", "openvino")
    assert machine.built == [Compilation("float32", int8=precision == "int8")]


def test_a_model_that_gives_nan_is_timed_like_another(on: On) -> None:
    on(Machine(openvino={"float32": per_token(5)}, gives_nan=True))
    assert make_ready(source(), asked()).choice.backend == "openvino"


# ---------------------------------------------------------------- what is kept


def measured(machine: Machine, made: Source, placement: Placement) -> tuple[bool, Ready]:
    before = machine.runs
    ready = make_ready(made, placement)
    return machine.runs > before, ready


def test_a_model_of_the_same_shape_is_not_measured_again(on: On) -> None:
    machine = on(Machine(openvino={"float32": per_token(5)}, cores=2))
    first = make_ready(source(), asked())
    again, ready = measured(machine, source(fingerprint="b"), asked())
    assert not again
    assert ready.choice == first.choice
    assert isinstance(ready.backend, FakeOpenVINO)


@pytest.mark.parametrize(
    "other",
    [
        (source(width=5), asked()),
        (source(pairs=False), asked()),
        (source(), asked("torch")),
        (source(), asked("auto", "float32")),
        (source(), asked("auto", "auto", 3)),
    ],
)
def test_what_is_measured_again(other: tuple[Source, Placement], on: On) -> None:
    machine = on(Machine())
    make_ready(source(), asked())
    assert measured(machine, *other)[0]
    assert not measured(machine, *other)[0]


@pytest.mark.parametrize(("module", "name"), [(choice, "processor"), (openvino_library, "version")])
def test_another_machine_is_measured_again(
    module: Any, name: str, on: On, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = on(Machine())
    make_ready(source(), asked())
    monkeypatch.setattr(module, name, lambda: "another")
    assert measured(machine, source(), asked())[0]


def test_a_disturbed_measurement_stands_for_a_day(on: On, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = iter(range(10**6))
    machine = on(Machine(noise=lambda: 2.0 if next(calls) % 3 else 1.0))
    make_ready(source(), asked())
    now = choice.time.time()
    monkeypatch.setattr(choice.time, "time", lambda: now + 23 * 3600)
    assert not measured(machine, source(), asked())[0]
    monkeypatch.setattr(choice.time, "time", lambda: now + 25 * 3600)
    machine.noise = lambda: 1.0
    assert measured(machine, source(), asked())[0]
    # That one was steady, and stands.
    monkeypatch.setattr(choice.time, "time", lambda: now + 1000 * 24 * 3600)
    assert not measured(machine, source(), asked())[0]


def test_without_a_place_to_keep_it_is_measured_every_time(
    on: On, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache.write_text("a file")
    machine = on(Machine())
    assert measured(machine, source(), asked())[0]
    assert measured(machine, source(), asked())[0]
    assert "Nothing is kept in the cache folder" in caplog.text


def test_a_damaged_entry_is_measured_again(on: On, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    machine = on(Machine())
    make_ready(source(), asked())
    (entry,) = cache.glob("*/entry.json")
    entry.write_text(entry.read_text().replace('"torch"', '"tarch"'))
    assert measured(machine, source(), asked())[0]
    assert "is not read: its checksum is another" in caplog.text
    assert derived.read(entry.parent.name) is not None
