"""Recall from a FaissStore, against brute force over the same texts."""

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document

from langchain_rerank_retriever import FaissStore, RerankRetriever
from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.recall import Candidate, RecallRequest, source_of
from langchain_rerank_retriever.recall.store import _fused
from tests.conftest import HashEmbeddings

WORDS = [f"word{number}" for number in range(40)]
SIZE = 250


def texts(size: int = SIZE) -> dict[str, str]:
    rng = np.random.default_rng(11)
    return {f"d{n}": " ".join(rng.choice(WORDS, size=rng.integers(3, 12))) for n in range(size)}


CORPUS = texts()
QUERY = "word3 word7 word11"


@pytest.fixture(scope="module")
def embeddings() -> HashEmbeddings:
    return HashEmbeddings()


@pytest.fixture(scope="module")
def store(embeddings: HashEmbeddings) -> Iterator[FaissStore]:
    metadatas = [{"parity": n % 2} for n in range(SIZE)]
    with FaissStore.from_texts(list(CORPUS.values()), embeddings, metadatas, ids=list(CORPUS)) as made:
        yield made


def request(**fields: Any) -> RecallRequest:
    return RecallRequest(**{"query": QUERY, "fetch_k": 10, **fields})


def ids(candidates: list[Candidate]) -> list[str | None]:
    return [candidate.document.id for candidate in candidates]


def cosines(embeddings: HashEmbeddings, names: list[str] | None = None) -> dict[str, float]:
    query = np.array(embeddings.embed_query(QUERY))
    names = list(CORPUS) if names is None else names
    return {name: float(np.array(embeddings.embed_query(CORPUS[name])) @ query) for name in names}


def bm25(query: str = QUERY) -> dict[str, float]:
    """Okapi BM25 with SQLite's constants (k1 1.2, b 0.75), of all documents, 0.0 where no word matches."""
    counts = {name: Counter(text.split()) for name, text in CORPUS.items()}
    length = {name: sum(count.values()) for name, count in counts.items()}
    mean = sum(length.values()) / len(length)
    scores = dict.fromkeys(CORPUS, 0.0)
    for word in query.split():
        having = sum(word in count for count in counts.values())
        weight = math.log((len(CORPUS) - having + 0.5) / (having + 0.5))
        for name, count in counts.items():
            if word in count:
                norm = 1.2 * (0.25 + 0.75 * length[name] / mean)
                scores[name] += weight * count[word] * 2.2 / (count[word] + norm)
    return scores


def top(scores: dict[str, float], size: int) -> list[str]:
    return sorted(scores, key=lambda name: -scores[name])[:size]


def rank_fused(*lists: list[str]) -> dict[str, float]:
    fused: dict[str, float] = {}
    for names in lists:
        for place, name in enumerate(names):
            fused[name] = fused.get(name, 0.0) + 1 / (61 + place)
    return fused


@pytest.mark.parametrize("fetch_k", [1, 10, SIZE, SIZE + 50])
def test_dense_is_the_order_of_the_cosines(
    store: FaissStore, embeddings: HashEmbeddings, fetch_k: int
) -> None:
    found = source_of(store).recall(request(fetch_k=fetch_k))
    expected = cosines(embeddings)
    assert ids(found) == top(expected, fetch_k)
    np.testing.assert_allclose(
        [one.recall_score for one in found], [expected[one.document.id or ""] for one in found], atol=1e-5
    )
    assert all(one.dense_score == one.recall_score and one.lexical_score is None for one in found)


def test_lexical_is_the_order_of_bm25(store: FaissStore) -> None:
    found = source_of(store).recall(request(mode="lexical", fetch_k=20))
    expected = bm25()
    scores = [expected[one.document.id or ""] for one in found]
    np.testing.assert_allclose([one.recall_score for one in found], scores, rtol=1e-4)
    np.testing.assert_allclose(scores, sorted(expected.values(), reverse=True)[:20], rtol=1e-4)
    assert all(one.lexical_score == one.recall_score and one.dense_score is None for one in found)


def test_lexical_recall_does_not_ask_the_model(store: FaissStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(text: str) -> None:
        raise AssertionError(text)

    monkeypatch.setattr(store.embeddings, "embed_query", refuse)
    assert source_of(store).recall(request(mode="lexical"))
    with pytest.raises(AssertionError, match=QUERY):
        source_of(store).recall(request(mode="hybrid"))


def test_no_word_of_the_query_occurs(store: FaissStore) -> None:
    source = source_of(store)
    assert source.recall(request(query="nowhere", mode="lexical")) == []
    dense = source.recall(request(query="nowhere", mode="dense"))
    hybrid = source.recall(request(query="nowhere", mode="hybrid"))
    assert ids(hybrid) == ids(dense)
    assert {one.lexical_score for one in hybrid} == {0.0}


@pytest.mark.parametrize("fetch_k", [1, 10, 150])
@pytest.mark.parametrize("fusion", [None, {"dense": 0.25, "lexical": 0.75}, {"dense": 1.0, "lexical": 0.0}])
def test_hybrid_fuses_the_best_of_both_sides(
    store: FaissStore, embeddings: HashEmbeddings, fetch_k: int, fusion: dict[str, float] | None
) -> None:
    depth = max(fetch_k, 100)
    dense, lexical = cosines(embeddings), bm25()
    matching = {name: score for name, score in lexical.items() if score > 0}
    names = list(dict.fromkeys([*top(dense, depth), *top(matching, depth)]))
    if fusion is None:
        expected = rank_fused(
            sorted(names, key=lambda name: -dense[name]),
            sorted((name for name in names if name in matching), key=lambda name: -lexical[name]),
        )
    else:
        columns = [np.array([side[name] for name in names]) for side in (dense, lexical)]
        z = [(column - column.mean()) / column.std() for column in columns]
        expected = dict(zip(names, fusion["dense"] * z[0] + fusion["lexical"] * z[1], strict=True))
    found = source_of(store).recall(request(mode="hybrid", fetch_k=fetch_k, fusion=fusion))
    assert len(found) == min(fetch_k, len(names))
    # Equal BM25 scores may come in either order, so the scores are compared and not the names.
    np.testing.assert_allclose(
        [one.recall_score for one in found],
        [expected[name] for name in top(expected, len(found))],
        atol=1e-9 if fusion is None else 1e-4,
    )
    for one in found:
        name = one.document.id or ""
        assert one.dense_score == pytest.approx(dense[name], abs=1e-5)
        assert one.lexical_score == pytest.approx(lexical[name], rel=1e-4)


@pytest.mark.parametrize("mode", ["dense", "lexical", "hybrid"])
def test_asked_for_scores_are_filled_in(store: FaissStore, embeddings: HashEmbeddings, mode: Any) -> None:
    found = source_of(store).recall(request(mode=mode, stage_scores=frozenset({"dense", "lexical"})))
    dense, lexical = cosines(embeddings), bm25()
    assert len(found) == 10
    for one in found:
        assert one.dense_score == pytest.approx(dense[one.document.id or ""], abs=1e-5)
        assert one.lexical_score == pytest.approx(lexical[one.document.id or ""], rel=1e-4)


@pytest.mark.parametrize("mode", ["dense", "lexical", "hybrid"])
def test_a_filter_goes_before_the_search(store: FaissStore, embeddings: HashEmbeddings, mode: Any) -> None:
    found = source_of(store).recall(request(mode=mode, filter={"parity": 1}))
    assert len(found) == 10
    assert {one.document.metadata["parity"] for one in found} == {1}
    if mode == "dense":
        assert ids(found) == top(cosines(embeddings, list(CORPUS)[1::2]), 10)


@pytest.mark.parametrize("mode", [None, "dense", "lexical", "hybrid"])
async def test_async_is_the_same(store: FaissStore, mode: Any) -> None:
    asked = request(mode=mode)
    assert await source_of(store).arecall(asked) == source_of(store).recall(asked)


@pytest.mark.parametrize("mode", [None, "dense", "lexical", "hybrid"])
def test_an_empty_store_gives_nothing(embeddings: HashEmbeddings, mode: Any) -> None:
    with FaissStore(embeddings) as empty:
        assert source_of(empty).recall(request(mode=mode)) == []


@pytest.mark.parametrize("mode", ["lexical", "hybrid"])
def test_without_a_lexical_index(embeddings: HashEmbeddings, mode: Any) -> None:
    with FaissStore.from_texts(["a b", "b c"], embeddings, lexical=False) as plain:
        source = source_of(plain)
        assert source.stage_scores == {"dense"}
        assert len(source.recall(request())) == 2
        with pytest.raises(
            InvalidArgumentError, match=r"needs a lexical index.*lexical=False.*Use recall_mode"
        ):
            source.recall(request(mode=mode))


def test_equal_scores_come_in_order_of_insertion(embeddings: HashEmbeddings) -> None:
    with FaissStore.from_texts(["word1 word2"] * 5, embeddings, ids=list("edcba")) as equal:
        for mode in ("dense", "lexical"):
            assert ids(source_of(equal).recall(request(query="word1", mode=mode))) == list("edcba")  # type: ignore[arg-type]


def test_a_retriever_is_made_for_a_language_and_stays_so(embeddings: HashEmbeddings, tmp_path: Path) -> None:
    documents = [Document(id="a", page_content="Die Häuser"), Document(id="b", page_content="Der Baum")]
    made = RerankRetriever.from_documents(documents, embeddings=embeddings, lexical="german")
    made.save_local(tmp_path)
    opened = RerankRetriever.load_local(tmp_path, embeddings=embeddings)
    texts = [one.page_content for one in documents]
    others = RerankRetriever.from_texts(texts, ids=["a", "b"], embeddings=embeddings, lexical="german")
    for retriever in (made, opened, others):
        assert retriever.recall.settings["lexical"] == "german"
        assert [one.id for one in retriever.invoke("Haus", recall_mode="lexical")] == ["a"]
        retriever.recall.close()


def test_lists_are_fused_by_the_ranks_of_the_paper(embeddings: HashEmbeddings) -> None:
    """Three documents by hand: dense ranks 1, 2, 3, BM25 ranks 2, -, 1."""
    scores = {"dense": {"a": 0.9, "b": 0.8, "c": 0.1}, "lexical": {"a": 1.5, "b": 0.0, "c": 4.0}}
    fused = _fused(request(), list("abc"), scores["dense"], scores["lexical"])
    assert fused == pytest.approx({"a": 1 / 61 + 1 / 62, "b": 1 / 62, "c": 1 / 63 + 1 / 61}, rel=1e-12)
    assert sorted(fused, key=lambda key: -fused[key]) == ["a", "c", "b"]
