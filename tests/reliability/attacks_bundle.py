"""Attacks by a bundle's manifest, and by files of all kinds in it."""

import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

from .attacks import Attack, bomb, deep, evil, fifo, link, manifest, outside, put

_PICKLES = ("index.pkl", "docstore.pkl", "index.faiss", "store/index.pkl", "store/view.faiss", "model.joblib")
_CODE = (
    "sitecustomize.py",
    "conftest.py",
    "__init__.py",
    "store/sqlite3.py",
    "bi_encoder/torch.py",
    "evil.pth",
)
_NAMES: dict[str, Any] = {
    "parent": "../outside",
    "absolute": "/etc",
    "through a part": "store/../../outside",
    "NUL": "store\0",
    "backslash": "..\\outside",
    "full stops of another width": "\uff0e\uff0e/outside",
    "a list": ["store"],
    "a dict": {"__class__": "str"},
}


def _pickles_in_all_slots(folder: Path) -> None:
    for name in _PICKLES:
        put(folder / name, bomb(folder))


def _code_in_all_places(folder: Path) -> None:
    for name in _CODE:
        put(folder / name, evil(folder))


def _zip_of(folder: Path) -> bytes:
    with zipfile.ZipFile(folder.parent / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../outside/zipped.txt", bytes(64 * 1024 * 1024))
    return (folder.parent / "bomb.zip").read_bytes()


def _linked_part(folder: Path) -> None:
    shutil.move(folder / "store", outside(folder) / "store")
    link(folder / "store", outside(folder) / "store")


def _hard_links(folder: Path) -> None:
    """All files but the database, whose other name would see what the user changes."""
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.name != "store.db":
            copy = folder.parent / f"linked-{file.name}-{file.stat().st_ino}"
            shutil.copy(file, copy)
            file.unlink()
            os.link(copy, file)


def _many_stages(data: Any) -> None:
    stage = data["reranker"] | {"top_n": 5, "score_threshold": None}
    data["reranker"] = {"stages": [stage] * 100_000}


def _changed(**settings: Any) -> Any:
    return manifest(lambda data: data["settings"].update(settings))


def _noted(part: str, **notes: Any) -> Any:
    return manifest(lambda data: data[part].update(notes))


FILES = [
    Attack("a pickle in every slot", _pickles_in_all_slots, "load", "same"),
    Attack("code in every place", _code_in_all_places, "load", "same"),
    Attack(
        "a pickle as the manifest",
        lambda folder: put(folder / "bundle.json", bomb(folder)),
        "load",
        "refused",
    ),
    Attack(
        "a zip bomb as the manifest",
        lambda folder: put(folder / "bundle.json", _zip_of(folder)),
        "load",
        "refused",
    ),
    Attack("a zip bomb beside it", lambda folder: put(folder / "store.zip", _zip_of(folder)), "load", "same"),
    Attack("a pipe as the manifest", lambda folder: fifo(folder / "bundle.json"), "load", "refused"),
    Attack(
        "a device as the manifest",
        lambda folder: link(folder / "bundle.json", "/dev/zero"),
        "load",
        "refused",
    ),
    Attack(
        "a link as the manifest",
        lambda folder: link(folder / "bundle.json", outside(folder) / "precious.txt"),
        "load",
        "refused",
    ),
    Attack("a linked part", _linked_part, "load", "refused"),
    Attack("hard links", _hard_links, "load", "same"),
    Attack("a pipe beside it", lambda folder: fifo(folder / "pipe"), "load", "same"),
    Attack(
        "nested JSON as the manifest", lambda folder: put(folder / "bundle.json", deep()), "load", "refused"
    ),
    Attack(
        "nested JSON in the report",
        lambda folder: put(
            folder / "bundle.json",
            (folder / "bundle.json").read_text().replace('"report": null', f'"report": {deep()}'),
        ),
        "load",
        "refused",
    ),
    Attack(
        "a manifest of blanks",
        lambda folder: put(
            folder / "bundle.json", b" " * 200_000_000 + (folder / "bundle.json").read_bytes()
        ),
        "load",
        "refused",
    ),
    Attack(
        "a number of many digits",
        manifest(lambda data: data.update(report={"n": 1}) or data),
        "load",
        "same",
    ),
]

MANIFEST = [
    *(
        Attack(
            f"{part}: {name}",
            manifest(lambda data, p=part, n=value: data[p].update(folder=n)),
            "load",
            "refused",
        )
        for part in ("recall", "embeddings", "reranker")
        for name, value in _NAMES.items()
    ),
    Attack("parts that are one folder", _noted("embeddings", folder="cross_encoder"), "load", "refused"),
    Attack("very many stages", manifest(_many_stages), "load", "refused"),
    Attack("stages of no stage", _noted("reranker", stages=[None]), "load", "refused"),
    Attack("a fingerprint that is none", _noted("embeddings", fingerprint={"$ne": 0}), "load", "refused"),
    Attack(
        "a precision of another kind", _noted("embeddings", precision="__import__('os')"), "load", "refused"
    ),
    Attack("a length below zero", _noted("reranker", max_length=-1), "load", "refused"),
    Attack("a length that is a list", _noted("reranker", max_length=[1]), "load", "refused"),
    Attack("settings that are a list", manifest(lambda data: data.update(settings=[])), "load", "refused"),
    Attack("k that is no number", _changed(k="lots"), "load", "refused"),
    Attack("k that is very large", _changed(k=10**30, fetch_k=10**30), "load", "data"),
    Attack("k that is a dict", _changed(k={"a": 1}), "load", "refused"),
    Attack("an unknown recall mode", _changed(recall_mode="os.system"), "load", "refused"),
    Attack("a timeout below zero", _changed(timeout=-1), "load", "refused"),
    Attack("a threshold of another kind", _changed(score_threshold="x"), "load", "refused"),
    Attack("a blend of nothing", manifest(lambda data: data.update(blend={"format": 1})), "load", "refused"),
    Attack("a blend that is a text", manifest(lambda data: data.update(blend="x")), "load", "refused"),
    Attack(
        "a serialised object",
        manifest(
            lambda data: data.update(
                settings={"lc": 1, "type": "constructor", "id": ["os", "system"], "kwargs": {}}
            )
        ),
        "load",
        "refused",
    ),
    Attack(
        "a report of control characters",
        manifest(
            lambda data: data.update(
                report={"held_out_queries": "\x1b]0;title\x07\u202e", "verdict": "\x9b2J\r\n\x1b[31m"}
            )
        ),
        "load",
        "same",
    ),
]
