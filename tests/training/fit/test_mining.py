"""Training lists: never a relevant text among the negatives."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.documents import Document

from langchain_rerank_retriever import FaissStore
from langchain_rerank_retriever.training.data.reading import TrainingData
from langchain_rerank_retriever.training.fit.cross_encoder import PassageList
from langchain_rerank_retriever.training.fit.mining import HARD_NEGATIVES, NEGATIVES, mine_lists
from tests.conftest import HashEmbeddings

TOPICS = ("cats sleep", "dogs bark", "bees hum", "fish swim", "birds sing")
TEXTS = {
    f"{topic.split()[0]}{number}": f"{topic} number{number // 2}"  # every text is there twice
    for topic, number in itertools.product(TOPICS, range(16))
}


@pytest.fixture(scope="module")
def store() -> FaissStore:
    store = FaissStore(HashEmbeddings())
    store.add_documents([Document(id=key, page_content=text) for key, text in TEXTS.items()])
    return store


def data_of(qrels: dict[str, dict[str, int]], negatives: dict[str, list[str]] | None = None) -> TrainingData:
    queries = {key: TOPICS[place % len(TOPICS)] for place, key in enumerate(qrels)}
    return TrainingData(queries, qrels, {key: key for key in qrels}, negatives or {})


QRELS = {"q0": {"cats0": 1, "cats3": 2, "cats9": 0}, "q1": {"dogs5": 1}, "q2": {"bees7": 1}}


def mine(
    store: FaissStore, data: TrainingData, count: int, seed: int = 0, fusion: dict[str, float] | None = None
) -> list[PassageList]:
    return mine_lists(store, data, TEXTS, count=count, fusion=fusion, seed=seed).lists


@pytest.mark.parametrize("count", [1, 2, 3, 40])
@pytest.mark.parametrize("fusion", [None, {"dense": 0.2, "lexical": 0.8}])
def test_lists(store: FaissStore, count: int, fusion: dict[str, float] | None) -> None:
    data = data_of(QRELS)
    lists = mine(store, data, count, fusion=fusion)
    assert len(lists) == count
    ids = {text: key for key, text in data.queries.items()}
    for one in lists:
        relevant = {TEXTS[key] for key in data.positives(ids[one.query])}
        assert one.passages[0] in relevant
        assert not set(one.passages[1:]) & relevant
        assert len(set(one.passages)) == len(one.passages) == 1 + NEGATIVES
    if count == 40:
        # Every query comes in turn, every relevant document gets its turn, and the negatives change.
        assert sorted(lists[place].query for place in range(3)) == sorted(data.queries.values())
        assert {one.passages[0] for one in lists if ids[one.query] == "q0"} == {
            TEXTS["cats0"],
            TEXTS["cats3"],
        }
        assert len({one.passages for one in lists}) > 35


def test_hard_negatives_are_of_the_topic(store: FaissStore) -> None:
    lists = mine(store, data_of(QRELS), 60, fusion={"dense": 0.0, "lexical": 1.0})
    hard = sum(text.startswith(one.query) for one in lists for text in one.passages[1 : 1 + HARD_NEGATIVES])
    easy = sum(text.startswith(one.query) for one in lists for text in one.passages[1 + HARD_NEGATIVES :])
    assert hard / (60 * HARD_NEGATIVES) > 2 * easy / (60 * (NEGATIVES - HARD_NEGATIVES))


def test_given_negatives_are_used(store: FaissStore) -> None:
    wrong = ["a wrong answer", TEXTS["dogs5"]]  # the second one is the right answer
    lists = mine(store, data_of(QRELS, {"q1": wrong}), 30)
    for one in lists:
        assert ("a wrong answer" in one.passages[1:]) == (one.query == TOPICS[1])
    many = [f"wrong {number}" for number in range(9)]
    lists = [one for one in mine(store, data_of(QRELS, {"q1": many}), 60) if one.query == TOPICS[1]]
    for one in lists:
        assert sum(text in many for text in one.passages[1:]) == HARD_NEGATIVES
        assert len(one.passages) == 1 + NEGATIVES
    assert {text for one in lists for text in one.passages} >= set(many)


def test_determined_by_the_seed(store: FaissStore) -> None:
    data = data_of(QRELS, {"q1": ["x", "y"]})
    assert mine(store, data, 20, seed=4) == mine(store, data, 20, seed=4)
    assert mine(store, data, 20, seed=4) != mine(store, data, 20, seed=5)


def test_progress(store: FaissStore) -> None:
    told: list[float] = []
    mine_lists(store, data_of(QRELS), TEXTS, count=3, fusion=None, seed=0, on_progress=told.append)
    assert told == pytest.approx([1 / 3, 2 / 3, 1.0])


def test_a_small_corpus_gives_short_lists() -> None:
    texts = {"a": "one text", "b": "one text", "c": "another text"}
    store = FaissStore(HashEmbeddings())
    store.add_documents([Document(id=key, page_content=text) for key, text in texts.items()])
    data = data_of({"q0": {"a": 1}})
    lists = mine_lists(store, data, texts, count=5, fusion=None, seed=0).lists
    assert [one.passages for one in lists] == [("one text", "another text")] * 5
    # Where everything is relevant there is nothing to tell apart.
    everything = data_of({"q0": {"a": 1, "c": 1}})
    assert mine_lists(store, everything, texts, count=5, fusion=None, seed=0).lists == []


@settings(max_examples=30, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([f"q{number}" for number in range(5)]),
        st.dictionaries(st.sampled_from(sorted(TEXTS)), st.integers(1, 2), min_size=1, max_size=30),
        min_size=1,
    ),
    st.lists(st.sampled_from(sorted(TEXTS.values())), max_size=5),
    st.integers(0, 5),
)
def test_no_relevant_text_is_a_negative(
    store: FaissStore, qrels: dict[str, dict[str, int]], wrong: list[str], seed: int
) -> None:
    data = data_of(qrels, dict.fromkeys(qrels, wrong))
    ids: dict[str, str] = {text: key for key, text in data.queries.items()}
    for one in mine(store, data, 8, seed=seed):
        relevant = {TEXTS[key] for key in data.positives(ids[one.query])}
        assert one.passages[0] in relevant
        assert not relevant & set(one.passages[1:])
