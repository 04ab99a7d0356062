"""One folder with both models, the index, the blend and the report.

    bundle.json      the only commit point: names the parts, holds the settings, the blend and the report
    bi_encoder/      loads in sentence_transformers.SentenceTransformer as well
    cross_encoder/   loads in sentence_transformers.CrossEncoder as well; of a cascade there is one for each stage
    store/           the FaissStore

Parts are written under names that are free, then `bundle.json` is replaced, then parts that nothing names any more
are removed. So a folder opens as the old bundle until the moment it opens as the new one. All names are relative: a
bundle may be moved. Nothing in it is executable and nothing is unpickled.

`tune` and `langchain-rerank index` write bundles, and so does `RerankRetriever.save_local`;
`RerankRetriever.load_local` opens them, without a network, and `langchain-rerank info`, `verify` and `repair` look
after them. An opened bundle is live: what `RerankRetriever.add_documents` adds is on the disk when it returns.

```python
from langchain_rerank_retriever import RerankRetriever

made = RerankRetriever.from_documents(documents, embeddings=any_embeddings, k=2)
made.save_local("my-bundle")

opened = RerankRetriever.load_local("my-bundle", embeddings=any_embeddings)
print(opened.k, len(opened.recall))  # 2 3
```

A part that is not ours, such as hosted embeddings or a server's vector store, is recorded by its kind and by how it
embeds some sentences, by which another model is noticed, and must be passed in again, as `embeddings` here. A
`PooledEmbeddings` and a `CrossEncoderScorer` lie in the bundle and need not.

Where and how the models run belongs to the machine: `load_local` takes `backend=`, `precision=`, `device=`,
`batch_size=` and `threads=`. Of precisions, float32 and bfloat16 are kept where they were asked for; int8 is not: ask
for it when opening, which calibrates it on the bundle's own documents.

This module returns parts and never builds a retriever, so it has no public names:
`langchain_rerank_retriever.retriever` has. What is in the store's folder: `langchain_rerank_retriever.store`.
"""

import json
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain_core.embeddings import Embeddings

from langchain_rerank_retriever.blend import Blend
from langchain_rerank_retriever.bundle_folder import (
    MANIFEST,
    check_seal,
    commit,
    folder_of,
    free_name,
    is_ours,
    is_part,
    read_json,
    sweep,
)
from langchain_rerank_retriever.bundled_calibration import calibration_pairs
from langchain_rerank_retriever.bundled_model import Placed, SavedModel, not_kept
from langchain_rerank_retriever.bundled_recall import SavedEmbeddings, kind_of
from langchain_rerank_retriever.bundled_reranker import SavedReranker, entries_of, noted, own_models
from langchain_rerank_retriever.cross_encoder import CrossEncoderScorer
from langchain_rerank_retriever.embeddings import PooledEmbeddings
from langchain_rerank_retriever.errors import FormatError, InvalidArgumentError, StorageError
from langchain_rerank_retriever.files import make_folder
from langchain_rerank_retriever.store import FaissStore

#: A bundle is saved and opened by its retriever.
__all__: list[str] = []

#: A bundle whose re-ranker is no cross-encoder alone has a format of its own: earlier versions cannot open it.
BUNDLE_FORMAT, CASCADE_FORMAT = 1, 2
KIND = "langchain-rerank-retriever bundle"

#: The retriever's fields that a bundle keeps; and those among them that older bundles lack: they take the default.
SETTINGS = (
    "k",
    "fetch_k",
    "recall_mode",
    "score_threshold",
    "timeout",
    "collapse",
    "early_stop",
    "lambda_mult",
)
NEWER_SETTINGS = frozenset({"collapse", "early_stop", "lambda_mult"})


@dataclass(frozen=True, slots=True)
class Bundle:
    """The parts of an opened bundle.

    Attributes:
        recall: The FaissStore, or the foreign source that was passed in.
        reranker: The cross-encoder, or what was passed in; None where the bundle has none.
        blend: The fitted blend; None where none was fitted.
        settings: Values for the retriever's fields named in `SETTINGS`.
        report: The report of the tuning run that made the bundle, as JSON data; None where there was none.
    """

    recall: Any
    reranker: Any
    blend: Blend | None
    settings: dict[str, Any]
    report: dict[str, Any] | None


def save(  # the parts of a bundle
    folder: str | Path,
    *,
    recall: Any,
    reranker: Any,
    blend: Blend | None,
    settings: dict[str, Any],
    report: dict[str, Any] | None,
) -> None:
    """Write a bundle; an earlier one in the folder stays whole until the new one is.

    A part that already lies in the folder as it should be (the live store, a model that did not change) is kept. Warns
    of a precision that is not kept.

    Raises:
        FormatError: If the folder holds something else.
        StorageError: If it cannot be written.
    """
    target = Path(folder).resolve()
    earlier = _earlier(target)
    _check_json({"settings": settings, "report": report})
    try:
        make_folder(target)
        store = recall if isinstance(recall, FaissStore) else None
        saved_reranker = _save_reranker(target, reranker, earlier)
        manifest = {
            "kind": KIND,
            "format": CASCADE_FORMAT if saved_reranker and "stages" in saved_reranker else BUNDLE_FORMAT,
            "recall": _save_store(target, store) if store is not None else {"foreign": kind_of(recall)},
            "embeddings": _save_embeddings(target, recall, earlier),
            "reranker": saved_reranker,
            "settings": settings,
            "blend": None if blend is None else blend.to_dict(),
            "report": report,
        }
        commit(target, manifest)
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(f"The bundle in {target} could not be written: {error}.") from error
    parts = [part for name in ("recall", "embeddings", "reranker") for part in entries_of(manifest[name])]
    sweep(target, {part["folder"] for part in parts})
    for told in _forgotten(recall, reranker):
        warnings.warn(told, stacklevel=3)  # where save_local is called


def load(
    folder: str | Path,
    *,
    embeddings: Embeddings | None = None,
    reranker: Any = None,
    recall: Any = None,
    read_only: bool = False,
    memory_map: bool | None = None,
    placed: Placed | None = None,
) -> Bundle:
    """Open a bundle; see `RerankRetriever.load_local` for the arguments, `placed` among them, and errors."""
    placed = placed or Placed()
    placed.check()
    if recall is not None and memory_map is not None:
        raise InvalidArgumentError(
            "memory_map is for the bundle's own store, whose place recall takes here: give it to the store that you "
            "pass in."
        )
    found = _look_up(Path(folder).resolve(), embeddings=embeddings, reranker=reranker, recall=recall)
    placed.check_used(embeddings=found.bi_encoder is not None, scorer=found.reranker is not None)
    if found.foreign is not None:
        found.foreign.check(recall)
    with ExitStack() as opened:  # What is open already is closed again if a later part cannot be opened.
        if found.bi_encoder is not None:
            folder_, model = found.bi_encoder
            embeddings = opened.enter_context(model.load_embeddings(folder_, placed))
        if found.store is not None and embeddings is not None:
            store = FaissStore.load_local(
                found.store, embeddings, read_only=read_only, memory_map=memory_map, threads=placed.threads
            )
            recall = opened.enter_context(store)
        if found.reranker is not None:
            reranker = found.reranker.load(opened, placed, _calibration(recall, placed))
        opened.pop_all()
    return Bundle(recall, reranker, found.blend, found.settings, found.report)


def _calibration(recall: Any, placed: Placed) -> Sequence[tuple[str, str]] | None:
    if placed.precision != "int8" or not isinstance(recall, FaissStore):
        return None
    return calibration_pairs(recall.documents())


@dataclass(frozen=True, slots=True)
class _Found:
    """What a manifest says of the parts that are to be opened; None of a part that is not, or was passed in."""

    store: Path | None
    bi_encoder: tuple[Path, SavedModel] | None
    foreign: SavedEmbeddings | None
    reranker: SavedReranker | None
    blend: Blend | None
    settings: dict[str, Any]
    report: dict[str, Any] | None


def _look_up(source: Path, *, embeddings: Any, reranker: Any, recall: Any) -> _Found:
    """Look everything up before the first model is loaded, which takes seconds."""
    manifest = read_manifest(source)
    store = bi_encoder = foreign = saved_reranker = None
    try:
        blend = None if manifest["blend"] is None else Blend.from_dict(manifest["blend"])
        settings, report = _settings(manifest["settings"]), manifest["report"]
        if recall is None:
            store = folder_of(source, manifest["recall"], "recall")
        else:
            foreign = SavedEmbeddings.from_dict(manifest["embeddings"])
        if recall is None and embeddings is None:
            folder = folder_of(source, manifest["embeddings"], "embeddings")
            bi_encoder = folder, SavedModel.from_dict(manifest["embeddings"], pairs=False)
        if reranker is None and manifest["reranker"] is not None:
            saved_reranker = SavedReranker.read(source, manifest["reranker"])
    except (AttributeError, KeyError, TypeError) as error:
        raise FormatError(
            f"{source / MANIFEST} is damaged: {error!r} in it. Save the bundle anew."
        ) from error
    return _Found(store, bi_encoder, foreign, saved_reranker, blend, settings, report)


def _settings(saved: dict[str, Any]) -> dict[str, Any]:
    return {name: saved[name] for name in SETTINGS if name in saved or name not in NEWER_SETTINGS}


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read a bundle's manifest.

    Raises:
        FormatError: If there is none, it is no JSON of ours, or it is of a newer format.
    """
    path = folder / MANIFEST
    if not path.is_file():
        held = "no such folder" if not folder.exists() else "it has no bundle.json"
        raise FormatError(
            f"{folder} is no bundle: {held}. Expected a folder that save_local() or tune() wrote."
        )
    manifest = read_json(path)
    kind, version = manifest.get("kind"), manifest.get("format")
    if kind != KIND or version not in (BUNDLE_FORMAT, CASCADE_FORMAT):
        raise FormatError(
            f"{path} is a {kind!r} of format {version!r}; this version reads {KIND!r} of format {BUNDLE_FORMAT} or "
            f"{CASCADE_FORMAT}. Open it with the version that wrote it, or install a newer one."
        )
    check_seal(path, manifest)
    return manifest


# -- saving ----------------------------------------------------------------------------------------------------


def check_target(target: Path) -> None:
    """Refuse a folder that `save` would refuse, before the work that leads to a save is done.

    Raises:
        FormatError: If the folder holds something that is not a bundle.
    """
    _earlier(target)


def _earlier(target: Path) -> dict[str, Any] | None:
    """Read the bundle that a save would replace; refuse a folder that holds anything else."""
    if (target / MANIFEST).exists():
        return read_manifest(target)
    if not target.exists():
        return None
    if not target.is_dir():
        raise FormatError(f"{target} is a file; expected a folder for the bundle.")
    strangers = [entry.name for entry in target.iterdir() if not is_ours(entry.name)]
    if strangers:
        raise FormatError(
            f"{target} holds other things ({', '.join(sorted(strangers)[:3])}); "
            "expected a new or empty folder, or an earlier bundle. Choose another folder."
        )
    return None


def _check_json(data: dict[str, Any]) -> None:
    try:
        json.dumps(data, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(
            f"The settings and the report must be JSON data with finite numbers ({error})."
        ) from error


def _forgotten(recall: Any, reranker: Any) -> list[str]:
    """Say once of each kind of model what is not kept of it."""
    embeddings = recall.embeddings if isinstance(recall, FaissStore) else None
    models = [embeddings] if isinstance(embeddings, PooledEmbeddings) else []
    told = dict.fromkeys(map(not_kept, [*models, *(own_models(reranker) or ())]))
    return [message for message in told if message is not None]


def _save_store(target: Path, store: FaissStore) -> dict[str, Any]:
    path = None if store.path is None else store.path.resolve()
    if path is not None and path.parent == target and is_part(target, path.name):
        return {"folder": path.name}
    name = free_name(target, "store")
    store.save_local(target / name)
    return {"folder": name}


def _save_model(
    target: Path, part: str, model: PooledEmbeddings | CrossEncoderScorer, kept: list[dict[str, Any]]
) -> dict[str, Any]:
    saved = SavedModel.of(model).to_dict()
    for entry in kept:
        name = entry.get("folder")
        same = entry.get("fingerprint") == model.fingerprint
        if same and is_part(target, name) and (target / str(name)).is_dir():
            return {"folder": name, **saved}
    name = free_name(target, part)
    model.save(target / name)
    return {"folder": name, **saved}


def _save_embeddings(target: Path, recall: Any, earlier: dict[str, Any] | None) -> dict[str, Any]:
    if not isinstance(recall, FaissStore):
        noted = SavedEmbeddings.of(recall)
        return {"foreign": "those of the foreign store"} if noted is None else noted.to_dict()
    if not isinstance(recall.embeddings, PooledEmbeddings):
        return {"foreign": kind_of(recall.embeddings)}
    kept = entries_of(earlier and earlier.get("embeddings"))
    return _save_model(target, "bi_encoder", recall.embeddings, kept)


def _save_reranker(target: Path, reranker: Any, earlier: dict[str, Any] | None) -> dict[str, Any] | None:
    if reranker is None:
        return None
    models = own_models(reranker)
    if models is None:
        return {"foreign": kind_of(reranker)}
    kept = entries_of(earlier and earlier.get("reranker"))
    return noted(reranker, [_save_model(target, "cross_encoder", model, kept) for model in models])
