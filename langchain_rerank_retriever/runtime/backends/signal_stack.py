"""Keeps OpenVINO from leaving a stack for signal handlers in place that is not there any more.

Its CPU plugin puts one in place and takes it away when it goes. Where several come and go in any other order than the
last one first, the next signal, such as Ctrl-C, ends the process.
"""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class _Stack(ctypes.Structure):
    _fields_ = (("place", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextmanager
def same_signal_stack() -> Iterator[None]:
    """Put the calling thread's stack for signal handlers, or that it has none, back afterwards; only Linux has this."""
    if not sys.platform.startswith("linux"):
        yield
        return
    libc, before = ctypes.CDLL(None), _Stack()
    libc.sigaltstack(None, ctypes.byref(before))
    try:
        yield
    finally:
        libc.sigaltstack(ctypes.byref(before), None)
