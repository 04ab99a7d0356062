"""Threads for what a query has left to do when its candidates are scored, so that it waits for no other's recall."""

import os
from collections.abc import Callable
from typing import TypeVar

from langchain_core.runnables import run_in_executor
from langchain_core.runnables.config import ContextThreadPoolExecutor

Result = TypeVar("Result")


class Threads:
    """A few threads that the queries of all event loops share, who comes first first; they begin when they are needed.

    In a loop's own executor, where recall waits for the model, the last step of a query would stand in line behind the
    recalls of all queries that came after it, whatever its deadline.

    Args:
        name: What the threads are called.
        most: How many there are at most.
    """

    def __init__(self, name: str, most: int) -> None:
        self._name, self._most = name, most
        self._begin_anew()
        if hasattr(os, "register_at_fork"):
            # A child has none of the threads, and would wait for them for ever.
            os.register_at_fork(after_in_child=self._begin_anew)

    def _begin_anew(self) -> None:
        self._executor = ContextThreadPoolExecutor(self._most, f"langchain-rerank-{self._name}")

    async def run(self, function: Callable[..., Result], *arguments: object) -> Result:
        """Call a function in one of the threads; cancelled before it has begun, it never runs."""
        return await run_in_executor(self._executor, function, *arguments)


#: One, because the last step is work for the interpreter, whose lock each thread holds for 5 ms before it lets the next
#: have it: many would keep an event loop as long as if it did all of their work itself.
finishing = Threads("finish", 1)
#: As many as a loop's own executor has: these may have to embed documents, and wait for a model or a server.
diversifying = Threads("diversify", min(32, (os.cpu_count() or 1) + 4))
