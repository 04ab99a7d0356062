"""Search of large stores in bounded time, against FTS5's exhaustive search and the formula, with bounds made small."""

import math
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from langchain_rerank_retriever.store import FaissStore
from langchain_rerank_retriever.store.lexical import bm25, search, terms
from langchain_rerank_retriever.store.lexical.analysis import DEFAULT
from langchain_rerank_retriever.store.lexical.bm25 import Statistics
from langchain_rerank_retriever.store.lexical.search import Frequencies, Narrowed, narrowed

from .helpers import FastEmbeddings

SIZE = 600
WORDS = [f"word{number}" for number in range(200)]


def texts(seed: int = 5) -> list[str]:
    """Words by Zipf's law: the commonest is in nearly every text, half of them in fewer than ten."""
    rng = np.random.default_rng(seed)
    weights = 1 / np.arange(1, len(WORDS) + 1)
    weights /= weights.sum()
    return [" ".join(rng.choice(WORDS, size=rng.integers(4, 60), p=weights)) for _ in range(SIZE)]


TEXTS = texts()


@pytest.fixture(scope="module")
def store() -> Iterator[FaissStore]:
    with FaissStore(FastEmbeddings(4)) as made:
        made.add_texts(
            TEXTS, [{"half": n % 2, "n": n} for n in range(SIZE)], ids=[str(n) for n in range(SIZE)]
        )
        yield made


@pytest.fixture
def bounded(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The bounds of a store of many documents, for one of few."""
    monkeypatch.setattr(search, "EXHAUSTIVE", 20)
    monkeypatch.setattr(search, "REACH", 120)
    monkeypatch.setattr(search, "WIDE_REACH", 200)
    monkeypatch.setattr(search, "SCANNED", 300)
    monkeypatch.setattr(search, "LEAST_KEPT", 40)
    return monkeypatch


@cache
def counted(among: tuple[str, ...]) -> list[Counter[str]]:
    return [Counter(text.split()) for text in among]


def formula(query: str, among: Sequence[str] = TEXTS) -> dict[str, float]:
    """Okapi BM25, k1 = 1.2, b = 0.75, weights not below a millionth, of all texts, by id."""
    counts = counted(tuple(among))
    lengths = np.array([count.total() for count in counts])
    norms = 1.2 * (0.25 + 0.75 * lengths / lengths.mean())
    scores = np.zeros(len(counts))
    for word in dict.fromkeys(query.split()):
        held = np.array([count[word] for count in counts])
        holding = np.count_nonzero(held)
        weight = max(math.log((len(counts) - holding + 0.5) / (holding + 0.5)), 1e-6)
        scores += weight * held * 2.2 / (held + norms)
    return dict(zip(map(str, range(len(counts))), scores.tolist(), strict=True))


def ranked(store: FaissStore, query: str, k: int = 10, **arguments: Any) -> dict[str, float]:
    return {
        str(document.id): score for document, score in store.lexical_search_with_score(query, k, **arguments)
    }


def queries(length: int, count: int = 15) -> list[str]:
    """Words of one text each, as often as they stand there."""
    rng = np.random.default_rng(length)
    long = [text for text in TEXTS if len(set(text.split())) >= length]
    chosen = rng.choice(long, size=count)
    return [" ".join(list(dict.fromkeys(rng.permutation(text.split())))[:length]) for text in chosen]


# Of a single word that is in most documents only the first ones are looked at.
@pytest.mark.parametrize(("length", "least"), [(1, 0.5), (3, 0.8), (8, 0.8), (16, 0.8)])
def test_scores_are_true_and_nearly_always_the_best(
    store: FaissStore, bounded: pytest.MonkeyPatch, length: int, least: float
) -> None:
    shared = []
    for query in queries(length):
        expected, found = formula(query), ranked(store, query)
        assert found == pytest.approx({key: expected[key] for key in found}, rel=1e-9)
        assert list(found) == sorted(found, key=lambda key: (-found[key], int(key)))
        worst = sorted(expected.values(), reverse=True)[: len(found)][-1]
        shared.append(np.mean([expected[key] >= worst * (1 - 1e-9) for key in found]))
        assert store.lexical_scores(query, [*expected, "nope"]) == pytest.approx(expected, rel=1e-9)
    assert np.mean(shared) > least


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    words=st.lists(st.sampled_from(WORDS), min_size=1, max_size=8, unique=True),
    k=st.integers(1, 700),
    half=st.none() | st.integers(0, 2),
)
def test_fewer_are_found_only_where_fewer_match(
    store: FaissStore, bounded: pytest.MonkeyPatch, words: list[str], k: int, half: int | None
) -> None:
    query = " ".join(words)
    bounded.setattr(search, "DEEPEST", 60)
    matching = {
        key: score for key, score in formula(query).items() if score > 0 and half in (None, int(key) % 2)
    }
    found = ranked(store, query, k, filter=None if half is None else {"half": half})
    assert len(found) == min(k, len(matching))
    assert found == pytest.approx({key: matching[key] for key in found}, rel=1e-9)


def test_a_selective_filter_is_no_obstacle(store: FaissStore, bounded: pytest.MonkeyPatch) -> None:
    for query in queries(5, 20):
        expected = {key: score for key, score in formula(query).items() if int(key) < 8 and score > 0}
        found = ranked(store, query, filter={"n": {"$lt": 8}})
        assert found == pytest.approx(expected, rel=1e-9)


def test_changes_change_the_statistics(bounded: pytest.MonkeyPatch) -> None:
    with FaissStore(FastEmbeddings(4)) as changing:
        changing.add_texts(TEXTS, ids=[str(n) for n in range(SIZE)])
        query = "word0 word1 word5 word9"
        ranked(changing, query)
        other = texts(seed=6)[:200]
        changing.add_texts(other, ids=[str(n) for n in range(200)])
        now = [*other, *TEXTS[200:]]
        found = ranked(changing, query)
        assert found == pytest.approx({key: formula(query, now)[key] for key in found}, rel=1e-9)
        changing.delete([str(n) for n in range(400, SIZE)])
        expected, found = formula(query, now[:400]), ranked(changing, query)
        assert found == pytest.approx({key: expected[key] for key in found}, rel=1e-9)
        assert changing.lexical_scores(query, list(expected)) == pytest.approx(expected, rel=1e-9)
        with changing._engine.connections.reading() as connection:
            assert terms.totals(connection) == (400, sum(len(text.split()) for text in now[:400]))
        numbered = list(enumerate(now[:400], start=1))
        with changing._engine.connections.writing() as connection:
            terms.remove(connection, DEFAULT, numbered[:300])
        assert set(ranked(changing, query)) <= {str(n) for n in range(300, 400)}
        with changing._engine.connections.writing() as connection:
            # Made anew without a change of a document, as a repair does.
            terms.make_anew(connection, DEFAULT)
            terms.put(connection, DEFAULT, numbered)
        found = ranked(changing, query)
        assert found == pytest.approx({key: expected[key] for key in found}, rel=1e-9)
        changing.clear()
        assert ranked(changing, query) == {}


def test_of_several_threads_each_gets_the_scores_of_its_moment() -> None:
    counted: list[str] = []
    connection = sqlite3.connect(":memory:")
    connection.set_trace_callback(counted.append)
    connection.execute(terms.table(DEFAULT))
    terms.put(connection, DEFAULT, [(1, "red fox"), (2, "red")])
    frequencies = Frequencies()
    assert frequencies.of(connection, (1, 1), ['"red"', '"fox"', '"cat"']) == [2, 1, 0]
    counted.clear()
    assert frequencies.of(connection, (1, 1), ['"fox"', '"red"']) == [1, 2]
    assert counted == []
    terms.remove(connection, DEFAULT, [(2, "red")])
    assert frequencies.of(connection, (1, 2), ['"red"']) == [1]


@pytest.mark.parametrize(
    ("frequencies", "single", "leading", "scored"),
    [
        ([5, 50, 10], (0, 2, 1), (), (0, 2, 1)),
        # No room for 101, and no other term for it to stand together with.
        ([5, 101], (0,), (), (0, 1)),
        # 300 x 400 / 1,000 = 120 are expected together: too many, but there is no narrower pair.
        ([400, 300], (), (1, 0), (1, 0)),
        # 200 x 250 / 1,000 = 50 together, 200 x 300 / 1,000 = 60 more leave the room of 100.
        ([40, 300, 200, 250], (0,), (2, 3), (0, 2, 3, 1)),
        # What half of the documents hold is of no use beside other terms.
        ([200, 250, 500], (), (0, 1), (0, 1)),
        # Nothing narrows: any of the terms makes a candidate.
        ([1000], (), (), (0,)),
        ([1000, 900], (), (), (1,)),
        ([0, 0], (0, 1), (), (0, 1)),
    ],
)
def test_what_narrows(frequencies: list[int], single: Any, leading: Any, scored: Any) -> None:
    plan = narrowed(frequencies, 1000, 100)
    assert plan == Narrowed(single, leading, scored)


def test_what_narrows_in_the_language_of_fts5() -> None:
    phrases = ['"a"', '"b"', '"c"*', '"d"']
    assert Narrowed((0, 1), (), (0, 1, 3)).expressions(phrases) == [
        '("a" OR "b") AND ("a" OR "b" OR "d")',
        '"a" OR "b" OR "c"* OR "d"',
    ]
    assert Narrowed((1,), (0, 2, 3), (1, 0, 2, 3)).expressions(phrases) == [
        '("b") AND ("b" OR "a" OR "c"* OR "d")',
        '("a" AND ("c"* OR "d")) AND ("b" OR "a" OR "c"* OR "d")',
        '"a" OR "b" OR "c"* OR "d"',
    ]
    assert Narrowed((), (), (3, 0)).expressions(phrases) == ['"d" OR "a"']


@given(st.lists(st.integers(0, 1_000_000), min_size=1, max_size=30))
def test_narrowing_keeps_within_its_bounds(frequencies: list[int]) -> None:
    plan = narrowed(frequencies, 1_000_000)
    assert sum(frequencies[place] for place in plan.single) <= search.REACH
    assert len(set(plan.scored)) == len(plan.scored)
    assert {*plan.single} <= {*plan.scored} != set()
    assert set(plan.single).isdisjoint(plan.leading)
    read = [frequencies[place] for place in plan.scored if place not in plan.single]
    assert sum(read) <= search.SCANNED or (len(read) == 1 and not plan.single)


BODIES = [
    (3, "red fox red"),
    (7, "a red house"),
    (9, "blue"),
    (12, "foxes and fox holes"),
    (40, "rot redden"),
]


@pytest.mark.parametrize(
    "phrases", [['"red"'], ['"fox"', '"blue"', '"none"'], ['"red"*', '"fox"'], ['"red fox"']]
)
def test_scores_of_given_documents_are_those_of_fts5(phrases: list[str]) -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute(terms.table(DEFAULT))
    connection.executemany("INSERT INTO lexical (rowid, body) VALUES (?, ?)", BODIES)
    connection.commit()
    frequencies = Frequencies().of(connection, 0, phrases)
    statistics = Statistics(*terms.totals(connection))
    expected = dict.fromkeys((pk for pk, _ in BODIES), 0.0) | dict(
        connection.execute(
            "SELECT rowid, -bm25(lexical) FROM lexical WHERE lexical MATCH ?", (" OR ".join(phrases),)
        )
    )
    for some in (BODIES, BODIES[1:3], BODIES[3:]):
        found = bm25.scores(some, DEFAULT, phrases, frequencies, statistics)
        assert found == pytest.approx({pk: expected[pk] for pk, _ in some}, rel=1e-12)
    assert bm25.scores([], DEFAULT, phrases, frequencies, statistics) == {}


@given(st.lists(st.integers(0, 2**63 - 1), max_size=5))
def test_numbers_of_variable_length(numbers: list[int]) -> None:
    block = bytearray()
    for number in numbers:
        groups = [number >> shift & 0x7F for shift in range(63, -1, -7)]
        first = next((place for place, group in enumerate(groups) if group), len(groups) - 1)
        block += bytes(group | 0x80 for group in groups[first:-1]) + bytes([groups[-1]])
    if all(number < 2**56 for number in numbers):  # of longer ones SQLite's ninth byte has eight bits
        assert terms.varints(bytes(block)) == numbers
