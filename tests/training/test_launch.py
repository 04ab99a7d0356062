"""`tune` in several processes, started as users start them; loopback alone, in processes of their own."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from langchain_rerank_retriever import RerankRetriever
from tests.training import launched

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.enable_socket]

ROOT = Path(launched.__file__).parents[2]

#: Starting Python with torch twice, on a busy machine; nothing that is tried here trains for long.
PATIENCE = 240.0


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **more}


def start(what: str, settings: dict[str, Any], processes: int = 2) -> list[subprocess.Popen[str]]:
    """Start processes with nobody to watch over them, so that how each ends is its own doing."""
    command = [sys.executable, "-m", "tests.training.launched", what, json.dumps(settings, default=str)]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(processes)}
    return [
        subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(**shared, RANK=str(rank), LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE=str(processes)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(processes)
    ]


def ended(running: list[subprocess.Popen[str]]) -> list[tuple[int, str]]:
    """Wait for all of them; exit codes and what they printed."""
    try:
        said = [one.communicate(timeout=PATIENCE)[0] for one in running]
    finally:
        for one in running:
            one.kill()
    return [(one.returncode, text) for one, text in zip(running, said, strict=True)]


def run(what: str, settings: dict[str, Any], processes: int = 2) -> None:
    for code, text in ended(start(what, settings, processes)):
        assert code == 0, text


def told_by(folder: Path) -> list[dict[str, Any]]:
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def test_the_channel(tmp_path: Path) -> None:
    run("say", {"told": tmp_path})
    assert told_by(tmp_path) == [[{"rank": 0, "third": 1 / 3, "text": "한국어"}, 0.5]] * 2


#: Weights whose gradient is zero but for rounding, of which Adam makes steps of full length: a softmax does not see
#: what is added to all scores.
BLIND = ("key.bias", "linear.bias")


#: What is trained: in-batch negatives, at once, in parts and nested; lists and pairs of a cross-encoder; adapters.
LESSONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "in-parts": {"mini_batch_size": 2},
    "nested": {"matryoshka_dims": [8]},
    "adapters": {"lora_rank": 4},
    "lists": {},
    "lists-bce": {"cross_encoder_loss": "bce"},
}


def test_two_processes_train_as_one_with_the_whole_batch(
    bi_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """sentence-transformers in one process, with batches of 8, is the oracle of two with batches of 4."""
    for module, name in ((launched.bi_encoder, "LEARNING_RATE"), (launched.cross_encoder, "LISTS_PER_STEP")):
        monkeypatch.setattr(module, name, getattr(module, name))  # put back afterwards
    alone, both = tmp_path / "alone", tmp_path / "both"
    launched.run_fit(bi_encoder, alone, 8, LESSONS)
    run("fit", {"start": bi_encoder, "told": both, "batch": 8, "lessons": LESSONS})
    expected, got = (json.loads((folder / "fitted.json").read_text()) for folder in (alone, both))
    before = load_file(bi_encoder / "model.safetensors")
    for lesson in LESSONS:
        assert got[lesson] == pytest.approx(expected[lesson], rel=1e-5), lesson
        assert got[lesson][0] == 4
        check_weights(alone / lesson, both / lesson)
        after = load_file(alone / lesson / "model.safetensors")
        moved = max(float((after[name] - before[name]).abs().max()) for name in before.keys() & after.keys())
        assert moved > 1e-4, lesson


def check_weights(alone: Path, both: Path) -> None:
    files = sorted(path.relative_to(alone) for path in alone.rglob("*.safetensors"))
    assert files
    for file in files:
        expected, got = load_file(alone / file), load_file(both / file)
        assert expected.keys() == got.keys()
        for name, weights in expected.items():
            if not name.endswith(BLIND):
                assert got[name].numpy() == pytest.approx(weights.numpy(), abs=1e-5), (file, name)


def check_result(told: Path, target: Path) -> None:
    main, other = told_by(told)
    assert main == other
    assert [entry.name for entry in target.parent.iterdir()] == [target.name]
    retriever = RerankRetriever.load_local(target, read_only=True)
    assert retriever.report == main["report"]
    retriever.recall.close()


def test_tune_as_users_launch_it(bi_encoder: Path, tmp_path: Path) -> None:
    """With every lesson there is, by accelerate's own launcher."""
    target, told = tmp_path / "out" / "bundle", tmp_path / "told"
    told.mkdir()
    recipe = {"batch_size": 8, "distill": "kl"}
    settings = {
        "told": told,
        "embeddings": str(bi_encoder),
        "output_dir": str(target),
        "epochs": 1,
        "recipe": recipe,
    }
    command = ["-m", "tests.training.launched", "tune", json.dumps(settings, default=str)]
    launcher = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    done = subprocess.run(
        [sys.executable, *launcher, "--main_process_port", str(free_port()), *command],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    check_result(told, target)
    training = told_by(told)[0]["report"]["training"]
    assert training["bi_encoder"]["steps"] == 7  # 104 pairs, 2 x 8 a step
    assert training["cross_encoder"]["steps"] == 13  # 104 queries, 2 x 4 a step
    assert training["distilled_bi_encoder"]["steps"] >= 1
    assert training["hard_negatives"]["lists"] == 104


def test_scored_pairs(bi_encoder: Path, tmp_path: Path) -> None:
    target, told = tmp_path / "out" / "bundle", tmp_path / "told"
    told.mkdir()
    run("tune", {"told": told, "pairs": True, "embeddings": bi_encoder, "output_dir": target, "steps": 2})
    main, other = told_by(told)
    assert main == other
    assert main["report"]["training"]["bi_encoder"]["steps"] == 2


def test_by_the_clock(bi_encoder: Path, tmp_path: Path) -> None:
    """All stop at the step at which the main process says so, or they would wait for each other for ten minutes."""
    target, told = tmp_path / "out" / "bundle", tmp_path / "told"
    told.mkdir()
    settings = {
        "told": told,
        "embeddings": bi_encoder,
        "output_dir": target,
        "minutes": 0.5,
        "reranker": None,
    }
    started = time.monotonic()
    run("tune", settings)
    assert time.monotonic() - started < 120
    check_result(told, target)


@pytest.fixture(scope="module")
def unbroken(bi_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What comes of two processes that nothing happens to."""
    folder = tmp_path_factory.mktemp("unbroken")
    run("tune", {"told": folder, "embeddings": bi_encoder, "output_dir": folder / "bundle", **SIX_STEPS})
    return told_by(folder)[0]


SIX_STEPS = {"steps": 6, "reranker": None}

GONE = "LaunchError: Another process of this launch has ended"


@pytest.mark.parametrize(
    ("rank", "how"),
    [
        (0, "kill"),
        *(
            pytest.param(rank, how, marks=pytest.mark.nightly)
            for rank in (0, 1)
            for how in ("kill", "raise", "interrupt")
            if (rank, how) != (0, "kill")
        ),
    ],
)
def test_one_that_ends_ends_the_other_and_resuming_goes_on(
    rank: int, how: str, bi_encoder: Path, tmp_path: Path, unbroken: dict[str, Any]
) -> None:
    target, told = tmp_path / "out" / "bundle", tmp_path / "told"
    told.mkdir()
    settings = {"told": told, "embeddings": bi_encoder, "output_dir": target, **SIX_STEPS}
    started = time.monotonic()
    outcomes = ended(start("tune", settings | {"end": {"rank": rank, "step": 4, "how": how}}))
    assert time.monotonic() - started < PATIENCE
    assert all(code != 0 for code, _ in outcomes)
    if how == "kill":
        assert outcomes[rank][0] == -signal.SIGKILL
    else:
        error = {"raise": "StorageError" if rank == 0 else "OSError", "interrupt": "KeyboardInterrupt"}[how]
        assert (told / f"{rank}.error").read_text().startswith(error)
    heard = rank == 0 and how != "kill"  # the main process can still say what happened
    words = "LaunchError: The main process of this launch failed: " if heard else GONE
    assert (told / f"{1 - rank}.error").read_text().startswith(words)
    assert not target.exists()
    # The fourth step had not ended.
    checkpoints = target.parent / f".{target.name}.tuning" / "bi_encoder.steps"
    assert [path.name for path in checkpoints.iterdir()] == ["step-3"]
    if how != "kill":
        return
    run("tune", settings | {"resume": True})
    check_result(told, target)
    resumed = told_by(told)[0]
    assert resumed["answers"] == unbroken["answers"]
    tuned, expected = (one["report"]["systems"][-1]["measures"] for one in (resumed, unbroken))
    assert tuned == expected


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"embeddings": "no-such-model"}, "ModelLoadError"),
        (
            {"pairs": True, "reranker": "some-cross-encoder"},
            "InvalidArgumentError: Scored sentence pairs train",
        ),
    ],
)
def test_what_the_main_process_refuses_is_refused_in_all(
    changed: dict[str, Any], words: str, bi_encoder: Path, tmp_path: Path
) -> None:
    settings = {"told": tmp_path, "embeddings": bi_encoder, "output_dir": tmp_path / "bundle", "steps": 1}
    codes = [code for code, _ in ended(start("tune", settings | changed))]
    assert all(code != 0 for code in codes)
    assert (tmp_path / "0.error").read_text().startswith(words)
    assert (
        (tmp_path / "1.error")
        .read_text()
        .startswith(f"LaunchError: The main process of this launch failed: {words}")
    )
    assert not (tmp_path / "bundle").exists()
