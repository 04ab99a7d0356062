"""Filters against an independent reading of the same rules, and the edges by hand."""

import math
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from langchain_rerank_retriever.errors import FilterError, InvalidArgumentError
from langchain_rerank_retriever.store import FaissStore

from .helpers import FastEmbeddings

ABSENT = object()


def reference(metadata: dict[str, Any], condition: dict[str, Any]) -> bool:
    """The documented rules, read a second time: one document, plain Python."""
    return all(
        all(reference(metadata, part) for part in value)
        if key == "$and"
        else any(reference(metadata, part) for part in value)
        if key == "$or"
        else not reference(metadata, value)
        if key == "$not"
        else reference_field(look_up(metadata, key), value)
        for key, value in condition.items()
    )


def look_up(metadata: dict[str, Any], key: str) -> Any:
    if key in metadata:
        return metadata[key]
    here: Any = metadata
    for part in key.split("."):
        if not isinstance(here, dict) or part not in here:
            return ABSENT
        here = here[part]
    return here


def same(left: Any, right: Any) -> bool:
    if isinstance(left, bool) or isinstance(right, bool):
        return isinstance(left, bool) and isinstance(right, bool) and left == right
    if isinstance(left, int | float) and isinstance(right, int | float):
        return left == right
    return type(left) is type(right) and isinstance(left, str | None) and left == right


def ordered(left: Any, operator: str, right: Any) -> bool:
    numbers = all(isinstance(side, int | float) and not isinstance(side, bool) for side in (left, right))
    if not numbers and not (isinstance(left, str) and isinstance(right, str)):
        return False
    return {"$lt": left < right, "$lte": left <= right, "$gt": left > right, "$gte": left >= right}[operator]


def reference_field(value: Any, test: Any) -> bool:
    tests = test if isinstance(test, dict) else {"$eq": test}
    return all(reference_operator(value, operator, operand) for operator, operand in tests.items())


def reference_operator(value: Any, operator: str, operand: Any) -> bool:
    if operator == "$exists":
        return (value is not ABSENT) == operand
    if operator == "$ne":
        return not reference_operator(value, "$eq", operand)
    if operator == "$nin":
        return not reference_operator(value, "$in", operand)
    elements = [] if value is ABSENT else value if isinstance(value, list) else [value]
    if operator == "$eq":
        return any(same(element, operand) for element in elements)
    if operator == "$in":
        return any(same(element, item) for element in elements for item in operand)
    return any(ordered(element, operator, operand) for element in elements)


names = st.sampled_from(["a", "b", "a.b", "a.b.c", "b.a", "", "키", 'q"u', "$x"])
keys = names.filter(lambda name: not name.startswith("$"))
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from(
        [0.0, -0.0, 1.0, 1.5, 2**53, 2**53 + 1, float(2**53), 2**63 - 1, -(2**63), 9.3e18, 1e300]
    ),
    st.sampled_from(["", "1", "a", "b", "A", "\u00e9", "e\u0301", "한", "\0", "a\0b", "true", "null"]),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(names, inner, max_size=3)),
    max_leaves=6,
)
metadatas = st.dictionaries(names, values, max_size=4)
comparable = st.one_of(
    scalars.filter(lambda value: value is not None and not isinstance(value, bool)), st.just(math.inf)
)
operators = st.one_of(
    st.fixed_dictionaries({}, optional={"$eq": scalars, "$ne": scalars, "$exists": st.booleans()}),
    st.fixed_dictionaries({}, optional=dict.fromkeys(("$lt", "$lte", "$gt", "$gte"), comparable)),
    st.fixed_dictionaries({}, optional={name: st.lists(scalars, max_size=3) for name in ("$in", "$nin")}),
).filter(bool)
fields = st.dictionaries(keys, st.one_of(scalars, operators), max_size=2)
conditions = st.recursive(
    fields,
    lambda inner: st.one_of(
        st.fixed_dictionaries({"$and": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"$or": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"$not": inner}),
    ),
    max_leaves=5,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(metadatas, min_size=1, max_size=8), st.lists(conditions, min_size=1, max_size=8))
def test_filters_select_exactly_what_the_rules_say(
    documents: list[dict[str, Any]], wanted: list[dict[str, Any]]
) -> None:
    with FaissStore(FastEmbeddings(4)) as store:
        ids = [str(number) for number in range(len(documents))]
        store.add_texts(["same text"] * len(ids), documents, ids=ids)
        for condition in wanted:
            expected = [name for name, metadata in zip(ids, documents) if reference(metadata, condition)]
            dense = [document.id for document in store.similarity_search("same text", k=20, filter=condition)]
            lexical = [document.id for document in store.lexical_search("text", k=20, filter=condition)]
            assert dense == expected, condition
            assert lexical == expected, condition


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(metadatas, min_size=2, max_size=5), conditions)
def test_filters_follow_changed_metadata(versions: list[dict[str, Any]], condition: dict[str, Any]) -> None:
    with FaissStore(FastEmbeddings(4)) as store:
        for metadata in versions:
            store.add_texts(["text"], [metadata], ids=["1"])
            found = store.similarity_search("text", filter=condition)
            assert bool(found) == reference(metadata, condition)
        assert store.verify(deep=True).ok


TABLE = [
    ({"a": 1}, {"a": 1}, True),
    ({"a": 1}, {"a": 1.0}, True),
    ({"a": True}, {"a": 1}, False),
    ({"a": 1}, {"a": True}, False),
    ({"a": "1"}, {"a": 1}, False),
    ({"a": ["x", "y"]}, {"a": "y"}, True),
    ({"a": ["x", "y"]}, {"a": {"$ne": "y"}}, False),
    ({"a": [1, 9]}, {"a": {"$gt": 5, "$lt": 3}}, True),
    ({"a": []}, {"a": {"$exists": True}}, True),
    ({"a": {}}, {"a": {"$exists": True}}, True),
    ({"a": None}, {"a": None}, True),
    ({}, {"a": None}, False),
    ({"a": None}, {"a": {"$exists": True}}, True),
    ({}, {"a": {"$ne": 1}}, True),
    ({}, {"a": {"$nin": [1]}}, True),
    ({}, {"a": {"$gt": 1}}, False),
    ({}, {"a": {"$exists": False}}, True),
    ({"a": "x"}, {"a": {"$gt": 1}}, False),
    ({"a": {"b": {"c": 3}}}, {"a.b.c": 3}, True),
    ({"a.b": 1, "a": {"b": 2}}, {"a.b": 2}, False),
    ({"a.b": 1, "a": {"b": 2}}, {"a.b": 1}, True),
    ({"a": [{"b": 1}]}, {"a.b": 1}, False),
    ({"a": 2**63 - 1}, {"a": {"$lt": 2**70}}, True),
    ({"a": 2**53 + 1}, {"a": float(2**53)}, False),
    ({"a": 1}, {"a": {"$in": []}}, False),
    ({"a": 1}, {"a": {"$nin": []}}, True),
    ({"a": "x"}, {}, True),
    ({"lc": 1, "type": "secret"}, {"type": "secret"}, True),
]


@pytest.mark.parametrize(("metadata", "condition", "expected"), TABLE)
def test_edges(metadata: dict[str, Any], condition: dict[str, Any], expected: bool) -> None:
    assert reference(metadata, condition) == expected
    with FaissStore(FastEmbeddings(4)) as store:
        store.add_texts(["text"], [metadata])
        assert bool(store.similarity_search("text", filter=condition)) == expected


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (
            {"a": {"$regex": "x"}},
            r"'\$regex' of 'a'.*\$eq, \$ne, \$lt, \$lte, \$gt, \$gte, \$in, \$nin, \$exists",
        ),
        ({"$nor": []}, r"'\$nor'.*\$and, \$or, \$not"),
        ({"a": {"b": 1}}, "Unknown operator 'b'"),
        ({"a": {"$in": "x"}}, r"\$in of 'a' takes a list"),
        ({"a": {"$exists": 1}}, "takes True or False"),
        ({"a": {"$gt": None}}, "number or a text"),
        ({"a": {"$gt": True}}, "number or a text"),
        ({"a": {"$gt": math.nan}}, "nan"),
        ({"a": [1]}, r"use \$in"),
        ({"a": {"$eq": [1]}}, r"use \$in"),
        ({"a": {}}, "empty dict"),
        ({"$and": []}, "one or more filters"),
        ({"$or": {"a": 1}}, "one or more filters"),
        ({"$not": [1]}, "A filter is a dict"),
        ({1: 2}, "names of metadata keys"),
        ("a = 1", "A filter is a dict"),
        (lambda metadata: True, "A filter is a dict"),
        ({"a": b"x"}, "compares with"),
        ({"a": "\ud800"}, "lone surrogate"),
    ],
)
def test_a_filter_that_cannot_be_read(condition: Any, message: str) -> None:
    with FaissStore(FastEmbeddings(4)) as store:
        for search in (store.similarity_search, store.lexical_search, store.max_marginal_relevance_search):
            with pytest.raises(FilterError, match=message):
                search("text", filter=condition)
    assert issubclass(FilterError, InvalidArgumentError)


def test_a_filter_nested_too_deep() -> None:
    condition: dict[str, Any] = {"a": 1}
    for _ in range(5000):
        condition = {"$not": condition}
    with FaissStore(FastEmbeddings(4)) as store, pytest.raises(FilterError, match="levels deep"):
        store.similarity_search("text", filter=condition)


def test_long_filters() -> None:
    with FaissStore(FastEmbeddings(4)) as store:
        store.add_texts(
            ["t"] * 3, [{"s": "7", "n": 7}, {"s": "\0", "n": 7.5}, {"s": "x", "n": -1}], ids=["0", "1", "2"]
        )

        def found(condition: dict[str, Any]) -> list[str | None]:
            return [document.id for document in store.similarity_search("t", filter=condition)]

        assert found({"s": {"$in": [str(i) for i in range(300_000)]}}) == ["0"]
        assert found({"n": {"$in": [*range(300_000), 7.5]}}) == ["0", "1"]
        assert found({"s": {"$nin": ["7", "\0"]}}) == ["2"]
        assert found({"$or": [{"n": i} for i in range(3000)]}) == ["0"]
        assert found({"$and": [{"n": {"$gt": -i}} for i in range(2, 3000)]}) == ["0", "1", "2"]


def test_k_documents_come_back_whenever_k_match() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((3000, 16))
    query = vectors[0]
    with FaissStore(FastEmbeddings(16)) as store:
        store.add_embeddings(
            [f"text {i}" for i in range(3000)],
            vectors,
            [{"n": i} for i in range(3000)],
            ids=[str(i) for i in range(3000)],
        )
        farthest = np.argsort(vectors @ query / np.linalg.norm(vectors, axis=1))[:10]
        found = store.similarity_search_by_vector(query, k=10, filter={"n": {"$in": farthest.tolist()}})
        assert {document.metadata["n"] for document in found} == set(farthest.tolist())


def test_a_filter_over_a_hundred_thousand_documents_is_quick() -> None:
    count = 100_000
    with FaissStore(FastEmbeddings(8), lexical=False) as store:
        metadatas = [
            {"year": 1990 + i % 36, "source": f"{i // 20}.pdf", "page": i % 20} for i in range(count)
        ]
        store.add_embeddings(["t"] * count, np.random.default_rng(0).standard_normal((count, 8)), metadatas)
        for condition in ({"year": {"$gte": 2000}}, {"source": "77.pdf"}, {"$not": {"year": 2001}}):
            started = time.perf_counter()
            assert len(store.similarity_search_by_vector([1.0] * 8, k=10, filter=condition)) == 10
            assert time.perf_counter() - started < 1.0
