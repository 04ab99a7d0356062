"""Ctrl-C in the middle of training: end early with what was learned, instead of losing it."""

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from langchain_rerank_retriever.training.processes import launched

logger = logging.getLogger(__name__)


@contextmanager
def ends_early() -> Iterator[Callable[[], bool]]:
    """Within the block the first Ctrl-C only asks to end early; the second raises `KeyboardInterrupt` as ever.

    Nothing is changed outside of the main thread, where the program handles the signal itself, and in a launch of
    several processes: there Ctrl-C reaches all of them, and the launcher ends them.

    Yields:
        Tells whether it was asked for.
    """
    asked = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            signal.default_int_handler(number, frame)
        asked.set()
        logger.warning("Ending early with what was learned so far. Press Ctrl-C again to stop at once.")

    ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        and not launched()
    )
    if not ours:
        yield asked.is_set
        return
    signal.signal(signal.SIGINT, ask)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
