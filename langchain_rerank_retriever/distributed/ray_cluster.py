"""Have a job done by Ray: by the processors of this machine, or by a cluster that is there.

Ray starts the workers, hands them slices and starts others where one is lost. What is done is in the shards alone: a
run that is killed leaves them, and the next one goes on.
"""

import json
import logging
import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from langchain_rerank_retriever.distributed.job import Job, do_slice
from langchain_rerank_retriever.distributed.shard_file import Header
from langchain_rerank_retriever.distributed.shards import ShardFolder
from langchain_rerank_retriever.distributed.slices import FilePart, Slice, staged
from langchain_rerank_retriever.errors import InvalidArgumentError, ShardError, brought_by

_LOGGER = logging.getLogger(__name__)

_STAGED, _TRIES = "staged", "tries"

#: Seconds in which an address must take a connection; Ray itself tries for minutes.
_PATIENCE = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RayCluster:
    """Where the workers of a job run.

    Every worker loads the job's models for itself, and the nodes need this package. Where Ray is connected already,
    that connection is used; how a cluster lets clients in is set by Ray's own environment variables (`RAY_AUTH_MODE`).

    Attributes:
        address: Of an existing cluster, ``"host:port"``, or ``"auto"`` for the one this machine is in. None starts
            Ray on this machine for the length of the job.
        workers: How many; None for as many as there are processors for, less one that is left for Ray's own tasks.
        cpus: Processors of a worker. Ray gives torch as many threads; for OpenVINO, give the model its `threads`.
        gpus: GPUs of a worker; may be a fraction.
        tries: How often a shard is begun before the job is given up: a shard that always ends its worker, for want of
            memory for instance, would be tried for ever by Ray.

    Raises:
        InvalidArgumentError: A number is too small.
    """

    address: str | None = None
    workers: int | None = None
    cpus: float = 1.0
    gpus: float = 0.0
    tries: int = 4

    def __post_init__(self) -> None:
        for name, least in (("workers", 1), ("tries", 1)):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < least):
                raise InvalidArgumentError(
                    f"{name} must be a whole number of at least {least}, got {value!r}."
                )
        if self.cpus <= 0 or self.gpus < 0:
            raise InvalidArgumentError(
                f"Expected cpus above 0 and gpus of at least 0, got {self.cpus}, {self.gpus}."
            )

    def run(self, job: Job, folder: ShardFolder, pending: Iterable[Slice]) -> Iterator[Header]:
        """Have the workers make shards; called by the jobs, such as `encode_corpus`.

        Args:
            job: What is made of each slice.
            folder: Where the shards go.
            pending: The slices that have no shard yet.

        Raises:
            MissingExtraError: Ray is not installed.
            ShardError: The cluster cannot be reached; names its address. Or a shard could not be done; names it.
        """
        with brought_by("ray", "ray"):
            import ray
            import ray.data
        for name in (_STAGED, _TRIES):
            (folder.work / name).mkdir()
        tasks = [json.dumps(asdict(staged(one, folder.work / _STAGED))) for one in pending]
        if not tasks:
            return
        with self._connected(ray), _quiet(ray):
            try:
                yield from self._headers(ray, job, folder, tasks)
            except ray.exceptions.RayError as error:
                raise ShardError(f"Ray gave the job up: {error}") from error

    def _headers(self, ray: Any, job: Job, folder: ShardFolder, tasks: list[str]) -> Iterator[Header]:
        size = min(self.workers or self._room(ray), len(tasks))
        rows = ray.data.from_items([{"slice": one} for one in tasks], override_num_blocks=len(tasks)).map(
            ShardWorker,
            fn_constructor_args=(job, str(folder.path), self.tries),
            compute=ray.data.ActorPoolStrategy(size=size),
            num_cpus=self.cpus,
            num_gpus=self.gpus or None,
        )
        for row in rows.iter_rows():
            if row["problem"]:
                raise ShardError(row["problem"])
            yield Header(**json.loads(row["header"]))

    def _room(self, ray: Any) -> int:
        resources = ray.cluster_resources()
        by_cpu = (resources.get("CPU", 1.0) - 1.0) // self.cpus
        return max(1, int(min(by_cpu, resources.get("GPU", 0.0) // self.gpus) if self.gpus else by_cpu))

    @contextmanager
    def _connected(self, ray: Any) -> Iterator[None]:
        if ray.is_initialized():
            yield
            return
        try:
            self._connect(ray)
        except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise ShardError(self._no_connection(error)) from error
        try:
            yield
        finally:
            ray.shutdown()

    def _connect(self, ray: Any) -> None:
        if self.address is None:
            # For Ray that this call starts: nothing is reported and nothing listens beyond this machine.
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            ray.init(include_dashboard=False, _node_ip_address="127.0.0.1", log_to_driver=False)
            return
        host, _, port = self.address.rpartition(":")
        if port.isdigit() and "/" not in host:
            socket.create_connection((host.strip("[]"), int(port)), _PATIENCE).close()
        # What workers log stays in Ray's logs: Ray would print it to the caller's stdout.
        ray.init(address=self.address, log_to_driver=False)

    def _no_connection(self, error: Exception) -> str:
        told = f"{type(error).__name__}: {error}"
        if self.address is None:
            return f"Ray cannot be started on this machine: {told}. What is done is kept."
        return (
            f"There is no connection to the Ray cluster at {self.address!r}: {told}. Expected the address of a running "
            'cluster, "host:port" as `ray start --head` tells it or "auto" on a machine of the cluster; see that it '
            "runs and can be reached from here. What is done is kept."
        )


class ShardWorker:
    """Makes shards, in a process that Ray started.

    Args:
        job: What is done.
        folder: The folder of the shards.
        tries: How often a shard may be begun.
    """

    def __init__(self, job: Job, folder: str, tries: int) -> None:
        self._folder = ShardFolder(Path(folder))
        self._tries = tries
        # Kept: what is opened stays open for as long as this process, which Ray ends.
        self._opened = ExitStack()
        self._work = self._opened.enter_context(job.open())

    def __call__(self, task: dict[str, str]) -> dict[str, str]:
        """Make one shard.

        Args:
            task: `slice` is a `Slice` as JSON.

        Returns:
            `header` is the shard's `Header` as JSON, `problem` why there is none.
        """
        told = json.loads(task["slice"])
        one = Slice(told["number"], told["digest"], tuple(FilePart(**part) for part in told["parts"]))
        try:
            self._begin(one.number)
            header = do_slice(self._work, self._folder, one)
        except Exception as error:
            _LOGGER.exception("Shard %d cannot be made", one.number)
            # Returned, for Ray raises errors inside others, whose messages hold whole tracebacks.
            return {
                "header": "",
                "problem": f"Shard {one.number} cannot be made: {type(error).__name__}: {error}",
            }
        return {"header": json.dumps(asdict(header)), "problem": ""}

    def _begin(self, number: int) -> None:
        # A byte for each time, on the disk before anything that may end this process.
        path = self._folder.work / _TRIES / f"{number:06d}"
        with path.open("ab") as file:
            file.write(b".")
        begun = path.stat().st_size
        if begun > self._tries:
            raise ShardError(
                f"it was begun {self._tries} times, and each time its worker ended before it was done: out of memory, "
                "killed, or crashed. Look at its rows, or make shards smaller; what is done is kept"
            )


@contextmanager
def _quiet(ray: Any) -> Iterator[None]:
    """Draw no bars: a library's output is its caller's."""
    context = ray.data.DataContext.get_current()
    before = context.enable_progress_bars
    context.enable_progress_bars = False
    try:
        yield
    finally:
        context.enable_progress_bars = before
