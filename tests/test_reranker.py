"""CrossEncoderReranker with cross-encoders of several makers."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from langchain_core.cross_encoders import BaseCrossEncoder
from langchain_core.documents import BaseDocumentCompressor, Document

from langchain_rerank_retriever import CrossEncoderReranker
from langchain_rerank_retriever.errors import InvalidArgumentError, ScoringError


class Foreign(BaseCrossEncoder):
    """Somebody else's cross-encoder: longer passages are better."""

    def __init__(self, shape: Callable[[list[float]], Any] = list) -> None:
        self.shape = shape
        self.threads: list[int] = []

    def score(self, text_pairs: Sequence[tuple[str, str]]) -> Any:
        self.threads.append(threading.get_ident())
        return self.shape([float(len(passage)) for _, passage in text_pairs])


class Asynchronous(Foreign):
    """One that can be awaited."""

    async def ascore(self, text_pairs: Sequence[tuple[str, str]]) -> list[float]:
        await asyncio.sleep(0)
        return [float(len(passage)) for _, passage in text_pairs]


def documents(*contents: str) -> list[Document]:
    return [
        Document(page_content=content, id=f"id-{place}", metadata={"place": place, "nested": {"tags": ["x"]}})
        for place, content in enumerate(contents)
    ]


def test_best_first_with_scores_ids_and_metadata() -> None:
    reranker = CrossEncoderReranker(model=Foreign(), top_n=2)
    best = reranker.compress_documents(documents("aa", "aaaa", "a", "aaa"), "q")
    assert isinstance(reranker, BaseDocumentCompressor)
    assert [document.id for document in best] == ["id-1", "id-3"]
    assert best[0].metadata == {
        "place": 1,
        "nested": {"tags": ["x"]},
        "relevance_score": 4.0,
        "rerank_score": 4.0,
        "relevance_kind": "rerank_score",
    }
    assert type(best[0].metadata["relevance_score"]) is float


def test_inputs_are_not_changed() -> None:
    given = documents("a", "aa")
    before = [document.model_copy(deep=True) for document in given]
    best = CrossEncoderReranker(model=Foreign()).compress_documents(given, "q")
    best[0].metadata["nested"]["tags"].append("y")
    assert given == before


def test_ties_keep_the_order_of_the_input() -> None:
    best = CrossEncoderReranker(model=Foreign(), top_n=5).compress_documents(
        documents("b", "c", "aa", "d", "e"), "q"
    )
    assert [document.page_content for document in best] == ["aa", "b", "c", "d", "e"]


def test_a_threshold_includes_its_own_value() -> None:
    reranker = CrossEncoderReranker(model=Foreign(), top_n=9, score_threshold=2.0)
    best = reranker.compress_documents(documents("a", "aa", "aaa"), "q")
    assert [document.page_content for document in best] == ["aaa", "aa"]
    reranker.score_threshold = 100
    assert reranker.compress_documents(documents("a"), "q") == []


def test_an_empty_list_does_not_ask_the_model() -> None:
    model = Foreign()
    reranker = CrossEncoderReranker(model=model)
    assert reranker.compress_documents([], "q") == []
    assert asyncio.run(reranker.acompress_documents([], "q")) == []
    assert model.threads == []


@pytest.mark.parametrize(
    "shape",
    [
        tuple,
        np.array,
        lambda scores: map(float, scores),
        lambda scores: np.array(scores, np.float16)[:, None],
    ],
    ids=["tuple", "array", "map", "column"],
)
def test_what_foreign_models_return(shape: Callable[[list[float]], Any]) -> None:
    best = CrossEncoderReranker(model=Foreign(shape), top_n=1).compress_documents(documents("a", "aa"), "q")
    assert [document.page_content for document in best] == ["aa"]


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (lambda scores: [*scores[:-1], float("nan")], "gave nan for document 2 of 3"),
        (lambda scores: [float("inf"), *scores[1:]], "gave inf for document 0 of 3"),
        (lambda scores: scores[:-1], r"Expected 3 scores .* got shape \(2,\)"),
        (lambda scores: np.ones((3, 2)), r"got shape \(3, 2\). A model with several labels"),
        (lambda scores: ["high", "low", "low"], "Expected 3 numbers"),
        (lambda scores: None, "Expected 3 numbers"),
    ],
)
def test_what_is_no_score(shape: Callable[[list[float]], Any], message: str) -> None:
    reranker = CrossEncoderReranker(model=Foreign(shape))
    with pytest.raises(ScoringError, match=message):
        reranker.compress_documents(documents("a", "b", "c"), "q")
    with pytest.raises(ScoringError, match=message):
        asyncio.run(reranker.acompress_documents(documents("a", "b", "c"), "q"))


async def test_async_awaits_a_model_that_can_be_awaited() -> None:
    model = Asynchronous()
    best = await CrossEncoderReranker(model=model).acompress_documents(documents("a", "aa"), "q")
    assert [document.page_content for document in best] == ["aa", "a"]
    assert model.threads == []


async def test_async_runs_other_models_in_a_thread() -> None:
    model = Foreign()
    best = await CrossEncoderReranker(model=model).acompress_documents(documents("a", "aa"), "q")
    assert [document.page_content for document in best] == ["aa", "a"]
    assert model.threads != [threading.get_ident()]


@pytest.mark.parametrize("fields", [{"top_n": 0}, {"top_n": -1}, {"top_k": 3}, {"model": "a name"}])
def test_wrong_fields(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError, match="CrossEncoderReranker cannot be made"):
        CrossEncoderReranker(**{"model": Foreign(), **fields})


def test_the_model_may_be_positional() -> None:
    model = Foreign()
    assert CrossEncoderReranker(model, top_n=1).model is model
    with pytest.raises(InvalidArgumentError, match="model: "):
        CrossEncoderReranker()
