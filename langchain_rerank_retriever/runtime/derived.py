"""What a machine works out once and keeps: compiled models, and what was measured of them.

Every entry can be made again, so a cache that is missing, full, damaged or not writable costs time and nothing else.
"""

import hashlib
import json
import logging
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from langchain_rerank_retriever.files import move_into_place, scratch_folder

logger = logging.getLogger(__name__)

#: Names another place for the cache.
FOLDER_VARIABLE = "LANGCHAIN_RERANK_CACHE"

#: Bytes of all entries: twenty compiled models of the size of MiniLM, or one of half a billion parameters.
LARGEST = 2 * 2**30

_MANIFEST = "entry.json"
_CONTENT = "content.bin"
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

    A content that is not what was written (a checksum tells) is no entry; the caller makes it again.
    """
    folder = cache_folder() / key
    try:
        entry = json.loads((folder / _MANIFEST).read_bytes())
        content = (folder / _CONTENT).read_bytes()
        facts, checksum = dict(entry["facts"]), entry["sha256"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError) as error:
        _damaged(folder, repr(error))
        return None
    if checksum != hashlib.sha256(content).hexdigest():
        _damaged(folder, "its content has another checksum")
        return None
    _touch(folder)
    return facts, content


def write(key: str, facts: Mapping[str, Any], content: bytes = b"") -> None:
    """Keep an entry, whole or not at all, in the place of an earlier one.

    Args:
        key: From `key_of`.
        facts: JSON.
        content: May be large.
    """
    target = cache_folder() / key
    _make_room(target.parent, len(content))
    entry = {"facts": dict(facts), "sha256": hashlib.sha256(content).hexdigest()}
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


def _touch(folder: Path) -> None:
    """Note that an entry was used; where that cannot be written it is only taken for older than it is."""
    with suppress(OSError):
        os.utime(folder)


def _make_room(cache: Path, size: int) -> None:
    """Remove the entries that were not used for longest, until a new one fits below `LARGEST`."""
    with suppress(OSError):
        entries = sorted(cache.glob("[0-9a-f]*"), key=lambda folder: folder.stat().st_mtime)
        sizes = {folder: sum(file.stat().st_size for file in folder.iterdir()) for folder in entries}
        too_much = sum(sizes.values()) + size - LARGEST
        for folder in entries:
            if too_much <= 0:
                break
            _remove(folder)
            too_much -= sizes[folder]


def _damaged(folder: Path, why: str) -> None:
    """Take an entry out of the way; one that cannot be removed is found damaged the next time, too."""
    logger.warning("The cached entry '%s' is not read: %s. It is made again.", folder, why)
    _remove(folder)


def _remove(folder: Path) -> None:
    if not folder.exists():
        return
    try:
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    except OSError as error:
        logger.debug("'%s' cannot be removed: %s", folder, error)
