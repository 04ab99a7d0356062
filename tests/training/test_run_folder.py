"""What is left of a killed run: only what is whole counts."""

import errno
import json
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError

from langchain_rerank_retriever.errors import InvalidArgumentError, StorageError
from langchain_rerank_retriever.training.run_folder import (
    MANIFEST,
    facts_of,
    newest_checkpoint,
    run_folder,
    seal,
)

IDENTITY = {"documents": "1", "seed": "0"}


class Killed(BaseException):
    pass


def killed_run(target: Path, part: str = "a", elapsed: float = 2.0) -> Path:
    with pytest.raises(Killed), run_folder(target, IDENTITY, resume=False) as run:  # noqa: PT012
        with run.writing(part) as written:
            written.facts.update(elapsed=elapsed, loss=0.5)
            (written.folder / "model.bin").write_bytes(b"weights")
        raise Killed
    return target.parent / f".{target.name}.tuning"


def test_a_finished_run_leaves_nothing(tmp_path: Path) -> None:
    with run_folder(tmp_path / "bundle", IDENTITY, resume=False) as run:
        assert run.facts("a") is None
        with run.writing("a") as written:
            written.facts["elapsed"] = 1.0
            (written.folder / "x").write_text("x")
        assert run.facts("a") == {"elapsed": 1.0}
    assert list(tmp_path.iterdir()) == []


def test_a_killed_run_is_resumed(tmp_path: Path) -> None:
    killed_run(tmp_path / "bundle")
    with run_folder(tmp_path / "bundle", IDENTITY, resume=True) as run:
        assert run.facts("a") == {"elapsed": 2.0, "loss": 0.5}
        assert (run.path("a") / "model.bin").read_bytes() == b"weights"
        assert run.elapsed == 2.0


def test_what_was_being_written_is_swept(tmp_path: Path) -> None:
    work = killed_run(tmp_path / "bundle")
    for name in (".b.tmp-1", "b.steps.writing"):
        (work / name / "checkpoint-3").mkdir(parents=True)
    (work / "b.steps").mkdir()
    with run_folder(tmp_path / "bundle", IDENTITY, resume=True):
        assert sorted(entry.name for entry in work.iterdir()) == ["a", "b.steps", "run.json", "run.lock"]


def test_or_started_over(tmp_path: Path) -> None:
    killed_run(tmp_path / "bundle")
    with run_folder(tmp_path / "bundle", IDENTITY, resume=False) as run:
        assert run.facts("a") is None
        assert run.elapsed == 0.0


def test_resuming_where_nothing_is_left_starts(tmp_path: Path) -> None:
    with run_folder(tmp_path / "bundle", IDENTITY, resume=True) as run:
        assert run.elapsed == 0.0


def test_a_run_of_something_else_is_not_resumed(tmp_path: Path) -> None:
    work = killed_run(tmp_path / "bundle")
    other = IDENTITY | {"documents": "2", "recipe": "x"}
    with (
        pytest.raises(InvalidArgumentError, match=r"had other documents, recipe\. Pass the same"),
        run_folder(tmp_path / "bundle", other, resume=True),
    ):
        pytest.fail("it was resumed")
    assert facts_of(work / "a") is not None


def test_a_run_whose_identity_is_damaged_starts_over(tmp_path: Path) -> None:
    work = killed_run(tmp_path / "bundle")
    (work / "run.json").write_text("{", encoding="utf-8")
    with run_folder(tmp_path / "bundle", IDENTITY, resume=True) as run:
        assert run.facts("a") is None


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    work = killed_run(tmp_path / "bundle")
    with (
        FileLock(work / "run.lock"),
        pytest.raises(StorageError, match="Another process is tuning"),
        run_folder(tmp_path / "bundle", IDENTITY, resume=False),
    ):
        pytest.fail("two at once")
    assert facts_of(work / "a") is not None


def test_a_part_that_is_not_finished_does_not_count(tmp_path: Path) -> None:
    with run_folder(tmp_path / "bundle", IDENTITY, resume=False) as run:
        with pytest.raises(Killed), run.writing("a") as written:  # noqa: PT012
            (written.folder / "x").write_text("x")
            raise Killed
        assert run.facts("a") is None
        assert not run.path("a").exists()


def test_what_is_forgotten_is_gone(tmp_path: Path) -> None:
    killed_run(tmp_path / "bundle")
    with run_folder(tmp_path / "bundle", IDENTITY, resume=True) as run:
        run.forget("a")
        run.forget("never was")
        assert run.facts("a") is None


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 10_000), byte=st.integers(0, 255), name=st.sampled_from(["model.bin", "sub/b"]))
def test_damage_is_seen(place: int, byte: int, name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("part")
    scratch, target = folder / "scratch", folder / "target"
    (scratch / "sub").mkdir(parents=True)
    (scratch / "model.bin").write_bytes(b"weights" * 9)
    (scratch / "sub" / "b").write_bytes(b"others" * 9)
    seal(scratch, target, {"elapsed": 0.0})
    assert facts_of(target) == {"elapsed": 0.0}
    content = bytearray((target / name).read_bytes())
    before = bytes(content)
    content[place % len(content)] = byte
    (target / name).write_bytes(content)
    assert (facts_of(target) is not None) == (bytes(content) == before)


def test_missing_files_and_manifests_are_seen(tmp_path: Path) -> None:
    for removed in ("x", MANIFEST):
        scratch, target = tmp_path / "scratch", tmp_path / f"without-{removed}"
        scratch.mkdir()
        (scratch / "x").write_text("x")
        seal(scratch, target, {"elapsed": 0.0})
        (target / removed).unlink()
        assert facts_of(target) is None
    (target / MANIFEST).write_text(json.dumps([1]), encoding="utf-8")
    assert facts_of(target) is None


def test_facts_that_became_others_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    seal(tmp_path / "scratch", tmp_path / "target", {"elapsed": 12.5})
    manifest = tmp_path / "target" / MANIFEST
    manifest.write_text(manifest.read_text(encoding="utf-8").replace("12.5", "16.5"), encoding="utf-8")
    assert facts_of(tmp_path / "target") is None


def test_the_newest_whole_checkpoint(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path / "nothing") is None
    for number in (9, 10, 100):
        scratch = tmp_path / "scratch"
        scratch.mkdir()
        (scratch / "x").write_text("x")
        seal(scratch, tmp_path / f"step-{number}", {"elapsed": 0.0})
    assert newest_checkpoint(tmp_path) == tmp_path / "step-100"
    (tmp_path / "step-100" / "x").write_text("y")
    assert newest_checkpoint(tmp_path) == tmp_path / "step-10"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (SafetensorError("I/O error: No space left on device (os error 28)"), True),
        (
            RuntimeError("[enforce fail at inline_container.cc:672] PytorchStreamWriter failed writing file"),
            True,
        ),
        (OSError(errno.ENOENT, "no such model"), False),
        (RuntimeError("a loss of its own"), False),
        (StorageError("already told"), False),
    ],
)
def test_a_full_disk_is_told(error: Exception, told: bool, tmp_path: Path) -> None:
    killed_run(tmp_path / "bundle")
    with (
        pytest.raises((StorageError, type(error))) as caught,
        run_folder(tmp_path / "bundle", IDENTITY, resume=True) as run,
        run.writing("b"),
    ):
        raise error
    if told:
        assert isinstance(caught.value, StorageError)
        assert "resume=True" in str(caught.value)
    else:
        assert caught.value is error
    with run_folder(tmp_path / "bundle", IDENTITY, resume=True) as run:
        assert run.facts("a") is not None
        assert run.facts("b") is None
