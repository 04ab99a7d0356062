"""Ray nodes on loopback, each with an address of its own, and the processes that belong to them."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
STORE_BYTES = 100_000_000


def wait_until(met: Callable[[], bool], what: str, seconds: float = 90.0) -> None:
    """Wait for something.

    Raises:
        TimeoutError: It did not come.
    """
    end = time.monotonic() + seconds
    while not met():
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not come within {seconds:.0f} s")
        time.sleep(0.05)


class Node:
    """A node of one processor, started by Ray's own command; it stays in the foreground and so has a known id.

    Args:
        address: Of the node, on loopback.
        head: `host:port` of the node that leads; None for the one that does.
        port: Of a leading node.
        scratch: For Ray's sockets and logs.
    """

    def __init__(self, address: str, *, head: str | None, port: int, scratch: Path) -> None:
        ray = str(Path(sys.executable).with_name("ray"))
        role = (
            ["--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={scratch}/ray"]
            if head is None
            else [f"--address={head}"]
        )
        self.command = [
            ray, "start", *role, "--block", f"--node-ip-address={address}", "--num-cpus=1",
            f"--object-store-memory={STORE_BYTES}", "--disable-usage-stats",
        ]  # fmt: skip
        self._log = (scratch / f"{address}.log").open("wb")
        self.process = subprocess.Popen(
            self.command,
            env=os.environ | ENVIRONMENT,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def processes(self) -> list[psutil.Process]:
        """Everything that the node started and that runs."""
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def raylet(self) -> psutil.Process | None:
        """The process that is the node to the others."""
        return next((one for one in self.processes() if _name(one) == "raylet"), None)

    def workers(self) -> list[psutil.Process]:
        """The processes that make shards."""
        return [one for one in self.processes() if "ShardWorker" in _title(one)]

    def stop(self) -> None:
        """End the node and all it started."""
        started = self.processes()
        for one in (
            (psutil.Process(self.process.pid), *started) if psutil.pid_exists(self.process.pid) else started
        ):
            _kill(one)
        self.process.wait()
        psutil.wait_procs(started, timeout=30)
        self._log.close()


@contextmanager
def two_nodes() -> Iterator[tuple[str, list[Node]]]:
    """Start a cluster of two nodes and end it, with everything it started."""
    # In a short path: the names of sockets may have about a hundred letters.
    with tempfile.TemporaryDirectory(prefix="r-", dir="/tmp") as folder:
        port = free_port()
        address = f"127.0.0.1:{port}"
        nodes = [Node("127.0.0.1", head=None, port=port, scratch=Path(folder))]
        try:
            wait_until(lambda: listens(port) and nodes[0].raylet() is not None, "the first node")
            nodes.append(Node("127.0.0.2", head=address, port=port, scratch=Path(folder)))
            wait_until(lambda: nodes[1].raylet() is not None, "the second node")
            yield address, nodes
        finally:
            for node in reversed(nodes):
                node.stop()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def _kill(one: psutil.Process) -> None:
    try:
        one.send_signal(signal.SIGKILL)
    except psutil.NoSuchProcess:
        return


def _name(one: psutil.Process) -> str:
    try:
        return one.name()
    except psutil.NoSuchProcess:
        return ""


def _title(one: psutil.Process) -> str:
    try:
        return " ".join(one.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""
