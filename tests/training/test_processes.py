"""What the processes of a launch say to each other, and what each does about it, without any launch."""

import json
import signal
from collections import deque
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from langchain_rerank_retriever import tune
from langchain_rerank_retriever.errors import DataError, InvalidArgumentError, LaunchError
from langchain_rerank_retriever.training import Recipe, following, tuning
from langchain_rerank_retriever.training import processes as module
from langchain_rerank_retriever.training.fit.checkpoint import Checkpointing, Checkpoints
from langchain_rerank_retriever.training.fit.job import Job, received, shared
from langchain_rerank_retriever.training.fit.schedule import Budget, Schedule
from langchain_rerank_retriever.training.fit.trainer import Training, arguments
from langchain_rerank_retriever.training.following import leading, report_of
from langchain_rerank_retriever.training.interrupt import ends_early
from langchain_rerank_retriever.training.processes import ALONE, Together, check_launch, launched, together
from langchain_rerank_retriever.training.proof.promote import Decision
from langchain_rerank_retriever.training.proof.report import SystemReport, TuningReport

MAIN, OTHER = Together(0, 2), Together(1, 2)


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> deque[torch.Tensor]:
    """What is on its way from the main process to the other, in place of gloo."""
    sent: deque[torch.Tensor] = deque()

    def broadcast(one: Together, tensor: torch.Tensor, _seconds: float) -> None:
        if one.main:
            sent.append(tensor.clone())
        else:
            tensor.copy_(sent.popleft())

    monkeypatch.setattr(Together, "_broadcast", broadcast)
    return sent


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(value=JSON)
def test_all_have_what_the_main_process_has(value: Any) -> None:
    sent: deque[torch.Tensor] = deque()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Together, "_broadcast", lambda one, tensor, _: sent.append(tensor.clone()))
        assert MAIN.same(value) == value
        # Nothing but numbers is sent: a length, and that many bytes of JSON.
        length, data = sent
        assert length.tolist() == [len(data)]
        assert data.dtype == torch.uint8
        assert json.loads(bytes(data.tolist())) == {"value": value}
        patch.setattr(Together, "_broadcast", lambda one, tensor, _: tensor.copy_(sent.popleft()))
        assert OTHER.same("not looked at") == value
    assert ALONE.same(value) == value


def test_one_alone_asks_nobody() -> None:
    assert ALONE.main
    assert ALONE.mean(0.3) == 0.3
    ALONE.wait()


def test_the_others_fail_with_the_words_of_the_main_process(wire: deque[torch.Tensor]) -> None:
    with pytest.raises(DataError), leading(MAIN, Path("bundle")):
        raise DataError("row 3 has no query")
    with pytest.raises(LaunchError, match="failed: DataError: row 3 has no query"):
        following.follow(OTHER)
    with pytest.raises(KeyboardInterrupt), leading(MAIN, Path("bundle")):
        raise KeyboardInterrupt
    with pytest.raises(LaunchError, match=r"failed: KeyboardInterrupt$"):
        following.follow(OTHER)
    assert not wire


def test_another_process_that_is_gone_hides_neither_error_nor_result(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def gone(*_: Any) -> None:
        raise LaunchError("gone")

    monkeypatch.setattr(Together, "_broadcast", gone)
    with pytest.raises(DataError, match="row 3"), leading(MAIN, Path("bundle")):
        raise DataError("row 3 has no query")
    with leading(MAIN, Path("bundle")):
        pass
    assert "bundle is complete" in caplog.text


def test_an_exchange_that_fails_or_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    class Work:
        def __init__(self, *, done: bool) -> None:
            self.done = done

        def is_completed(self) -> bool:
            return self.done

        def wait(self) -> None:
            raise RuntimeError("[gloo/transport/tcp/pair.cc:553] Connection closed by peer")

    with pytest.raises(LaunchError, match="Another process of this launch has ended") as caught:
        module._finish(lambda: Work(done=True), 1.0)
    assert "closed by peer" in str(caught.value.__cause__)
    with pytest.raises(LaunchError, match="did not answer within 0 s"):
        module._finish(lambda: Work(done=False), 0.05)


def test_launched_is_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert together() is ALONE
    for value, expected in (("1", False), ("2", True), ("", False), ("many", False)):
        monkeypatch.setenv("WORLD_SIZE", value)
        assert launched() is expected


@pytest.mark.parametrize("name", ["FSDP", "DEEPSPEED", "MEGATRON_LM"])
def test_a_launch_that_splits_models_is_refused_at_once(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(f"ACCELERATE_USE_{name}", "true")
    check_launch()
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InvalidArgumentError, match=r"got a launch with .*\. Launch with"):
        tune([], [], embeddings="none", output_dir=tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_is_the_launchers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(KeyboardInterrupt), ends_early() as asked:  # noqa: PT012
        signal.raise_signal(signal.SIGINT)
        pytest.fail(f"it was taken for a wish to end early: {asked()}")


def test_the_others_never_look_at_the_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "together", lambda: OTHER)
    monkeypatch.setattr(tuning, "follow", lambda processes: ("followed", processes))
    assert tune(None, None, embeddings=None, output_dir=None) == ("followed", OTHER)  # type: ignore[arg-type]


# ---------------------------------------------------------------- what each does in a training


def test_all_go_by_the_clock_of_the_main_process(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[Any] = []
    monkeypatch.setattr(Together, "same", lambda one, value: said.pop(0))
    schedule = Schedule(Budget(seconds=60.0), together=OTHER)
    control, state = SimpleNamespace(should_training_stop=False), SimpleNamespace(global_step=1)
    schedule.on_train_begin(None, state, control)
    assert schedule.learning_rate_factor(0) == 0.01
    for seconds, stopping, factor, ends in ((33.0, False, 0.5, False), (33.0, True, 0.5, True)):
        said.append([seconds, stopping])
        schedule.on_optimizer_step(None, state, control)
        assert schedule.learning_rate_factor(0) == pytest.approx(factor)
        schedule.on_step_end(None, state, control)
        assert control.should_training_stop is ends


def test_the_main_process_says_when_to_keep_a_checkpoint(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said = [True, False]
    monkeypatch.setattr(Together, "same", lambda one, value: said.pop(0))
    monkeypatch.setattr(Together, "mean", lambda one, value: value)
    kept = Checkpoints(tmp_path / "model.steps", elapsed=lambda: 0.0, every=3600.0)
    other = Checkpointing(kept, Schedule(Budget(steps=3)), OTHER)
    for expected in (True, False):
        control = SimpleNamespace(should_save=False, should_training_stop=False)
        assert other.on_step_end(None, None, control).should_save is expected
    # What the trainer has written is sealed by the main process.
    other.on_save(SimpleNamespace(output_dir=str(tmp_path)), SimpleNamespace(global_step=1), None)
    assert list(tmp_path.iterdir()) == []


def a_job(**more: Any) -> Job:
    columns = {"query": ["a", "b"], "passage": ["c", "한"], "label": [[0.1, 1 / 3], [2.0, -1.5]]}
    return Job(
        lesson="distillation", columns=columns, batch_size=8, rate=2e-5, prompts={"query": "q: "}, **more
    )


class Model:
    def save_pretrained(self, folder: str) -> None:
        Path(folder).mkdir()


def test_a_job_arrives_as_it_was_sent(wire: deque[torch.Tensor], tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path / "model.steps", elapsed=lambda: 7.0)
    training = Training(
        folder=tmp_path / "part",
        budget=Budget(seconds=12.5),
        seed=3,
        recipe=Recipe(matryoshka_dims=(8, 4), distill="kl"),
        bf16=True,
        checkpoints=kept,
        together=MAIN,
    )
    job = a_job(new_head=True, negatives=7)
    with shared(Model(), job, training):
        folder = Path(OTHER.same(None)["train"])
        model, same, how = received(folder, OTHER)
    assert (same, model) == (job, folder / "model")
    assert (how.budget, how.seed, how.recipe, how.half_precision) == (
        training.budget,
        3,
        training.recipe,
        True,
    )
    assert how.kept is not None
    assert (how.kept.folder, how.kept.scratch) == (kept.folder, kept.scratch)
    assert how.together is OTHER
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(LaunchError, match=r"Process 1 cannot read .* that all machines share"):
        received(folder, OTHER)


def test_fewer_rows_than_processes(wire: deque[torch.Tensor], tmp_path: Path) -> None:
    training = Training(folder=tmp_path / "part", budget=Budget(steps=1), seed=0, together=Together(0, 3))
    with (
        pytest.raises(DataError, match="2 rows to train on and 3 processes"),
        shared(Model(), a_job(), training),
    ):
        pytest.fail("it was begun")
    assert not wire


def test_what_torch_says_of_a_lost_process_is_told_as_one_error(tmp_path: Path) -> None:
    training = Training(folder=tmp_path / "part", budget=Budget(steps=1), seed=0, together=OTHER)
    with pytest.raises(LaunchError, match="has ended"), shared(Model(), a_job(), training):
        raise RuntimeError("[gloo] Connection closed by peer [127.0.0.1]:1950.")
    with pytest.raises(RuntimeError, match="out of memory"), shared(Model(), a_job(), training):
        raise RuntimeError("CUDA out of memory")


def test_one_process_trains_on_one_gpu(tmp_path: Path) -> None:
    """Where it sees four, transformers makes batches of four times as many rows, and cuts them up again."""
    from transformers import TrainingArguments

    class FourGpus(TrainingArguments):
        def __post_init__(self) -> None:
            super().__post_init__()
            self._n_gpu = 4

    made = FourGpus(output_dir=str(tmp_path), per_device_train_batch_size=8, use_cpu=True)
    assert (made.n_gpu, made.train_batch_size) == (4, 32)
    training = Training(folder=tmp_path, budget=Budget(steps=1), seed=0, bf16=False)
    settings = {"output_dir": str(tmp_path), "per_device_train_batch_size": 8}
    pinned = arguments(FourGpus, training, training.schedule(), **settings)
    assert (pinned.n_gpu, pinned.train_batch_size) == (1, 8)


# ---------------------------------------------------------------- the report


def test_a_report_is_read_as_it_was_written() -> None:
    report = TuningReport(
        systems=[
            SystemReport("base", {"nDCG@10": 0.5}, {}),
            SystemReport("tuned", {"nDCG@10": 0.75}, {"p50": 3.0}),
        ],
        chosen="tuned",
        held_out_queries=20,
        verdict="Chosen: tuned.",
        decisions=[Decision("tuned", "base", 0.25, 0.1, promoted=True, reason="better")],
        depth_curve={10: 0.7, 20: 0.75},
        blend=None,
        training={"bi_encoder": {"steps": 3}},
        data={"documents": 60},
        comparison={},
        warnings=["few"],
    )
    read = report_of(json.loads(json.dumps(report.to_dict())))
    assert read == report
    assert str(read) == str(report)
