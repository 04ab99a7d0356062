"""A script of a tuning run, as far as the disk sees it: what trains is left out, what is written is as in earnest."""

import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

from langchain_rerank_retriever.files import make_folder
from langchain_rerank_retriever.training.fit.checkpoint import Checkpointing, Checkpoints
from langchain_rerank_retriever.training.fit.schedule import Budget, Schedule
from langchain_rerank_retriever.training.run_folder import RunFolder, newest_checkpoint, run_folder

from .steps_scripts import names

_IDENTITY = {"documents": "1", "seed": "0"}
_PARTS = ("bi_encoder", "cross_encoder")
#: Steps after which there is a checkpoint.
_STEPS = (10, 20, 30)


class _Ended(BaseException):
    pass


class RunScript:
    """Two parts, each with checkpoints while it is trained, then the bundle, after which all that goes.

    Args:
        seed: For what is written.
        prepared: Whether the folder of the checkpoints is there, and empty.
    """

    def __init__(self, seed: int, *, prepared: bool = True) -> None:
        self._seed, self._prepared = seed, prepared
        self._calls = ["begin", *((part, step) for part in _PARTS for step in (*_STEPS, None)), "end"]

    def _content(self, part: str, step: int | None) -> dict[str, bytes]:
        """What lies in a checkpoint, or in a finished part."""
        rng = random.Random(f"{self._seed} {part} {step}")
        return {
            name: rng.randbytes(rng.randint(0, 9000))
            for name in ("model.safetensors", "1_Pooling/config.json")
        }

    def _write(self, folder: Path, part: str, step: int | None) -> None:
        for name, content in self._content(part, step).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)

    def play(self, root: Path, done: Callable[[], object]) -> None:
        with run_folder(root / "bundle", _IDENTITY, resume=False) as run:
            done()
            for part in _PARTS:
                self._train(run, part, done)
        done()

    def _train(self, run: RunFolder, part: str, done: Callable[[], object]) -> None:
        kept = Checkpoints(run.checkpoints(part), elapsed=lambda: 1.0)
        checkpointing = Checkpointing(kept, Schedule(Budget(steps=40)))
        if self._prepared:
            make_folder(kept.folder)
        for step in _STEPS:
            # As the trainer does it: without a sync.
            self._write(kept.scratch / f"checkpoint-{step}", part, step)
            checkpointing.on_save(
                SimpleNamespace(output_dir=str(kept.scratch)), SimpleNamespace(global_step=step), None
            )
            done()
        with run.writing(part) as written:
            self._write(written.folder, part, None)
            written.facts.update(elapsed=2.0, part=part)
        done()

    def check(self, root: Path, done: int) -> None:
        if done >= len(self._calls) - 1:
            # The run is over, or about to be.
            return
        # It raises, so that the folder stays.
        with suppress(_Ended), run_folder(root / "bundle", _IDENTITY, resume=True) as run:
            for place, part in enumerate(_PARTS):
                self._check_part(run, part, done - 1 - place * (len(_STEPS) + 1))
            raise _Ended

    def _check_part(self, run: RunFolder, part: str, calls: int) -> None:
        """A part for which so many calls have returned."""
        facts, newest = run.facts(part), newest_checkpoint(run.checkpoints(part))
        finished = facts is not None
        assert finished or calls <= len(_STEPS), f"{part} was finished"
        assert not finished or calls >= len(_STEPS), f"{part} was not finished"
        if finished:
            assert facts == {"elapsed": 2.0, "part": part}
            self._check_files(run.path(part), part, None)
            return
        step = 0 if newest is None else int(newest.name.removeprefix("step-"))
        numbers = [0, *_STEPS]
        assert step in numbers[max(calls, 0) :][:2], f"the newest checkpoint of {part} is that of step {step}"
        if newest is not None:
            self._check_files(newest, part, step)

    def _check_files(self, folder: Path, part: str, step: int | None) -> None:
        for name, content in self._content(part, step).items():
            assert (folder / name).read_bytes() == content

    def tidy(self, root: Path) -> None:
        work = root / ".bundle.tuning"
        with suppress(_Ended), run_folder(root / "bundle", _IDENTITY, resume=True):
            allowed = {"run.json", "run.lock", *_PARTS, *(f"{part}.steps" for part in _PARTS)}
            assert set(names(work)) <= allowed
            raise _Ended
        with run_folder(root / "bundle", _IDENTITY, resume=True):
            pass
        assert names(root) == []
