"""Full and failing disks (G4): an error of ours, nothing changed, the open store serves, and all works afterwards."""

import errno
import os
import random
import resource
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

import pytest

from langchain_rerank_retriever import CrossEncoderScorer
from langchain_rerank_retriever.errors import ReadOnlyError, RerankError, StorageError
from langchain_rerank_retriever.store import FaissStore, connections, snapshots, upkeep
from tests.store.helpers import FastEmbeddings

from . import failing_writes_script
from .damage import files_of, in_child
from .failing_writes import ERRORS, Disk, beneath_python, beneath_sqlite, sqlites_vfs
from .failing_writes_script import DIMENSION, Stage, check, run, texts
from .formats_golden import tiny_model
from .goals import Count
from .scale import SCALE, at_scale

Goal = Callable[[str], AbstractContextManager[Count]]

#: Seconds for the whole script; a child that hangs is a failure.
LIMIT = 120.0


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """So few documents have a snapshot, and nothing is made in the background unless it is waited for."""
    monkeypatch.setattr(snapshots, "MIN_ROWS", 10)
    monkeypatch.setattr(upkeep, "QUIET", 60.0)


def script(root: Path, at: int, error: int, *, stays: bool) -> dict[str, Any]:
    """Run the script on a disk that fails at a call; in a process of its own, since it is patched for good."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    disk = Disk(root, at=at, error=error, stays=stays)
    beneath_python(disk)
    beneath_sqlite(disk)
    try:
        stage = Stage(root)
    except StorageError as problem:
        disk.mend()
        return {"raised": 1, "messages": [str(problem)], **run(Stage(root), disk.mend, lambda: disk.failed)}
    facts = run(stage, disk.mend, lambda: disk.failed)
    return {**facts, "seen": disk.seen, "failed": disk.failed}


@pytest.mark.skipif(sqlites_vfs() is None, reason="Python does not show SQLite's library")
@pytest.mark.parametrize("stays", [False, True], ids=["once", "full"])
def test_every_call(goal: Goal, seed: int, quick: Path, stays: bool) -> None:
    """The n-th of all calls that may fail does, or it and every later one that needs space."""
    rng, kinds = random.Random(seed), Counter[str]()
    seen = in_child(lambda: script(quick / "s", 0, 0, stays=stays), LIMIT).facts["seen"]
    places = range(1, len(seen) + 1)
    asked = at_scale(2, 15, 500 if stays else len(places))
    chosen = sorted(rng.sample(places, min(len(places), asked)))
    with goal("G4") as count:
        for place in chosen:
            error = ERRORS[place % 3] if not stays else (errno.ENOSPC, errno.EDQUOT)[place % 2]
            label = f"{errno.errorcode[error]} at call {place} of {len(seen)}, a {seen[place - 1]}"
            try:
                outcome = in_child(lambda: script(quick / "s", place, error, stays=stays), LIMIT)  # noqa: B023 - at once
            except AssertionError as problem:
                raise AssertionError(f"{label}: {problem}") from problem
            assert outcome.refused is None, f"{label}: {outcome.message}"
            count.done += 1
            kinds["told" if outcome.facts["raised"] else "did no harm"] += 1
            count.note = f"calls that may fail: {len(seen)}; " + ", ".join(
                f"{number} {kind}" for kind, number in kinds.most_common()
            )


# ---------------------------------------------------------------- limits and disks of the system's own


def until_mended(
    goal: Goal, limited: Callable[[Path], dict[str, Any]], root: Path, cases: Iterable[Any]
) -> None:
    """Run the script once for each limit, in a process that `limited` has put under it."""
    told = 0
    with goal("G4") as count:
        for case in cases:
            shutil.rmtree(root, ignore_errors=True)
            root.mkdir()
            try:
                outcome = in_child(lambda: limited(case), LIMIT)  # noqa: B023 - run at once
            except AssertionError as problem:
                raise AssertionError(f"{case}: {problem}") from problem
            assert outcome.refused is None, f"{case}: {outcome.message}"
            assert outcome.facts["failed"], f"{case}: the limit was never met"
            told += outcome.facts["raised"]
            count.done += 1
        count.note = f"{told} errors told"


def test_files_that_may_not_grow(goal: Goal, seed: int, quick: Path) -> None:
    """RLIMIT_FSIZE: no file may become longer; SQLite and numpy meet it in C."""

    def limited(size: int) -> dict[str, Any]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        stage = Stage(quick / "s")
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        met: list[int] = []

        def mend() -> None:
            met.append(1)
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

        return {**run(stage, mend, lambda: 1), "failed": len(met) > 1}

    rng = random.Random(seed)
    sizes = [rng.randrange(220_000, 420_000) for _ in range(at_scale(1, 3, 60))]
    until_mended(goal, limited, quick / "s", sizes)


def test_no_more_pages(goal: Goal, quick: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite's own limit of the size of a database, on every connection."""
    limit = [1_000_000]
    real = connections.connect

    def connect(file: Path | None, **settings: Any) -> Any:
        made = real(file, **settings)
        if file is not None and file.parent == quick / "s" / "store":
            made.execute(f"PRAGMA max_page_count = {limit[0]}")
        return made

    monkeypatch.setattr(connections, "connect", connect)
    monkeypatch.setattr(failing_writes_script, "LENGTH", 500)

    def limited(more: int) -> dict[str, Any]:
        stage = Stage(quick / "s")
        with stage.store._engine.connections.reading() as connection:
            used = connection.execute("PRAGMA page_count").fetchone()[0]

        def allow(pages: int) -> None:
            limit[0] = pages
            for one in list(stage.store._engine.connections._open):
                one.execute(f"PRAGMA max_page_count = {pages}")

        allow(used + more)
        facts = run(stage, lambda: allow(1_000_000), lambda: 1)
        return {**facts, "failed": facts["raised"]}

    until_mended(goal, limited, quick / "s", range(at_scale(1, 3, 5)))


def test_no_more_files(goal: Goal, quick: Path) -> None:
    """RLIMIT_NOFILE: what is open goes on, what would open something says so, and nothing is half done."""

    def limited(left: int) -> dict[str, Any]:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        stage = Stage(quick / "s")
        stage.state = stage.add(texts(0, 20))
        check(stage, stage.state)
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        held = []
        with suppress(OSError):
            while True:
                held.append(os.open(os.devnull, os.O_RDONLY))
        for _ in range(left):
            os.close(held.pop())
        met: list[int] = []

        def mend() -> None:
            met.append(1)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

        return {**run(stage, mend, lambda: 1), "failed": len(met) > 1}

    # With four left the script has all that it needs.
    until_mended(goal, limited, quick / "s", range(at_scale(2, 4, 4)))


MOUNTED = """
import sys
from pathlib import Path
from tests.reliability import test_failing_writes
sys.exit(test_failing_writes.on_a_mount(Path(sys.argv[1]), sys.argv[2]))
"""


@pytest.mark.skipif(
    shutil.which("unshare") is None
    or subprocess.run(["unshare", "-Urm", "true"], capture_output=True, check=False).returncode != 0,
    reason="this user may not mount anything in a namespace of its own",
)
@pytest.mark.parametrize("what", ["full", "read only"])
def test_a_real_disk(goal: Goal, tmp_path: Path, what: str) -> None:
    """A file system of two mebibytes, filled; and a read-only one. Root, too, must heed those, unlike modes."""
    if what == "read only" and SCALE == "everyday":
        pytest.skip("seconds of imports for one fault")
    with goal("G4") as count:
        command = ["unshare", "-Urm", sys.executable, "-c", MOUNTED, str(tmp_path), what]
        done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        count.done += 1


def on_a_mount(folder: Path, what: str) -> int:
    """Within the namespace: the script, on a file system of its own; the exit status."""
    snapshots.MIN_ROWS, upkeep.QUIET = 10, 60.0
    _mount("-t", "tmpfs", "-o", "size=2048k", "tmpfs", folder)
    stage = Stage(folder)
    stage.state = stage.add(texts(0, 12))
    stage.state = stage.save("copy")
    if what == "read only":
        return _read_only(stage, folder)
    (folder / "ballast").write_bytes(bytes(_free(folder)))
    facts = run(stage, lambda: _mount("-o", "remount,size=64m", folder), lambda: 1)
    return 0 if facts["raised"] else 3


def _read_only(stage: Stage, folder: Path) -> int:
    """A disk cannot become read-only under an open database, but before one is opened."""
    stage.store.close()
    before = files_of(folder)
    _mount("-o", "remount,ro", folder)
    for call in (lambda: stage.opened(stage.state), lambda: stage.save("second copy")):
        with pytest.raises(RerankError):
            call()
    with FaissStore(FastEmbeddings(DIMENSION), path=folder / "store", read_only=True) as stage.store:
        check(stage, stage.state)
        assert stage.store.verify(deep=True).ok
        with pytest.raises(StorageError):
            stage.save("second copy")
        with pytest.raises(ReadOnlyError):
            stage.delete(["id-1"])
    assert files_of(folder) == before
    _mount("-o", "remount,rw,size=64m", folder)
    stage.store = stage.opened(stage.state)
    run(stage, lambda: None, lambda: 1)
    return 0


def _mount(*arguments: object) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True)


def _free(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


@pytest.mark.skipif(SCALE == "everyday", reason="seconds of torch for one fault")
def test_a_model_that_does_not_fit(quick: Path) -> None:
    """Its weights are written by a library in Rust, with an error of its own."""
    with CrossEncoderScorer(tiny_model(quick / "model", 0), precision="float32") as scorer:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
        try:
            with pytest.raises(StorageError):
                scorer.save(quick / "saved")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert [file.name for file in quick.iterdir()] == ["model"]
        scorer.save(quick / "saved")
