"""Test the tests: put known bugs into a copy of the package, one at a time, and see which tests notice.

    python -m tests.reliability.seeded                     every bug; a table, and exit 1 where one goes unnoticed
    python -m tests.reliability.seeded --only stale-delta  some of them

A bug is a patch in seeded_bugs/, and seeded_bugs/bugs.toml names the tests that must notice it. They are run on a copy
without any bug first, where they must pass, then on one with the bug, where one must fail: by an assertion or an error
of the package, not because the patch itself is broken. The checkout is never touched.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .seeded_outcome import Outcome, judged

ROOT = Path(__file__).parents[2]
PATCHES = Path(__file__).parent / "seeded_bugs"
PACKAGE = "langchain_rerank_retriever"

#: Seconds that a test may take with a bug that makes it hang, and all tests of a copy.
PATIENCE, PATIENCE_IN_ALL = 100, 600
#: In the copy's own conftest.py, so that no test of a copy can be one of the installed package by accident.
_ONLY_THE_COPY = f"""
import pathlib
import pytest
import {PACKAGE}

def pytest_configure(config):
    imported, here = pathlib.Path({PACKAGE}.__file__), pathlib.Path(__file__).parent
    if imported.parent.resolve() != here.resolve() / "{PACKAGE}":
        pytest.exit(f"The package was imported from {{imported}}, not from {{here}}", returncode=3)

def pytest_report_header():
    return f"the package: {{{PACKAGE}.__file__}}"
"""


class SeedError(Exception):
    """A patch, or a test that is to notice it, cannot be used as it is."""


@dataclass(frozen=True, slots=True)
class Bug:
    """A deliberate bug.

    Attributes:
        name: Of the patch, too.
        what: What is wrong with it.
        tests: The pytest node ids of which at least one must fail.
    """

    name: str
    what: str
    tests: tuple[str, ...]

    @property
    def patch(self) -> Path:
        """The file that puts it in."""
        return PATCHES / f"{self.name}.patch"

    @property
    def files(self) -> list[str]:
        """What the patch changes."""
        lines = self.patch.read_text(encoding="utf-8").splitlines()
        return [line.removeprefix("+++ b/") for line in lines if line.startswith("+++ b/")]


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one bug."""

    bug: Bug
    outcome: Outcome
    seconds: float

    @property
    def caught(self) -> bool:
        """Whether a test noticed it."""
        return bool(self.outcome.failed) and not self.outcome.unusable


def bugs() -> list[Bug]:
    """Every deliberate bug, in the order of the table."""
    found = tomllib.loads((PATCHES / "bugs.toml").read_text(encoding="utf-8"))
    return [Bug(name, entry["what"], tuple(entry["tests"])) for name, entry in found.items()]


def put_in(bug: Bug, folder: Path) -> None:
    """Apply a bug's patch to a copy of the package.

    Raises:
        SeedError: It does not fit the code any more.
    """
    # A repository around the copy would have git look there for the files.
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(folder.parent)}
    done = subprocess.run(
        ["git", "apply", str(bug.patch)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SeedError(
            f"The seeded bug {bug.name!r} does not fit the package any more: {done.stderr.strip()}. Make the same bug "
            f"in today's code, and write its diff to {bug.patch.relative_to(ROOT)}."
        )


@contextmanager
def copy_of_the_package(bug: Bug | None = None) -> Iterator[Path]:
    """A temporary folder with the package, its tests and its settings, and one bug."""
    with tempfile.TemporaryDirectory(prefix="seeded-") as name:
        folder = Path(name)
        for part in (PACKAGE, "tests"):
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", folder)
        (folder / "conftest.py").write_text(_ONLY_THE_COPY, encoding="utf-8")
        if bug is not None:
            put_in(bug, folder)
        yield folder


def run_tests(folder: Path, tests: Iterable[str]) -> Outcome:
    """Run tests of a copy, in a process of their own."""
    report = folder / "report.xml"
    report.unlink(missing_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "TEST_"))}
    environment = {**kept, "PYTHONPATH": str(folder), "TEST_SCALE": "everyday"}
    options = [
        "-p",
        "no:cacheprovider",
        "-c",
        "pyproject.toml",
        "--rootdir",
        ".",
        "-o",
        "junit_family=xunit1",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-q", *options, f"--junitxml={report}", *tests],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=PATIENCE_IN_ALL)
    except subprocess.TimeoutExpired:
        output = f"still running after {PATIENCE_IN_ALL} seconds"
    finally:
        # Whatever a bug has left behind, hung children of a fork for example.
        end_all(process)
    if not report.exists():
        return Outcome((), {}, {"pytest": f"ended with {process.returncode}"}, output)
    return judged(report.read_text(encoding="utf-8"), output)


def end_all(process: "subprocess.Popen[str]") -> None:
    """End a process with the children that are still in its session."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


def try_unharmed(tried: Sequence[Bug]) -> None:
    """Run all tests that are to notice something on a copy without a bug.

    Raises:
        SeedError: One does not pass, so its failing would mean nothing.
    """
    tests = list(dict.fromkeys(test for bug in tried for test in bug.tests))
    with copy_of_the_package() as folder:
        outcome = run_tests(folder, tests)
    wrong = {**outcome.failed, **outcome.unusable}
    if wrong:
        lines = "\n".join(f"  {name}: {message}" for name, message in wrong.items())
        raise SeedError(f"Without any bug these do not pass:\n{lines}\n{outcome.output[-3000:]}")


def try_bug(bug: Bug) -> Row:
    """Run a bug's tests on a copy that has it."""
    started = time.perf_counter()
    try:
        with copy_of_the_package(bug) as folder:
            outcome = run_tests(folder, bug.tests)
    except SeedError as error:
        outcome = Outcome((), {}, {"patch": str(error)}, "")
    return Row(bug, outcome, time.perf_counter() - started)


def try_all(tried: Sequence[Bug], *, jobs: int = 1, say: Callable[[str], object] = str) -> list[Row]:
    """Try bugs, several at a time, and tell of each when it is done."""
    try_unharmed(tried)
    rows: list[Row] = []
    with ThreadPoolExecutor(jobs) as pool:
        for row in pool.map(try_bug, tried):
            say(f"{row.bug.name}: {'caught' if row.caught else 'NOT CAUGHT'}, {row.seconds:.0f} s\n")
            rows.append(row)
    return rows


def table(rows: Iterable[Row]) -> str:
    """Markdown: bug, patch, the tests that caught it, seconds."""
    lines = ["| bug | patch | caught by | seconds |", "|---|---|---|---|"]
    for row in rows:
        broken = "; ".join(f"{name}: {message}" for name, message in row.outcome.unusable.items())
        shown = (
            "<br>".join(f"`{name}`" for name in row.outcome.failed) if row.caught else f"**nothing** {broken}"
        )
        lines.append(f"| {row.bug.what} | {row.bug.patch.name} | {shown} | {row.seconds:.0f} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 where a bug went unnoticed, 2 where that cannot be told."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", metavar="BUG", choices=[bug.name for bug in bugs()])
    parser.add_argument("--jobs", type=int, default=2, help="how many copies are tested at a time")
    options = parser.parse_args(arguments)
    tried = [bug for bug in bugs() if options.only is None or bug.name in options.only]
    started = time.perf_counter()
    try:
        rows = try_all(tried, jobs=options.jobs, say=sys.stderr.write)
    except SeedError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    missed = [row for row in rows if not row.caught]
    minutes = (time.perf_counter() - started) / 60
    sys.stdout.write(
        f"{table(rows)}\n\n{len(rows) - len(missed)} of {len(rows)} caught in {minutes:.1f} minutes\n"
    )
    for row in missed:
        sys.stderr.write(
            f"\n{row.bug.name}: {row.outcome.unusable or 'all passed'}\n{row.outcome.output[-3000:]}\n"
        )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
