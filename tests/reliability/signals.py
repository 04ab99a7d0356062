"""The command as a process that is sent signals, whose output is taken away, and which is judged by how it ends.

Importing the libraries takes seconds, so most processes fork from a server that has done that; the others are started
as the console script is.
"""

import faulthandler
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

CONTEXT = multiprocessing.get_context("forkserver")
PRELOADED = [
    "langchain_rerank_retriever.training",
    "sentence_transformers",
    *(
        f"langchain_rerank_retriever.cli.{name}"
        for name in (
            "app",
            "bench",
            "compare",
            "demo",
            "evaluate",
            "index",
            "info",
            "repair",
            "search",
            "verify",
        )
    ),
]

#: Instead of a file for standard output.
CLOSED_PIPE, FULL_DISK = Path("closed pipe"), Path("/dev/full")

#: What a process may take to begin or to end on a machine that is busy.
PATIENCE = 240.0

#: As the console script calls it, but for telling when.
SCRIPT = "import os; from langchain_rerank_retriever.cli import main; os.write({}, b'r'); main()"


@dataclass(frozen=True)
class Ended:
    """How a command ended; a negative code is the signal that killed it."""

    code: int
    out: str
    err: str
    seconds: float


@dataclass(frozen=True)
class Running:
    """A command that has begun; `wait` returns its code, or None where it has not ended in so many seconds."""

    pid: int
    wait: Callable[[float], int | None]
    out: Path
    err: Path
    started: float

    def send(self, number: int) -> None:
        """Send a signal, unless it has just ended."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def ended(self) -> Ended:
        """Wait for the end."""
        code = self.wait(PATIENCE)
        seconds = time.monotonic() - self.started
        if code is None:
            self.send(signal.SIGABRT)  # at which it tells where its threads are
            if self.wait(10) is None:
                self.send(signal.SIGKILL)
            raise AssertionError(f"the command did not end in {PATIENCE:.0f} s: {_text(self.err)}")
        return Ended(code, _text(self.out), _text(self.err), seconds)


def begin(
    arguments: Sequence[object], folder: Path, *, fresh: bool = False, out: Path | None = None
) -> Running:
    """Start the command; returns when its `main` is called.

    Args:
        arguments: Of the command.
        folder: For what it prints.
        fresh: Not forked.
        out: Where its standard output goes instead.
    """
    number = len(list(folder.glob("*.err")))
    out = out or folder / f"{number}.out"
    err = folder / f"{number}.err"
    err.touch()
    start = _fresh if fresh else _forked
    pid, wait = start([str(one) for one in arguments], out, err)
    return Running(pid, wait, out, err, time.monotonic())


def run(arguments: Sequence[object], folder: Path, **how: Any) -> Ended:
    """Run the command to its end."""
    return begin(arguments, folder, **how).ended()


def signalled(
    arguments: Sequence[object], folder: Path, number: int, after: float, *, fresh: bool = False
) -> Ended:
    """Send the command a signal so many seconds after it began; where it goes on, which it may, wait for its end."""
    running = begin(arguments, folder, fresh=fresh)
    if running.wait(after) is None:
        running.send(number)
    return running.ended()


def _forked(arguments: list[str], out: Path, err: Path) -> tuple[int, Callable[[float], int | None]]:
    reader, writer = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=_child, args=(arguments, out, err, writer))
    process.start()
    writer.close()
    with reader:
        if not reader.poll(PATIENCE):
            raise AssertionError("the command did not begin")
        reader.recv_bytes()

    def wait(seconds: float) -> int | None:
        process.join(seconds)
        return process.exitcode

    return int(process.pid or 0), wait


def _child(arguments: list[str], out: Path, err: Path, begun: Any) -> None:
    """Be the command; runs in the forked process."""
    from langchain_rerank_retriever.cli import main
    from langchain_rerank_retriever.runtime.choosing import choice

    from .signals_demo import make_small

    make_small()
    choice.may_take_openvino = lambda _: False  # compiling would take most of the time
    os.dup2(_opened(out), 1)
    os.dup2(_opened(err), 2)
    faulthandler.enable(2)
    sys.argv = ["langchain-rerank", *arguments]

    def interrupted(number: int, frame: FrameType | None) -> None:
        above = frame
        while above is not None:
            if above.f_code is main.__code__:
                signal.default_int_handler(number, frame)
            above = above.f_back
        os._exit(128 + number)  # the command has not begun, or ended already

    signal.signal(signal.SIGINT, interrupted)
    begun.send_bytes(b"r")
    try:
        main()
    except SystemExit as ended:
        # What follows here is not the command's any more.
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
        code = ended.code if isinstance(ended.code, int) else 0
    os._exit(code)


def _fresh(arguments: list[str], out: Path, err: Path) -> tuple[int, Callable[[float], int | None]]:
    reader, writer = os.pipe()
    target, errors = _opened(out), _opened(err)
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(writer), *arguments],
        stdout=target,
        stderr=errors,
        pass_fds=(writer,),
    )
    for descriptor in (writer, target, errors):
        os.close(descriptor)
    begun = os.read(reader, 1)
    os.close(reader)
    if not begun:
        raise AssertionError(f"the command did not begin: {_text(err)}")

    def wait(seconds: float) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            return process.wait(seconds)
        return None

    return process.pid, wait


def _opened(out: Path) -> int:
    if out == CLOSED_PIPE:
        reader, writer = os.pipe()
        os.close(reader)
        return writer
    return os.open(out, os.O_WRONLY | os.O_CREAT)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
