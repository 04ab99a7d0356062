"""Whatever cannot be stored or searched is refused by name, before anything changes."""

import datetime
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document

from langchain_rerank_retriever.errors import (
    InvalidArgumentError,
    InvalidDocumentError,
    ModelMismatchError,
    RerankError,
)
from langchain_rerank_retriever.store import FaissStore

from .helpers import FastEmbeddings, FixedEmbeddings, content


@pytest.fixture
def store() -> FaissStore:
    store = FaissStore(FastEmbeddings())
    store.add_texts(["kept"], [{"a": 1}], ids=["kept"])
    return store


def cycle() -> dict[str, Any]:
    looped: dict[str, Any] = {}
    looped["again"] = looped
    return looped


def deep(levels: int) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for _ in range(levels - 1):
        nested = {"k": nested}
    return nested


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"a": {"b": [1, math.nan]}}, r"document 'new'.*key 'a.b\[1\]'.*nan.*metadata_default=str"),
        ({"a": math.inf}, "key 'a'.*inf"),
        ({"a": b"bytes"}, "type bytes.*metadata_default=str"),
        ({"a": {1, 2}}, "type set.*metadata_default=str"),
        ({"when": datetime.datetime(2026, 1, 1)}, "key 'when'.*type datetime.*metadata_default=str"),
        ({"a": np.float32(1)}, "type float32"),
        ({"a": 2**63}, "beyond 64 bits"),
        ({"a": -(2**63) - 1}, "beyond 64 bits"),
        ({"a": {1: 2}}, "a key of type int"),
        ({1: 2}, "a key of type int"),
        ({"a": "\ud800"}, "lone surrogate"),
        ({"\ud800": 1}, "lone surrogate"),
        (deep(101), "more than 100 levels"),
        (deep(10_000), "more than 100 levels"),
        (cycle(), "more than 100 levels, or a cycle"),
        ("text", "must be a dict, got str"),
        ([("a", 1)], "must be a dict, got list"),
    ],
)
def test_metadata(store: FaissStore, metadata: Any, message: str) -> None:
    with pytest.raises(InvalidDocumentError, match=message):
        store.add_texts(["fine", "text"], [{}, metadata], ids=["fine", "new"])
    assert content(store) == {"kept": ("kept", {"a": 1})}


@pytest.mark.parametrize(
    ("texts", "ids", "error", "message"),
    [
        (["ok", "\ud800"], None, InvalidDocumentError, "text at position 1 holds a lone surrogate"),
        (["ok", 5], None, InvalidDocumentError, "text at position 1 must be a str, got int"),
        (["ok", None], None, InvalidDocumentError, "text at position 1 must be a str, got NoneType"),
        (["ok", b"x"], None, InvalidDocumentError, "position 1 must be a str, got bytes"),
        ("one text", None, InvalidArgumentError, "put it into a list"),
        (["a", "b"], ["1"], InvalidArgumentError, "1 ids for 2 texts"),
        (["a"], "1", InvalidArgumentError, "put it into a list"),
        (["a", "b"], ["1", ""], InvalidDocumentError, "id at position 1 is empty"),
        (["a", "b"], ["1", 2], InvalidDocumentError, "id at position 1 must be a str, got int 2"),
        (["a"], ["x\0y"], InvalidDocumentError, "NUL"),
        (["a"], ["\udfff"], InvalidDocumentError, "lone surrogate"),
        (["a", "b", "c"], ["1", "2", "1"], InvalidDocumentError, "'1' stands at positions 0 and 2"),
    ],
)
def test_texts_and_ids(
    store: FaissStore, texts: Any, ids: Any, error: type[RerankError], message: str
) -> None:
    with pytest.raises(error, match=message):
        store.add_texts(texts, ids=ids)
    assert issubclass(error, ValueError)
    assert len(store) == 1


def test_counts_of_metadata(store: FaissStore) -> None:
    with pytest.raises(InvalidArgumentError, match="got 1 for 2 texts"):
        store.add_texts(["a", "b"], [{}])


def test_blank_texts() -> None:
    with FaissStore(FastEmbeddings()) as store:
        assert store.add_texts(["", " \n"], ids=["empty", "blank"]) == ["empty", "blank"]
        assert store.get_by_ids(["blank"])[0].page_content == " \n"
        assert store.lexical_search("") == []
        assert store.lexical_search(" ?! ") == []
        assert len(store.similarity_search("")) == 2
    with (
        FaissStore(FastEmbeddings(), blank="raise") as store,
        pytest.raises(InvalidDocumentError, match="1 is blank"),
    ):
        store.add_texts(["ok", " \t"])
    with pytest.raises(InvalidArgumentError, match="blank must be"):
        FaissStore(FastEmbeddings(), blank="skip")  # type: ignore[arg-type]


BAD_VECTORS = [
    ([[1.0, 2.0, 3.0, math.nan]], "position 0 holds NaN or infinite"),
    ([[1.0, 2.0, 3.0, math.inf]], "position 0 holds NaN or infinite"),
    ([[0.0, 0.0, 0.0, 0.0]], "position 0 is all zero"),
    ([[1.0, 2.0], [1.0]], "no table of numbers"),
    ([["a", "b", "c", "d"]], "no table of numbers"),
    ([], "one vector per text"),
    ([[1.0] * 4] * 2, "one vector per text"),
    ([1.0] * 4, "one vector per text"),
    ([[]], "one vector per text"),
    (None, "no table of numbers|one vector per text"),
]


@pytest.mark.parametrize(("vectors", "message"), BAD_VECTORS)
def test_vectors(vectors: Any, message: str) -> None:
    embeddings = FixedEmbeddings()
    with FaissStore(embeddings) as store:
        store.add_texts(["kept"], ids=["kept"])
        with pytest.raises(InvalidDocumentError, match=message):
            store.add_embeddings(["new"], vectors)
        embeddings.answer = lambda texts: vectors
        if vectors is not None:
            with pytest.raises(InvalidDocumentError, match=message):
                store.add_texts(["new"])
        assert list(content(store)) == ["kept"]
        assert store.verify(deep=True).ok


def test_a_bad_vector_late_in_a_call_undoes_all_of_it() -> None:
    embeddings = FixedEmbeddings()
    with FaissStore(embeddings) as store:
        store.add_texts(["kept"], ids=["kept"])
        embeddings.answer = lambda texts: [
            [math.nan if text == "bad" else 1.0, 1.0, 1.0, 1.0] for text in texts
        ]
        texts = [f"t{i}" for i in range(700)]
        texts[650] = "bad"
        with pytest.raises(InvalidDocumentError, match="position 650 "):
            store.add_texts(texts)
        assert list(content(store)) == ["kept"]


def test_an_embedder_that_raises_midway_changes_nothing() -> None:
    def answer(texts: list[str]) -> list[list[float]]:
        if "t600" in texts:
            raise ConnectionError("the service is down")
        return [[1.0, 2.0, 3.0, 4.0]] * len(texts)

    embeddings = FixedEmbeddings()
    with FaissStore(embeddings) as store:
        store.add_texts(["kept"], ids=["kept"])
        embeddings.answer = answer
        with pytest.raises(ConnectionError):
            store.add_texts([f"t{i}" for i in range(700)])
        assert list(content(store)) == ["kept"]


def test_a_model_whose_dimension_wavers() -> None:
    embeddings = FixedEmbeddings(lambda texts: [[1.0] * (5 if text == "wide" else 4) for text in texts])
    with FaissStore(embeddings) as store:
        with pytest.raises(ModelMismatchError, match=r"4 dimensions\), got FixedEmbeddings \(5"):
            store.add_texts(["wide"])
        store.add_texts(["fine"])
        with pytest.raises(InvalidDocumentError, match="rows of one length"):
            store.add_texts(["fine too", "wide"])
        store.reembed(FixedEmbeddings(dimension=3))
        assert store.settings["dimension"] == 3
        store.add_texts(["wide"])
        with pytest.raises(ModelMismatchError, match=r"4 dimensions\), got FixedEmbeddings \(5"):
            store.reembed(
                FixedEmbeddings(lambda texts: [[1.0] * (5 if len(texts[0]) == 4 else 4) for _ in texts])
            )
        assert store.settings["dimension"] == 3


def test_the_position_is_named_where_other_texts_are_unchanged() -> None:
    embeddings = FixedEmbeddings()
    with FaissStore(embeddings) as store:
        store.add_texts(["a", "b", "c"], ids=["a", "b", "c"])
        embeddings.answer = lambda texts: [[0.0] * 4 if text == "bad" else [1.0] * 4 for text in texts]
        with pytest.raises(InvalidDocumentError, match="position 3 is all zero"):
            store.add_texts(["a", "new", "c", "bad"], ids=["a", "b", "c", "d"])


def test_vectors_of_another_dimension() -> None:
    embeddings = FixedEmbeddings()
    with FaissStore(embeddings) as store:
        store.add_texts(["kept"])
        with pytest.raises(InvalidDocumentError, match="have 3 dimensions, those of this store's model 4"):
            store.add_embeddings(["new"], np.ones((1, 3)))
        embeddings.answer = lambda texts: [[1.0] * 5 for _ in texts]
        with pytest.raises(
            ModelMismatchError, match=r"FixedEmbeddings \(4 dimensions\), got FixedEmbeddings \(5 dim"
        ):
            store.add_texts(["new"])
        assert len(store) == 1


@pytest.mark.parametrize(
    ("vector", "message"),
    [
        ([1.0, math.nan] + [0.0] * 14, "NaN or infinite"),
        ([math.inf] + [0.0] * 15, "NaN or infinite"),
        ([0.0] * 16, "all zero"),
        ([1.0] * 15, "15 dimensions, the store's vectors have 16"),
        ([[1.0] * 16], r"shape \(dimension,\)"),
        (["a"] * 16, "cannot be used"),
        (None, "shape|cannot be used"),
        ([], "cannot be used"),
    ],
)
def test_query_vectors(store: FaissStore, vector: Any, message: str) -> None:
    for search in (
        store.similarity_search_by_vector,
        store.similarity_search_with_score_by_vector,
        store.max_marginal_relevance_search_by_vector,
        store.dense_search,
    ):
        with pytest.raises(InvalidArgumentError, match=message):
            search(vector)
    with pytest.raises(InvalidArgumentError, match=message):
        store.dense_scores(vector, ["kept"])


@pytest.mark.parametrize("k", [0, -1, True, 1.5, "4", None])
def test_k(store: FaissStore, k: Any) -> None:
    vector = [1.0] * 16
    for search in (store.similarity_search, store.lexical_search, store.max_marginal_relevance_search):
        with pytest.raises(InvalidArgumentError, match="k must be a positive whole number, got"):
            search("kept", k=k)
    with pytest.raises(InvalidArgumentError, match="k must be a positive"):
        store.dense_search(vector, k=k)
    with pytest.raises(InvalidArgumentError, match="fetch_k must be a positive"):
        store.max_marginal_relevance_search("kept", fetch_k=k)


@pytest.mark.parametrize("query", [None, 5, b"x", ["kept"], "\ud800"])
def test_queries(store: FaissStore, query: Any) -> None:
    for search in (store.similarity_search, store.lexical_search, store.max_marginal_relevance_search):
        with pytest.raises(InvalidArgumentError, match=r"[Qq]uery"):
            search(query)


@pytest.mark.parametrize("value", [-0.1, 1.1, True, math.nan, "x", None, [0.5]])
def test_lambda(store: FaissStore, value: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="lambda_mult must be a number from 0 to 1"):
        store.max_marginal_relevance_search("kept", lambda_mult=value)


def test_a_mistyped_argument_is_not_swallowed(store: FaissStore) -> None:
    vector = [1.0] * 16
    calls: list[Any] = [
        lambda: store.similarity_search("x", filters={}),
        lambda: store.similarity_search_with_score("x", top_k=3),
        lambda: store.similarity_search_by_vector(vector, n=3),
        lambda: store.similarity_search_with_score_by_vector(vector, n=3),
        lambda: store.max_marginal_relevance_search("x", lambda_=3),
        lambda: store.max_marginal_relevance_search_by_vector(vector, lambda_=3),
        lambda: store.add_texts(["x"], meta=[{}]),
        lambda: store.add_documents([Document("x")], id=["1"]),
        lambda: store.delete(["kept"], all=True),
        lambda: FaissStore.from_texts(["x"], FastEmbeddings(), folder="f"),
        lambda: FaissStore(FastEmbeddings(), folder="f"),  # type: ignore[call-arg]
        lambda: store.as_retriever(search_kwargs={"topk": 3}).invoke("x"),
    ]
    for call in calls:
        with pytest.raises(TypeError, match="unexpected keyword argument"):
            call()
    assert len(store) == 1


def test_delete_needs_ids(store: FaissStore) -> None:
    with pytest.raises(InvalidArgumentError, match=r"clear\(\)"):
        store.delete()
    with pytest.raises(InvalidArgumentError, match="put it into a list"):
        store.delete("kept")  # type: ignore[arg-type]
    assert store.delete([]) is True
    assert store.delete(["nope", "\ud800"]) is True
    assert len(store) == 1


def test_what_is_no_embedder() -> None:
    with pytest.raises(InvalidArgumentError, match=r"must be a LangChain Embeddings.*got str"):
        FaissStore("all-MiniLM-L6-v2")  # type: ignore[arg-type]


@pytest.mark.parametrize("index", ["HNSW32", "IVF16,Flat", "", "FLAT"])
def test_index_kinds(index: str) -> None:
    with pytest.raises(InvalidArgumentError, match=r"index must be one of flat, hnsw, auto.*factory string"):
        FaissStore(FastEmbeddings(), index=index)


def test_checks_hold_without_assertions(tmp_path: Path) -> None:
    script = tmp_path / "optimised.py"
    script.write_text(
        "import math, sys\n"
        "from langchain_core.embeddings import Embeddings\n"
        "from langchain_rerank_retriever.store import FaissStore\n"
        "class Fixed(Embeddings):\n"
        "    def embed_documents(self, texts): return [[1.0, 2.0] for _ in texts]\n"
        "    def embed_query(self, text): return [1.0, 2.0]\n"
        "store = FaissStore(Fixed())\n"
        "store.add_texts(['kept'])\n"
        "refused = 0\n"
        "for vectors in ([[1.0]], [[1.0] * 8], [[math.nan, 1.0]], [[0.0, 0.0]], [[1.0, 2.0]] * 2):\n"
        "    try:\n"
        "        store.add_embeddings(['new'], vectors)\n"
        "    except ValueError:\n"
        "        refused += 1\n"
        "for vector in ([1.0], [1.0] * 8, [math.nan, 1.0], [0.0, 0.0]):\n"
        "    try:\n"
        "        store.similarity_search_by_vector(vector)\n"
        "    except ValueError:\n"
        "        refused += 1\n"
        "sys.exit(0 if refused == 9 and len(store) == 1 and sys.flags.optimize else 1)\n"
    )
    subprocess.run([sys.executable, "-O", str(script)], check=True, timeout=120)
