from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from langchain_core.cross_encoders import BaseCrossEncoder

from langchain_rerank_retriever import FaissStore
from langchain_rerank_retriever.distributed import rerank_candidates
from langchain_rerank_retriever.distributed.stored import opened
from langchain_rerank_retriever.errors import (
    ClosedError,
    DataError,
    InvalidArgumentError,
    ModelMismatchError,
    ScoringError,
)
from tests.conftest import HashEmbeddings

from .helpers import write_jsonl

TEXTS = {
    f"d{place}": " ".join(f"word{one}" for one in range(place % 7, place % 11 + 7)) for place in range(50)
}


class Overlap(BaseCrossEncoder):
    """Scores by the words that two texts share."""

    model_name = "overlap"

    def score(self, text_pairs: Sequence[tuple[str, str]]) -> list[float]:
        return [float(len(set(query.split()) & set(text.split()))) for query, text in text_pairs]


class NotANumber(Overlap):
    def score(self, text_pairs: Sequence[tuple[str, str]]) -> list[float]:
        return [float("nan") for _ in text_pairs]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    with FaissStore(HashEmbeddings(), path=tmp_path / "store") as store:
        store.add_texts(list(TEXTS.values()), ids=list(TEXTS))
    return tmp_path / "store"


def candidates(count: int = 23) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    return [
        {
            "query_id": f"q{place}",
            "query": f"word{place % 9} word{place % 5}",
            "document_ids": [f"d{one}" for one in rng.permutation(50)[: place % 13]],
        }
        for place in range(count)
    ]


def test_every_candidate_gets_the_score_of_its_pair_best_first(store: Path, tmp_path: Path) -> None:
    rows = candidates()
    result = rerank_candidates(
        write_jsonl(tmp_path / "run.jsonl", rows), store, Overlap(), tmp_path / "out", queries_per_shard=5
    )
    found = [
        row
        for path in sorted((tmp_path / "out").glob("*.parquet"))
        for row in pq.read_table(path).to_pylist()
    ]
    expected = []
    for row in rows:
        scores = {key: Overlap().score([(row["query"], TEXTS[key])])[0] for key in row["document_ids"]}
        # sorted() is stable: equal scores keep the given order.
        ranked = sorted(row["document_ids"], key=lambda key: -scores[key])
        expected += [
            {"query_id": row["query_id"], "document_id": key, "score": scores[key]} for key in ranked
        ]
    assert found == expected
    pairs = sum(len(row["document_ids"]) for row in rows)
    assert (result.shards, result.made_of, result.rows, result.counts) == (5, 23, pairs, {"pairs": pairs})


def test_a_second_call_scores_what_is_missing_only(store: Path, tmp_path: Path) -> None:
    rerank_candidates(candidates(), store, Overlap(), tmp_path / "out", queries_per_shard=5)
    (tmp_path / "out" / "000003.parquet").unlink()
    result = rerank_candidates(candidates(), store, Overlap(), tmp_path / "out", queries_per_shard=5)
    assert (result.written, result.shards) == (1, 5)


def test_corrected_texts_are_not_mixed_with_earlier_scores(store: Path, tmp_path: Path) -> None:
    rows = [{"query_id": "q", "query": "word1 word2", "document_ids": ["d0"]}]
    rerank_candidates(rows, store, Overlap(), tmp_path / "out")
    with FaissStore(HashEmbeddings(), path=store) as opened:
        opened.add_texts(["nothing in common"], ids=["d0"])
    with pytest.raises(InvalidArgumentError, match="store_revision"):
        rerank_candidates(rows, store, Overlap(), tmp_path / "out")
    rerank_candidates(rows, store, Overlap(), tmp_path / "new")
    scores = [pq.read_table(tmp_path / one / "000000.parquet")["score"].to_pylist() for one in ("out", "new")]
    assert scores == [[2.0], [0.0]]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"query_id": "q"}, r"row 1: expected query_id \(str\), query \(str\) and document_ids"),
        ({"query_id": "q", "query": "a", "document_ids": "d1"}, "expected query_id"),
        ({"query_id": "q", "query": "a", "document_ids": ["d1", "d1"]}, "must be different ids"),
        ({"query_id": "q", "query": "a", "document_ids": [1]}, "must be different ids of type str"),
        (
            {"query_id": "q", "query": "a", "document_ids": ["nowhere"]},
            "document 'nowhere' is not in the store",
        ),
    ],
)
def test_a_row_that_cannot_be_scored_is_named(
    store: Path, tmp_path: Path, row: dict[str, Any], told: str
) -> None:
    with pytest.raises(DataError, match=f"shard 0: .*{told}"):
        rerank_candidates([candidates()[1], row], store, Overlap(), tmp_path / "out")


def test_what_is_no_score_and_no_scorer_is_refused(store: Path, tmp_path: Path) -> None:
    with pytest.raises(ScoringError, match="finite scores"):
        rerank_candidates(candidates(), store, NotANumber(), tmp_path / "out")
    not_a_scorer: Any = HashEmbeddings()
    with pytest.raises(InvalidArgumentError, match="got HashEmbeddings"):
        rerank_candidates(candidates(), store, not_a_scorer, tmp_path / "out")
    rerank_candidates(candidates(), store, Overlap(), tmp_path / "done")
    with pytest.raises(ModelMismatchError, match=r"Overlap.*NotANumber"):
        rerank_candidates(candidates(), store, NotANumber(), tmp_path / "done")


def test_a_store_opened_for_its_texts_embeds_nothing(store: Path) -> None:
    with opened(str(store)) as texts, pytest.raises(ClosedError, match="for its texts alone"):
        texts.similarity_search("a query")
