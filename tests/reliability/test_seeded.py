"""The tests notice known bugs, and what says so cannot be fooled."""

import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from . import seeded
from .scale import SCALE, at_scale
from .seeded import PACKAGE, PATCHES, ROOT, Bug, Row, SeedError, bugs
from .seeded_outcome import Outcome, judged

BUGS = bugs()

runs_pytest = pytest.mark.skipif(SCALE == "everyday", reason="takes several runs of pytest")


def copied(bug: Bug, folder: Path) -> list[Path]:
    """Copy the files that a patch changes."""
    targets = [folder / name for name in bug.files]
    for name, target in zip(bug.files, targets):
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)
    return targets


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_patch_fits_and_is_python(bug: Bug, tmp_path: Path) -> None:
    files = copied(bug, tmp_path)
    before = [file.read_text(encoding="utf-8") for file in files]
    seeded.put_in(bug, tmp_path)
    after = [file.read_text(encoding="utf-8") for file in files]
    assert files
    assert all(one != other for one, other in zip(before, after))
    for file, source in zip(files, after):
        compile(source, file, "exec")


def test_patches_and_table_agree() -> None:
    assert {bug.name for bug in BUGS} == {patch.stem for patch in PATCHES.glob("*.patch")}
    assert len(BUGS) == len({bug.what for bug in BUGS})
    for bug in BUGS:
        assert bug.tests
        assert all(name.startswith(f"{PACKAGE}/") for name in bug.files)
        for test in bug.tests:
            file, *names = test.partition("[")[0].split("::")
            source = (ROOT / file).read_text(encoding="utf-8")
            assert all(f"def {name}(" in source or f"class {name}(" in source for name in names), test


def test_a_patch_that_does_not_fit_any_more_is_told(tmp_path: Path) -> None:
    bug = BUGS[0]
    (file, *_) = copied(bug, tmp_path)
    file.write_text("# Written anew.\n", encoding="utf-8")
    with pytest.raises(
        SeedError, match=rf"(?s)'{bug.name}' does not fit the package any more: .*{bug.patch.name}"
    ):
        seeded.put_in(bug, tmp_path)
    assert file.read_text(encoding="utf-8") == "# Written anew.\n"


def test_such_a_patch_is_a_bug_that_is_not_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def unfit(bug: Bug, folder: Path) -> None:
        raise SeedError("does not fit")

    monkeypatch.setattr(seeded, "put_in", unfit)
    row = seeded.try_bug(BUGS[0])
    assert not row.caught
    assert "does not fit" in seeded.table([row])


REPORT = """<testsuites><testsuite>
<testcase classname="tests.a.test_x" file="tests/a/test_x.py" name="test_one[a-b]" />
<testcase classname="tests.a.test_x.TestY" file="tests/a/test_x.py" name="test_two">
  <failure message="AssertionError: assert 1 == 2">...</failure></testcase>
<testcase classname="tests.a.test_x" file="tests/a/test_x.py" name="test_three">
  <failure message="langchain_rerank_retriever.errors.FormatError: damaged">...</failure></testcase>
<testcase classname="tests.a.test_x" file="tests/a/test_x.py" name="test_four">
  <{tag} message="{message}">...</{tag}></testcase>
</testsuite></testsuites>"""


@pytest.mark.parametrize(
    ("tag", "message"),
    [
        ("failure", "ImportError: cannot import name"),
        ("failure", "NameError: name 'x' is not defined"),
        ("error", "failed on setup with &quot;RuntimeError&quot;"),
        ("error", "collection failure"),
        ("skipped", "no such library"),
    ],
)
def test_only_a_failed_test_counts(tag: str, message: str) -> None:
    outcome = judged(REPORT.format(tag=tag, message=message), "")
    assert outcome.passed == ("tests/a/test_x.py::test_one[a-b]",)
    assert list(outcome.failed) == ["tests/a/test_x.py::TestY::test_two", "tests/a/test_x.py::test_three"]
    assert list(outcome.unusable) == ["tests/a/test_x.py::test_four"]
    row = Row(BUGS[0], outcome, 1.0)
    assert not row.caught
    assert replace(row, outcome=replace(outcome, unusable={})).caught
    assert not replace(row, outcome=replace(outcome, unusable={}, failed={})).caught


def test_an_unnoticed_bug_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    noticed = Outcome((), {"tests/a.py::test": "AssertionError"}, {}, "")
    rows = [Row(BUGS[0], noticed, 1.0), Row(BUGS[1], Outcome(("tests/a.py::test",), {}, {}, ""), 2.0)]
    monkeypatch.setattr(seeded, "try_all", lambda *_, **__: rows)
    assert seeded.main([]) == 1
    told = capsys.readouterr()
    assert "| **nothing**" in told.out
    assert "1 of 2 caught" in told.out
    assert f"{BUGS[1].name}: all passed" in told.err
    monkeypatch.setattr(seeded, "try_all", lambda *_, **__: rows[:1])
    assert seeded.main([]) == 0


@runs_pytest
def test_a_copy_is_what_its_tests_import() -> None:
    """In pytest's process and in those that tests start; from another package nothing is run."""
    with seeded.copy_of_the_package() as folder:
        (folder / "tests" / "test_where.py").write_text(
            f"import subprocess, sys, {PACKAGE}\n"
            f"def test_where():\n"
            f"    assert {PACKAGE}.__file__ == '{folder / PACKAGE / '__init__.py'}'\n"
            f"    code = 'import {PACKAGE}; print({PACKAGE}.__file__)'\n"
            f"    shown = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)\n"
            f"    assert shown.stdout.strip() == {PACKAGE}.__file__\n"
        )
        assert seeded.run_tests(folder, ["tests/test_where.py"]).passed == (
            "tests/test_where.py::test_where",
        )
        shutil.rmtree(folder / PACKAGE)
        outcome = seeded.run_tests(folder, ["tests/test_where.py"])
        assert not outcome.passed
        assert not outcome.failed
        assert "The package was imported from" in outcome.output


@runs_pytest
def test_bugs_are_caught(goal: Any, seed: int) -> None:
    tried = random.Random(seed).sample(BUGS, at_scale(0, 2, len(BUGS)))
    with goal("G24") as count:
        rows = seeded.try_all(tried)
        count.done = sum(row.caught for row in rows)
        missed = [row for row in rows if not row.caught]
        count.failures = len(missed)
        count.note = f"of {len(rows)} tried"
    assert not missed, [(row.bug.name, row.outcome.unusable, row.outcome.output[-2000:]) for row in missed]
