"""Ways in which a file goes bad, and a process of its own for whoever opens it then."""

import json
import logging
import os
import random
import select
import shutil
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from langchain_rerank_retriever.errors import RerankError

#: Seconds that opening, and answering from, anything damaged may take.
LIMIT = 10.0

Way = Callable[[Path, random.Random], None]


def cut(file: Path, rng: random.Random) -> None:
    """What a writer that was cut off leaves."""
    os.truncate(file, rng.randrange(file.stat().st_size or 1))


def flip(file: Path, rng: random.Random) -> None:
    """One bit of a byte that is not zero: most zeros of a database lie in unused parts of pages."""
    content = bytearray(file.read_bytes())
    used = [place for place, byte in enumerate(content) if byte]
    if used:
        content[rng.choice(used)] ^= 1 << rng.randrange(8)
        file.write_bytes(content)


def flip_anywhere(file: Path, rng: random.Random) -> None:
    content = bytearray(file.read_bytes())
    if content:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        file.write_bytes(content)


def zero_tail(file: Path, rng: random.Random) -> None:
    """The length was written and the data was not."""
    size = file.stat().st_size
    _overwrite(file, size - rng.randrange(size + 1), bytes, size)


def zero_block(file: Path, rng: random.Random) -> None:
    """A sector, or a page, that reads as zeros."""
    block = rng.choice((512, 4096))
    place = rng.randrange(file.stat().st_size // block + 1) * block
    _overwrite(file, place, bytes, block)


def garbage(file: Path, rng: random.Random) -> None:
    """Random bytes, few or many."""
    place = rng.randrange(file.stat().st_size or 1)
    _overwrite(file, place, rng.randbytes, rng.choice((1, 4, 64, 512, 4096)))


def empty(file: Path, rng: random.Random) -> None:
    os.truncate(file, 0)


def missing(file: Path, rng: random.Random) -> None:
    file.unlink()


def folder(file: Path, rng: random.Random) -> None:
    """A folder in the place of a file, empty or not."""
    file.unlink()
    file.mkdir()
    if rng.random() < 0.5:
        (file / "inside").write_text("x")


def link(file: Path, rng: random.Random) -> None:
    """A link to nowhere, to itself, or to a folder."""
    file.unlink()
    file.symlink_to(rng.choice(("nowhere", file.name, "/")))


def swap(file: Path, rng: random.Random) -> None:
    """Two files of one folder, each under the other's name; alone, it takes the name of nobody."""
    others = sorted(other for other in file.parent.iterdir() if other.is_file() and other != file)
    if not others:
        file.rename(file.with_name("swapped"))
        return
    other = rng.choice(others)
    aside = file.with_name("aside")
    file.rename(aside)
    other.rename(file)
    aside.rename(other)


def _overwrite(file: Path, place: int, content: Callable[[int], bytes], length: int) -> None:
    """Change bytes and leave the length as it is."""
    length = max(0, min(length, file.stat().st_size - place))
    with file.open("r+b") as stream:
        stream.seek(place)
        stream.write(content(length))


def untouched(file: Path, rng: random.Random) -> None:
    """The control: what is not damaged is not refused."""


#: Ways that leave a file in its place with other bytes, of which there are many, and ways of which there are few.
OF_BYTES: tuple[Way, ...] = (cut, flip, flip, flip_anywhere, zero_tail, zero_block, garbage, garbage)
OF_FILES: tuple[Way, ...] = (empty, missing, folder, link, swap)


def drawn(rng: random.Random) -> Way:
    """A way by chance, bytes rather than whole files."""
    return rng.choice(OF_BYTES if rng.random() < 0.85 else OF_FILES)


def laid_out(files: Mapping[str, bytes], target: Path) -> Path:
    """A folder with these files alone."""
    shutil.rmtree(target, ignore_errors=True)
    for name, content in files.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes(content)
    return target


def files_of(source: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(source)): file.read_bytes()
        for file in sorted(source.rglob("*"))
        if file.is_file()
    }


@dataclass(frozen=True)
class Outcome:
    """What became of one case.

    Attributes:
        refused: The kind of the error of ours that was raised; None where none was.
        message: Its text.
        facts: What the case itself returned.
        logged: Warnings of the package.
        seconds: How long it took.
    """

    refused: str | None
    message: str
    facts: dict[str, Any] = field(default_factory=dict)
    logged: list[str] = field(default_factory=list)
    seconds: float = 0.0


def in_child(case: Callable[[], dict[str, Any]], limit: float = LIMIT) -> Outcome:
    """Run a case in a forked process.

    Raises:
        AssertionError: It took too long, ended by a signal, or raised what is no error of ours.
    """
    started = time.monotonic()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        try:
            _report(writer, case)
        finally:
            os._exit(0)
    os.close(writer)
    answer = _read_all(reader, started + limit)
    os.close(reader)
    if answer is None:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    assert answer is not None, f"it took more than {limit} seconds"
    assert status == 0, f"it ended with status {status}, a signal perhaps"
    found = json.loads(answer)
    assert "unexpected" not in found, found["unexpected"]
    return Outcome(**found, seconds=time.monotonic() - started)


class _Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def _report(writer: int, case: Callable[[], dict[str, Any]]) -> None:
    kept = _Kept()
    package = logging.getLogger("langchain_rerank_retriever")
    package.addHandler(kept)
    package.propagate = False
    try:
        said: dict[str, Any] = {"refused": None, "message": "", "facts": case()}
    except RerankError as error:
        said = {"refused": type(error).__name__, "message": str(error)}
    except BaseException as error:
        import traceback

        said = {"unexpected": "".join(traceback.format_exception(error))[-4000:]}
    else:
        said["logged"] = kept.lines
    data = json.dumps(said).encode(errors="replace")
    while data:
        data = data[os.write(writer, data) :]


def _read_all(reader: int, deadline: float) -> bytes | None:
    """Everything up to the end of the pipe; None where it does not come in time."""
    parts = []
    while select.select([reader], [], [], max(0.0, deadline - time.monotonic()))[0]:
        part = os.read(reader, 65536)
        if not part:
            return b"".join(parts)
        parts.append(part)
    return None
