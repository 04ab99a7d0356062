"""Phases of a long run, timed, with a bar on standard error where one is wanted."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Update = Callable[[float], None]


class Phases:
    """Names, times and shows the phases of a run.

    Attributes:
        seconds: Wall time of every finished phase.
    """

    def __init__(self, *, show: bool) -> None:
        self.seconds: dict[str, float] = {}
        self._progress = Progress(
            TextColumn("{task.description:<34}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not show,
        )

    def __enter__(self) -> "Phases":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    @contextmanager
    def phase(self, name: str) -> Iterator[Update]:
        """Time a phase; the caller tells the finished share of it, 0 to 1."""
        started = time.monotonic()
        task = self._progress.add_task(name, total=1.0)
        yield lambda share: self._progress.update(task, completed=share)
        self._progress.update(task, completed=1.0)
        self.seconds[name] = round(time.monotonic() - started, 2)


@contextmanager
def without_library_bars() -> Iterator[None]:
    """Keep transformers from drawing a bar of its own for every model that is loaded or saved."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
