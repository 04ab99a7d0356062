"""What the reliability tests say of themselves is true."""

from contextlib import suppress
from pathlib import Path

import pytest

from .conftest import chosen_seed
from .goals import GOALS, recorded, records, table


def test_what_was_done_is_added_up(tmp_path: Path) -> None:
    for test, done in (("tests/reliability/a.py::x", 3), ("tests/reliability/b.py::x[1]", 4)):
        with recorded("G1", test, tmp_path) as count:
            count.done = done
    with suppress(RuntimeError), recorded("G2", "c", tmp_path) as count:
        count.done = 1
        raise RuntimeError
    rows = {
        line.split(" | ")[0].strip("| "): line.split(" | ") for line in table(records(tmp_path)).splitlines()
    }
    assert rows["G1"][3:5] == ["7", "0"]
    assert rows["G2"][3:5] == ["1", "1"]
    assert rows["G3"][3:5] == ["0", "0"]
    assert len(rows) == len(GOALS) + 2


def test_a_later_run_replaces_the_earlier(tmp_path: Path) -> None:
    for done in (1, 2):
        with recorded("G1", "a", tmp_path) as count:
            count.done = done
    assert [record.done for record in records(tmp_path)] == [2]


def test_the_seed_of_a_failure_is_taken_up_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEST_SEED", raising=False)
    case = tmp_path / "case.json"
    case.write_text('{"seed": 17}')
    assert chosen_seed(case) == 17
    monkeypatch.setenv("TEST_SEED", "18")
    assert chosen_seed(case) == 18


def test_a_failed_test_keeps_its_seed_and_a_passed_one_does_not(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        "from tests.reliability import conftest\n"
        "from tests.reliability.conftest import *\n"
        "from pathlib import Path\n"
        "conftest.RECORDS = Path('records').resolve()\n"
    )
    pytester.makepyfile(
        "import os\ndef test_one(seed):\n    assert os.environ.get('PASS')\ndef test_two(seed):\n    pass\n"
    )
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["TEST_SEED=* python -m pytest '*test_one'"])
    assert len(list((pytester.path / "records" / "failed").iterdir())) == 1
