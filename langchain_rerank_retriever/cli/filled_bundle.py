"""A bundle that takes documents: an earlier one opened without its re-ranker, or a new one made empty."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from langchain_rerank_retriever import bundle
from langchain_rerank_retriever.bundle_folder import MANIFEST, folder_of, free_name
from langchain_rerank_retriever.bundled_model import SavedModel
from langchain_rerank_retriever.bundled_reranker import entries_of
from langchain_rerank_retriever.cross_encoder import CrossEncoderScorer
from langchain_rerank_retriever.embeddings import PooledEmbeddings
from langchain_rerank_retriever.errors import FormatError, InvalidArgumentError, ModelMismatchError
from langchain_rerank_retriever.files import make_folder
from langchain_rerank_retriever.retriever import RerankRetriever
from langchain_rerank_retriever.store import FaissStore

#: What says on the command line that there is no lexical index.
NO_LEXICAL = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a bundle is asked to be made of; None leaves it to what it is, or to the usual."""

    model: str | None
    reranker: str | None
    lexical: str | None
    index: str | None

    @property
    def lexical_setting(self) -> bool | str | None:
        """As a store takes it."""
        return False if self.lexical == NO_LEXICAL else self.lexical


def check_parts(folder: Path, parts: Parts) -> None:
    """Refuse what `filled_bundle` would refuse without loading a model.

    Raises:
        FormatError: If the folder holds something that is not a bundle.
        InvalidArgumentError: If a new bundle has no model.
    """
    bundle.check_target(folder)
    if not (folder / MANIFEST).exists() and parts.model is None:
        raise InvalidArgumentError(
            f"{folder} is a new bundle; name the model that embeds its documents: --model NAME."
        )


def filled_bundle(folder: Path, parts: Parts, opened: ExitStack) -> tuple[FaissStore, PooledEmbeddings]:
    """Open the store of a bundle for documents, with its model; both are closed with the stack.

    Raises:
        ModelMismatchError: If the bundle has other models than those asked for.
        InvalidArgumentError: If it has other settings.
    """
    if (folder / MANIFEST).exists():
        return _earlier(folder, parts, opened)
    return _new(folder, parts, opened)


def _earlier(folder: Path, parts: Parts, opened: ExitStack) -> tuple[FaissStore, PooledEmbeddings]:
    manifest = bundle.read_manifest(folder)
    try:
        place = folder_of(folder, manifest["recall"], "recall")
        own = folder_of(folder, manifest["embeddings"], "embeddings")
        saved = SavedModel.from_dict(manifest["embeddings"], pairs=False)
        rerankers = [str(entry["fingerprint"]) for entry in entries_of(manifest["reranker"])]
    except (AttributeError, KeyError, TypeError) as error:
        raise FormatError(
            f"{folder / MANIFEST} is damaged: {error!r} in it. Save the bundle anew."
        ) from error
    embeddings = opened.enter_context(saved.load_embeddings(own))
    if parts.model is not None:
        with PooledEmbeddings(parts.model, normalize=saved.normalize, precision=saved.precision) as asked:
            _check_same(folder, "--model", parts.model, asked.fingerprint, [saved.fingerprint])
    if parts.reranker is not None:
        with CrossEncoderScorer(parts.reranker) as scorer:
            _check_same(folder, "--reranker", parts.reranker, scorer.fingerprint, rerankers)
    store = FaissStore(
        embeddings, path=place, lexical=parts.lexical_setting, index=parts.index, metadata_default=str
    )
    return opened.enter_context(store), embeddings


def _check_same(folder: Path, option: str, name: str, got: str, expected: list[str]) -> None:
    if got not in expected:
        raise ModelMismatchError(
            f"{folder} was not made with {option} {name}. Leave the option out, or make a new bundle.",
            expected=", ".join(expected) or "none",
            got=got,
        )


def _new(folder: Path, parts: Parts, opened: ExitStack) -> tuple[FaissStore, PooledEmbeddings]:
    embeddings = opened.enter_context(PooledEmbeddings(parts.model))
    scorer = None if parts.reranker is None else opened.enter_context(CrossEncoderScorer(parts.reranker))
    make_folder(folder)
    # Made where it is to be, so that the bundle is whole before the first document and after each of them.
    store = opened.enter_context(
        FaissStore(
            embeddings,
            path=folder / free_name(folder, "store"),
            lexical=parts.lexical_setting,
            index=parts.index,
            metadata_default=str,
        )
    )
    RerankRetriever(recall=store, reranker=scorer).save_local(folder)
    return store, embeddings
