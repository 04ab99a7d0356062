"""Hostile folders: what an attack is, what it may end in, and the tools that the lists of them are written with."""

import json
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from .attacks_watch import CANARY

#: Runs a command as soon as it is unpickled. Its marker lies beside the folder.
MARKER = "marker-of-an-attack"

#: What opening may end in. "refused": an error of the package. "same": the answer of the folder before the attack.
#: "either": one of the two. "data": any answer or an error of the package, where the attack changes what is stored.
Ends = Literal["refused", "same", "either", "data"]


@dataclass(frozen=True)
class Attack:
    """One way to harm whoever opens a folder.

    Attributes:
        name: For the test.
        make: Turns a good bundle into the attack.
        operation: What opens it, as named in the server.
        ends: What that may end in.
    """

    name: str
    make: Callable[[Path], object]
    operation: str
    ends: Ends = "either"


def bomb(folder: Path) -> bytes:
    """A pickle that leaves the marker when it is read."""
    return f"cposix\nsystem\n(S'touch {folder.parent / MARKER}'\ntR.".encode()


def evil(folder: Path) -> str:
    """Source code that leaves the marker when it is imported."""
    return f"{CANARY} = open({str(folder.parent / MARKER)!r}, 'w')\nclass Evil: pass\nrun = Evil\n"


def outside(folder: Path) -> Path:
    """What nobody may touch, and not even read."""
    return folder.parent / "outside"


def edit(path: Path, change: Callable[[Any], Any]) -> None:
    """Change a JSON file; what `change` returns takes its place unless that is None.

    Its checksum goes: an attacker would make another, or none.
    """
    data = json.loads(path.read_text())
    if isinstance(data, dict):
        data.pop("checksum", None)
    result = change(data)
    path.write_text(json.dumps(data if result is None else result))


def put(path: Path, content: str | bytes) -> None:
    """Write a file in the place of whatever is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def fifo(path: Path) -> None:
    """Put a pipe that nobody writes to in the place of a file."""
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def link(path: Path, target: Path | str) -> None:
    """Put a link in the place of a file or an empty folder."""
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def deep(levels: int = 200_000) -> str:
    """JSON that is nested deeper than any parser likes."""
    return "[" * levels + "]" * levels


def crc(*parts: str) -> int:
    """The checksum that a store keeps of a document, which an attacker can make as well."""
    return zlib.crc32("\0".join(parts).encode())


def manifest(change: Callable[[Any], Any]) -> Callable[[Path], None]:
    """An attack that changes the manifest."""
    return lambda folder: edit(folder / "bundle.json", change)
