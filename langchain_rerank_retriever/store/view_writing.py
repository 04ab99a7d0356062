"""Writes a view to a file of the form that ``view_file`` describes and reads."""

import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from langchain_rerank_retriever import files

from .rows import Record
from .view import View
from .view_file import ALIGNMENT, BLOCK, GRAPH_NUMBERS, MAGIC, NAME, Array, type_of


def _new_name() -> str:
    """A file name that no other snapshot has."""
    return f"view-{secrets.token_hex(8)}.snapshot"


def write(folder: Path, view: View, *, space: int, generation: int | None = None) -> Record:
    """Write a view to a new file, durably; nothing reads it before the database names it.

    Args:
        folder: The store's folder.
        view: What to write.
        space: The space of its vectors.
        generation: Under which generation, where the view is to belong to a copy of its database.

    Raises:
        OSError: It could not be written; no file is left.
    """
    name = _new_name()
    scratch = folder / f"{name}.tmp"
    generation = view.generation if generation is None else generation
    try:
        with scratch.open("xb") as stream:
            digest = _write(stream, view, {"generation": generation, "space": space, "seq": view.seq})
            stream.flush()
            os.fsync(stream.fileno())
        scratch.rename(folder / name)
        files.sync(folder)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
    return Record(name, digest, generation, space, view.seq)


def _write(stream: Any, view: View, about: Mapping[str, object]) -> str:
    table: list[dict[str, object]] = []
    for name, array in _arrays(view):
        stream.write(bytes(-stream.tell() % ALIGNMENT))
        offset, hashes = stream.tell(), []
        whole = np.ascontiguousarray(array, dtype=type_of(name))
        data = whole.data.cast("B") if whole.size else memoryview(b"")
        for start in range(0, len(data), BLOCK):
            block = data[start : start + BLOCK]
            hashes.append(hashlib.sha256(block).hexdigest())
            stream.write(block)
        table.append({"name": name, "shape": array.shape, "offset": offset, "sha256": hashes})
    graphs = {
        str(place): {name: getattr(segment.graph, name) for name in GRAPH_NUMBERS}
        for place, segment in enumerate(view.segments)
        if segment.graph is not None
    }
    about = {**about, "dimension": view.dimension, "arrays": table, "graphs": graphs}
    footer = json.dumps(about).encode()
    stream.write(footer + len(footer).to_bytes(8, "little") + MAGIC)
    return hashlib.sha256(footer).hexdigest()


def _arrays(view: View) -> Iterator[tuple[str, Array]]:
    for place, segment in enumerate(view.segments):
        yield f"{place}/pks", segment.pks
        yield f"{place}/vectors", segment.vectors
        if segment.alive is not None:
            yield f"{place}/alive", segment.alive
        if segment.graph is not None:
            yield f"{place}/levels", segment.graph.levels
            yield f"{place}/neighbors", segment.graph.neighbors


def remove_others(folder: Path, kept: str | None) -> None:
    """Remove what earlier snapshots, and writers that were killed, have left; who has one mapped keeps it."""
    for file in folder.glob("view-*.snapshot*"):
        name = file.name.removesuffix(".tmp")
        if NAME.fullmatch(name) and file.name != kept:
            file.unlink(missing_ok=True)
