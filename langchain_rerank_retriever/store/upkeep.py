"""What a store does beside its users' calls: it writes snapshots, and checks the one that it has mapped."""

import atexit
import logging
import threading
import time
import weakref
from collections.abc import Callable

from langchain_rerank_retriever.errors import RerankError

from . import forking

logger = logging.getLogger(__name__)

#: Seconds without a change before something is begun, and how long that may be waited for: a bulk load in many calls
#: is to give one snapshot, not many.
QUIET = 2.0
PATIENCE = 60.0

Task = Callable[[Callable[[], bool]], None]


class Upkeep:
    """Runs one task at a time in a thread that exists only while there is something to do."""

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
        self._thread: threading.Thread | None = None
        forking.register(self)
        _all.add(self)

    def consider(self) -> None:
        """Begin in the background what is due; returns at once."""
        if self._stop.is_set() or self._next_task() is None:
            return
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(target=self._main, name="store-upkeep", daemon=True)
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

    def wait(self, timeout: float | None) -> bool:
        """Wait until nothing is due, which is begun at once; False where it takes longer."""
        self.consider()
        thread = self._thread
        if thread is not None:
            self._hurry.set()
            thread.join(timeout)
        return self._thread is None

    def _main(self) -> None:
        if not self._is_the_one():
            return
        try:
            self._wait_for_quiet()
            while (task := self._taken_up()) is not None:
                task(lambda: not self._stop.is_set())
        except (RerankError, MemoryError) as error:
            # Whatever was to be done saves time at most. Tried again when the store is opened again.
            self._stop.set()
            logger.warning("The upkeep of a store has ended: %s", error)
        finally:
            if self._thread is threading.current_thread():
                self._thread = None

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
        """Forget the thread, which is only in the parent."""
        self._lock = threading.Lock()
        self._hurry = threading.Event()
        self._thread = None


_all: "weakref.WeakSet[Upkeep]" = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    # A thread inside FAISS or SQLite while Python shuts down would end the process with a signal.
    for upkeep in list(_all):
        upkeep.close()
