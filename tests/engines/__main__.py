"""Runs the tests with real servers: python -m tests.engines [pgvector] [milvus] [ray] [arguments of pytest]

Each engine has a pytest run of its own, after which no process, namespace or file of it is left, however it ends: it is
the first process of a process namespace, with which the kernel ends what is left in it. Where servers listen on all
addresses, the run also has a network of its own with nothing but loopback. Nothing may be skipped: a server that cannot
start fails the run.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

from tests.engines.launched import ISOLATED, MILVUS, interrupt

HERE = Path(__file__).parent

#: Whether an engine's servers listen on more than a socket file, so that its tests need a network of their own.
ENGINES = {"pgvector": False, "milvus": True, "ray": True}

#: How long a run that was told to end has for stopping its servers.
PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a pytest run said.

    Attributes:
        status: Its exit status.
        passed: Tests that passed.
        others: How many tests had each other outcome, by its name.
    """

    status: int
    passed: int
    others: dict[str, int]

    @property
    def good(self) -> bool:
        """Whether there were tests and all of them passed."""
        return self.status == 0 and self.passed > 0 and not any(self.others.values())

    def __str__(self) -> str:
        counts = [
            f"{self.passed} passed",
            *(f"{count} {name}" for name, count in self.others.items() if count),
        ]
        return ", ".join(counts) + ("" if self.good else f" (exit status {self.status})")


def read_outcome(status: int, report: Path) -> Outcome:
    """Read the counts from a JUnit report; a run that wrote none passed nothing."""
    if not report.exists():
        return Outcome(status, 0, {})
    suite = ElementTree.parse(report).getroot().find("testsuite")
    counts = {} if suite is None else suite.attrib
    others = {
        name: int(counts.get(attribute, 0))
        for name, attribute in (("failed", "failures"), ("in error", "errors"), ("skipped", "skipped"))
    }
    return Outcome(status, int(counts.get("tests", 0)) - sum(others.values()), others)


def namespaces(*, network: bool) -> list[str]:
    """Return the command that runs another in namespaces of its own, as root or as a user.

    Args:
        network: Also a network of its own. A user is root in it, so as to bring its loopback up; without one, a user
            stays who they are: PostgreSQL refuses to run as root.

    Raises:
        SystemExit: If neither is allowed here.
    """
    command = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", *(["--net"] if network else [])]
    for_users = [*command, "--map-root-user" if network else "--map-current-user"]
    refused = ""
    for tried in (command, for_users):
        done = subprocess.run([*tried, "true"], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return tried
        refused = done.stderr.strip()
    raise SystemExit(
        f"Namespaces cannot be made here: {refused}. Run as root, or allow user namespaces "
        "(on Ubuntu: sudo sysctl --write kernel.apparmor_restrict_unprivileged_userns=0)."
    )


def run(engine: str, arguments: Sequence[str]) -> Outcome:
    """Run one engine's tests."""
    with TemporaryDirectory(prefix=f"{engine}-tests-") as scratch:
        # A server that gives up being root still has to reach its own folder in here.
        Path(scratch).chmod(0o711)
        report = Path(scratch, "report.xml")
        own_network = ENGINES[engine]
        launched = [*namespaces(network=own_network), sys.executable, "-m", "tests.engines.launched"]
        if own_network:
            launched.append(ISOLATED)
        folders = [str(HERE / engine), f"--junitxml={report}", f"--basetemp={scratch}/pytest"]
        # So that what servers and tests leave among temporary files goes with the rest.
        environment = os.environ | {"TMPDIR": scratch}
        try:
            return read_outcome(wait_for([*launched, *folders, *arguments], environment), report)
        finally:
            remove_mount_point()


def remove_mount_point() -> None:
    """Remove the folder that isolated runs made to mount over; one that holds anything is not theirs."""
    with suppress(OSError):
        MILVUS.rmdir()


def wait_for(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a command; if this process is told to end, let that one stop its servers first."""
    # In a session of its own, so that Ctrl-C at a terminal comes through here and is not counted twice.
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        return process.wait()
    except KeyboardInterrupt:
        # To the group: unshare itself does not pass signals on.
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        raise


def main() -> int:
    named = list(takewhile(ENGINES.__contains__, sys.argv[1:]))
    arguments = sys.argv[1 + len(named) :]
    # Set even where the shell has Ctrl-C ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    try:
        outcomes = {engine: run(engine, arguments) for engine in named or ENGINES}
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130
    sys.stdout.write("".join(f"{engine}: {outcome}\n" for engine, outcome in outcomes.items()))
    return 0 if all(outcome.good for outcome in outcomes.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
