"""Keeps bars and reports of transformers off stderr for a while."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class _Hush:
    """Switches off what the whole process shares, for as long as any thread asks for that.

    Each thread on its own would take another's silence for the user's wish, and put that back for good.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asking = 0
        self._bars = False
        self._verbosity = 0

    def begin(self, settings: Any) -> None:
        with self._lock:
            self._asking += 1
            if self._asking == 1:
                self._bars, self._verbosity = settings.is_progress_bar_enabled(), settings.get_verbosity()
                settings.disable_progress_bar()
                settings.set_verbosity_error()

    def end(self, settings: Any) -> None:
        with self._lock:
            self._asking -= 1
            if self._asking == 0:
                settings.set_verbosity(self._verbosity)
                if self._bars:
                    settings.enable_progress_bar()


_hush = _Hush()


@contextmanager
def quiet() -> Iterator[None]:
    """Keep bars and reports of transformers off stderr; what they warn of is checked here, as an error.

    What the user had set holds again once the last of several threads has left such a block.
    """
    from transformers.utils import logging

    _hush.begin(logging)
    try:
        yield
    finally:
        _hush.end(logging)
