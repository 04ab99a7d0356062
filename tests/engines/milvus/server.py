"""A standalone Milvus server in a network namespace that has nothing but loopback."""

import socket
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_milvus import Milvus
from milvus import MilvusServer, MilvusServerConfig
from pymilvus import MilvusClient, MilvusException

from tests.engines.example import example

PORT = 19530

#: Seconds. A restart waits until the leases of the server that is gone have run out.
READY_WITHIN = 120.0

SETTINGS = {
    # Rows that are not yet on disk would be searched by an approximate index, whatever index was asked for.
    "queryNode.segcore.interimIndex.enableIndex": "false",
    # Seconds instead of 30, for the restart.
    "common.session.ttl": "5",
}


class MilvusStandalone:
    """The server, its collections, and how it is killed and started again."""

    def __init__(self, folder: Path) -> None:
        others = {name for _, name in socket.if_nameindex()} - {"lo"}
        if others:
            raise RuntimeError(
                f"Milvus listens on all addresses, and this network has {sorted(others)}. Run these tests by "
                "`make test-engines`, which gives them a network of their own."
            )
        # As many connections that are just closed are remembered as this says: with none, a server that was killed
        # finds its port free again.
        Path("/proc/sys/net/ipv4/tcp_max_tw_buckets").write_text("0", encoding="ascii")
        self.uri = f"http://127.0.0.1:{PORT}"
        self._folder = folder
        config = MilvusServerConfig(data_dir=str(folder), proxy_port=PORT)
        for key, value in SETTINGS.items():
            config.set(key, value)
        self._server = MilvusServer(config, wait_for_started=False)
        self.start()

    def fill(
        self, name: str, embeddings: Embeddings, documents: Sequence[Document], vectors: np.ndarray
    ) -> Milvus:
        """Make a collection whose index compares with every vector, so that search is exact."""
        store = self.open(name, embeddings)
        example("milvus").load(store, list(documents), vectors)
        return store

    def open(self, name: str, embeddings: Embeddings) -> Milvus:
        """Open a collection that is there, or is to be made."""
        return example("milvus").open_store(self.uri, name, embeddings, index="FLAT")

    def crash(self) -> None:
        """Kill the server."""
        self._server.server_proc.kill()
        self._server.stop()

    def start(self) -> None:
        """Start it on the same data and wait until it answers."""
        self._server.start()
        deadline = time.monotonic() + READY_WITHIN
        while True:
            try:
                MilvusClient(self.uri, timeout=5).list_collections()
                return
            except MilvusException as error:
                if self._server.server_proc.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"Milvus does not answer. It said: {self._last_words()}") from error
                time.sleep(0.2)

    def _last_words(self) -> str:
        logs = sorted((self._folder / "logs").glob("milvus-std*.log"))
        return "".join(log.read_text(encoding="utf-8", errors="replace")[-1000:] for log in logs)

    def close(self) -> None:
        """Stop it: it takes minutes to end by itself, and its data are not needed any more."""
        self.crash()
