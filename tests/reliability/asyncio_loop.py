"""An event loop that knows how long it was kept, and threads that run one each."""

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

#: Nobody waits longer for all calls of a test: beyond it, something hangs.
HANGING = 600.0


class _Collections(threading.local):
    """How long the garbage collector has run in a thread."""

    begun = 0.0
    seconds = 0.0

    def note(self, phase: str, _: Any) -> None:
        if phase == "start":
            self.begun = time.thread_time()
        else:
            self.seconds += time.thread_time() - self.begun


_collections = _Collections()
gc.callbacks.append(_collections.note)


class WatchedLoop(asyncio.SelectorEventLoop):
    """Notes the longest pass: for so long nothing else of the loop could run.

    Processor time of its own thread is what is noted, because what other processes take says nothing; and without the
    garbage collector, which stops any thread for as long as all that the tests have imported takes to walk over.
    """

    def __init__(self) -> None:
        super().__init__()
        self.longest = 0.0

    def _run_once(self) -> None:
        before = time.thread_time() - _collections.seconds
        super()._run_once()  # type: ignore[misc]
        self.longest = max(self.longest, time.thread_time() - _collections.seconds - before)


class LeakError(AssertionError):
    """Tasks were left when everything was done."""


def run_watched(main: Callable[[], Coroutine[Any, Any, None]]) -> float:
    """Run to the end on a loop of its own, and see that no task is left.

    Returns:
        The longest pass, in seconds of processor time.
    """
    with asyncio.Runner(loop_factory=WatchedLoop) as runner:
        loop: Any = runner.get_loop()
        runner.run(_alone(main))
        return float(loop.longest)


async def _alone(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    await asyncio.wait_for(main(), HANGING)
    left = asyncio.all_tasks() - {asyncio.current_task()}
    if left:
        raise LeakError(f"{len(left)} tasks are left, for example {next(iter(left))}")


def side_by_side(mains: list[Callable[[], Coroutine[Any, Any, None]]]) -> float:
    """Run each on a loop and in a thread of its own; raise what any of them raised.

    Returns:
        The longest pass of any loop.
    """
    longest: list[float] = []
    problems: list[BaseException] = []

    def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            longest.append(run_watched(main))
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=run, args=(main,)) for main in mains]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANGING + 30)
        assert not thread.is_alive(), "an event loop hangs"
    if problems:
        raise problems[0]
    return max(longest)
