"""Files appear whole or not at all."""

import os
import stat
from pathlib import Path

import pytest

from langchain_rerank_retriever.errors import DataError, StorageError
from langchain_rerank_retriever.files import written_whole


def test_a_file_is_replaced_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "file"
    for text in ("first\n", "second\n"):
        with written_whole(path) as file:
            file.write(text)
        assert path.read_bytes() == text.encode()
    assert list(path.parent.iterdir()) == [path]


def test_it_may_be_read_by_whom_the_umask_allows(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with written_whole(tmp_path / "file"):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


@pytest.mark.parametrize(
    ("error", "raised"), [(KeyboardInterrupt, KeyboardInterrupt), (OSError, StorageError)]
)
def test_after_an_error_the_old_file_is_as_it_was(tmp_path: Path, error: type, raised: type) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def write() -> None:
        with written_whole(path) as file:
            file.write("new")
            raise error

    with pytest.raises(raised):
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_lone_surrogate(tmp_path: Path) -> None:
    with (
        pytest.raises(DataError, match=r"file cannot be written as UTF-8: '\\udc80' is a lone surrogate"),
        written_whole(tmp_path / "file") as file,
    ):
        file.write("a\udc80")
    assert list(tmp_path.iterdir()) == []


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("file")
    with written_whole(tmp_path / "link") as file:
        file.write("text")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "text"


def test_what_is_no_regular_file_is_written_to(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with written_whole(fifo) as file:
        file.write("text")
    assert os.read(reader, 10) == b"text"
    os.close(reader)
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    with pytest.raises(StorageError, match="cannot be written"), written_whole(tmp_path):
        pass
