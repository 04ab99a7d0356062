"""What a machine works out once and keeps: compiled models, and what was measured of them.

Every entry can be made again, so a cache that is missing, full, damaged or not writable costs time and nothing else.
"""

import hashlib
import json
import logging
import os
import re
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from langchain_rerank_retriever.files import move_into_place, scratch_folder

logger = logging.getLogger(__name__)

#: Names another place for the cache.
FOLDER_VARIABLE = "LANGCHAIN_RERANK_CACHE"

#: Bytes of all entries: eighty compiled models of the size of MiniLM, or a bi-encoder and a cross-encoder of the size
#: of XLM-RoBERTa large and the next version of one of them.
LARGEST = 8 * 2**30

_MANIFEST = "entry.json"
_CONTENT = "content.bin"
#: Names of our folders, so that nothing else is touched where the user's variable names a folder with other things.
_ENTRY = re.compile(r"[0-9a-f]{32}")
_SCRATCH = re.compile(r"\.[0-9a-f]{32}\.tmp-")
#: Seconds after which what a killed process was writing is removed; younger ones may belong to one that is at work.
_ABANDONED = 24 * 3600
#: Part of every key: raised when an entry of an older version must not be read any more.
_FORMAT = 1


def cache_folder() -> Path:
    """Return where entries lie: what the variable says, else the user's cache folder for this package."""
    named = os.environ.get(FOLDER_VARIABLE)
    if named:
        return Path(named).expanduser()
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "langchain-rerank-retriever"


def key_of(description: Mapping[str, Any]) -> str:
    """Hash what an entry depends on, as JSON, to a name for it."""
    text = json.dumps({"format": _FORMAT, **description}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def read(key: str) -> tuple[dict[str, Any], bytes] | None:
    """Return an entry's facts and content, None where there is none that is whole.

    What is not what was written (a checksum tells) is no entry; the caller makes it again.
    """
    folder = cache_folder() / key
    if not folder.exists():
        return None
    try:
        facts, content = _whole(folder)
    except (OSError, ValueError, LookupError, TypeError) as error:
        why = str(error) if isinstance(error, ValueError) else repr(error)  # a KeyError's text is a key
        logger.warning("The cached entry '%s' is not read: %s. It is made again.", folder, why)
        return None
    # That it was used; where that cannot be written it is only taken for older than it is.
    with suppress(OSError):
        os.utime(folder)
    return facts, content


def remove_damaged() -> int:
    """Remove the entries that are not whole, which are made again when they are needed; returns how many there were."""
    removed = 0
    for folder in cache_folder().glob("*"):
        if not _ENTRY.fullmatch(folder.name):
            continue
        try:
            _whole(folder)
        except (OSError, ValueError, LookupError, TypeError):
            _remove(folder)
            removed += not folder.exists()
    return removed


def _whole(folder: Path) -> tuple[dict[str, Any], bytes]:
    """Read an entry; raises one of several errors for one that is not what was written."""
    entry = json.loads((folder / _MANIFEST).read_bytes())
    content = (folder / _CONTENT).read_bytes()
    facts = dict(entry["facts"])
    if entry["sha256"] != _checksum(facts, content):
        raise ValueError("its checksum is another")
    return facts, content


def write(key: str, facts: Mapping[str, Any], content: bytes = b"") -> None:
    """Keep an entry, whole or not at all, in the place of an earlier one.

    Args:
        key: From `key_of`.
        facts: JSON.
        content: May be large.
    """
    target = cache_folder() / key
    entry = {"facts": dict(facts), "sha256": _checksum(facts, content)}
    try:
        with scratch_folder(target) as scratch:
            (scratch / _CONTENT).write_bytes(content)
            (scratch / _MANIFEST).write_text(json.dumps(entry), encoding="utf-8")
            _remove(target)
            move_into_place(scratch, target)
    except OSError as error:
        # Renaming onto an entry that another process has just made fails, and that entry serves as well.
        if not target.exists():
            logger.warning("Nothing is kept in the cache folder '%s': %s.", target.parent, error)
        return
    # Another process may remove what is looked at; there is another time.
    with suppress(OSError):
        _make_room(target)


def _checksum(facts: Mapping[str, Any], content: bytes) -> str:
    digest = hashlib.sha256(json.dumps(dict(facts), sort_keys=True).encode())
    digest.update(content)
    return digest.hexdigest()


def _make_room(newest: Path) -> None:
    """Remove what was not used for longest until all is below `LARGEST`; the newest entry stays in any case."""
    found = []
    for folder in newest.parent.iterdir():
        if _SCRATCH.match(folder.name) and time.time() - folder.stat().st_mtime > _ABANDONED:
            _remove(folder)
        elif _ENTRY.fullmatch(folder.name) and folder != newest:
            found.append((folder.stat().st_mtime, _size(folder), folder))
    too_much = _size(newest) + sum(size for _, size, _ in found) - LARGEST
    for _, size, folder in sorted(found):
        if too_much <= 0:
            break
        _remove(folder)
        too_much -= size


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def _remove(folder: Path) -> None:
    """Remove an entry, file by file and nothing below; one that cannot be removed stays."""
    try:
        for name in (_MANIFEST, _CONTENT):
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()
    except FileNotFoundError:
        return
    except OSError as error:
        logger.debug("'%s' cannot be removed: %s", folder, error)
