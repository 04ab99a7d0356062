"""Adding, replacing, deleting, reading back."""

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_core.indexing import InMemoryRecordManager, index

from langchain_rerank_retriever.errors import InvalidDocumentError
from langchain_rerank_retriever.protocols import SCORE_KEYS
from langchain_rerank_retriever.store import FaissStore
from tests.conftest import HashEmbeddings

from .helpers import FastEmbeddings, FixedEmbeddings, content, stored_vectors, unit


def test_nothing_gives_nothing() -> None:
    with FaissStore(FastEmbeddings()) as store:
        assert store.add_texts([]) == []
        assert store.add_documents([]) == []
        assert store.add_embeddings([], []) == []
        assert store.get_by_ids([]) == []
        assert list(store.documents()) == []
        assert (len(store), bool(store)) == (0, True)
        assert store.similarity_search("x") == store.lexical_search("x") == []
        assert store.max_marginal_relevance_search("x") == []
        assert store.dense_scores([1.0, 2.0], ["a"]) == store.lexical_scores("x", ["a"]) == {}


def test_an_unchanged_text_is_not_embedded_again() -> None:
    embeddings = HashEmbeddings()
    with FaissStore(embeddings) as store:
        store.add_texts(["one", "two"], [{"v": 1}, {"v": 1}], ids=["1", "2"])
        embeddings.calls.clear()
        store.add_texts(["one", "zwei", "three"], [{"v": 2}] * 3, ids=["1", "2", "3"])
        assert embeddings.calls == [["zwei", "three"]]
        assert content(store) == {"1": ("one", {"v": 2}), "2": ("zwei", {"v": 2}), "3": ("three", {"v": 2})}
        embeddings.calls.clear()
        store.add_texts(["one"], [{"v": 3}], ids=["1"])
        assert embeddings.calls == []
        assert store.similarity_search("one", k=1)[0].metadata == {"v": 3}


def test_texts_are_embedded_in_batches() -> None:
    embeddings = FastEmbeddings()
    with FaissStore(embeddings) as store:
        store.add_texts(["first"])
        embeddings.calls.clear()
        store.add_texts([f"t{i}" for i in range(600)])
        assert [len(call) for call in embeddings.calls] == [256, 256, 88]
        embeddings.calls.clear()
        store.add_documents([Document(f"u{i}") for i in range(5)], batch_size=2)
        assert [len(call) for call in embeddings.calls] == [2, 2, 1]


def test_vectors_and_scores_are_those_of_the_embedder() -> None:
    embeddings = FastEmbeddings(384)
    texts = [f"text {i}" for i in range(50)]
    with FaissStore(embeddings) as store:
        ids = store.add_texts(texts)
        stored = stored_vectors(store)
        for document_id, text in zip(ids, texts):
            assert np.allclose(stored[document_id], unit(embeddings.vector(text)), atol=1e-7)
            assert stored[document_id].dtype == np.float32


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.float16, list])
def test_ready_vectors_of_any_type_and_length(kind: Any) -> None:
    rng = np.random.default_rng(3)
    vectors = rng.standard_normal((20, 4)) * np.logspace(-3, 3, 20)[:, None]
    given_vectors = vectors.tolist() if kind is list else vectors.astype(kind)
    with FaissStore(FixedEmbeddings(dimension=4)) as store:
        ids = store.add_embeddings([f"t{i}" for i in range(20)], given_vectors, [{"i": i} for i in range(20)])
        for place, document_id in enumerate(ids):
            expected = unit(np.asarray(given_vectors, dtype=np.float64)[place])
            assert np.allclose(stored_vectors(store)[document_id], expected, atol=1e-7)
            assert store.similarity_search_by_vector(expected.tolist(), k=1)[0].metadata == {"i": place}


def test_huge_and_tiny_vectors_keep_their_direction() -> None:
    with FaissStore(FixedEmbeddings()) as store:
        store.add_embeddings(["big", "small"], [[1e300, 1e300, 0, 0], [0, 0, 1e-300, 1e-300]], ids=["b", "s"])
        assert np.allclose(stored_vectors(store)["b"], unit([1, 1, 0, 0]))
        assert np.allclose(stored_vectors(store)["s"], unit([0, 0, 1, 1]))


def test_input_is_not_changed() -> None:
    documents = [Document("a", metadata={"n": {"m": [1]}, "recall_score": 1.0}), Document("b", id="own")]
    vectors = np.full((1, 16), 2.0, dtype=np.float32)
    with FaissStore(FastEmbeddings()) as store:
        ids = store.add_documents(documents)
        store.add_embeddings(["c"], vectors)
        assert documents == [
            Document("a", metadata={"n": {"m": [1]}, "recall_score": 1.0}),
            Document("b", id="own"),
        ]
        assert ids[1] == "own"
        assert len(ids[0]) == 32
        assert (vectors == 2.0).all()
        found = store.get_by_ids(ids)[0]
        found.metadata["n"]["m"].append(2)
        assert store.get_by_ids(ids)[0].metadata["n"] == {"m": [1]}


def test_score_keys_are_stripped_at_the_top_only() -> None:
    metadata: dict[str, Any] = dict.fromkeys(SCORE_KEYS, 0.5)
    with FaissStore(FastEmbeddings()) as store:
        store.add_texts(["a"], [{**metadata, "kept": metadata}], ids=["1"])
        assert store.get_by_ids(["1"])[0].metadata == {"kept": metadata}


def test_metadata_default() -> None:
    when = datetime.datetime(2026, 1, 2)
    with FaissStore(FastEmbeddings(), metadata_default=str) as store:
        data = {
            "when": when,
            "path": Path("a/b"),
            "n": np.float32(0.5),
            "big": 2**70,
            "bad": float("nan"),
            "l": [{1}],
        }
        store.add_texts(["a"], [data], ids=["1"])
        expected = {
            "when": str(when),
            "path": "a/b",
            "n": "0.5",
            "big": str(2**70),
            "bad": "nan",
            "l": ["{1}"],
        }
        assert store.get_by_ids(["1"])[0].metadata == expected
    store = FaissStore(FastEmbeddings(), metadata_default=lambda value: value)
    with pytest.raises(InvalidDocumentError, match="type set"):
        store.add_texts(["a"], [{"a": {1}}])


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(),
)
json_values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=8,
)


def typed(value: Any) -> Any:
    """A value with its types, so that 1, 1.0 and True differ."""
    if isinstance(value, dict):
        return [(key, typed(item)) for key, item in value.items()]
    return [typed(item) for item in value] if isinstance(value, list) else (type(value), repr(value))


@settings(max_examples=150, deadline=None)
@given(
    st.text(), st.dictionaries(st.text().filter(lambda key: key not in SCORE_KEYS), json_values, max_size=4)
)
def test_texts_and_metadata_come_back_exactly(text: str, metadata: dict[str, Any]) -> None:
    with FaissStore(FastEmbeddings(4)) as store:
        store.add_texts([text], [metadata], ids=["1"])
        found = store.get_by_ids(["1"])[0]
        assert found.page_content == text
        assert typed(found.metadata) == typed(metadata)
        assert store.verify(deep=True).ok


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\0",
        "a\0b",
        "\u00e9",
        "e\u0301",
        "\u202eabc",
        "👩‍👩‍👧",
        "../..",
        "'; DROP TABLE document;--",
        "%s{}",
        "x" * 1_000_000,
    ],
)
def test_strange_texts_and_ids(text: str) -> None:
    with FaissStore(FastEmbeddings(4)) as store:
        document_id = text.replace("\0", "") or "id"
        store.add_texts([text], [{text: text}], ids=[document_id])
        assert store.get_by_ids([document_id]) == [Document(text, metadata={text: text}, id=document_id)]
        store.lexical_search(text)
        store.delete([document_id])
        assert len(store) == 0
        assert store.verify(deep=True).ok


def test_ids_that_look_equal_are_different() -> None:
    with FaissStore(FastEmbeddings()) as store:
        store.add_texts(["a", "b"], ids=["\u00e9", "e\u0301"])
        assert len(store) == 2


def test_langchain_secrets_are_only_data() -> None:
    data = {"lc": 1, "type": "secret", "id": ["OPENAI_API_KEY"]}
    with FaissStore(FastEmbeddings()) as store:
        store.add_texts(["a"], [data], ids=["1"])
        assert store.similarity_search("a")[0].metadata == data


def test_order_of_documents() -> None:
    with FaissStore(FastEmbeddings()) as store:
        store.add_texts(["a", "b", "c"], ids=["1", "2", "3"])
        store.add_texts(["B"], ids=["2"])
        store.delete(["1"])
        store.add_texts(["a"], ids=["1"])
        assert [document.id for document in store.documents()] == ["2", "3", "1"]
        assert [document.id for document in store.get_by_ids(["1", "nope", "2", "1"])] == ["1", "2"]
        store.add_texts([f"t{i}" for i in range(700)])
        assert [d.page_content for d in store.documents()][3:] == [f"t{i}" for i in range(700)]


def test_clear_forgets_the_model() -> None:
    with FaissStore(FastEmbeddings(8)) as store:
        store.add_texts(["a"] * 3)
        store.clear()
        assert (len(store), store.settings["dimension"]) == (0, None)
        assert store.similarity_search("a") == store.lexical_search("a") == []
        store.add_texts(["b"], ids=["1"])
        assert store.lexical_search("b")[0].id == "1"
        assert store.verify(deep=True).ok


def test_many_deletions_are_forgotten_in_the_end() -> None:
    with FaissStore(FastEmbeddings(4)) as store:
        for _ in range(3):
            ids = store.add_texts([f"t{i}" for i in range(600)])
            store.delete(ids)
        with store._engine.connections.reading() as connection:
            assert connection.execute("SELECT count(*) FROM tombstone").fetchone()[0] <= 1024
        store.add_texts(["left"])
        assert len(store) == 1
        assert store.verify(deep=True).ok


def test_works_with_langchain_indexing() -> None:
    manager = InMemoryRecordManager("test")
    manager.create_schema()
    with FaissStore(FastEmbeddings()) as store:
        documents = [Document(f"text {i}", metadata={"source": f"{i % 2}"}) for i in range(6)]

        def run(given_documents: list[Document]) -> dict[str, int]:
            result = index(
                given_documents,
                manager,
                store,
                cleanup="full",
                source_id_key="source",
                key_encoder="sha256",
                batch_size=4,
            )
            return dict(result)

        assert run(documents)["num_added"] == 6
        assert run(documents)["num_skipped"] == 6
        assert run(documents[:4]) == {"num_added": 0, "num_updated": 0, "num_skipped": 4, "num_deleted": 2}
        assert len(store) == 4
