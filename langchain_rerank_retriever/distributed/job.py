"""A job over shards: what is made of each slice, in this process or by the workers of a cluster."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Protocol

from langchain_rerank_retriever.distributed.shard_file import Header, Made
from langchain_rerank_retriever.distributed.shards import ShardFolder, claimed
from langchain_rerank_retriever.distributed.slices import Row, Slice
from langchain_rerank_retriever.errors import DataError, InvalidArgumentError, InvalidDocumentError

#: Makes the content of a shard of the rows of a slice; the number is the shard's.
Work = Callable[[int, Sequence[Row]], Made]


class Job(Protocol):
    """What is done with each slice; pickled to reach the workers of a cluster."""

    @property
    def identity(self) -> dict[str, Any]:
        """What the shards depend on besides the rows, as JSON: `job`, `model`, and settings by name."""
        ...

    def open(self) -> AbstractContextManager[Work]:
        """Make ready what the work needs, in the process that does it."""
        ...


class Runner(Protocol):
    """Has a job done."""

    def run(self, job: Job, folder: ShardFolder, pending: Iterable[Slice]) -> Iterator[Header]:
        """Yield the header of each shard once it is written, in any order."""
        ...


@dataclass(frozen=True, slots=True)
class ShardsResult:
    """A folder in which every shard is there.

    Attributes:
        folder: Where the shards lie.
        shards: How many there are.
        rows: How many rows they have.
        made_of: How many rows the source has.
        written: How many of the shards this call wrote; the others were there already.
        counts: What the job counted, over all shards.
        seconds: What this call took.
    """

    folder: Path
    shards: int
    rows: int
    made_of: int
    written: int
    counts: dict[str, int]
    seconds: float


class InThisProcess:
    """Does one slice after the other; one is in memory at a time."""

    def run(self, job: Job, folder: ShardFolder, pending: Iterable[Slice]) -> Iterator[Header]:
        """See `Runner`; models are loaded only if there is something to do."""
        slices = iter(pending)
        first = next(slices, None)
        if first is None:
            return
        with job.open() as work:
            yield do_slice(work, folder, first)
            for one in slices:
                yield do_slice(work, folder, one)


def run_job(
    job: Job,
    slices: Iterable[Slice],
    output: str | Path,
    runner: Runner | None,
    *,
    verify: bool = False,
    check: Callable[[ShardFolder, int, int], None] | None = None,
) -> ShardsResult:
    """Do what is not done yet.

    Args:
        job: What is done.
        slices: Of what.
        output: The folder of the shards.
        runner: Who does it; None is this process.
        verify: Whether the content of shards that are there is read and hashed, or their footers alone.
        check: Called with the folder and the numbers of shards and rows before they are called complete.

    Raises:
        RerankError: See `claimed` and `ShardFolder`; whatever the job raises; `ShardError` from a cluster.
    """
    started = monotonic()
    done: list[Header] = []
    written = 0
    with claimed(Path(output).expanduser().absolute(), job.identity) as folder:
        pending = _pending(folder, slices, done, verify=verify)
        for header in (runner or InThisProcess()).run(job, folder, pending):
            done.append(header)
            written += 1
        rows = sum(header.rows for header in done)
        # What is complete was checked, and no shard has come since.
        if check is not None and (written or not folder.manifest["complete"]):
            check(folder, len(done), rows)
        folder.finish(done)
    counts: Counter[str] = Counter()
    for header in done:
        counts.update(header.counts)
    return ShardsResult(
        folder.path,
        len(done),
        rows,
        sum(header.made_of for header in done),
        written,
        dict(counts),
        monotonic() - started,
    )


def do_slice(work: Work, folder: ShardFolder, one: Slice) -> Header:
    """Make a shard and write it."""
    rows = one.rows()
    try:
        made = work(one.number, rows)
    except (DataError, InvalidDocumentError) as error:
        first = f", which begins at {one.parts[0].path}, {one.parts[0].start}" if one.parts else ""
        raise DataError(f"shard {one.number}{first}: {error}") from error
    return folder.write(one, made, len(rows))


def checked_size(name: str, value: object) -> int:
    """Return a number of rows.

    Raises:
        InvalidArgumentError: It is no whole number of at least 1.
    """
    if type(value) is not int or value < 1:
        raise InvalidArgumentError(f"{name} must be a whole number of at least 1, got {value!r}.")
    return value


def _pending(
    folder: ShardFolder, slices: Iterable[Slice], done: list[Header], *, verify: bool
) -> Iterator[Slice]:
    """Pass on the slices whose shards are not there yet, and note the headers of the others."""
    for one in slices:
        header = folder.header(one, verify=verify)
        if header is None:
            yield one
        else:
            done.append(header)
