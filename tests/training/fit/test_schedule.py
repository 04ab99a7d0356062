"""How long a model trains, with a clock that the tests turn."""

from types import SimpleNamespace
from typing import Any

import pytest

from langchain_rerank_retriever.training.fit import schedule
from langchain_rerank_retriever.training.fit.schedule import Budget, Schedule


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    fake = Clock()
    monkeypatch.setattr(schedule.time, "monotonic", fake)
    return fake


def step(one: Schedule, number: int) -> bool:
    """Tell the schedule that a step has ended, as the trainer does; return whether it stops."""
    control = SimpleNamespace(should_training_stop=False)
    one.on_step_end(None, SimpleNamespace(global_step=number), control)
    return bool(control.should_training_stop)


def check_shape(factors: list[float]) -> None:
    peak = max(range(len(factors)), key=factors.__getitem__)
    assert 0.8 < factors[peak] <= 1.0
    assert 0.05 <= peak / len(factors) <= 0.15
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)
    assert 0 < factors[0] <= 0.05
    assert 0 <= factors[-1] <= 0.05


def test_by_steps() -> None:
    told: list[float] = []
    one = Schedule(Budget(steps=50), told.append)
    assert one.max_steps == 50
    factors = []
    for number in range(1, 51):
        factors.append(one.learning_rate_factor(-1))
        assert step(one, number) == (number == 50)
    check_shape(factors)
    assert told == pytest.approx([number / 50 for number in range(1, 51)])
    assert one.spent == 1.0
    assert one.learning_rate_factor(50) == 0.0


def test_values() -> None:
    one = Schedule(Budget(steps=100))
    for number, factor in [(0, 0.01), (5, 0.5), (10, 1.0), (55, 0.5), (100, 0.0)]:
        one.steps = number
        assert one.learning_rate_factor(0) == pytest.approx(factor)


def test_by_seconds(clock: Clock) -> None:
    one = Schedule(Budget(seconds=60.0))
    clock.now += 500  # loading the data does not count
    one.on_train_begin(None, SimpleNamespace(global_step=0), None)
    assert one.max_steps > 1_000_000
    factors = []
    for number in range(1, 31):
        factors.append(one.learning_rate_factor(-1))
        clock.now += 2.0
        assert step(one, number) == (number == 30)
    check_shape(factors)
    clock.now += 100
    assert one.spent == 1.0
    assert one.learning_rate_factor(0) == 0.0


def test_one_long_step_ends_it(clock: Clock) -> None:
    one = Schedule(Budget(seconds=3.0))
    one.on_train_begin(None, SimpleNamespace(global_step=0), None)
    clock.now += 3.0
    assert step(one, 1)


def test_a_single_step_teaches_something() -> None:
    assert Schedule(Budget(steps=1)).learning_rate_factor(0) > 0


def test_a_trainer_obeys(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """transformers' own loop stops by steps, and by a clock on which each step takes a second."""
    import torch
    from transformers import Trainer, TrainingArguments

    class Clocked(torch.nn.Module):
        def __init__(self, clock: Clock) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(1, 1)
            self.clock = clock

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            self.clock.now += 1.0
            return {"loss": self.linear(x).square().mean()}

    from langchain_rerank_retriever.training.fit.trainer import common_arguments, run

    for budget, steps in ((Budget(steps=7), 7), (Budget(seconds=12.0), 12)):
        clock = Clock()
        monkeypatch.setattr(schedule.time, "monotonic", clock)
        one = Schedule(budget)
        arguments = TrainingArguments(
            output_dir=str(tmp_path),
            per_device_train_batch_size=2,
            **{**common_arguments(one, seed=0, bf16=False), "use_cpu": True},
        )
        data = [{"x": torch.ones(1)} for _ in range(6)]
        trainer = Trainer(model=Clocked(clock), args=arguments, train_dataset=data)
        assert run(trainer, one).steps == steps
        monkeypatch.undo()


def test_whoever_says_stop_is_obeyed(clock: Clock) -> None:
    says = []
    one = Schedule(Budget(steps=100), stopped=lambda: bool(says))
    assert not step(one, 1)
    says.append("stop")
    assert step(one, 2)


def test_a_killed_run_by_the_clock_goes_on(clock: Clock) -> None:
    one = Schedule(Budget(seconds=3.0))
    one.go_on(Budget(seconds=60.0), 45.0)
    clock.now += 500  # loading the checkpoint does not count
    one.on_train_begin(None, SimpleNamespace(global_step=7), None)
    assert one.steps == 7
    assert one.spent == pytest.approx(0.75)
    clock.now += 5
    assert one.spent_seconds == pytest.approx(50.0)
    assert not step(one, 8)
    clock.now += 10
    assert step(one, 9)
