"""Vectors that are none: refused by name before anything changes, whichever way they come, and without assert, too."""

import itertools
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.embeddings import Embeddings

from langchain_rerank_retriever.errors import (
    InvalidArgumentError,
    InvalidDocumentError,
    ModelMismatchError,
    RerankError,
)
from langchain_rerank_retriever.store import FaissStore, indexing, snapshots, upkeep
from tests.store.helpers import content, ranking, stored_vectors

from .scale import at_scale

DIMENSION = 8
KEPT = 40
#: "auto" is "flat" for so few rows; what makes many calls is for one of them in everyday runs.
INDEXES = ("hnsw", "flat", "auto")[: at_scale(2, 3, 3)]
ONE_INDEX = INDEXES[: at_scale(1, 3, 3)]
#: What is run again without assert.
AGAIN = ("of_documents or bad_ready or bad_query", "bad or right")[at_scale(0, 0, 1)]

Change = Callable[[np.ndarray], Any]


class Told(Embeddings):
    """Gives right vectors until it is told otherwise; then what `change` makes of them."""

    def __init__(self) -> None:
        self.change: Change | None = None

    def right(self, texts: list[str]) -> np.ndarray:
        return np.array(
            [np.random.default_rng(list(text.encode())).standard_normal(DIMENSION) for text in texts]
        )

    def embed_documents(self, texts: list[str]) -> Any:
        vectors = self.right(texts)
        return (
            vectors.tolist()
            if self.change is None or not any("new" in one for one in texts)
            else self.change(vectors)
        )

    def embed_query(self, text: str) -> Any:
        vector = self.right([text])
        if self.change is None:
            return vector[0].tolist()
        changed = self.change(vector)
        return changed[0] if len(changed) else changed


class ToldArrays(Told):
    """The same as an encoder, whose arrays reach the store as they are."""

    dimension = DIMENSION
    fingerprint = "told"

    def encode(self, texts: list[str], *, kind: str = "document") -> Any:
        vectors = self.embed_documents(texts) if kind == "document" else [self.embed_query(texts[0])]
        return vectors if any(isinstance(row, list) for row in vectors) else np.asarray(vectors)


def _one(value: float) -> Change:
    def change(vectors: np.ndarray) -> np.ndarray:
        vectors = vectors.copy()
        vectors[-1, 3] = value
        return vectors

    return change


def _raising(error: Exception) -> Change:
    def change(_: np.ndarray) -> Any:
        raise error

    return change


class ServiceError(Exception):
    """Of the embedder, and not ours."""


#: What comes instead of right vectors, and what it must end in when documents are added.
BAD: dict[str, tuple[Change, type[Exception]]] = {
    "NaN": (_one(np.nan), InvalidDocumentError),
    "infinity": (_one(np.inf), InvalidDocumentError),
    "minus infinity": (_one(-np.inf), InvalidDocumentError),
    "all NaN": (lambda vectors: np.full_like(vectors, np.nan), InvalidDocumentError),
    "zero": (lambda vectors: vectors * 0.0, InvalidDocumentError),
    "minus zero": (lambda vectors: vectors * -0.0, InvalidDocumentError),
    "one dimension too few": (lambda vectors: vectors[:, :-1], ModelMismatchError),
    "one dimension too many": (
        lambda vectors: np.pad(vectors, ((0, 0), (0, 1)), constant_values=1.0),
        ModelMismatchError,
    ),
    "no dimension": (lambda vectors: vectors[:, :0], InvalidDocumentError),
    "words": (lambda vectors: [["a"] * DIMENSION for _ in vectors], InvalidDocumentError),
    "nothing": (lambda vectors: [None for _ in vectors], InvalidDocumentError),
    "imaginary numbers": (lambda vectors: vectors * 1j, InvalidDocumentError),
    "complex numbers": (lambda vectors: vectors * (1 + 1j), InvalidDocumentError),
    "an error": (_raising(ServiceError("down")), ServiceError),
    "an error of memory": (_raising(MemoryError()), MemoryError),
}
#: Bad only where there are several.
BAD_TABLES: dict[str, tuple[Change, type[Exception]]] = {
    "one vector too few": (lambda vectors: vectors[:-1], InvalidDocumentError),
    "one vector too many": (lambda vectors: np.vstack([vectors, vectors[:1]]), InvalidDocumentError),
    "no vectors": (lambda vectors: vectors[:0], InvalidDocumentError),
    "three axes": (lambda vectors: vectors[None], InvalidDocumentError),
    "rows of two lengths": (lambda vectors: [*vectors.tolist()[:-1], [1.0, 2.0]], InvalidDocumentError),
}
#: Right, whatever they look like.
GOOD: dict[str, Change] = {
    "float64": lambda vectors: vectors.astype(np.float64),
    "float32": lambda vectors: vectors.astype(np.float32),
    "bytes in another order": lambda vectors: vectors.astype(">f8"),
    "not contiguous": lambda vectors: np.repeat(np.repeat(vectors, 2, 0), 3, 1)[::2, ::3],
    "Fortran's order": np.asfortranarray,
    "read backwards": lambda vectors: np.ascontiguousarray(vectors[:, ::-1])[:, ::-1],
    "not to be written": lambda vectors: (vectors.setflags(write=False), vectors)[1],
    "very long": lambda vectors: vectors * 1e300,
    "very short": lambda vectors: vectors * 1e-300,
    "tuples": lambda vectors: tuple(map(tuple, vectors.tolist())),
}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph is worth making for few rows."""
    monkeypatch.setattr(snapshots, "MIN_ROWS", 10)
    monkeypatch.setattr(upkeep, "QUIET", 0.0)
    monkeypatch.setattr(indexing, "GRAPH_ROWS", 10)


def made(folder: Path, index: str, embeddings: Told) -> FaissStore:
    store = FaissStore(embeddings, path=folder, index=index)
    store.add_texts([f"text {place}" for place in range(KEPT)], ids=list(map(str, range(KEPT))))
    info = store.wait_until_ready(60)
    assert (info.kind == "hnsw") is (index == "hnsw")
    return store


def state(store: FaissStore) -> Any:
    with store._engine.connections.reading() as connection:
        counted = connection.execute("SELECT seq, generation, space FROM state").fetchone()
    vectors = {name: vector.tobytes() for name, vector in stored_vectors(store).items()}
    return content(store), vectors, counted


def unharmed(store: FaissStore, before: Any, embeddings: Told) -> None:
    """As it was, whole, and still searched rightly."""
    embeddings.change = None
    assert state(store) == before
    found = [one.id for one in store.similarity_search("text 7", k=3)]
    vectors = {str(place): embeddings.right([f"text {place}"])[0] for place in range(KEPT)}
    assert found == [name for name, _ in ranking(vectors, embeddings.right(["text 7"])[0])[:3]]


@pytest.mark.parametrize("index", INDEXES)
@pytest.mark.parametrize("kind", [Told, ToldArrays])
def test_bad_vectors_of_documents(index: str, kind: type[Told], tmp_path: Path, goal: Any) -> None:
    with goal("G13") as count:
        embeddings = kind()
        with made(tmp_path / "s", index, embeddings) as store:
            before = state(store)
            for name, (change, error) in (BAD | BAD_TABLES).items():
                embeddings.change = change
                with pytest.raises(error) as caught:
                    store.add_texts(["new", "new too"], ids=["new", "7"])
                assert not isinstance(caught.value, RerankError) or str(caught.value), name
                unharmed(store, before, embeddings)
                count.done += 1
            assert store.verify(deep=True).ok


@pytest.mark.parametrize("index", ONE_INDEX)
def test_bad_vectors_in_the_middle_of_a_call(index: str, tmp_path: Path, goal: Any) -> None:
    """Texts are embedded 256 at a time: what was embedded before the bad part is not stored either."""
    with goal("G13") as count:
        embeddings = Told()
        with made(tmp_path / "s", index, embeddings) as store:
            before = state(store)
            for name, (change, error) in (BAD | BAD_TABLES).items():
                calls = itertools.count()
                embeddings.change = lambda vectors, change=change, calls=calls: (
                    change(vectors) if next(calls) == 1 else vectors
                )
                with pytest.raises(error):
                    store.add_texts([f"new {place}" for place in range(600)])
                unharmed(store, before, embeddings)
                assert next(calls) == 2, name
                count.done += 1


@pytest.mark.parametrize("index", INDEXES)
def test_bad_ready_vectors(index: str, tmp_path: Path, goal: Any) -> None:
    with goal("G13") as count:
        embeddings = Told()
        with made(tmp_path / "s", index, embeddings) as store:
            before = state(store)
            for name, (change, error) in (BAD | BAD_TABLES).items():
                if name.startswith("an error"):
                    continue
                with pytest.raises((InvalidDocumentError, InvalidArgumentError)):
                    store.add_embeddings(
                        ["new", "new too"], change(embeddings.right(["new", "new too"])), ids=["new", "7"]
                    )
                assert issubclass(error, RerankError)
                unharmed(store, before, embeddings)
                count.done += 1


@pytest.mark.parametrize("index", INDEXES)
@pytest.mark.parametrize("kind", [Told, ToldArrays])
def test_bad_vectors_of_queries(index: str, kind: type[Told], tmp_path: Path, goal: Any) -> None:
    with goal("G13") as count:
        embeddings = kind()
        with made(tmp_path / "s", index, embeddings) as store:
            before = state(store)
            for change, error in BAD.values():
                embeddings.change = change
                wanted = InvalidArgumentError if error is InvalidDocumentError else error
                for search in (
                    store.similarity_search,
                    store.similarity_search_with_score,
                    store.max_marginal_relevance_search,
                ):
                    with pytest.raises(wanted):
                        search("anything", k=3)
                unharmed(store, before, embeddings)
                count.done += 1


@pytest.mark.parametrize("index", INDEXES)
def test_bad_query_vectors(index: str, tmp_path: Path, goal: Any) -> None:
    with goal("G13") as count:
        embeddings = Told()
        with made(tmp_path / "s", index, embeddings) as store:
            before = state(store)
            for name, (change, _) in BAD.items():
                if name.startswith("an error"):
                    continue
                vector = change(embeddings.right(["anything"]))[0]
                for search in (
                    store.similarity_search_by_vector,
                    store.similarity_search_with_score_by_vector,
                    store.max_marginal_relevance_search_by_vector,
                    lambda vector, store=store: store.dense_scores(vector, ["7"]),
                ):
                    with pytest.raises(InvalidArgumentError):
                        search(vector)
                unharmed(store, before, embeddings)
                count.done += 1


@pytest.mark.parametrize("index", INDEXES)
@pytest.mark.parametrize("kind", [Told, ToldArrays])
def test_right_vectors_of_every_form(index: str, kind: type[Told], tmp_path: Path, goal: Any) -> None:
    """Stored alike to the last digits, whatever type and order they come in."""
    with goal("G13") as count:
        embeddings = kind()
        right = embeddings.right(["new"])
        with made(tmp_path / "s", index, embeddings) as store:
            for name, change in GOOD.items():
                embeddings.change = change
                store.add_texts(["new"], ids=[name])
                store.add_embeddings(["new"], change(right.copy()), ids=[f"{name}, ready"])
                found = store.similarity_search_with_score("new", k=2, filter=None)
                assert found[0][1] == pytest.approx(1.0, abs=1e-5), name
                vectors = stored_vectors(store)
                for one in (name, f"{name}, ready"):
                    assert np.allclose(vectors[one], right[0] / np.linalg.norm(right[0]), atol=1e-6), one
                store.delete([name, f"{name}, ready"])
                count.done += 1


def test_a_model_that_is_bad_from_the_start_leaves_no_store(goal: Any) -> None:
    with goal("G13") as count:
        for change, error in (BAD | BAD_TABLES).values():
            if error is ModelMismatchError:
                # That it gave the probes another dimension is its first contradiction.
                continue
            embeddings = Told()
            embeddings.change = change
            with FaissStore(embeddings) as store:
                with pytest.raises(error):
                    store.add_texts(["new", "new too"])
                assert (len(store), store.settings["model"]) == (0, None)
                embeddings.change = None
                store.add_texts(["new"])
                assert len(store) == 1
                count.done += 1


@pytest.mark.skipif(not __debug__, reason="this is the run without assert already")
def test_the_same_without_assert(goal: Any) -> None:
    """`python -O` takes every assert out, FAISS's own checks of shapes among them."""
    with goal("G13") as count:
        # Those of the tests themselves are rewritten by pytest, and stay.
        done = subprocess.run(
            [
                sys.executable,
                "-O",
                "-m",
                "pytest",
                "-q",
                "-p",
                "no:cacheprovider",
                "-k",
                AGAIN,
                str(Path(__file__)),
            ],
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
            cwd=Path(__file__).parents[2],
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
        assert re.search(r"[1-9]\d passed|[6-9] passed", done.stdout)
        count.note = "and once more under python -O"
