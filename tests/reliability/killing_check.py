"""Whether a folder holds one of the states that it may hold, in every respect that a user or a search can see."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from langchain_rerank_retriever.errors import ModelMismatchError
from langchain_rerank_retriever.store import FaissStore
from langchain_rerank_retriever.store.vectors import unit_vectors
from tests.store.helpers import FastEmbeddings, content, stored_vectors, unit

from .killing_series import Content


def differences(store: FaissStore, expected: Content) -> str:
    """What is not as expected, or an empty text."""
    if store.settings["model"] is not None and store.embeddings.seed != expected.model:
        # All that tells two states without documents apart; a store that never had any has no model yet.
        return "the vectors are of another model"
    documents, found = expected.documents, content(store)
    if found != documents:
        names = [name for name in {**found, **documents} if found.get(name) != documents.get(name)]
        return f"{len(names)} of {len(documents)} documents differ, for example {names[:3]}"
    if list(found) != list(documents):
        return "the documents are in another order"
    vectors = stored_vectors(store)
    if vectors.keys() != documents.keys():
        return "the ids of vectors and documents differ"
    if problem := _vectors_differ(vectors, expected):
        return problem
    result = store.verify(deep=True)
    return "; ".join(result.problems)


def _vectors_differ(vectors: dict[str, np.ndarray], expected: Content) -> str:
    if not vectors:
        return ""
    embeddings = FastEmbeddings(seed=expected.model)
    raw = [embeddings.vector(text) for text, _ in expected.documents.values()]
    kept = np.stack([vectors[name] for name in expected.documents])
    if not np.allclose(np.stack([unit(vector) for vector in raw]), kept, atol=1e-7, rtol=0):
        return "vectors differ"
    # To the bit what is stored where nothing interrupts.
    return "" if np.array_equal(unit_vectors(raw, range(len(raw))), kept) else "bits of vectors differ"


@contextmanager
def without_warnings() -> Iterator[None]:
    """Nothing that is found must be in doubt, such as a snapshot that the database names and that is not whole."""
    told: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: told.append(record.getMessage())
    logger = logging.getLogger("langchain_rerank_retriever")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
    if told:
        raise AssertionError("; ".join(told))


def opened(folder: Path, contents: Sequence[Content]) -> FaissStore:
    """The store in a folder, by the model of one of the contents that it may have."""
    models = list(dict.fromkeys(content.model for content in contents))
    for model in models[:-1]:
        try:
            return FaissStore.load_local(folder, FastEmbeddings(seed=model))
        except ModelMismatchError:
            continue
    return FaissStore.load_local(folder, FastEmbeddings(seed=models[-1]))


def check(folder: Path, before: Content | None, after: Content | None, *, mend: bool = False) -> bool:
    """Whether the folder shows the later of two states; AssertionError where it shows neither.

    Args:
        folder: Of a store; need not be there where there was nothing before.
        before: What it held before the interrupted call; None for nothing.
        after: What it would hold after that call; None where the call does not concern it.
        mend: Whether that call was `repair`, so that what is derived may be wrong until it is called again.
    """
    if before is None and not folder.exists():
        return False
    states = [state for state in (after, before) if state is not None]
    with without_warnings(), opened(folder, states) as store:
        if mend and not store.repair().ok:
            raise AssertionError(f"{folder}: repair() does not mend what it was interrupted in")
        late = "" if after is None else differences(store, after)
        if after is not None and not late:
            return True
        early = "there was nothing before" if before is None else differences(store, before)
    if early:
        raise AssertionError(f"{folder}: neither before ({early}) nor after ({late}) the interrupted call")
    return False
