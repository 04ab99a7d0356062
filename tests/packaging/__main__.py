"""Builds the package, and tries it in empty environments: python -m tests.packaging [rows] [options]

    python -m tests.packaging                      no extra, every extra alone, and [all]
    python -m tests.packaging core all             some of these
    python -m tests.packaging core --python python3.13
    python -m tests.packaging --suite -- -k store  also the everyday tests, on the installed wheel

In each environment a program of inside/ does what a user does with what is installed, on models made on the spot.
"""

import argparse
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.packaging.artefacts import PACKAGE, build, extras
from tests.packaging.environments import Environments, default_installer

HERE = Path(__file__).parent
CORE, ALL = "core", "all"

#: Tests of what is not in the wheel: patches of the source, and the pages of the documentation.
OF_THE_SOURCE = ("tests/reliability/test_seeded.py", "tests/test_docs.py")

#: Extras for who works on this package.
FOR_DEVELOPERS = frozenset({"test", "lint", "dev", "docs", "engines"})


def for_users() -> list[str]:
    """List the extras that users may want, without the one that brings them all."""
    return [name for name in extras() if name not in FOR_DEVELOPERS | {ALL}]


def programs(row: str) -> list[list[str]]:
    """Return what is run in a row's environment: programs of inside/ with their arguments."""
    if row == CORE:
        return [["core.py"], ["missing.py"]]
    return [["with_extra.py", *(for_users() if row == ALL else [row])]]


def say(line: str) -> None:
    """Print a line before the next program prints its own."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def try_row(row: str, environments: Environments) -> bool:
    """Make a row's environment and run its programs there; print how it went."""
    started = time.monotonic()
    interpreter = environments.make(None if row == CORE else row)
    installed = time.monotonic()
    inside = environments.folder / "inside"
    shutil.rmtree(inside, ignore_errors=True)
    shutil.copytree(HERE / "inside", inside)
    # Small random models, for which nothing of this package is needed.
    shutil.copy(HERE.parent / "runtime" / "tiny.py", inside)
    good = all(
        subprocess.run(
            [interpreter, inside / program, *arguments],
            cwd=inside,
            env=environments.environment(),
            check=False,
        ).returncode
        == 0
        for program, *arguments in programs(row)
    )
    took = f"installed in {installed - started:.0f} s, tried in {time.monotonic() - installed:.0f} s"
    say(f"{row:10} {'ok' if good else 'FAILED':6} {took}")
    return good


def run_suite(archive: Path, environments: Environments, arguments: Sequence[str]) -> bool:
    """Run the everyday tests as the source archive has them, on the wheel: the package's source is taken away."""
    interpreter = environments.make("test")
    place = environments.folder / "suite"
    with tarfile.open(archive) as opened:
        opened.extractall(place, filter="data")
    (checkout,) = place.iterdir()
    shutil.rmtree(checkout / PACKAGE)
    where = subprocess.run(
        [interpreter, "-c", f"import {PACKAGE}; print({PACKAGE}.__file__)"],
        cwd=checkout,
        env=environments.environment(),
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    if "site-packages" not in where:
        raise SystemExit(f"The tests would not be run on the wheel but on {where}.")
    say(f"The tests are run on {where}")
    chosen = ["-m", "not slow and not engine", "-n", "2", "--dist", "loadfile", *arguments]
    tested = [interpreter, "-m", "pytest", *chosen, *(f"--ignore={file}" for file in OF_THE_SOURCE)]
    # For the tests that run tests: those are found in the checkout, the package cannot be.
    environment = {**environments.environment(), "PYTHONPATH": str(checkout)}
    # The tests reach no hub by themselves, and try what happens with and without these.
    for name in ("HF_HUB_DISABLE_PROGRESS_BARS", "HF_HUB_OFFLINE"):
        del environment[name]
    good = subprocess.run(tested, cwd=checkout, env=environment, check=False).returncode == 0
    say(f"{'suite':10} {'ok' if good else 'FAILED'}")
    return good


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", nargs="*", help="core, all, or extras; without any, each of them")
    parser.add_argument("--python", default=sys.executable, help="the interpreter to try it with")
    parser.add_argument("--installer", choices=("uv", "pip"), default=default_installer())
    parser.add_argument("--suite", action="store_true", help="run the everyday tests, too; takes long")
    asked, arguments = parser.parse_known_args()
    rows = asked.rows or [CORE, *for_users(), ALL]
    unknown = [row for row in rows if row not in (CORE, ALL, *for_users())]
    if unknown:
        parser.error(f"no such rows: {', '.join(unknown)}")
    with tempfile.TemporaryDirectory(prefix="packaging-") as folder:
        wheel, archive = build(Path(folder, "dist"))
        python = shutil.which(asked.python) or asked.python
        environments = Environments(Path(folder), wheel, python, asked.installer)
        good = [try_row(row, environments) for row in rows]
        if asked.suite:
            good.append(run_suite(archive, environments, [one for one in arguments if one != "--"]))
    say(f"{sum(good)} passed, {len(good) - sum(good)} failed")
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
