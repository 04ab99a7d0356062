"""The data card, against a small set of data counted by hand."""

import json
import time
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document

from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.training.data.card import DataCard, Finding, Truncation, data_card
from langchain_rerank_retriever.training.data.reading import TrainingData, read_training_data

LONG = "the quick brown fox jumps over the lazy dog while the sun goes down behind the old barn of the farm"
TEXTS = {
    "a": LONG,
    "b": f"{LONG} today",  # 19 of 20 shingles are shared
    "c": "Bees make honey.",
    "d": "Bees make honey.",
    "e": "something else altogether, of a few words",
}
CORPUS = {key: Document(id=key, page_content=text) for key, text in TEXTS.items()}
ROWS: list[dict[str, Any]] = [
    {"query": "which fox", "document_id": "a"},
    {"query": "Which  Fox", "document_id": "b"},
    {"query": "who makes honey", "document_id": "c"},
    {"query": "who makes honey", "document_id": "d"},
    {"query": "who makes honey", "document_id": "a", "relevance": 0},
    {"query": "what else", "document_id": "e"},
]
HELD_OUT = [{"query": "WHAT else", "document_id": "e"}, {"query": "bees", "document_id": "c"}]


def parts() -> tuple[TrainingData, TrainingData]:
    return read_training_data(ROWS, CORPUS), read_training_data(HELD_OUT, CORPUS)


def card(**settings: Any) -> DataCard:
    data, held_out = parts()
    return data_card(data, held_out, CORPUS, **settings)


def test_every_figure() -> None:
    assert card(
        token_counts=[24, 25, 4, 4, 9], train_tokens=9, not_recalled={("q3", "e"), ("q2", "d")}
    ) == DataCard(
        documents=5,
        queries=4,
        judgements=6,
        held_out_queries=2,
        positives=(1, 1.0, 2),
        duplicate_queries=Finding(2, (("which fox", "Which  Fox"),)),
        duplicate_documents=Finding(1, (("c", "d"),)),
        near_duplicates=Finding(2, (("a", "b"),)),
        compared_documents=5,
        shared_queries=Finding(1, (("WHAT else",),)),
        shared_documents=Finding(2, (("c",), ("e",))),
        doubtful_positives=Finding(2, (("who makes honey", "d"), ("what else", "e"))),
        truncation=Truncation(limit=9, documents=2, median=9, longest=25),
    )


def test_without_a_held_out_part_and_without_lengths() -> None:
    data, _ = parts()
    got = data_card(data, None, CORPUS, most_compared=0)
    assert (got.held_out_queries, got.shared_queries, got.shared_documents) == (0, Finding(0), Finding(0))
    assert (got.doubtful_positives, got.truncation) == (None, None)
    assert (got.near_duplicates, got.compared_documents) == (Finding(0), 0)


def test_nothing_at_all() -> None:
    got = data_card(TrainingData({}, {}, {}), None, {}, token_counts=[])
    assert (got.queries, got.positives, got.truncation) == (0, (0, 0.0, 0), None)
    assert str(got).startswith("0 documents; 0 queries")


def test_it_prints() -> None:
    text = str(card(token_counts=[24, 25, 4, 4, 9], train_tokens=9, not_recalled=[("q3", "e")]))
    assert text.splitlines() == [
        "5 documents; 4 queries to train on, with 6 judgements; 2 queries held out",
        "relevant documents of a query: 1 to 2, median 1",
        "2 queries differ from another in case and spaces only: which fox = Which Fox",
        "1 documents have the same text as an earlier one: c = d",
        "2 documents are nearly the same as another: a = b",
        "1 held-out queries are among those to train on, too: WHAT else",
        "2 documents are relevant both to held-out queries and to those to train on: c; e",
        "1 documents judged relevant were not found by any untuned recall; the labels may be wrong: what else = e",
        "2 documents (40 %) are longer than the 9 tokens that training reads; median 9, longest 25",
    ]


def test_it_shows_in_a_notebook() -> None:
    html = card(token_counts=[1] * 5, train_tokens=9)._repr_html_()
    assert html.startswith(
        "<p>5 documents; 4 queries to train on, with 6 judgements; 2 queries held out</p>\n<p>"
    )
    assert html.count("<p>") == len(str(card(token_counts=[1] * 5, train_tokens=9)).splitlines())


def test_clean_data_print_two_lines() -> None:
    data = read_training_data([ROWS[0]], CORPUS)
    text = str(data_card(data, None, {"a": CORPUS["a"]}, not_recalled=()))
    assert text.splitlines() == [
        "1 documents; 1 queries to train on, with 1 judgements; 0 queries held out",
        "relevant documents of a query: 1 to 1, median 1",
    ]


def test_it_goes_through_json() -> None:
    kept = card(token_counts=np.array([24, 25, 4, 4, 9])).to_dict()
    assert json.loads(json.dumps(kept)) == kept
    assert kept["near_duplicates"] == {"count": 2, "examples": [["a", "b"]]}
    assert kept["positives"] == [1, 1.0, 2]
    assert kept["truncation"] == {"limit": 128, "documents": 0, "median": 9, "longest": 25}
    assert kept["doubtful_positives"] is None


def test_only_the_first_few_examples_are_kept() -> None:
    corpus = {str(n): Document(id=str(n), page_content="same" if n < 9 else "other") for n in range(10)}
    data = read_training_data([{"query": "x", "document_id": "0"}], corpus)
    got = data_card(data, None, corpus)
    assert got.duplicate_documents.count == 8
    assert got.duplicate_documents.examples == tuple(("0", str(n)) for n in range(1, 6))
    assert "8 documents have the same text as an earlier one: 0 = 1; 0 = 2; 0 = 3; 0 = 4; 0 = 5 ..." in str(
        got
    )


def test_long_texts_are_cut_in_print() -> None:
    query = "word " * 30
    data = read_training_data(
        [{"query": query, "document_id": "a"}, {"query": query.upper(), "document_id": "a"}], CORPUS
    )
    assert "word word word word word word word word word word word wo... = WORD" in str(
        data_card(data, None, CORPUS)
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"token_counts": [1, 2]}, r"token_counts must have one number a document: expected 5, got 2"),
        ({"train_tokens": 0}, r"train_tokens must be at least 1 .*got 0 and 100000"),
        ({"most_compared": -1}, r"most_compared at least 0, got 128 and -1"),
        ({"not_recalled": [("q2", "a")]}, r"expected pairs that are judged relevant, got \('q2', 'a'\)"),
        ({"not_recalled": [("q9", "a")]}, r"expected pairs that are judged relevant, got \('q9', 'a'\)"),
    ],
)
def test_bad_arguments(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        card(**settings)


def test_five_thousand_documents_take_seconds() -> None:
    rng = np.random.default_rng(0)
    texts = [" ".join(f"w{n}" for n in rng.integers(0, 20_000, 200)) for _ in range(5000)]
    corpus = {f"d{n}": Document(id=f"d{n}", page_content=text) for n, text in enumerate(texts)}
    data = read_training_data([{"query": f"q {n}", "document_id": f"d{n}"} for n in range(5000)], corpus)
    started = time.monotonic()
    assert data_card(data, data, corpus, token_counts=[200] * 5000).shared_queries.count == 5000
    assert time.monotonic() - started < 15
