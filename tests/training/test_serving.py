"""The simulation of `stages.py` and the retriever must give the same order, for every way to set a retriever up."""

import dataclasses
import hashlib
import itertools
from collections.abc import Iterator, Sequence
from typing import get_args

import numpy as np
import pytest
from langchain_core.cross_encoders import BaseCrossEncoder
from langchain_core.documents import Document

from langchain_rerank_retriever import FaissStore, RerankRetriever
from langchain_rerank_retriever.blend import Blend, BlendVariant, Feature, Scaling
from langchain_rerank_retriever.protocols import RecallMode
from langchain_rerank_retriever.training.proof.early_stop import MOST_RETURNED, Replay
from langchain_rerank_retriever.training.proof.stages import (
    StageTable,
    System,
    recall_table,
    served_order,
    with_rerank,
)
from langchain_rerank_retriever.training.proof.systems import (
    BLENDED,
    CROSS_ENCODER,
    ORDER,
    TUNED_HYBRID,
    blend_of,
    systems,
)
from tests.conftest import HashEmbeddings

WORDS = [f"word{number}" for number in range(60)]
DOCUMENTS = 260
#: 100 is what is simulated at most, so that the union of both sides leaves documents out.
DEPTHS = (1, 7, 30, 100)
FUSIONS = (
    None,
    {"dense": 0.3, "lexical": 0.7},
    {"dense": 1.0, "lexical": 0.0},
    {"dense": 0.0, "lexical": 1.0},
)
VARIANTS: tuple[dict[Feature, float], ...] = (
    {"rerank": 1.0},
    {"rerank": 0.4, "recall": 0.6},
    {"rerank": 0.4, "dense": 0.6},
    {"rerank": 0.5, "dense": 0.2, "lexical": 0.3},
    {"rerank": 0.0, "dense": 0.0, "lexical": 1.0},
    {"dense": 0.5, "lexical": 0.5},
    {"dense": 1.0},
    {"recall": 1.0},
)


class HashScorer(BaseCrossEncoder):
    """A cross-encoder that scores each pair by its hash, in steps, so that some scores are equal."""

    def score(self, text_pairs: Sequence[tuple[str, str]]) -> list[float]:  # type: ignore[override]
        return [
            hashlib.sha256(f"{query}|{text}".encode()).digest()[0] // 4 / 10 for query, text in text_pairs
        ]


def corpus() -> list[Document]:
    rng = np.random.default_rng(3)
    # Common and rare words, short and long texts, and some texts that are there twice.
    weights = 1 / np.arange(1, len(WORDS) + 1)
    texts = [
        " ".join(rng.choice(WORDS, size=rng.integers(3, 30), p=weights / weights.sum()))
        for _ in range(DOCUMENTS - 20)
    ]
    texts += texts[:20]
    return [Document(id=f"d{place}", page_content=text) for place, text in enumerate(texts)]


QUERIES = {
    "rare": "word57 word44",
    "common": "word0 word1 word2",
    "mixed": "word0 word30 word59 unknown",
    "no term matches": "zebra quagga",
    "one word": "word9",
}


@pytest.fixture(scope="module")
def store() -> Iterator[FaissStore]:
    with_duplicates = FaissStore(HashEmbeddings())
    with_duplicates.add_documents(corpus())
    yield with_duplicates
    with_duplicates.close()


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    return {str(document.id): document.page_content for document in corpus()}


@pytest.fixture(scope="module")
def plain(store: FaissStore) -> dict[str, StageTable]:
    return {name: recall_table(store, query) for name, query in QUERIES.items()}


@pytest.fixture(scope="module")
def scored(plain: dict[str, StageTable], texts: dict[str, str]) -> dict[str, StageTable]:
    """Every candidate has a cross-encoder score; which ones do is tested on its own."""
    recalls = (System("", mode="dense"), System("", mode="lexical"))
    return {
        name: with_rerank(table, QUERIES[name], texts, HashScorer().score, recalls)
        for name, table in plain.items()
    }


def served(store: FaissStore, system: System, blend: Blend | None, query: str) -> list[str]:
    retriever = RerankRetriever(
        store,
        reranker=HashScorer() if system.reranked else None,
        k=1,
        fetch_k=system.depth,
        recall_mode=system.mode,
        blend=blend,
    )
    return [str(candidate.document.id) for candidate in retriever.explain(query).candidates]


MODES: tuple[RecallMode, ...] = ("dense", "lexical", "hybrid")


def agree(store: FaissStore, table: StageTable, name: str, system: System, blend: Blend) -> None:
    expected = served(store, system, blend, QUERIES[name])
    if system.mode == "lexical" and system.variant is None and not system.reranked:
        # Equal BM25 scores: which of the equal ones comes first is tested below.
        known = dict(zip(table.ids, table.lexical, strict=True))
        got = served_order(table, system)
        assert [known[one] for one in got] == [known[one] for one in expected]
        return
    assert served_order(table, system) == expected, (system, name)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("depth", DEPTHS)
def test_without_a_variant(
    store: FaissStore, scored: dict[str, StageTable], mode: RecallMode, depth: int
) -> None:
    for reranked, fusion, name in itertools.product((False, True), FUSIONS, QUERIES):
        if reranked and mode == "lexical":
            continue  # no system re-ranks what BM25 alone recalls
        system = System("", mode=mode, depth=depth, reranked=reranked, fusion=fusion)
        agree(store, scored[name], name, system, Blend((), fusion))


@pytest.mark.parametrize("mode", ["dense", "hybrid"])
@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("scaling", get_args(Scaling))
def test_with_every_variant(
    store: FaissStore, scored: dict[str, StageTable], mode: RecallMode, depth: int, scaling: Scaling
) -> None:
    for weights, fusion, name in itertools.product(VARIANTS, FUSIONS, QUERIES):
        if "recall" in weights and (mode != "hybrid" or fusion is None):
            continue  # only the score of fitted hybrid recall was fitted
        variant = BlendVariant(weights, 1.7, -0.4, scaling)
        reranked = "rerank" in weights
        system = System("", mode=mode, depth=depth, reranked=reranked, fusion=fusion, variant=variant)
        agree(store, scored[name], name, system, Blend((variant,), fusion))


@pytest.mark.parametrize("weights", [VARIANTS[1], VARIANTS[3]])
@pytest.mark.parametrize("scaling", get_args(Scaling))
@pytest.mark.parametrize("margin", [0.0, 1.5])
def test_early_stops(
    store: FaissStore,
    scored: dict[str, StageTable],
    weights: dict[Feature, float],
    scaling: Scaling,
    margin: float,
) -> None:
    """The retriever stops where the replay says, and returns what that says."""
    fusion = {"dense": 0.3, "lexical": 0.7}
    plain = BlendVariant(weights, 1.7, -0.4, scaling)
    system = System("", mode="hybrid", depth=30, reranked=True, fusion=fusion, variant=plain)
    qrels = {name: {table.ids[0]: 1} for name, table in scored.items()}
    replay = Replay(scored, qrels, system, plain)
    fitted = replay.fitted([margin] * MOST_RETURNED)
    stopping = Blend((dataclasses.replace(plain, early_stop=fitted),), fusion)
    retriever = RerankRetriever(
        store, reranker=HashScorer(), fetch_k=30, recall_mode="hybrid", blend=stopping
    )
    for k in (1, 4, 10):
        stops = replay.stops(k, margin)
        for row, (name, query) in enumerate(QUERIES.items()):
            explanation = retriever.explain(query, k=k, early_stop=True)
            whole = retriever.explain(query, k=k)
            assert explanation.scored / len(explanation.candidates) == stops.read[row]
            returned, expected = ({one.id for one in each.documents} for each in (explanation, whole))
            assert (returned != expected) == stops.changed[row], name
            assert whole.scored == len(whole.candidates)


def test_answers_are_not_empty(store: FaissStore, scored: dict[str, StageTable]) -> None:
    for mode, name in itertools.product(MODES, QUERIES):
        found = served_order(scored[name], System("", mode=mode, depth=30))
        assert bool(found) == (mode != "lexical" or name != "no term matches")
    assert len(scored["common"].ids) > 100  # both sides recalled documents that the other did not


@pytest.mark.parametrize("reranked", [True, False])
@pytest.mark.parametrize("depth", [10, 30])
def test_the_systems_that_compete(
    store: FaissStore, plain: dict[str, StageTable], texts: dict[str, str], depth: int, reranked: bool
) -> None:
    """As `tune` does it: one blend, the candidates scored that two recalls give, each system with its own part."""
    fusion = {"dense": 0.6, "lexical": 0.4}
    variants = [
        BlendVariant(weights, 2.0, -1.0) for weights in VARIANTS[: 3 if reranked else 0] + VARIANTS[-2:]
    ]
    blend = Blend(tuple(variants), fusion)
    recalls = (System("", depth=depth), System("", mode="hybrid", depth=depth, fusion=fusion))
    found = systems(blend, depth=depth, reranked=reranked)
    assert list(found) == [name for name in ORDER if name in found]
    assert (BLENDED in found) == (CROSS_ENCODER in found) == reranked
    for name, system in found.items():
        for key, query in QUERIES.items():
            table = with_rerank(plain[key], query, texts, HashScorer().score, recalls)
            agree(store, table, key, system, blend_of(name, blend) or Blend(()))


def test_tuned_hybrid(store: FaissStore, plain: dict[str, StageTable]) -> None:
    fusion = {"dense": 0.9, "lexical": 0.1}
    blend = Blend((BlendVariant({"dense": 0.2, "lexical": 0.8}, 2.0, -1.0),), fusion)
    system = systems(blend, depth=30, reranked=False)[TUNED_HYBRID]
    for name in QUERIES:
        agree(store, plain[name], name, system, blend_of(TUNED_HYBRID, blend) or Blend(()))


def test_only_what_is_recalled_is_scored(plain: dict[str, StageTable], texts: dict[str, str]) -> None:
    asked: list[tuple[str, str]] = []

    def score(pairs: list[tuple[str, str]]) -> list[float]:
        asked.extend(pairs)
        return HashScorer().score(pairs)

    recalls = (System("", depth=5), System("", mode="hybrid", depth=5))
    table = with_rerank(plain["common"], QUERIES["common"], texts, score, recalls)
    wanted = {one for system in recalls for one in served_order(plain["common"], system)}
    assert len(asked) == len(wanted)
    assert {text for _, text in asked} == {texts[one] for one in wanted}
    assert table.rerank is not None
    scored = {one for one, value in zip(table.ids, table.rerank, strict=True) if not np.isnan(value)}
    assert scored == wanted
    assert plain["common"].rerank is None
