"""Forked children that report back, so that one that hangs, dies or is wrong is told from one that answers."""

import faulthandler
import json
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

#: A child has to answer within so many seconds; slow machines take five times as long.
SECONDS = 5.0 * 5


class ChildError(AssertionError):
    """A child hung, died or failed."""


@dataclass
class Child:
    """One forked process, which does one thing and tells what came out."""

    pid: int
    pipe: int
    started: float
    seconds: float = 0.0
    said: bytes = field(default=b"", repr=False)

    def answer(self, seconds: float = SECONDS) -> Any:
        """Wait for what it returns, and for its end; kill it where either does not come."""
        try:
            while self._more(seconds):
                pass
        finally:
            os.close(self.pipe)
            status = self._end(seconds if self.said else 0.0)
        if not self.said:
            raise ChildError(f"a child did not answer within {seconds:.0f} s, or died (status {status})")
        kind, what, ready = json.loads(self.said)
        # By its own clock, which is its parent's: the parent may have waited for others first.
        self.seconds = ready - self.started
        if kind == "raised":
            raise ChildError(f"a child failed:\n{what}")
        if status:
            raise ChildError(f"a child answered and then ended with status {status}")
        return what

    def _end(self, seconds: float) -> int:
        """Wait for its end, which must come as soon as its answer did; return how it ended."""
        limit = time.monotonic() + seconds
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return status
            if time.monotonic() >= limit:
                os.kill(self.pid, signal.SIGKILL)
                return os.waitpid(self.pid, 0)[1]
            time.sleep(0.001)

    def _more(self, seconds: float) -> bool:
        left = self.started + seconds - time.monotonic()
        if not select.select([self.pipe], [], [], max(0.0, left))[0]:
            self.said = b""
            return False
        part = os.read(self.pipe, 65536)
        self.said += part
        return bool(part)


def fork(action: Callable[[], Any], *, leave: Callable[[int], object] = os._exit) -> Child:
    """Start a child that does something; its answer is plain JSON data.

    Args:
        action: Run in the child.
        leave: How the child ends; ``sys.exit`` takes Python down as a server's worker does.
    """
    started = time.monotonic()
    reader, writer = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        os.close(writer)
        return Child(pid, reader, started)
    # pytest's own alarm would write into the parent's report.
    faulthandler.cancel_dump_traceback_later()
    os.close(reader)
    try:
        try:
            said = _said("returned", action())
        except BaseException:
            said = _said("raised", traceback.format_exc())
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(said)
    except BaseException:
        os._exit(4)
    leave(0)
    os._exit(0)
    raise AssertionError


def _said(kind: str, what: Any) -> bytes:
    return json.dumps((kind, what, time.monotonic())).encode()


def in_fork(action: Callable[[], Any]) -> Any:
    """Return what a forked child returns."""
    return fork(action).answer()


def answers_of(children: list[Child]) -> list[Any]:
    """Return what children say that run side by side; none of them is left behind where one fails."""
    found, problems = [], []
    for child in children:
        try:
            found.append(child.answer())
        except ChildError as error:
            problems.append(error)
    if problems:
        raise problems[0]
    return found
