"""Forks: none happens while a thread is inside SQLite, and none carries an open database into the child.

SQLite forbids to use a connection after a fork, and keeps more for a file than the connection: locks that the child
would believe to hold, and mutexes that stay locked for ever where another thread held them. So a fork waits for the
running transactions, every connection to a file is closed before it, and both sides open new ones when they need them.
"""

import os
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import faiss


class Forkable(Protocol):
    """What holds something that must not go through a fork as it is."""

    def before_fork(self) -> None:
        """Called while no thread is at work."""
        ...

    def after_fork_in_child(self) -> None:
        """Called in the child before anything else runs."""
        ...


#: Identifiers of the threads at work. Appending and removing are single steps to other threads.
_at_work: list[int] = []
_gate = threading.Event()
_gate.set()
_known: "weakref.WeakSet[Forkable]" = weakref.WeakSet()
_known_lock = threading.Lock()


def register(forkable: Forkable) -> None:
    """Have an object prepared for forks for as long as it lives."""
    with at_work(), _known_lock:
        _known.add(forkable)


@contextmanager
def at_work() -> Iterator[None]:
    """Keep forks of other threads waiting; blocks only while a fork is under way. May be nested."""
    me = threading.get_ident()
    if me in _at_work:
        yield
        return
    # First enlist, then look: whoever forks first closes the gate, then looks who is enlisted. So one sees the other.
    _at_work.append(me)
    while not _gate.is_set():
        _at_work.remove(me)
        _gate.wait()
        _at_work.append(me)
    try:
        yield
    finally:
        _at_work.remove(me)


def _before_fork() -> None:
    me = threading.get_ident()
    # One fork at a time: another thread's would open the gate too early.
    while not _close_gate():
        _gate.wait()
    while any(thread != me for thread in list(_at_work)):
        time.sleep(0.0002)
    for forkable in list(_known):
        forkable.before_fork()


def _close_gate() -> bool:
    with _known_lock:
        was_open = _gate.is_set()
        _gate.clear()
    return was_open


def _after_fork_in_parent() -> None:
    _gate.set()


def _after_fork_in_child() -> None:
    global _gate, _known_lock  # their inner locks may be held by threads that are gone
    _gate, _known_lock = threading.Event(), threading.Lock()
    _gate.set()
    me = threading.get_ident()
    _at_work[:] = [thread for thread in _at_work if thread == me]
    for forkable in list(_known):
        forkable.after_fork_in_child()
    # OpenMP's threads do not survive a fork, and FAISS would wait for them for ever.
    faiss.omp_set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
    )
