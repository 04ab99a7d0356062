"""`langchain-rerank verify`."""

from pathlib import Path
from typing import Any, NoReturn

from langchain_core.cross_encoders import BaseCrossEncoder

from langchain_rerank_retriever import bundle
from langchain_rerank_retriever.bundle_folder import MANIFEST
from langchain_rerank_retriever.cli.bundled_store import NO_MODEL, open_store
from langchain_rerank_retriever.cli.output import print_json, printable, say
from langchain_rerank_retriever.errors import ModelLoadError, ModelMismatchError, StorageError
from langchain_rerank_retriever.retriever import RerankRetriever
from langchain_rerank_retriever.store import FaissStore


def run(folder: Path, *, deep: bool, as_json: bool) -> bool:
    """Open a bundle, which checks its models, then check its store; tell whether all is well."""
    problems = _problems(folder, deep=deep)
    if as_json:
        print_json({"ok": not problems, "problems": list(problems)})
    else:
        say("\n".join(map(printable, problems)) if problems else f"{folder} is whole.")
    return not problems


def _problems(folder: Path, *, deep: bool) -> tuple[str, ...]:
    try:
        store = _opened(folder)
    except (StorageError, ModelLoadError, ModelMismatchError) as error:
        if not (folder / MANIFEST).is_file():
            raise  # Not a bundle at all is a mistake of the user's.
        return (str(error),)
    if store is None:
        return ()
    with store:
        return tuple(store.verify(deep=deep).problems)


def _opened(folder: Path) -> FaissStore | None:
    """Open all that the bundle holds; its store without a model where that is foreign, None where the store is."""
    manifest = bundle.read_manifest(folder.resolve())
    if _is_foreign(manifest, "recall"):
        return None
    store = open_store(folder, read_only=True) if _is_foreign(manifest, "embeddings") else None
    reranker = _NoReranker() if _is_foreign(manifest, "reranker") else None
    recall = RerankRetriever.load_local(folder, recall=store, reranker=reranker, read_only=True).recall
    return recall if isinstance(recall, FaissStore) else None


def _is_foreign(manifest: dict[str, Any], part: str) -> bool:
    saved = manifest.get(part)
    return isinstance(saved, dict) and "foreign" in saved


class _NoReranker(BaseCrossEncoder):
    """Stands where nothing is scored."""

    def score(self, text_pairs: Any) -> NoReturn:  # noqa: ARG002
        raise ModelLoadError(NO_MODEL)
