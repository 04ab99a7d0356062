"""What the reliability tests share: a seed that a failure keeps, and a record of what was done."""

import functools
import json
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from .goals import RECORDS, Count, recorded
from .scale import SCALE

#: With this seed unless TEST_SEED says otherwise; nightly runs draw a new one each time.
EVERYDAY_SEED = 20_261_126


def kept_case(node: str) -> Path:
    """Where the seed of a failed test lies, which its next run takes up."""
    return RECORDS / "failed" / ("".join(letter if letter.isalnum() else "-" for letter in node) + ".json")


def chosen_seed(case: Path) -> int:
    """The seed asked for, else that of the last failure, else this run's."""
    if asked := os.environ.get("TEST_SEED"):
        return int(asked)
    if case.exists():
        return int(json.loads(case.read_text(encoding="utf-8"))["seed"])
    return secrets.randbits(32) if SCALE == "nightly" else EVERYDAY_SEED


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> Iterator[int]:
    """A number to seed a test's random choices with; it is printed, and kept while the test fails."""
    case = kept_case(request.node.nodeid)
    number = chosen_seed(case)
    # Shown by pytest where the test fails.
    print(f"TEST_SEED={number} TEST_SCALE={SCALE} python -m pytest '{request.node.nodeid}'")  # noqa: T201
    case.parent.mkdir(parents=True, exist_ok=True)
    # Written before the test, so that it is there where the whole process dies.
    case.write_text(
        json.dumps({"test": request.node.nodeid, "seed": number, "scale": SCALE}), encoding="utf-8"
    )
    failed = request.session.testsfailed
    yield number
    if not getattr(request.node, "failed_call", False) and request.session.testsfailed == failed:
        case.unlink(missing_ok=True)


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: what is written or damaged on purpose need not reach a disk."""
    memory = Path("/dev/shm")
    usable = memory.is_dir() and os.access(memory, os.W_OK)
    with tempfile.TemporaryDirectory(dir=memory if usable else tmp_path) as folder:
        yield Path(folder)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Tell the fixtures of a test whether it failed."""
    report = yield
    if report.when == "call":
        item.failed_call = report.failed
    return report


@pytest.fixture
def goal(request: pytest.FixtureRequest) -> Callable[[str], AbstractContextManager[Count]]:
    """`with goal("G1") as count:` writes down what the test did for a goal; `count.done` is its to add to."""
    return functools.partial(recorded, test=request.node.nodeid)
