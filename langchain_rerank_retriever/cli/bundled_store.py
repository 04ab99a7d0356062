"""The store of a bundle, opened without its models, which take seconds to load."""

from pathlib import Path
from typing import NoReturn

from langchain_core.embeddings import Embeddings

from langchain_rerank_retriever import bundle
from langchain_rerank_retriever.bundle_folder import folder_of
from langchain_rerank_retriever.errors import ModelLoadError
from langchain_rerank_retriever.store import FaissStore

#: What a stand-in says that is asked all the same.
NO_MODEL = "The bundle was opened without its models, which embed and score; open it with RerankRetriever.load_local()."


class _NoModel(Embeddings):
    """Stands where nothing is embedded."""

    def embed_documents(self, texts: list[str]) -> NoReturn:  # noqa: ARG002
        raise ModelLoadError(NO_MODEL)

    def embed_query(self, text: str) -> NoReturn:  # noqa: ARG002
        raise ModelLoadError(NO_MODEL)


def open_store(folder: Path, *, read_only: bool) -> FaissStore | None:
    """Open what a bundle recalls from; None where that is foreign and not in the bundle.

    Raises:
        FormatError: No bundle, or a damaged one.
        StorageError: The store cannot be read.
    """
    source = folder.resolve()
    part = bundle.read_manifest(source)["recall"]
    if "foreign" in part:
        return None
    return FaissStore.load_local(
        folder_of(source, part, "recall"), _NoModel(), read_only=read_only, check_model=False
    )
