"""What is never a negative, on vectors whose cosines are set by hand."""

import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings

from langchain_rerank_retriever import FaissStore
from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.protocols import PairScores
from langchain_rerank_retriever.training.data.reading import TrainingData
from langchain_rerank_retriever.training.fit.mining import Mined, mine_lists
from langchain_rerank_retriever.training.fit.recipe import Recipe
from langchain_rerank_retriever.training.fit.screening import _near_duplicates, _vectors

DIMENSION = 128


class TableEmbeddings(Embeddings):
    """The vectors that a test gives to texts; others get random ones."""

    def __init__(self, table: dict[str, np.ndarray]) -> None:
        self.table = table

    def embed_query(self, text: str) -> list[float]:
        if text not in self.table:
            return np.random.default_rng(zlib.crc32(text.encode())).standard_normal(DIMENSION).tolist()
        return self.table[text].tolist()

    def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]


def axes(count: int, seed: int = 0) -> np.ndarray:
    """Vectors at right angles to each other."""
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((DIMENSION, count)))[0].T


def at(cosine: float, vector: np.ndarray, other: np.ndarray) -> np.ndarray:
    """A vector of length one with a cosine to another, away from it in a direction at right angles."""
    return cosine * vector + np.sqrt(1 - cosine**2) * other


def store_of(texts: dict[str, str], table: dict[str, np.ndarray]) -> FaissStore:
    store = FaissStore(TableEmbeddings(table))
    store.add_documents([Document(id=key, page_content=text) for key, text in texts.items()])
    return store


def data_of(queries: dict[str, str], qrels: dict[str, dict[str, int]], **kwargs: Any) -> TrainingData:
    return TrainingData(queries, qrels, {key: key for key in queries}, **kwargs)


def mine(
    store: FaissStore, data: TrainingData, texts: dict[str, str], recipe: Recipe, **kwargs: Any
) -> Mined:
    return mine_lists(store, data, texts, count=40, fusion=None, seed=1, recipe=recipe, **kwargs)


def negatives(mined: Mined, query: str) -> set[str]:
    return {text for one in mined.lists if one.query == query for text in one.passages[1:]}


def scene() -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """A right passage, others at known cosines to it, and thirty that have nothing to do with it."""
    basis = axes(60)
    texts = {
        "right": "the right one",
        "far": "at ninety",
        "near": "at ninety seven",
        "same": "THE right\n one",
    }
    texts |= {f"other{number}": f"other number {number}" for number in range(30)}
    table = {texts[f"other{number}"]: basis[20 + number] for number in range(30)}
    table |= {
        "the right one": basis[0],
        "THE right\n one": basis[1],
        "at ninety": at(0.90, basis[0], basis[2]),
        "at ninety seven": at(0.97, basis[0], basis[3]),
        "the question": at(0.8, basis[0], basis[4]),
    }
    return texts, table


def test_vectors_are_those_of_the_store() -> None:
    texts, table = scene()
    found, vectors = _vectors(store_of(texts, table), ["near", "unknown", "right"])
    assert found == ["near", "right"]
    np.testing.assert_allclose(vectors, [table["at ninety seven"], table["the right one"]], atol=1e-6)


def test_near_duplicates_and_equal_texts_are_never_negatives() -> None:
    texts, table = scene()
    data = data_of({"q": "the question"}, {"q": {"right": 1}})
    mined = mine(store_of(texts, table), data, texts, Recipe())
    found = negatives(mined, "the question")
    assert "at ninety" in found
    assert not found & {"the right one", "THE right\n one", "at ninety seven"}
    counts = mined.counts
    # All 34 documents compete for 30 places; the three that are right, or nearly, are found by their vector or words.
    assert (counts["queries"], counts["lists"], counts["recalled"]) == (1, 40, 30)
    assert counts["near_duplicates"] == 1
    assert counts["known_positives"] == 2
    assert counts["false_negatives"] == counts["given"] == 0
    assert counts["hard"] == 4 * 40
    assert counts["random"] == sum(len(one.passages) - 5 for one in mined.lists)


def test_positives_of_the_same_question_in_other_letters() -> None:
    texts, table = scene()
    data = data_of({"q": "The  Question", "r": "the question"}, {"q": {"far": 1}, "r": {"right": 1}})
    mined = mine(store_of(texts, table), data, texts, Recipe())
    for query in data.queries.values():
        assert negatives(mined, query)
        assert not negatives(mined, query) & {"at ninety", "the right one", "at ninety seven"}


def test_many_near_duplicates_are_all_found() -> None:
    basis = axes(120)
    texts = {f"copy{number}": f"copy {number}" for number in range(70)} | {"lone": "alone"}
    table = {f"copy {number}": at(0.99, basis[0], basis[1 + number]) for number in range(70)}
    table["alone"] = basis[100]
    # Enough unrelated ones that two texts usually have nothing in common.
    texts |= {f"x{number}": f"other {number}" for number in range(700)}
    store = store_of(texts, table)
    with ThreadPoolExecutor(2) as pool:
        near = _near_duplicates(store, texts, ["copy0", "lone"], pool)
    assert near == {"copy0": {f"copy{number}" for number in range(70)}, "lone": {"lone"}}


def test_where_all_texts_are_alike_the_limit_is_higher() -> None:
    """Vectors of a language model that was not trained for embeddings: any two have a cosine of 0.97."""
    basis = axes(60)
    texts = {f"d{number}": f"text number {number}" for number in range(40)} | {"copy": "text number 0 again"}
    table = {f"text number {number}": at(0.985, basis[0], basis[1 + number]) for number in range(40)}
    table["text number 0 again"] = at(0.985, basis[0], at(0.99, basis[1], basis[50]))
    data = data_of({"q": "question"}, {"q": {"d0": 1}})
    mined = mine(store_of(texts, table), data, texts, Recipe())
    assert mined.counts["hard"] == 160
    assert mined.counts["near_duplicates"] <= 1
    assert "text number 0 again" not in negatives(mined, "question")
    assert len(negatives(mined, "question")) > 20


@pytest.mark.parametrize("margin", [0.5, 0.95, 1.0])
def test_margin(margin: float) -> None:
    basis = axes(60)
    texts = {"right": "right", "weaker": "weaker"} | {
        f"d{number}": f"passage {number}" for number in range(20)
    }
    query = basis[0]
    cosines = {f"passage {number}": 0.04 * number for number in range(20)}
    table = {
        text: at(cosine, query, basis[5 + place]) for place, (text, cosine) in enumerate(cosines.items())
    }
    table |= {"right": at(0.9, query, basis[40]), "weaker": at(0.5, query, basis[41]), "question": query}
    data = data_of({"q": "question"}, {"q": {"right": 2, "weaker": 1}})
    mined = mine(store_of(texts, table), data, texts, Recipe(false_negatives="margin", margin=margin))
    too_good = {text for text, cosine in cosines.items() if cosine > margin * 0.5}
    assert mined.counts["false_negatives"] == len(too_good)
    assert mined.counts["recalled"] == 22
    # Hard ones come from what is left; random ones are not asked about.
    for one in mined.lists:
        assert not set(one.passages[1:5]) & too_good


def test_margin_below_zero() -> None:
    basis = axes(60)
    texts = {"right": "right"} | {f"d{number}": f"passage {number}" for number in range(20)}
    table = {
        f"passage {number}": at(-0.1 - 0.04 * number, basis[0], basis[5 + number]) for number in range(20)
    }
    table |= {"right": at(-0.5, basis[0], basis[40]), "question": basis[0]}
    data = data_of({"q": "question"}, {"q": {"right": 1}})
    mined = mine(store_of(texts, table), data, texts, Recipe(false_negatives="margin", margin=0.9))
    # -0.5 less a tenth of its size is -0.55.
    expected = sum(-0.1 - 0.04 * number > -0.55 for number in range(20))
    assert mined.counts["false_negatives"] == expected == 12


class Teacher:
    """Scores a passage by the number in it."""

    def __init__(self) -> None:
        self.queries: list[str] = []

    def score_pairs(self, text_pairs: Sequence[tuple[str, str]]) -> PairScores:
        self.queries += [query for query, _ in text_pairs]
        scores = np.array([float(text.split()[-1]) for _, text in text_pairs], np.float32)
        return PairScores(scores, np.zeros(len(scores), bool))


def test_cross_encoder() -> None:
    texts = {f"d{number}": f"passage {number}" for number in range(25)}
    data = data_of({"q": "question", "r": "another"}, {"q": {"d9": 1, "d20": 1}, "r": {"d24": 1}})
    teacher = Teacher()
    mined = mine(store_of(texts, {}), data, texts, Recipe(false_negatives="cross-encoder"), teacher=teacher)
    assert mined.counts["recalled"] == 50
    # Above the lowest of the right ones, 9, and no right one itself; the other question's is the highest of all.
    assert mined.counts["false_negatives"] == len(set(range(10, 25)) - {20})
    for one in mined.lists:
        if one.query == "question":
            assert all(float(text.split()[-1]) < 9 for text in one.passages[1:5])
    assert set(teacher.queries) == {"question", "another"}


def test_cross_encoder_without_one() -> None:
    texts = {"a": "b 1", "c": "d 2"}
    data = data_of({"q": "question"}, {"q": {"a": 1}})
    with pytest.raises(InvalidArgumentError, match="needs a pretrained cross-encoder"):
        mine(store_of(texts, {}), data, texts, Recipe(false_negatives="cross-encoder"))


def test_given_negatives_are_taken_as_they_are_unless_they_are_right() -> None:
    texts, table = scene()
    given = ["at ninety seven", " the RIGHT one "]
    data = data_of({"q": "the question"}, {"q": {"right": 1}}, negatives={"q": given})
    mined = mine(store_of(texts, table), data, texts, Recipe())
    found = negatives(mined, "the question")
    assert "at ninety seven" in found
    assert " the RIGHT one " not in found
    assert mined.counts["given"] == 40
    assert mined.counts["hard"] == 3 * 40


def test_the_same_lists_from_many_threads() -> None:
    texts, table = scene()
    queries = {f"q{number}": f"other question {number}" for number in range(30)}
    data = data_of(queries, {key: {f"other{number}": 1} for number, key in enumerate(queries)})
    runs = [mine(store_of(texts, table), data, texts, Recipe(false_negatives="margin")) for _ in range(3)]
    assert runs[0] == runs[1] == runs[2]


def test_a_right_answer_that_the_store_does_not_have() -> None:
    texts, table = scene()
    store = store_of(texts, table)
    texts["elsewhere"] = "kept elsewhere"
    data = data_of({"q": "the question"}, {"q": {"elsewhere": 1}})
    for recipe in (Recipe(), Recipe(false_negatives="margin")):
        mined = mine(store, data, texts, recipe)
        assert len(mined.lists) == 40
        assert mined.counts["known_positives"] == mined.counts["false_negatives"] == 0
