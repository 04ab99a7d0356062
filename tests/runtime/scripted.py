"""Machines of scripted speeds, and models that have nothing but a speed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from langchain_rerank_retriever.errors import ScoringError
from langchain_rerank_retriever.runtime.backend import Row
from langchain_rerank_retriever.runtime.backends import openvino_library
from langchain_rerank_retriever.runtime.backends.openvino_backend import OpenVINOBackend
from langchain_rerank_retriever.runtime.backends.openvino_model import Compilation
from langchain_rerank_retriever.runtime.choosing import choice, clock, select
from langchain_rerank_retriever.runtime.choosing.compiled import Built, Quantisation, Source
from langchain_rerank_retriever.runtime.choosing.select import Placement

#: A script for a way of running: seconds of a batch by its rows and tokens.
Cost = Callable[[int, int], float]


def per_token(microseconds: float) -> Cost:
    return lambda rows, tokens: tokens * microseconds * 1e-6


class FakeBackend:
    """Takes as long as the script says, on the machine's own clock."""

    def __init__(self, machine: "Machine", cost: Cost) -> None:
        self.machine, self.cost = machine, cost

    def start(self) -> None:
        pass

    def run(self, rows: Sequence[Row]) -> Any:
        self.machine.runs += 1
        self.machine.now += self.machine.noise() * self.cost(len(rows), sum(row.length for row in rows))
        if self.machine.gives_nan:
            raise ScoringError("The model gave NaN or infinity.")


class FakeOpenVINO(FakeBackend, OpenVINOBackend):
    """As OpenVINO's backend, without a model."""


@dataclass
class Machine:
    """Speeds by what is run: ``"torch"``, or a number type, with a number of streams where there are several."""

    torch: Cost = field(default_factory=lambda: per_token(10))
    openvino: dict[str, Cost] = field(default_factory=lambda: {"float32": per_token(10)})
    cores: int = 1
    bfloat16_on_torch: bool = False
    gives_nan: bool = False
    noise: Callable[[], float] = lambda: 1.0
    refusal: Exception | None = None
    now: float = 0.0
    runs: int = 0
    built: list[Any] = field(default_factory=list)
    kept: list[Compilation] = field(default_factory=list)

    def made_torch(self, source: Source, placement: Placement, device: str, precision: str) -> FakeBackend:
        self.built.append(("torch", precision))
        return FakeBackend(self, self.torch)

    def time(self, run: Callable[[], object]) -> float:
        start = self.now
        run()
        return self.now - start


class FakeCompiler:
    machine: Machine

    def __init__(self, source: Source) -> None:
        pass

    def candidate(self, compilation: Compilation) -> Built:
        if self.machine.refusal:
            raise self.machine.refusal
        self.machine.built.append(compilation)
        several = "" if compilation.streams == 1 else f" x{compilation.streams}"
        cost = self.machine.openvino.get(compilation.precision + several, per_token(1000))
        quantisation = Quantisation(0.995, 128) if compilation.int8 else None
        return Built(FakeOpenVINO(self.machine, cost), quantisation)

    backend = candidate

    def keep(self, built: Built, compilation: Compilation) -> None:
        self.machine.kept.append(compilation)


class FakeModel:
    """As much of a model as its speed depends on."""

    max_seq_length = 256

    def __init__(self, width: int = 4) -> None:
        self.width = width
        self.transformers_model = SimpleNamespace(config=SimpleNamespace(num_attention_heads=2))

    def state_dict(self) -> dict[str, Any]:
        return {"weight": np.broadcast_to(0, (self.width, self.width))}

    def children(self) -> list[Any]:
        return [self]


class WordRows:
    def tokenise(self, items: Sequence[Any], kind: str) -> list[Row]:
        texts = [item if isinstance(item, str) else " ".join(item) for item in items]
        return [Row(place, len(text.split()), None) for place, text in enumerate(texts)]


def source(*, pairs: bool = True, fingerprint: str = "a", width: int = 4) -> Source:
    model: Any = FakeModel(width)
    rows: Any = WordRows()
    output, kinds = ("scores", ("pair",)) if pairs else ("sentence_embedding", ("query", "document"))
    return Source(model, rows, output, kinds, fingerprint)


def asked(backend: str = "auto", precision: str = "auto", threads: int | None = None) -> Placement:
    return Placement("cpu", backend, precision, None, threads)


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> Callable[[Machine], Machine]:
    """Puts a machine in the place of this one."""

    def use(machine: Machine) -> Machine:
        able = {name.split()[0] for name in machine.openvino} | {"int8"}
        monkeypatch.setattr(openvino_library, "capabilities", lambda: frozenset(able))
        monkeypatch.setattr(FakeCompiler, "machine", machine, raising=False)
        monkeypatch.setattr(choice, "Compiler", FakeCompiler)
        monkeypatch.setattr(choice, "_torch", machine.made_torch)
        monkeypatch.setattr(choice, "cores", lambda: machine.cores)
        monkeypatch.setattr(select, "bfloat16_is_faster", lambda: machine.bfloat16_on_torch)
        monkeypatch.setattr(clock, "_time", machine.time)
        return machine

    return use


On = Callable[[Machine], Machine]
