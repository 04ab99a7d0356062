"""Forks: none happens in the middle of a batch, and a child does not wait for threads that only its parent has."""

import os
import sys
import threading
import weakref
from typing import Protocol

#: A fork waits this long for running batches; a child made in the middle of one could inherit held locks.
FORK_WAIT_SECONDS = 10.0


class Lock(Protocol):
    """As much of a lock as is needed here."""

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take it, within some seconds."""
        ...

    def release(self) -> None:
        """Let go of it."""
        ...


class Forkable(Protocol):
    """What must not be in the middle of something when the process forks."""

    @property
    def busy(self) -> Lock:
        """Held by whoever is in the middle of something."""
        ...

    def after_fork(self) -> None:
        """Called in the child before anything else runs."""
        ...


class _State:
    """What the hooks know of the process.

    Attributes:
        turn: Held from before a fork until after it: of two threads that fork side by side each would let go of what
            the other holds.
        known: What forks wait for.
        held: The locks that the fork under way holds.
        used: Whether there ever was a model, and with it threads of OpenMP, which outlive it.
        forked: The thread that came through a fork; what OpenMP keeps for it are threads that are not there.
    """

    def __init__(self) -> None:
        self.turn = threading.RLock()
        self.known: weakref.WeakSet[Forkable] = weakref.WeakSet()
        self.held: list[Lock] = []
        self.used = False
        self.forked: int | None = None


_state = _State()


def register(forkable: Forkable) -> None:
    """Have an object waited for by forks for as long as it lives."""
    with _state.turn:
        _state.used = True
        _state.known.add(forkable)


def came_through_a_fork() -> bool:
    """Whether the calling thread did: with more than one thread OpenMP would wait for ever in it."""
    return _state.forked == threading.get_ident()


def _before_fork() -> None:
    _state.turn.acquire()
    for one in list(_state.known):
        lock = one.busy
        if lock.acquire(timeout=FORK_WAIT_SECONDS):
            _state.held.append(lock)


def _after_fork_in_parent() -> None:
    while _state.held:
        _state.held.pop().release()
    _state.turn.release()


def _after_fork_in_child() -> None:
    _state.turn = threading.RLock()
    _state.held.clear()
    _state.forked = threading.get_ident()
    for one in list(_state.known):
        one.after_fork()
    torch = sys.modules.get("torch")
    if torch is not None and _state.used:
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
    )
