from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from langchain_rerank_retriever import FaissStore
from langchain_rerank_retriever.distributed import mine_negatives
from langchain_rerank_retriever.distributed import stored as stored_module
from langchain_rerank_retriever.distributed.mining import MineJob
from langchain_rerank_retriever.errors import (
    DataError,
    InvalidArgumentError,
    ModelMismatchError,
    StorageError,
)
from langchain_rerank_retriever.training import Recipe
from langchain_rerank_retriever.training.data.reading import TrainingData, read_training_data
from langchain_rerank_retriever.training.data.rows import normalised
from langchain_rerank_retriever.training.fit.mining import HARD_NEGATIVES, NEGATIVES, mine_lists
from tests.conftest import HashEmbeddings

ANIMALS = ("cat", "dog", "owl", "fox", "bee", "elk", "hen", "yak", "ant", "emu")
PLACES = ("house", "garden", "forest", "river", "meadow", "barn")
TEXTS = {
    f"{animal}-{place}": f"The {animal} lives in the {place} and eats what the {place} gives."
    for animal in ANIMALS
    for place in PLACES
}
QUERIES = {f"q-{key}": "where is the {} in the {}".format(*key.split("-")) for key in TEXTS}
QRELS = {f"q-{key}": {key: 1} for key in TEXTS}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    with FaissStore(HashEmbeddings(), path=tmp_path / "store") as store:
        store.add_texts(list(TEXTS.values()), ids=list(TEXTS))
    return tmp_path / "store"


def lists(folder: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(folder.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def test_one_shard_is_what_mine_lists_draws(store: Path, tmp_path: Path) -> None:
    result = mine_negatives(
        QUERIES, QRELS, store, HashEmbeddings(), tmp_path / "out", queries_per_shard=100, seed=3
    )
    import numpy as np

    data = TrainingData(QUERIES, QRELS, {key: normalised(text) for key, text in QUERIES.items()})
    with FaissStore.load_local(store, HashEmbeddings()) as opened:
        seed = int(np.random.SeedSequence((3, 0)).generate_state(1)[0])
        mined = mine_lists(opened, data, TEXTS, count=60, fusion=None, seed=seed)
    assert [(row["query"], row["passage"], *row["negatives"]) for row in lists(tmp_path / "out")] == [
        (one.query, *one.passages) for one in mined.lists
    ]
    assert result.counts == mined.counts
    assert (result.rows, result.shards) == (60, 1)


def test_shards_have_every_query_and_no_right_answer_among_the_wrong(store: Path, tmp_path: Path) -> None:
    result = mine_negatives(
        QUERIES, QRELS, store, HashEmbeddings(), tmp_path / "out", queries_per_shard=7, lists_per_query=2
    )
    rows = lists(tmp_path / "out")
    assert (result.shards, result.made_of, result.rows) == (9, 9, 120)
    assert sorted(row["query"] for row in rows) == sorted(2 * list(QUERIES.values()))
    for row in rows:
        key = next(name for name, text in QUERIES.items() if text == row["query"]).removeprefix("q-")
        assert row["passage"] == TEXTS[key]
        assert TEXTS[key] not in row["negatives"]
        assert len(row["negatives"]) == len(set(row["negatives"])) <= NEGATIVES
    assert result.counts["queries"] == 60
    assert result.counts["hard"] == 120 * HARD_NEGATIVES


def test_queries_of_the_same_text_share_their_right_answers(store: Path, tmp_path: Path) -> None:
    queries = {**dict(list(QUERIES.items())[:3]), "twin": "WHERE is  the cat in the house"}
    qrels = {**QRELS, "twin": {"dog-barn": 1}}
    mine_negatives(
        queries, qrels, store, HashEmbeddings(), tmp_path / "out", queries_per_shard=1, lists_per_query=20
    )
    asked = [
        row for row in lists(tmp_path / "out") if normalised(row["query"]) == "where is the cat in the house"
    ]
    assert len(asked) == 40
    for row in asked:
        assert not {TEXTS["cat-house"], TEXTS["dog-barn"]} & set(row["negatives"])


def test_what_is_mined_is_training_data(store: Path, tmp_path: Path) -> None:
    from langchain_core.documents import Document

    mine_negatives(QUERIES, QRELS, store, HashEmbeddings(), tmp_path / "out", queries_per_shard=20)
    documents = {key: Document(id=key, page_content=text) for key, text in TEXTS.items()}
    data = read_training_data(sorted((tmp_path / "out").glob("*.parquet")), documents)
    assert {data.queries[key]: set(judged) for key, judged in data.qrels.items()} == {
        QUERIES[f"q-{key}"]: {key} for key in TEXTS
    }
    assert all(len(texts) > HARD_NEGATIVES for texts in data.negatives.values())


def test_a_second_call_mines_what_is_missing_and_the_same(store: Path, tmp_path: Path) -> None:
    def mine() -> Any:
        return mine_negatives(QUERIES, QRELS, store, HashEmbeddings(), tmp_path / "out", queries_per_shard=20)

    mine()
    before = lists(tmp_path / "out")
    (tmp_path / "out" / "000001.parquet").unlink()
    result = mine()
    assert (result.written, result.shards, result.counts["queries"]) == (1, 3, 60)
    assert lists(tmp_path / "out") == before


def test_corrected_texts_are_not_mixed_with_what_was_mined_before(store: Path, tmp_path: Path) -> None:
    def mine(output: str) -> Any:
        return mine_negatives(
            QUERIES, QRELS, store, HashEmbeddings(), tmp_path / output, queries_per_shard=20
        )

    mine("out")
    with FaissStore(HashEmbeddings(), path=store) as opened:
        opened.add_texts(["The cat sleeps in the house."], ids=["cat-house"])
    with pytest.raises(InvalidArgumentError, match=r"store_revision '.*', got '.*another output folder"):
        mine("out")
    mine("new")
    assert {row["passage"] for row in lists(tmp_path / "new")} == {
        *(text for key, text in TEXTS.items() if key != "cat-house"),
        "The cat sleeps in the house.",
    }


def test_a_store_that_changes_meanwhile_is_told(store: Path, tmp_path: Path) -> None:
    with FaissStore.load_local(store, HashEmbeddings()) as opened:
        job = MineJob(str(store), opened.revision, HashEmbeddings(), 1, Recipe(), None, 0)
        row = {"queries": {"q-cat-house": QUERIES["q-cat-house"]}, "qrels": {"q-cat-house": {"cat-house": 1}}}
        with job.open() as work:
            assert work(0, [row]).table.num_rows == 1
            opened.delete(["emu-barn"])
            with pytest.raises(StorageError, match="was changed since, or is another copy"):
                work(1, [row])


def test_random_negatives_are_drawn_from_a_sample(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_module, "SAMPLE", 12)
    with stored_module.opened(str(store)) as opened:
        texts = stored_module.StoredTexts(opened)
        assert len(list(texts)) == len(texts) == 12
        assert list(texts) == list(stored_module.StoredTexts(opened)) == sorted(texts)
        assert texts["owl-river"] == TEXTS["owl-river"]
        with pytest.raises(KeyError):
            texts["no such id"]
    result = mine_negatives(QUERIES, QRELS, store, HashEmbeddings(), tmp_path / "out")
    assert result.rows == 60


@pytest.mark.parametrize(
    ("change", "kind", "told"),
    [
        (
            {"qrels": {"q-cat-house": {"no-such": 1}}},
            DataError,
            "query 'q-cat-house': the document 'no-such' is not in",
        ),
        ({"qrels": {}}, DataError, "No query has a relevant document"),
        ({"qrels": {"q-cat-house": {"cat-house": 0}}}, DataError, "No query has a relevant document"),
        ({"embeddings": HashEmbeddings(16)}, ModelMismatchError, "16 dimensions"),
        ({"recipe": Recipe(false_negatives="cross-encoder")}, InvalidArgumentError, "needs a teacher"),
        ({"queries_per_shard": 0}, InvalidArgumentError, "queries_per_shard"),
        ({"store": "nowhere"}, StorageError, "no store"),
    ],
)
def test_what_cannot_be_mined_is_told(
    store: Path, tmp_path: Path, change: dict[str, Any], kind: type[Exception], told: str
) -> None:
    given: dict[str, Any] = {
        "queries": QUERIES,
        "qrels": QRELS,
        "store": store,
        "embeddings": HashEmbeddings(),
    }
    with pytest.raises(kind, match=told):
        mine_negatives(**{**given, **change}, output=tmp_path / "out")
