"""What a store does beside its users' calls: it writes snapshots, and checks the one that it has mapped."""

import atexit
import logging
import threading
import time
import weakref
from collections.abc import Callable

from langchain_rerank_retriever.errors import ClosedError, FormatError, RerankError

from . import forking

logger = logging.getLogger(__name__)

#: Seconds without a change before something is begun, and how long that may be waited for: a bulk load in many calls
#: is to give one snapshot, not many.
QUIET = 2.0
PATIENCE = 60.0
#: Seconds after a failure before what is due is tried again; doubled with each failure up to the second.
PAUSE, LONGEST_PAUSE = 1.0, 300.0

Task = Callable[[Callable[[], bool]], None]


class Upkeep:
    """Runs one task at a time in a thread that exists only while there is something to do.

    What fails is tried again after a while, until it is closed.
    """

    def __init__(self, next_task: Callable[[], Task | None], changes: Callable[[], int]) -> None:
        """Start nothing yet.

        Args:
            next_task: What to do next; None for nothing. A task is given a function that says whether to go on.
            changes: Some number that is another one after each change of the store.
        """
        self._next_task = next_task
        self._changes = changes
        self._lock = threading.Lock()
        self._stop = threading.Event()
        #: That somebody waits for what is to be done, so that it is not put off any longer.
        self._hurry = threading.Event()
        #: That what was due has been tried, whether it is done now or failed.
        self._tried = threading.Event()
        self._pause = _Pause(self._stop, self._hurry)
        self._waiting: set[int] = set()
        self._thread: threading.Thread | None = None
        forking.register(self)
        _all.add(self)

    @property
    def is_waited_for(self) -> bool:
        """Whether somebody waits for what is to be done, now."""
        return bool(self._waiting)

    def consider(self) -> None:
        """Begin in the background what is due; returns at once."""
        if self._stop.is_set() or self._next_task() is None:
            return
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(
                    target=_work, args=(weakref.ref(self), self._pause), name="store-upkeep", daemon=True
                )
                thread.start()
                # Not noted before: where Ctrl-C comes first, nobody must wait for a thread that never ran.
                self._thread = thread

    def close(self) -> None:
        """Begin nothing more, and wait for what is running to stop."""
        self._stop.set()
        self._hurry.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def wait(self, timeout: float | None, *, again: bool = True) -> bool:
        """Wait until nothing is due, which is begun at once.

        Args:
            timeout: Seconds; None for as long as it takes.
            again: Whether to go on waiting where something failed and is to be tried again.

        Returns:
            False where something is still due.
        """
        me = threading.get_ident()
        try:
            self._waiting.add(me)
            # Before looking for the thread, which sets it only after it counts as gone: one that is seen will set it.
            self._tried.clear()
            self.consider()
            thread = self._thread
            if thread is not None:
                self._hurry.set()
                if again:
                    thread.join(timeout)
                else:
                    self._tried.wait(timeout)
        finally:
            self._waiting.discard(me)
        return self._thread is None and self._next_task() is None

    def _try(self) -> bool:
        """Do what is due; False where something failed that is to be tried again by this thread."""
        ended = True
        try:
            if not self._pause.seconds:
                self._wait_for_quiet()
            # Who hurries from now on does not know yet whether this fails.
            self._hurry.clear()
            while (task := self._taken_up()) is not None:
                task(lambda: not self._stop.is_set())
        except (RerankError, MemoryError) as error:
            # Whatever was to be done saves time at most. A damaged store is not mended by waiting: it is tried again
            # after the next change, or when somebody waits for it.
            ended = isinstance(error, FormatError | ClosedError)
            seconds = self._pause.lengthen()
            when = "" if ended else f", and is tried again in {seconds:.0f} s"
            # Its text alone: whoever keeps log records must not keep the store by the error's frames.
            text = str(error) or type(error).__name__
            logger.warning("The upkeep of a store has failed%s: %s", when, text)
        finally:
            if ended and self._thread is threading.current_thread():
                self._thread = None
            self._tried.set()
        return ended

    def _is_the_one(self) -> bool:
        """Whether this thread works: Ctrl-C can have come when it ran already and was not noted yet."""
        with self._lock:
            if self._thread is None and not self._stop.is_set():
                self._thread = threading.current_thread()
            return self._thread is threading.current_thread()

    def _taken_up(self) -> Task | None:
        """The next task; with none, the thread counts as gone before anybody can rely on it for another."""
        with self._lock:
            task = None if self._stop.is_set() else self._next_task()
            if task is None:
                self._hurry.clear()
                self._pause.seconds = 0.0
                self._thread = None
            return task

    def _wait_for_quiet(self) -> None:
        deadline = time.monotonic() + PATIENCE
        seen = self._changes()
        while not self._hurry.wait(QUIET) and time.monotonic() < deadline:
            if self._changes() == seen:
                return
            seen = self._changes()

    def before_fork(self) -> None:
        """Nothing is held that a fork must not see."""

    def after_fork_in_child(self) -> None:
        """Forget the thread and who waits for it, which are only in the parent, and what they may hold."""
        stopped = self._stop.is_set()
        self._lock = threading.Lock()
        self._stop, self._hurry, self._tried = threading.Event(), threading.Event(), threading.Event()
        if stopped:
            self._stop.set()
        self._pause = _Pause(self._stop, self._hurry)
        self._waiting = set()
        self._thread = None


class _Pause:
    """How long to wait after a failure."""

    def __init__(self, stop: threading.Event, hurry: threading.Event) -> None:
        self._stop, self._hurry = stop, hurry
        self.seconds = 0.0

    def lengthen(self) -> float:
        """Note a failure; the seconds until it is tried again."""
        self.seconds = min(max(PAUSE, 2 * self.seconds), LONGEST_PAUSE)
        return self.seconds

    def rest(self) -> None:
        """Wait as long, or the shortest time where somebody hurries: never at once, however many do."""
        if self.seconds and not self._stop.wait(PAUSE) and self._hurry.wait(self.seconds - PAUSE):
            self.seconds = PAUSE


def _work(known: "weakref.ref[Upkeep]", pause: _Pause) -> None:
    """Try what is due until it is done; what a thread runs.

    The store is not held during a pause: one that nobody has any more must not stay because its disk is full.
    """
    ended = False
    while not ended:
        pause.rest()
        upkeep = known()
        ended = upkeep is None or not upkeep._is_the_one() or upkeep._try()
        del upkeep


_all: "weakref.WeakSet[Upkeep]" = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    # A thread inside FAISS or SQLite while Python shuts down would end the process with a signal.
    for upkeep in list(_all):
        upkeep.close()
