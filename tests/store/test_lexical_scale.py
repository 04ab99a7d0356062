"""Search of large stores in bounded time, against FTS5's exhaustive search and the formula, with bounds made small."""

import math
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from langchain_rerank_retriever.store import FaissStore, changes, rows
from langchain_rerank_retriever.store.engine import Snapshot
from langchain_rerank_retriever.store.lexical import bm25, frequencies, search, terms
from langchain_rerank_retriever.store.lexical.analysis import DEFAULT
from langchain_rerank_retriever.store.lexical.bm25 import Statistics
from langchain_rerank_retriever.store.lexical.frequencies import Frequencies, Moment
from langchain_rerank_retriever.store.lexical.search import Narrowed, narrowed

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


def true_of(words: Sequence[str], among: Iterable[str]) -> list[int]:
    texts = [text.split() for text in among]
    return [sum(word in text for text in texts) for word in words]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Terms that were counted, and above which number."""
    seen: list[tuple[str, int]] = []

    def count(connection: sqlite3.Connection, phrase: str, above: int) -> int:
        seen.append((phrase.strip('"'), above))
        return counting(connection, phrase, above)

    counting = frequencies._count
    monkeypatch.setattr(frequencies, "_count", count)
    return seen


def test_only_the_documents_that_came_are_counted(
    bounded: pytest.MonkeyPatch, reads: list[tuple[str, int]]
) -> None:
    words = ["word0", "word2", "word7"]
    with FaissStore(FastEmbeddings(4)) as live:

        def asked(*among: str) -> list[tuple[str, int]]:
            """What is counted for a query, whose scores must be right."""
            reads.clear()
            found = ranked(live, " ".join(words))
            expected = formula(" ".join(words), among)
            places = {document.id: n for n, document in enumerate(live.documents())}
            for key, score in found.items():
                assert score == pytest.approx(expected[str(places[key])], rel=1e-9)
            return list(reads)

        live.add_texts(TEXTS[:300], ids=[str(n) for n in range(300)])
        assert asked(*TEXTS[:300]) == [(word, 0) for word in words]
        assert asked(*TEXTS[:300]) == []
        live.add_texts(TEXTS[300:302], ids=["300", "301"])
        assert asked(*TEXTS[:302]) == [(word, 300) for word in words]
        # Another's metadata change no term.
        live.add_texts(TEXTS[:1], [{"n": 1}], ids=["0"])
        assert asked(*TEXTS[:302]) == []
        words[1] = "word1"
        assert asked(*TEXTS[:302]) == [("word1", 0)]
        live.add_texts(TEXTS[302:303], ids=["302"])
        assert asked(*TEXTS[:303]) == [(word, 302) for word in words]
        # Nobody knows what the old text held.
        live.add_texts(TEXTS[303:304], ids=["301"])
        now = [*TEXTS[:301], TEXTS[303], TEXTS[302]]
        assert asked(*now) == [(word, 0) for word in words]
        live.delete(["302"])
        live.add_texts(TEXTS[304:305], ids=["302"])
        now[302] = TEXTS[304]
        assert asked(*now) == [(word, 0) for word in words]
        with live._engine.connections.writing() as connection:
            changes.remake_terms(connection, rows.read_state(connection))
        assert asked(*now) == [(word, 0) for word in words]
        live.clear()
        live.add_texts(TEXTS[:100], ids=[str(n) for n in range(100)])
        assert asked(*TEXTS[:100]) == [(word, 0) for word in words]


def test_a_document_that_comes_and_is_replaced_between_two_queries(bounded: pytest.MonkeyPatch) -> None:
    with FaissStore(FastEmbeddings(4)) as live:
        live.add_texts(TEXTS[:100], ids=[str(n) for n in range(100)])
        ranked(live, "word0 word1 word2")
        live.add_texts(["word2"], ids=["100"])
        live.add_texts(["word0 word1"], ids=["100"])
        expected = formula("word0 word1 word2", [*TEXTS[:100], "word0 word1"])
        found = ranked(live, "word0 word1 word2")
        assert found == pytest.approx({key: expected[key] for key in found}, rel=1e-9)


def test_an_index_that_is_made_anew_before_documents_come(bounded: pytest.MonkeyPatch) -> None:
    with FaissStore(FastEmbeddings(4)) as live:
        live.add_texts(TEXTS[:100], ids=[str(n) for n in range(100)])
        with live._engine.connections.writing() as connection:
            # As many documents as there are, but other ones.
            terms.make_anew(connection, DEFAULT)
            terms.put(connection, DEFAULT, [(n, "word0 word2") for n in range(1, 101)])
        assert len(ranked(live, "word0 word1 word2")) == 10
        with live._engine.connections.writing() as connection:
            changes.remake_terms(connection, rows.read_state(connection))
        live.add_texts(TEXTS[100:101], ids=["100"])
        expected = formula("word0 word1 word2", TEXTS[:101])
        found = ranked(live, "word0 word1 word2")
        assert found == pytest.approx({key: expected[key] for key in found}, rel=1e-9)


def moment_of(store: FaissStore) -> tuple[AbstractContextManager[Snapshot], sqlite3.Connection, Moment]:
    """A read transaction that stays open, and what it sees."""
    opened = store._engine.snapshot()
    snapshot = opened.__enter__()
    state = snapshot.state
    return opened, snapshot.connection, Moment.seen(snapshot.connection, state.generation, state.seq)


def test_a_reader_of_an_earlier_moment_gets_its_own_counts_and_takes_none_from_others(
    tmp_path: Path, reads: list[tuple[str, int]]
) -> None:
    words = ["word0", "word1", "word150"]
    phrases = [f'"{word}"' for word in words]
    with FaissStore(FastEmbeddings(4), path=tmp_path) as store:
        store.add_texts(TEXTS[:50])
        early, early_connection, earlier = moment_of(store)
        store.add_texts(TEXTS[50:90])
        late, late_connection, later = moment_of(store)
        known = Frequencies()
        assert known.of(early_connection, earlier, phrases[:1]) == true_of(words[:1], TEXTS[:50])
        assert known.of(late_connection, later, phrases) == true_of(words, TEXTS[:90])
        assert reads == [("word0", 0), ("word0", 50), ("word1", 0), ("word150", 0)]
        assert known.of(early_connection, earlier, phrases) == true_of(words, TEXTS[:50])
        reads.clear()
        assert known.of(late_connection, later, phrases) == true_of(words, TEXTS[:90])
        assert reads == []
        early.__exit__(None, None, None)
        late.__exit__(None, None, None)


def test_what_is_known_of_terms_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frequencies, "MOST_TERMS", 20)
    with FaissStore(FastEmbeddings(4)) as store:
        store.add_texts(TEXTS[:80])
        opened, connection, moment = moment_of(store)
        known, most = Frequencies(), 0
        for start in range(0, 190, 5):
            words = ["word0", *WORDS[start + 1 : start + 8]]
            found = known.of(connection, moment, [f'"{word}"' for word in words])
            assert found == true_of(words, TEXTS[:80])
            most = max(most, len(known._known.counts))
        assert 10 <= most <= 20
        opened.__exit__(None, None, None)


STEP = st.one_of(
    st.tuples(st.just("add"), st.integers(1, 3)),
    st.tuples(st.just("replace"), st.integers(0, 50)),
    st.tuples(st.just("metadata"), st.integers(0, 50)),
    st.tuples(st.just("delete"), st.integers(0, 50)),
    st.tuples(st.sampled_from(["remake", "clear"]), st.just(0)),
    st.tuples(st.sampled_from(["ask", "ask other"]), st.integers(0, 20)),
)


class Changing:
    """A store with what must be in it, by id in order of insertion, and a second object for the same folder."""

    def __init__(self, folder: Path) -> None:
        self.store = FaissStore(FastEmbeddings(4), path=folder)
        self.other = FaissStore(FastEmbeddings(4), path=folder, read_only=True)
        self.folder, self.texts, self.made = folder, dict[str, str](), 0
        self.add(40)

    def add(self, count: int) -> None:
        fresh = {str(self.made + n): TEXTS[(self.made + n) % SIZE] for n in range(count)}
        self.store.add_texts(list(fresh.values()), ids=list(fresh))
        self.texts |= fresh
        self.made += count

    def change(self, what: str, number: int) -> None:
        name = list(self.texts)[number % len(self.texts)] if self.texts else None
        if what == "add" or name is None:
            self.add(max(number, 1))
        elif what == "replace":
            self.texts[name] = TEXTS[-1 - number]
            self.store.add_texts([self.texts[name]], ids=[name])
        elif what == "metadata":
            self.store.add_texts([self.texts[name]], [{"n": number}], ids=[name])
        elif what == "delete":
            del self.texts[name]
            self.store.delete([name])
        elif what == "clear":
            self.texts.clear()
            self.store.clear()
        else:
            with self.store._engine.connections.writing() as connection:
                changes.remake_terms(connection, rows.read_state(connection))

    def check(self, store: FaissStore, query: str) -> None:
        """The scores are those of the formula, the results those of an object that knows nothing yet."""
        expected = dict(zip(self.texts, formula(query, tuple(self.texts.values())).values(), strict=True))
        found = store.lexical_search_with_score(query, 10)
        for document, score in found:
            assert score == pytest.approx(expected[str(document.id)], rel=1e-9)
        assert store.lexical_scores(query, list(expected)) == pytest.approx(expected, rel=1e-9)
        with FaissStore(FastEmbeddings(4), path=self.folder, read_only=True) as fresh:
            assert fresh.lexical_search_with_score(query, 10) == found

    def close(self) -> None:
        self.store.close()
        self.other.close()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEP, min_size=3, max_size=14))
def test_scores_are_true_whatever_is_written_between_searches(
    bounded: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    asked = ["word0 word1 word4 word9", "word0 word2", "word1 word0 word3 word30 word80"]
    changing = Changing(tmp_path_factory.mktemp("changing"))
    try:
        for what, number in [("ask", 0), *steps, ("ask", 0), ("ask other", 0)]:
            if what.startswith("ask") and changing.texts:
                changing.check(
                    changing.other if what == "ask other" else changing.store, asked[number % len(asked)]
                )
            elif not what.startswith("ask"):
                changing.change(what, number)
    finally:
        changing.close()


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
    statistics = Statistics(*terms.totals(connection))
    moment = Moment(0, 0, 0, max(BODIES)[0], statistics.documents, statistics.words)
    counts = Frequencies().of(connection, moment, phrases)
    expected = dict.fromkeys((pk for pk, _ in BODIES), 0.0) | dict(
        connection.execute(
            "SELECT rowid, -bm25(lexical) FROM lexical WHERE lexical MATCH ?", (" OR ".join(phrases),)
        )
    )
    for some in (BODIES, BODIES[1:3], BODIES[3:]):
        found = bm25.scores(some, DEFAULT, phrases, counts, statistics)
        assert found == pytest.approx({pk: expected[pk] for pk, _ in some}, rel=1e-12)
    assert bm25.scores([], DEFAULT, phrases, counts, statistics) == {}


@given(st.lists(st.integers(0, 2**63 - 1), max_size=5))
def test_numbers_of_variable_length(numbers: list[int]) -> None:
    block = bytearray()
    for number in numbers:
        groups = [number >> shift & 0x7F for shift in range(63, -1, -7)]
        first = next((place for place, group in enumerate(groups) if group), len(groups) - 1)
        block += bytes(group | 0x80 for group in groups[first:-1]) + bytes([groups[-1]])
    if all(number < 2**56 for number in numbers):  # of longer ones SQLite's ninth byte has eight bits
        assert terms.varints(bytes(block)) == numbers
