"""Queries of one event loop take turns at what is work for the interpreter, so that the loop is never kept long."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Line:
    """Who stands in line on one loop."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    length: int = 0


#: By loop, as long as anybody stands in line there: a lock holds its loop, which would never be freed.
_lines: dict[asyncio.AbstractEventLoop, _Line] = {}


@asynccontextmanager
async def turn() -> AsyncIterator[None]:
    """Wait until no other query of this loop is in such a block; who comes first goes first.

    Queries that share a model's batches are scored at the same moment, and all go on in the same pass of the loop: what
    one of them does at once, hundreds do in a pass in which nothing else runs. One after the other, the loop comes to
    its other work in between. Nothing that takes long, or waits for anything, may stand in such a block.
    """
    loop = asyncio.get_running_loop()
    line = _lines.setdefault(loop, _Line())
    line.length += 1
    try:
        async with line.lock:
            yield
    finally:
        line.length -= 1
        if not line.length:
            del _lines[loop]
