"""Kill tuning runs at random moments; each must go on from its newest complete checkpoint and end as an unbroken one.

Run a long series by hand: python -m tests.reliability.killed_tuning --kills 30 --model FOLDER
"""

import argparse
import hashlib
import json
import multiprocessing
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from langchain_rerank_retriever import FaissStore, PooledEmbeddings, RerankRetriever, tune
from langchain_rerank_retriever.training import encoder_runs
from langchain_rerank_retriever.training.fit.checkpoint import Checkpoints
from langchain_rerank_retriever.training.fit.schedule import Schedule
from langchain_rerank_retriever.training.run_folder import newest_checkpoint
from tests.training.conftest import about_animals, animals

STEPS = 60
CONTEXT = multiprocessing.get_context("forkserver")
PARTS = ("bi_encoder", "cross_encoder")


class Often(Checkpoints):
    """A checkpoint at nearly every step, so that most kills come in the middle of writing one."""

    def __init__(self, folder: Path, elapsed: Callable[[], float]) -> None:
        super().__init__(folder, elapsed, every=0.05, times_its_cost=0.0)


def work(model: Path, target: Path, seed: int, log: Path) -> None:
    """Tune in a process of its own, noting at which step each training run begins."""
    begun = Schedule.on_train_begin

    def noted(schedule: Schedule, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        begun(schedule, args, state, control, **kwargs)
        part = Path(args.output_dir).name.partition(".")[0]
        with log.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps([part, state.global_step]) + "\n")

    Schedule.on_train_begin = noted  # type: ignore[method-assign]
    encoder_runs.Checkpoints = Often  # type: ignore[misc]
    result = tune(
        animals(),
        about_animals(),
        embeddings=str(model),
        output_dir=target,
        steps=STEPS,
        seed=seed,
        resume=True,
    )
    result.retriever.recall.close()


def outcome(target: Path) -> dict[str, Any]:
    """What a run ended with: its answers, its choice and every measure; how long things took is no part of it."""
    retriever = RerankRetriever.load_local(target, read_only=True)
    found = [[str(one.id) for one in retriever.invoke(row["query"], k=10)] for row in about_animals()[:10]]
    retriever.recall.close()
    report = dict(retriever.report or {})
    measures = {system["name"]: system["measures"] for system in report["systems"]}
    return {"answers": found, "chosen": report["chosen"], "measures": measures}


def weights(target: Path) -> dict[str, np.ndarray]:
    """Every tensor of the models in a bundle, by the names of model and tensor.

    A model that took the place of an earlier bundle's lies in a folder with a number behind its name.
    """
    return {
        f"{file.parent.name.partition('-')[0]}/{name}": tensor
        for file in sorted(target.glob("*/model.safetensors"))
        for name, tensor in load_file(file).items()
    }


def contents(folder: Path) -> dict[str, str]:
    """A hash of each file of a bundle; not of those that SQLite keeps while a reader has the store open."""
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and not file.name.endswith(("-wal", "-shm"))
    }


def check_equal(target: Path, unbroken: Path, told: str) -> None:
    """The killed run ended as the unbroken one, in what it chose and in every weight."""
    if outcome(target) != outcome(unbroken):
        raise AssertionError(f"{told} ended otherwise than an unbroken one")
    ours, theirs = weights(target), weights(unbroken)
    if ours.keys() != theirs.keys() or not ours:
        raise AssertionError(f"{told} left other models than an unbroken one")
    for name, tensor in ours.items():
        if not np.allclose(tensor, theirs[name], rtol=0, atol=1e-4):
            raise AssertionError(f"{told}: {name} differs by {np.abs(tensor - theirs[name]).max()}")


def run(
    kills: int, model: Path, folder: Path, say: Callable[[Counter[str]], object], seed: int = 0
) -> Counter[str]:
    """Kill so many runs.

    Args:
        kills: How many.
        model: A small sentence-transformers model.
        folder: For what the runs leave.
        say: Called with the counts so far when a run has ended.
        seed: Of the moments.

    Returns:
        Counts of kills, by what had been done when they came, and of runs that ended.
    """
    rng = random.Random(seed)
    counts: Counter[str] = Counter()
    number = 0
    while counts["kills"] < kills:
        number += 1
        target = folder / str(number) / "bundle"
        store = FaissStore.from_documents(animals()[:7], PooledEmbeddings(model))
        RerankRetriever(store, k=2).save_local(target)
        counts += _one_run(model, target, number, kills - counts["kills"], rng)
        counts["runs ended"] += 1
        unbroken = folder / str(number) / "unbroken"
        _child(model, unbroken, number, folder / "unused.log").join()
        check_equal(target, unbroken, f"run {number} (seed {seed})")
        say(counts)
    return counts


def _one_run(model: Path, target: Path, seed: int, kills: int, rng: random.Random) -> Counter[str]:
    counts: Counter[str] = Counter()
    log = target.parent / "steps.log"
    work_folder = target.parent / f".{target.name}.tuning"
    earlier = contents(target)
    while True:
        kept = {part: newest_checkpoint(work_folder / f"{part}.steps") for part in PARTS}
        log.write_text("", encoding="utf-8")
        child = _child(model, target, seed, log)
        if counts["kills"] < kills:
            # Most kills come while an encoder trains; how long a process takes to get there differs.
            training = rng.random() < 0.8
            while training and child.is_alive() and not log.read_text(encoding="utf-8"):
                time.sleep(0.1)
            child.join(timeout=rng.uniform(0.1, 3.0))
        else:
            child.join()
        _check_resumed(log, kept)
        if child.exitcode is not None:
            if child.exitcode != 0:
                raise AssertionError(f"a run ended with exit code {child.exitcode}")
            return counts
        child.kill()
        child.join()
        if child.exitcode != -signal.SIGKILL:
            return counts  # it ended just before
        counts["kills"] += 1
        done = [part for part in PARTS if (work_folder / part).is_dir()]
        counts[f"killed with {len(done)} encoders done"] += 1
        counts["killed while training"] += bool(log.read_text(encoding="utf-8")) and len(done) < len(PARTS)
        # What was there before opens as ever, until the new bundle is complete.
        retriever = RerankRetriever.load_local(target, read_only=True)
        if len(retriever.recall) != (7 if retriever.report is None else 60):
            raise AssertionError("the bundle is neither the earlier one nor the new one")
        counts["the earlier bundle" if retriever.report is None else "the new bundle"] += 1
        retriever.recall.close()
        if retriever.report is None and not earlier.items() <= contents(target).items():
            raise AssertionError("a run that was killed has changed the earlier bundle")


def _check_resumed(log: Path, kept: dict[str, Path | None]) -> None:
    for line in log.read_text(encoding="utf-8").splitlines():
        part, step = json.loads(line)
        newest = kept.get(part)
        expected = 0 if newest is None else int(newest.name.rpartition("-")[2])
        if step != expected:
            raise AssertionError(
                f"{part} began at step {step}, its newest complete checkpoint was {expected}"
            )


def _child(model: Path, target: Path, seed: int, log: Path) -> Any:
    process = CONTEXT.Process(target=work, args=(model, target, seed, log))
    process.start()
    return process


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", type=Path, help="a small sentence-transformers model")
    arguments = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        counts = run(
            arguments.kills,
            arguments.model,
            Path(folder),
            lambda counts: sys.stdout.write(f"{dict(counts)}\n"),
            arguments.seed,
        )
    sys.stdout.write(f"{dict(counts)}, {time.monotonic() - started:.0f} s\n")


if __name__ == "__main__":
    CONTEXT.set_forkserver_preload(["langchain_rerank_retriever.training", "sentence_transformers"])
    main()
