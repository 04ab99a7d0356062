"""How a run with a server is judged: needs no server."""

import subprocess
import sys
import time
from pathlib import Path
from signal import SIGTERM

import pytest

from tests.engines.__main__ import Outcome, read_outcome

PASSES = "def test_a(): pass\ndef test_b(): pass\n"
FAILS = PASSES + "def test_c(): assert 0\n"
SKIPS = PASSES + "import pytest\ndef test_c(): pytest.skip('no server')\n"
NO_SERVER = PASSES + "import pytest\n@pytest.fixture\ndef s(): raise OSError\ndef test_c(s): pass\n"
BROKEN = "import nothing_of_that_name\n"


@pytest.mark.parametrize(
    ("tests", "expected", "good"),
    [
        (PASSES, "2 passed", True),
        (FAILS, "2 passed, 1 failed (exit status 1)", False),
        (NO_SERVER, "2 passed, 1 in error (exit status 1)", False),
        (SKIPS, "2 passed, 1 skipped (exit status 0)", False),
        (BROKEN, "0 passed, 1 in error (exit status 2)", False),
        ("", "0 passed (exit status 5)", False),
    ],
    ids=["passes", "fails", "no server", "skips", "broken", "empty"],
)
def test_only_a_run_in_which_all_passed_is_good(
    tmp_path: Path, tests: str, expected: str, good: bool
) -> None:
    (tmp_path / "test_it.py").write_text(tests)
    report = tmp_path / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", f"--rootdir={tmp_path}", f"--junitxml={report}", "."]
    # Plugins of the environment add seconds to the start of each.
    ran = subprocess.run(
        command, cwd=tmp_path, env={"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}, check=False, capture_output=True
    )
    outcome = read_outcome(ran.returncode, report)
    assert (str(outcome), outcome.good) == (expected, good)


def test_a_run_that_was_killed_passed_nothing(tmp_path: Path) -> None:
    assert read_outcome(-9, tmp_path / "none.xml") == Outcome(-9, 0, {})
    assert not Outcome(-9, 0, {}).good


def test_a_runner_that_is_told_to_end_lets_its_run_clean_up(tmp_path: Path) -> None:
    """What it started gets the signal once, has time to tidy up, and is waited for."""
    child = (
        "import pathlib, signal, sys, time\n"
        "from tests.engines.launched import interrupt\n"
        "signal.signal(signal.SIGTERM, interrupt)\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "try:\n"
        "    (folder / 'started').touch()\n"
        "    time.sleep(60)\n"
        "except KeyboardInterrupt:\n"
        "    time.sleep(0.5)\n"
        "    (folder / 'tidied').touch()\n"
    )
    runner = (
        "import os, signal, sys\n"
        "from tests.engines.__main__ import interrupt, wait_for\n"
        "signal.signal(signal.SIGTERM, interrupt)\n"
        "try:\n"
        "    wait_for([sys.executable, '-c', sys.argv[1], sys.argv[2]], os.environ)\n"
        "except KeyboardInterrupt:\n"
        "    sys.exit(130)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", runner, child, str(tmp_path)])
    deadline = time.monotonic() + 60
    while not (tmp_path / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(SIGTERM)
    assert process.wait(30) == 130
    assert (tmp_path / "tidied").exists()
