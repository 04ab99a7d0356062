"""A bundle that the command is run on, its commands, and what must hold when one has ended somehow."""

import contextlib
import hashlib
import signal
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from tests.training.conftest import about_animals

from .signals import Ended, run

QUERIES = {f"q{number}": one["query"] for number, one in enumerate(about_animals()[:30])}
QRELS = {f"q{number}": {one["document_id"]: 1} for number, one in enumerate(about_animals()[:30])}

USER_MISTAKE, INTERRUPTED, BROKEN_PIPE, TERMINATED = 2, 130, 141, 143


@dataclass(frozen=True)
class Place:
    """A copy of the bundle, what belongs to it, and where processes print."""

    bundle: Path
    data: Path
    saved: tuple[Path, Path]
    printed: Path


def evaluating(place: Place, *options: object) -> list[object]:
    return ["evaluate", place.bundle, "--beir", place.data, *options]


def commands(place: Place) -> dict[str, list[object]]:
    """Every command that takes seconds at most, by a name; everyday runs come to the first four."""
    return {
        "info": ["info", place.bundle],
        "search": ["search", place.bundle, "whale in the river", "--explain"],
        "repair": ["repair", place.bundle],
        "compare": ["compare", *place.saved],
        "verify": ["verify", place.bundle, "--deep"],
        "evaluate": evaluating(place),
        "demo": ["demo", "--query", "bee in the kitchen", "--output", place.bundle],
        "bench": ["bench", place.bundle, "--queries", "2", "--rounds", "1", "--no-langchain"],
    }


def contents(folder: Path) -> dict[str, str]:
    """A hash of each file; not of those that SQLite keeps beside a database in use."""
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and not file.name.endswith(("-wal", "-shm"))
    }


def damage(place: Place) -> None:
    """Have something to repair: the metadata index lacks some documents."""
    with contextlib.closing(sqlite3.connect(place.bundle / "store" / "store.db")) as connection:
        connection.execute("DELETE FROM field WHERE pk < 20")
        connection.commit()


def check_ended(ended: Ended, number: int, told: str) -> None:
    """It went well, since it was done before the signal came, or it was ended by it; nothing else."""
    # An interpreter that is past its last line leaves signals to the system.
    code = TERMINATED if number == signal.SIGTERM else INTERRUPTED
    allowed = (0, code, -number)
    assert ended.code in allowed, (told, ended)
    check_quiet(ended, told)


def check_quiet(ended: Ended, told: str) -> None:
    assert "Traceback" not in ended.err + ended.out, (told, ended)
    assert "Exception ignored" not in ended.err, (told, ended)


def check_whole(place: Place, told: str) -> None:
    ended = run(["verify", place.bundle, "--deep"], place.printed)
    assert (ended.code, ended.err) == (0, ""), (told, ended)


def one_line(ended: Ended) -> str:
    check_quiet(ended, "")
    (line,) = [line for line in ended.err.splitlines() if line.strip()]
    assert line.startswith("langchain-rerank: ")
    return line
