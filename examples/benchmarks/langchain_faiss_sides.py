"""LangChain's FAISS store and FaissStore behind one face, and processes of their own to try faults in."""

import json
import os
import random
import signal
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from langchain_core.embeddings import Embeddings

from langchain_rerank_retriever import FaissStore

DIMENSION = 32


class Hashed(Embeddings):
    """A vector of length one for each text, from its checksum: no model, and no two texts alike."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed texts."""
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        """Embed a query as a document is, so that a document's own text finds it."""
        rng = random.Random(zlib.crc32(text.encode()))
        vector = np.array([rng.gauss(0, 1) for _ in range(DIMENSION)])
        return (vector / np.linalg.norm(vector)).tolist()


@dataclass(frozen=True)
class Side:
    """One of the two; its stores are LangChain vector stores, so searches and `add_texts` are called as they are.

    Attributes:
        name: As in the table.
        new: A store in memory, of texts and what else `from_texts` takes.
        load: Opens a folder that was saved.
        save: Saves a store to a folder.
        add_vectors: Adds texts with vectors that are ready to a store.
        count: How many documents a store holds.
        index_file: The file in a saved folder that the vectors are searched from.
    """

    name: str
    new: Callable[..., Any]
    load: Callable[[Path], Any]
    save: Callable[[Any, Path], object]
    add_vectors: Callable[[Any, list[str], np.ndarray], object]
    count: Callable[[Any], int]
    index_file: Callable[[Path], Path]


def ours() -> Side:
    """FaissStore. In a store's own folder `save` has nothing to do: there every call is durable by itself."""
    return Side(
        name="FaissStore",
        new=lambda texts, **more: FaissStore.from_texts(texts, Hashed(), **more),
        load=lambda folder: FaissStore.load_local(folder, Hashed()),
        save=lambda store, folder: store.save_local(folder),
        add_vectors=lambda store, texts, vectors: store.add_embeddings(texts, vectors),
        count=len,
        index_file=lambda folder: next(folder.glob("*.snapshot")),
    )


def theirs() -> Side:
    """LangChain's; its documents are a pickle, here in folders that this script wrote a moment ago."""
    from langchain_community.vectorstores import FAISS

    return Side(
        name="LangChain's FAISS",
        new=lambda texts, **more: FAISS.from_texts(texts, Hashed(), **more),
        load=lambda folder: FAISS.load_local(str(folder), Hashed(), allow_dangerous_deserialization=True),
        save=lambda store, folder: store.save_local(str(folder)),
        add_vectors=lambda store, texts, vectors: store.add_embeddings(list(zip(texts, vectors.tolist()))),
        count=lambda store: len(store.index_to_docstore_id),
        index_file=lambda folder: folder / "index.faiss",
    )


@dataclass(frozen=True)
class Trial:
    """One fault to one side, and a folder of its own."""

    side: Side
    scratch: Path


@dataclass(frozen=True)
class Outcome:
    """What a fault did: how often it went wrong, and in words."""

    wrong: int
    told: str


def passages(count: int, name: str = "passage") -> list[str]:
    """Texts, no two alike."""
    return [f"{name} {number}" for number in range(count)]


def error_of(call: Callable[[], object]) -> str | None:
    """The name of what a call raises; None where it returns."""
    try:
        call()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
        return type(error).__name__
    return None


def unreachable(store: Any, wanted: Sequence[str]) -> int:
    """How many documents their own text does not find."""

    def found(text: str) -> None:
        if store.similarity_search(text, k=1)[0].page_content != text:
            raise LookupError(text)

    return sum(error_of(partial(found, text)) is not None for text in wanted)


def save_new(side: Side, folder: Path, count: int) -> None:
    """Save a store of so many passages."""
    side.save(side.new(passages(count)), folder)


def scores_of_all(side: Side, folder: Path, count: int, out: Path) -> str:
    """Write down the scores of all documents of a folder for a query; "refused" where it cannot be asked."""

    def ask() -> None:
        found = side.load(folder).similarity_search_with_score("query", k=count)
        # In the order of the texts, since equal scores may come in any.
        scores = sorted((document.page_content, float(score)) for document, score in found)
        np.save(out, np.array([score for _, score in scores]))

    return "opened" if error_of(ask) is None else "refused"


class Child:
    """A forked process that runs a function; nothing of FAISS has run in this one, whose threads a fork would lose.

    Args:
        function: What it returns must be JSON.
        arguments: Of the function.
        tells: Whether the function also takes `ready=`, which it calls when it is.
    """

    def __init__(self, function: Callable[..., Any], *arguments: Any, tells: bool = False) -> None:
        (self._ready, ready), (self._said, said) = os.pipe(), os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                result = function(*arguments, **({"ready": lambda: os.write(ready, b"r")} if tells else {}))
                with os.fdopen(said, "w", encoding="utf-8") as file:
                    json.dump(result, file)
                status = 0
            finally:
                os._exit(status)
        os.close(ready)
        os.close(said)

    def kill_after(self, seconds: float) -> None:
        """Wait until it is ready, and so many seconds more, and kill it."""
        if not os.read(self._ready, 1):
            raise RuntimeError("the process ended before it was ready")
        time.sleep(seconds)
        os.kill(self.pid, signal.SIGKILL)
        self.result()

    def result(self) -> Any:
        """What its function returned, or the name of what ended the process as `{"died": ...}`."""
        with os.fdopen(self._said, encoding="utf-8") as file:
            said = file.read()
        os.close(self._ready)
        _, status = os.waitpid(self.pid, 0)
        if os.WIFSIGNALED(status):
            return {"died": signal.Signals(os.WTERMSIG(status)).name}
        return json.loads(said) if said else {"died": "an error"}
