"""The names of the parts in a bundle's folder: which are ours, which are free, which nothing needs any more."""

import os
import re
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

from langchain_rerank_retriever.errors import FormatError, InvalidArgumentError

MANIFEST = "bundle.json"

_PART = re.compile(r"(bi_encoder|cross_encoder|store)(-[0-9]+)?")


def is_part(target: Path, name: Any) -> bool:
    """Tell whether a name is that of a part: a plain folder directly in the bundle."""
    return isinstance(name, str) and bool(_PART.fullmatch(name)) and not (target / name).is_symlink()


def is_ours(name: str) -> bool:
    """Tell whether what has this name may lie in a folder that becomes a bundle."""
    # A save that was killed leaves parts and temporary names behind, and may be done again.
    return bool(_PART.fullmatch(name)) or name.startswith(".")


def folder_of(source: Path, part: dict[str, Any], argument: str) -> Path:
    """Find a part's folder.

    Args:
        source: The bundle.
        part: What the manifest says about the part.
        argument: Of `load`, by which the part can be passed in.

    Raises:
        InvalidArgumentError: If it is a foreign part, which must be passed in.
        FormatError: If its name leads out of the bundle, or it is not there.
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
    return path


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
