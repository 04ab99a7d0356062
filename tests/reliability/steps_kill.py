"""Kill a script before or after one of its steps."""

import os
from dataclasses import dataclass
from pathlib import Path

from .steps import Step, watched
from .steps_scripts import Script

_KILLED = 9


@dataclass(frozen=True, order=True)
class Point:
    """Where to kill: the number of a step, and whether it has been taken."""

    number: int
    taken: bool


def steps_of(script: Script, root: Path) -> list[str]:
    """The names of a script's steps, in their order."""
    taken: list[str] = []
    with watched(lambda step: taken.append(step.name), lambda step: None):
        script.play(root, lambda: None)
    return taken


def kill_at(script: Script, root: Path, point: Point) -> int:
    """Play a script in a child that dies at a point; returns how many calls had returned."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        status = 3
        try:
            with watched(_dying(point, taken=False), _dying(point, taken=True)):
                script.play(root, lambda: os.write(writer, b"d"))
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    done = b""
    while part := os.read(reader, 65536):
        done += part
    os.close(reader)
    _, status = os.waitpid(pid, 0)
    if os.waitstatus_to_exitcode(status) != _KILLED:
        raise AssertionError(f"the script did not come to {point}: {os.waitstatus_to_exitcode(status)}")
    return len(done)


def _dying(point: Point, *, taken: bool):
    def hook(step: Step) -> None:
        if (step.number, taken) == (point.number, point.taken):
            os._exit(_KILLED)

    return hook
