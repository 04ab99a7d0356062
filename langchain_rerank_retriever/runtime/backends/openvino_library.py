"""The packages `openvino` and `nncf`: imported when they are needed, and kept from reporting, asking and printing.

Importing OpenVINO sends an event already, unless the user has refused in a file in the home folder. Without the
package that sends, both libraries fall back to a stand-in of their own that does nothing.
"""

import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from langchain_rerank_retriever.errors import MissingExtraError
from langchain_rerank_retriever.runtime.backends.signal_stack import same_signal_stack

_REPORTER = "openvino_telemetry"


class _Turn:
    """Whose turn it is to import, convert or quantise: what keeps the libraries quiet are settings of the process."""

    lock = threading.RLock()


def _after_fork_in_child() -> None:
    # Whoever held it is not there.
    _Turn.lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def is_installed() -> bool:
    """Whether the extra is there."""
    return find_spec("openvino") is not None


def openvino() -> Any:
    """Import OpenVINO without its usage reports.

    Raises:
        MissingExtraError: It is not installed.
    """
    return _imported("openvino")


def nncf() -> Any:
    """Import NNCF, which quantises, without its usage reports.

    Raises:
        MissingExtraError: It is not installed.
    """
    return _imported("nncf")


def version() -> str:
    """Return the version of OpenVINO, which decides whether a compiled model can be read."""
    return str(openvino().get_version())


def capabilities() -> frozenset[str]:
    """Return the number types that OpenVINO computes in here; not which of them are fast."""
    with same_signal_stack():
        listed = set(openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
    names = {"FP32": "float32", "BF16": "bfloat16", "FP16": "float16", "INT8": "int8"}
    return frozenset(name for key, name in names.items() if key in listed)


@contextmanager
def no_reports() -> Iterator[None]:
    """Keep usage from being reported: by what is imported inside, and by what was imported before.

    One thread at a time; may be nested.
    """
    with _Turn.lock:
        absent = _REPORTER not in sys.modules
        if isinstance(sys.modules.get(_REPORTER), ModuleType):
            # Somebody else imported it. What is sent through it from now on goes nowhere.
            import_module(f"{_REPORTER}.utils.sender").TelemetrySender.send = _send_nothing
        elif absent:
            sys.modules[_REPORTER] = None  # type: ignore[assignment]  # makes its import fail, as the language says
        try:
            yield
        finally:
            if absent:
                sys.modules.pop(_REPORTER, None)


@contextmanager
def no_bars() -> Iterator[None]:
    """Keep NNCF's bars and messages off stdout, which is for data. One thread at a time."""
    from rich import get_console

    with _Turn.lock:
        console, log = get_console(), import_module("nncf.common.logging").nncf_logger
        quiet, level = console.quiet, log.level
        console.quiet = True
        log.setLevel("ERROR")
        try:
            yield
        finally:
            console.quiet = quiet
            log.setLevel(level)


def _imported(name: str) -> Any:
    if sys.modules.get(name) is not None:
        # Without waiting for a thread that quantises.
        return import_module(name)
    if find_spec(name) is None:
        raise MissingExtraError(name, "openvino")
    with no_reports(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return import_module(name)


def _send_nothing(*_: Any, **__: Any) -> None:
    return None
