"""Reading a database's bytes gives up none of SQLite's locks: another process must see that this one has it open."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from langchain_rerank_retriever.store import FaissStore, beside_sqlite, schema

from .helpers import FastEmbeddings

OTHER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
print(connection.execute("SELECT count(*) FROM document").fetchone()[0])
connection.close()
"""


def seen_by_another(folder: Path) -> int:
    """How many documents another process sees; as the last to close, it would remove the log."""
    command = [sys.executable, "-c", OTHER, str(folder / schema.FILE_NAME)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def look(folder: Path) -> None:
    assert schema.is_store(folder)


def open_again(folder: Path) -> None:
    FaissStore(FastEmbeddings(4), path=folder).close()


def save_over(folder: Path) -> None:
    with FaissStore(FastEmbeddings(4)) as other:
        other.add_texts(["one"])
        other.save_local(folder)


@pytest.mark.parametrize("read", [look, open_again, save_over])
def test_what_is_written_after_the_file_was_read_is_seen_by_others(tmp_path: Path, read) -> None:
    with FaissStore(FastEmbeddings(4), path=tmp_path / "store") as store:
        store.add_texts(["one"])
        read(tmp_path / "store")
        assert seen_by_another(tmp_path / "store") == 1
        store.add_texts(["two"])
        assert seen_by_another(tmp_path / "store") == 2
    assert seen_by_another(tmp_path / "store") == 2


def test_one_descriptor_waits_and_is_closed_with_the_last_connection(tmp_path: Path) -> None:
    def open_files() -> int:
        return sum(os.path.realpath(one) == file for one in Path("/proc/self/fd").iterdir())

    file = str(tmp_path.resolve() / "store" / schema.FILE_NAME)
    with FaissStore(FastEmbeddings(4), path=tmp_path / "store") as store:
        store.add_texts(["one"])
        connections = open_files()
        for _ in range(3):
            look(tmp_path / "store")
        assert open_files() == connections + 1
    assert open_files() == 0
    look(tmp_path / "store")
    assert open_files() == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_closes_what_waited_in_its_parent(tmp_path: Path) -> None:
    with FaissStore(FastEmbeddings(4), path=tmp_path / "store") as store:
        store.add_texts(["one"])
        look(tmp_path / "store")
        pid = os.fork()
        if not pid:
            os._exit(0 if not beside_sqlite._descriptors._waiting and len(store) == 1 else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert seen_by_another(tmp_path / "store") == 1
        store.add_texts(["two"])
        assert seen_by_another(tmp_path / "store") == 2
