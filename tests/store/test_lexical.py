"""Lexical search: stemming, Korean pairs, quoting, and BM25 against the formula."""

import math
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.store import FaissStore
from langchain_rerank_retriever.store.lexical.analysis import DEFAULT, RULES, STOP_WORDS

from .helpers import FastEmbeddings


def store_of(*texts: str) -> FaissStore:
    store = FaissStore(FastEmbeddings(4))
    store.add_texts(texts, ids=[str(i) for i in range(len(texts))])
    return store


def found(store: FaissStore, query: str) -> list[str]:
    return sorted(document.id or "" for document in store.lexical_search(query, k=50))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("running", ["0"]),
        ("RUN", ["0"]),
        ("서울은", ["1"]),
        ("서울", ["1"]),
        ("대학", ["1"]),
        ("책", ["2"]),
        ("책상", []),
        ("机械学习", ["3"]),
        ("学", ["3"]),
        ("カメラ", ["4"]),
        ("sdk", ["5"]),
        ("삼성", ["5"]),
        ("covid19", ["6"]),
        ("café", ["7"]),
        ("cafe", ["7"]),
        ("ＡＢＣ", ["8"]),
        ("부산", ["9"]),
        ("हिन्दी", ["10"]),
        ("ที่", ["11"]),
        ("STRASSE", ["12"]),
    ],
)
def test_what_matches(query: str, expected: list[str]) -> None:
    store = store_of(
        "He runs every day",
        "서울에서 대학교를 다녔다",
        "책을 읽다",
        "我喜欢机械学习",
        "新しいカメラを買う",
        "삼성SDK 설치",
        "COVID19 spread",
        "Un cafe\u0301 noir",
        "ABC",
        "\u1107\u116e\u1109\u1161\u11ab",
        "यह हिन्दी है",
        "อยู่ ที่ นี่",
        "Straße",
    )
    assert found(store, query) == expected


@pytest.mark.parametrize(
    "query",
    [
        '"',
        '""',
        "NOT",
        "AND OR",
        "a NOT b",
        'x" OR "y',
        "body:x",
        "x*",
        "^x",
        "NEAR(a b)",
        "(",
        "-",
        "a-b",
        "'",
        "\0",
        "{a}",
    ],
)
def test_a_query_is_no_query_language(query: str) -> None:
    store = store_of("x y", "a b not near body")
    store.lexical_search(query)
    store.lexical_scores(query, ["0", "1"])


@settings(max_examples=500, deadline=None)
@given(st.text())
def test_any_text_can_be_asked(query: str) -> None:
    store = store_of(query, "other")
    # Where a query has a term, the document that is the query has it too.
    if DEFAULT.phrases(query):
        assert "0" in found(store, query)
    store.close()


def test_words_without_a_topic_count_only_alone() -> None:
    assert "the" in STOP_WORDS
    assert DEFAULT.phrases("The origin of the species") == ['"origin"', '"species"']
    assert DEFAULT.phrases("to be or not to be") == ['"to"', '"be"', '"or"', '"not"']
    assert DEFAULT.phrases("dog Dog DOG") == ['"dog"']
    assert DEFAULT.phrases("?!") == []
    assert DEFAULT.index_text("대한민국의 a_b") == "대한 한민 민국 국의 a b"


def test_scores_are_bm25() -> None:
    words = ["alpha", "beta", "gamma", "delta", "omega"]
    texts = [" ".join(words[(i * j) % 5] for j in range(1, 3 + i % 7)) for i in range(1, 40)]
    store = store_of(*texts)
    documents = [Counter(text.split()) for text in texts]
    average = sum(sum(document.values()) for document in documents) / len(documents)
    query = ["beta", "omega"]

    def score(document: Counter[str]) -> float:
        total = 0.0
        for word in query:
            holding = sum(word in other for other in documents)
            idf = math.log((len(documents) - holding + 0.5) / (holding + 0.5))
            length = sum(document.values())
            count = document[word]
            total += max(idf, 1e-6) * count * 2.2 / (count + 1.2 * (0.25 + 0.75 * length / average))
        return total

    ids = [str(i) for i in range(len(texts))]
    scores = store.lexical_scores("beta omega", [*ids, "nope"])
    assert scores == pytest.approx({i: score(document) for i, document in zip(ids, documents)}, abs=1e-9)
    ranked = store.lexical_search_with_score("beta omega", k=10)
    expected = sorted(ids, key=lambda i: (-scores[i], int(i)))[:10]
    assert [document.id for document, _ in ranked] == expected
    assert all(score == scores[document.id or ""] for document, score in ranked)


def test_no_match_is_zero_and_unknown_is_absent() -> None:
    store = store_of("red fox", "blue whale", "green frog")
    assert store.lexical_scores("fox", ["0", "1", "nope"]).keys() == {"0", "1"}
    assert store.lexical_scores("fox", ["1"]) == {"1": 0.0}
    assert store.lexical_scores("", ["1"]) == {"1": 0.0}
    assert store.lexical_scores("fox", []) == {}


def test_a_filter_comes_first() -> None:
    store = FaissStore(FastEmbeddings(4))
    store.add_texts(["fox"] * 50, [{"n": i} for i in range(50)])
    assert [d.metadata["n"] for d in store.lexical_search("fox", k=3, filter={"n": {"$gte": 30}})] == [
        30,
        31,
        32,
    ]


def test_replaced_and_deleted_texts_are_not_found() -> None:
    store = store_of("red fox", "blue whale")
    store.add_texts(["green frog"], ids=["0"])
    store.delete(["1"])
    assert found(store, "fox whale") == []
    assert found(store, "frogs") == ["0"]


def test_terms_of_an_older_unicode_are_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as older:
        other = replace(DEFAULT, rules="older", index_text=lambda text: f"x{text}x")
        older.setattr("langchain_rerank_retriever.store.lexical.languages.DEFAULT", other)
        stores = [store_of("apple", "bread", "cake") for _ in range(2)]
    for store, change in zip(
        stores, (lambda s: s.delete(["0"]), lambda s: s.add_texts(["dough"], ids=["0"]))
    ):
        with pytest.warns(
            UserWarning, match=f"made by the rules 'older', but queries are cut by '{RULES}' now"
        ):
            assert found(store, "xbreadx") == ["1"]
        assert not store.verify(deep=True).ok
        change(store)
        assert (found(store, "xbreadx"), found(store, "bread"), found(store, "apple")) == ([], ["1"], [])
        assert store.verify(deep=True).ok


def test_a_store_without_a_lexical_index() -> None:
    store = FaissStore(FastEmbeddings(4), lexical=False)
    store.add_texts(["red fox"], ids=["0"])
    for call in (lambda: store.lexical_search("fox"), lambda: store.lexical_scores("fox", ["0"])):
        with pytest.raises(InvalidArgumentError, match="made with lexical=False"):
            call()
    assert store.verify(deep=True).ok
