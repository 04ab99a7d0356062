"""What lies in a bundle's folder: which names are ours, free, or needed by nothing any more; what may not lie there."""

import json
import os
import re
import shutil
import stat
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from langchain_rerank_retriever.errors import FormatError, InvalidArgumentError, StorageError
from langchain_rerank_retriever.files import CHECKSUM, checksum, sync

MANIFEST = "bundle.json"
#: More than any report that tune() writes; what is larger would fill the memory before it is seen to be none.
MANIFEST_BYTES = 64 * 1024 * 1024

_PART = re.compile(r"(bi_encoder|cross_encoder|store)(-[0-9]+)?")


def is_part(target: Path, name: Any) -> bool:
    """Tell whether a name is that of a part: a plain folder directly in the bundle."""
    return isinstance(name, str) and bool(_PART.fullmatch(name)) and not (target / name).is_symlink()


def is_ours(name: str) -> bool:
    """Tell whether what has this name may lie in a folder that becomes a bundle."""
    # A save that was killed leaves parts and temporary names behind, and may be done again.
    return bool(_PART.fullmatch(name)) or name.startswith(".")


def read_json(path: Path) -> dict[str, Any]:
    """Read a manifest.

    Raises:
        FormatError: If it is no JSON object, or too large or too deeply nested to be ours.
        StorageError: If it cannot be read.
    """
    try:
        size = path.stat().st_size
        if size > MANIFEST_BYTES:
            raise FormatError(f"{path} has {size:,} bytes; a bundle's has at most {MANIFEST_BYTES:,}.")
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        # Its representation would hold the whole file.
        raise FormatError(f"{path} is damaged: {error}. Restore it from a copy, or save anew.") from error
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path} is damaged: {error!r}. Restore it from a copy, or save anew.") from error
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error}.") from error
    if not isinstance(manifest, dict):
        raise FormatError(f"{path} is damaged: it is no JSON object. Restore it from a copy, or save anew.")
    return manifest


def commit(target: Path, manifest: Mapping[str, Any]) -> None:
    """Put a manifest, with a checksum of all that it says, in the place of the earlier one, durably."""
    scratch = target / f".{MANIFEST}.tmp"
    whole = {**manifest, CHECKSUM: checksum(manifest)}
    scratch.write_text(json.dumps(whole, ensure_ascii=False, indent=2, allow_nan=False), encoding="utf-8")
    sync(scratch)
    scratch.replace(target / MANIFEST)
    sync(target)


def check_seal(path: Path, manifest: Mapping[str, Any]) -> None:
    """Refuse a manifest in which a value has become another; bundles of before have no checksum.

    Raises:
        FormatError: If it is not as it was written.
    """
    if CHECKSUM in manifest and manifest[CHECKSUM] != checksum(manifest):
        raise FormatError(
            f"{path} is damaged: it is not what was written. Restore it from a copy, or save anew; if you edited it "
            f"on purpose, remove its {CHECKSUM!r}."
        )


def folder_of(source: Path, part: dict[str, Any], argument: str) -> Path:
    """Find a part's folder.

    Args:
        source: The bundle.
        part: What the manifest says about the part.
        argument: Of `load`, by which the part can be passed in.

    Raises:
        InvalidArgumentError: If it is a foreign part, which must be passed in.
        FormatError: If its name or something in it leads out of the bundle, or it is not there.
    """
    if "foreign" in part:
        raise InvalidArgumentError(
            f"This bundle does not hold its {argument}: what it was saved with, {part['foreign']}, cannot be "
            f"stored. Pass the same: load_local(folder, {argument}=...)."
        )
    name = part["folder"]
    path = source / str(name)
    if not is_part(source, name):
        raise FormatError(
            f"{source / MANIFEST} names {name!r} as a part; expected a plain folder of the bundle."
        )
    if not path.is_dir():
        raise FormatError(
            f"{source} lacks its folder {name!r}. Restore it from a copy, or save the bundle anew."
        )
    _check_plain(path)
    return path


def _check_plain(folder: Path) -> None:
    """Refuse what no save writes: a link leads elsewhere, and a pipe or a device is read for ever."""
    for entry in folder.rglob("*"):
        mode = entry.lstat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise FormatError(
                f"{entry} is neither a file nor a folder; a bundle holds no links, pipes or devices. Remove it, or "
                "put a copy of what it stands for in its place."
            )


def free_name(target: Path, part: str) -> str:
    """Find a name that no folder has yet, so that no file of the earlier bundle is touched."""
    number = 1
    while True:
        name = part if number == 1 else f"{part}-{number}"
        if not os.path.lexists(target / name):
            return name
        number += 1


def sweep(target: Path, named: Collection[str]) -> None:
    """Remove the parts that are not named."""
    for entry in target.iterdir():
        if (
            entry.is_dir()
            and not entry.is_symlink()
            and _PART.fullmatch(entry.name)
            and entry.name not in named
        ):
            shutil.rmtree(entry, ignore_errors=True)
