"""Queries out of documents alone: what asks, what is left to answer, and where sentences end."""

import re
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.documents import Document

from langchain_rerank_retriever.errors import DataError, InvalidArgumentError
from langchain_rerank_retriever.training.data.corpus import corpus_of
from langchain_rerank_retriever.training.data.reading import read_training_data
from langchain_rerank_retriever.training.data.sentences import sentences
from langchain_rerank_retriever.training.data.weak import WeakPairs, weak_pairs

OTHER = Document(id="other", page_content="0")


def made_of(text: str, **metadata: Any) -> tuple[str, str] | None:
    """Return query and body of one document."""
    pairs = weak_pairs([Document(id="x", page_content=text, metadata=metadata), OTHER])
    if not pairs.rows:
        assert pairs.skipped == ["x", "other"]
        return None
    (row,) = pairs.rows
    assert row.keys() == {"query", "document_id"}
    assert pairs.skipped == ["other"]
    return row["query"], pairs.bodies["x"]


WRAPPED = "The quick brown fox jumps over the\nlazy dog. Then it goes home to\nits den."


@pytest.mark.parametrize(
    ("text", "metadata", "wanted"),
    [
        # metadata
        ("Bees make honey.", {"title": "Bees"}, ("Bees", "Bees make honey.")),
        ("Bees make honey.", {"heading": " On   bees "}, ("On bees", "Bees make honey.")),
        ("Pip it.", {"Header 1": "Guide", "Header 2": "Install"}, ("Guide: Install", "Pip it.")),
        ("Pip it.", {"title": "Guide", "Header 1": "GUIDE", "Header 2": "Install"}, ("Guide: Install", "Pip it.")),
        ("# Guide\n## Install\nPip it.", {"Header 1": "Guide", "Header 2": "Install"}, ("Guide: Install", "Pip it.")),
        ("Bees\nThey make honey.\nbees", {"title": "Bees"}, ("Bees", "They make honey.")),
        ("Bees: Making\nHoney.", {"title": "Bees", "heading": "Making"}, ("Bees: Making", "Honey.")),
        ("Bees", {"title": "Bees"}, None),
        ("One. Two.", {"title": "  ", "heading": 3}, ("One.", "Two.")),
        ("One. Two.", {"title": "long " * 40}, ("One.", "Two.")),
        # the first line
        ("# Bees\nThey make honey.", {}, ("Bees", "They make honey.")),
        ("## Bees ##\n\nThey make honey.\n## Bees\nMore.", {}, ("Bees", "They make honey.\nMore.")),
        ("Bees\n====\nThey make honey.", {}, ("Bees", "They make honey.")),
        ("Bees\n\nThey make honey.", {}, ("Bees", "They make honey.")),
        ("\n Bees and wasps\nThey make honey or nests, and some live alone.", {}, (
            "Bees and wasps", "They make honey or nests, and some live alone.")),
        ("벌에 대하여\n\n벌은 꿀을 만든다.", {}, ("벌에 대하여", "벌은 꿀을 만든다.")),
        (WRAPPED, {}, ("The quick brown fox jumps over the lazy dog.", "Then it goes home to\nits den.")),
        ("Bees make honey.\n\nThey live in hives.", {}, ("Bees make honey.", "They live in hives.")),
        ("# 12\nOne. Two.", {}, ("# 12 One.", "Two.")),
        ("# Bees", {}, None),
        ("Bees\n\n", {}, None),
        # the first sentence
        ("Bees make honey. They live in hives.", {}, ("Bees make honey.", "They live in hives.")),
        ("벌은 꿀을 만든다. 벌집에 산다.", {}, ("벌은 꿀을 만든다.", "벌집에 산다.")),
        ("... Bees make honey. They live.", {}, ("Bees make honey.", "... They live.")),
        ("Yes. Yes. No more.", {}, ("Yes.", "No more.")),
        ("Yes. yes.", {}, None),
        ("Bees make honey.", {}, None),
        ("Bees make honey. 123!", {}, None),
        ("123. 456.", {}, None),
        (" \n ", {"title": "Bees"}, None),
    ],
)  # fmt: skip
def test_query_and_body(text: str, metadata: dict[str, Any], wanted: tuple[str, str] | None) -> None:
    assert made_of(text, **metadata) == wanted


def test_a_title_of_several_documents_is_one_query() -> None:
    documents = [
        Document(id="a", page_content="One way.", metadata={"title": "Install"}),
        Document(id="b", page_content="Bees make honey. They live in hives."),
        Document(id="c", page_content="Another way.", metadata={"title": " INSTALL"}),
    ]
    pairs = weak_pairs(documents)
    assert pairs == WeakPairs(
        [
            {"query": "Install", "document_id": "a"},
            {"query": "Bees make honey.", "document_id": "b"},
            {"query": "Install", "document_id": "c"},
        ],
        {"a": "One way.", "b": "They live in hives.", "c": "Another way."},
        [],
        0,
    )
    data = read_training_data(pairs.rows, corpus_of(documents))
    assert data.qrels == {"q0": {"a": 1, "c": 1}, "q1": {"b": 1}}
    assert documents[0] == Document(id="a", page_content="One way.", metadata={"title": "Install"})


def test_the_limit_draws_from_all() -> None:
    documents = [Document(id=str(n), page_content=f"Number {n}. More of it.") for n in range(50)]
    draws = [weak_pairs([*documents, OTHER], limit=10, seed=seed) for seed in range(20)]
    for draw in draws:
        ids = [int(row["document_id"]) for row in draw.rows]
        assert ids == sorted(set(ids))
        assert (len(ids), draw.rest, draw.skipped) == (10, 40, ["other"])
        assert list(draw.bodies) == [row["document_id"] for row in draw.rows]
    assert {row["document_id"] for draw in draws for row in draw.rows} == {str(n) for n in range(50)}
    assert weak_pairs(documents, limit=10, seed=3) == weak_pairs(documents, limit=10, seed=3)
    assert weak_pairs(documents, limit=50) == weak_pairs(documents, limit=99) == weak_pairs(documents)


@pytest.mark.parametrize("limit", [0, -1])
def test_bad_limit(limit: int) -> None:
    with pytest.raises(InvalidArgumentError, match=f"limit must be at least 1 or None, got {limit}"):
        weak_pairs([OTHER], limit=limit)


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        ([], r"There are no documents"),
        ([Document(page_content="x")], r"document 0 has no id"),
        (
            [Document(id="x", page_content="a\ud800. B.")],
            r"document 'x': page_content holds a lone surrogate",
        ),
        (
            [Document(id="x", page_content="a", metadata={"title": "b\ud800"})],
            r"document 'x': metadata\['title'\] holds a lone surrogate",
        ),
    ],
)
def test_bad_documents(documents: list[Document], message: str) -> None:
    with pytest.raises(DataError, match=message):
        weak_pairs(documents)


some_text = st.lists(
    st.sampled_from([*"aB가。.?! \n#=", "\n\n", "# ", "Ab. ", "다. ", "e.g. ", "==="]), max_size=30
).map("".join)


@settings(max_examples=500, deadline=None)
@given(some_text, st.sampled_from([None, "aB", "Ab.", "가"]))
def test_the_body_never_holds_the_query_as_a_line_or_sentence(text: str, title: str | None) -> None:
    made = made_of(text, **({} if title is None else {"title": title}))
    if made is None:
        return
    query, body = made
    assert any(map(str.isalpha, query))
    assert any(map(str.isalpha, body))
    assert query == " ".join(query.split())
    lines = {re.sub(r"^#{1,6}\s+", "", line.strip()).lower() for line in body.splitlines()}
    if title is not None:
        assert query == title
        assert title.lower() not in lines
    # Nothing in the body that was not in the text.
    left = iter(text)
    assert all(character in left for character in body if not character.isspace())


# -- sentences -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wanted",
    [
        ["One."],
        ["One.", "Two!", "Three?", "Four..."],
        ['He said "no."', "She left.", "(Really!)", "Yes"],
        ["It costs 3.5 dollars.", "Version 2.0 is out."],
        ["Dr. Smith and J. Doe, e.g. the first, came.", "Mr. Kim left."],
        ["See Fig. 3 and cf. Table 2.", "The U.S. Army was there."],
        ["1. Bees make honey.", "2. They live in hives."],
        ["It was in 2020.", "Then came 2021."],
        ["He asked why. and then left.", "It was over."],
        ["벌은 꿀을 만든다.", "벌집에서 살아요.", "그렇죠?", "네."],
        ["The bee는 벌이다.", "A wasp는 아니다."],
        ["一つ目の文です。", "二つ目！", "「三つ目。」", "終わり"],
        ["这是第一句。", "这是第二句？", "完。"],
    ],
)
def test_where_sentences_end(wanted: list[str]) -> None:
    cjk = re.search("[぀-ヿ一-鿿]", wanted[0])
    for glue in ("", " ") if cjk else (" ", "\n", "\n\n"):
        assert sentences(glue.join(wanted)) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", []),
        (" \n ", []),
        ("no end", ["no end"]),
        ("a title\n\na text", ["a title", "a text"]),
        ("벌은 꿀을 만든다.벌집에서 살아요.끝", ["벌은 꿀을 만든다.", "벌집에서 살아요.", "끝"]),
        ("numpy.linalg.svd is one", ["numpy.linalg.svd is one"]),
        ("문서.파일을 연다", ["문서.파일을 연다"]),
    ],
)
def test_edges_of_sentences(text: str, wanted: list[str]) -> None:
    assert sentences(text) == wanted


@settings(max_examples=300, deadline=None)
@given(some_text)
def test_sentences_hold_everything_in_order(text: str) -> None:
    assert "".join("".join(sentences(text)).split()) == "".join(text.split())
    assert all(sentence == sentence.strip() != "" for sentence in sentences(text))


def test_a_long_text_is_quick() -> None:
    text = "A word and more. " * 60_000
    started = time.monotonic()
    assert len(sentences(text)) == 60_000
    assert time.monotonic() - started < 5
