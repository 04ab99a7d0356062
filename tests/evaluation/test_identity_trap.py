"""A re-ranker that changes nothing is told as what it is, where the usual evaluator calls it perfect.

sentence-transformers computes the ideal ranking of the re-ranked list from the relevant documents that recall happened
to find, or hands the missing ones to the re-ranker. Either way the base, which it judges by another rule, looks worse.
"""

from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from langchain_core.cross_encoders import BaseCrossEncoder
from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda

from langchain_rerank_retriever import CrossEncoderReranker
from langchain_rerank_retriever.evaluation import compare, evaluate

#: Recall finds one of two relevant documents, and puts it first.
RECALLED = ["relevant and found", "other 1", "other 2", "other 3"]
RELEVANT = ["relevant and found", "relevant and missed"]
QUERIES = {f"q{number}": f"question {number}" for number in range(5)}
QRELS = {query: dict.fromkeys(RELEVANT, 1) for query in QUERIES}

#: One gain of 1 at rank 1, of two that an ideal ranking has at the ranks 1 and 2.
TRUE_VALUE = 1 / (1 + 1 / np.log2(3))


class Identity(BaseCrossEncoder):
    """Gives each document the score of its place."""

    def score(self, text_pairs: list[tuple[str, str]]) -> list[float]:
        return [-float(RECALLED.index(text)) for _, text in text_pairs]


class IdentityModel:
    """The same for sentence-transformers."""

    model_card_data = Mock()  # where the evaluator writes what it found

    def predict(self, pairs: list[list[str]], **arguments: Any) -> np.ndarray:
        return np.array(Identity().score([(query, text) for query, text in pairs]))


@pytest.mark.filterwarnings("ignore:The retriever returned at most:UserWarning")
def test_evaluate_tells_the_true_value() -> None:
    recall = RunnableLambda(lambda query: [Document(id=text, page_content=text) for text in RECALLED])
    reranker = CrossEncoderReranker(model=Identity(), top_n=10)
    base, reranked = (
        evaluate(system, QUERIES, QRELS, measures=["nDCG@10"], name=name)
        for name, system in (
            ("recall", recall),
            (
                "re-ranked",
                RunnableLambda(lambda query: reranker.compress_documents(recall.invoke(query), query)),
            ),
        )
    )
    assert base["nDCG@10"] == pytest.approx(TRUE_VALUE)
    assert reranked["nDCG@10"] == pytest.approx(TRUE_VALUE)
    assert pytest.approx(0.6131, abs=5e-5) == TRUE_VALUE
    row = compare([base, reranked]).row("re-ranked", "nDCG@10")
    assert (row.difference, row.p_value, row.ties) == (0.0, 1.0, 5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_sentence_transformers_tells_another() -> None:
    # If this fails, the trap is gone, and what we say of it elsewhere should be, too.
    from sentence_transformers.cross_encoder.evaluation import CrossEncoderRerankingEvaluator

    samples = [{"query": text, "positive": RELEVANT, "documents": RECALLED} for text in QUERIES.values()]
    evaluator = CrossEncoderRerankingEvaluator(
        samples, at_k=10, always_rerank_positives=False, write_csv=False
    )
    told = evaluator(IdentityModel())
    assert told["ndcg@10"] == pytest.approx(1.0)
    assert told["base_ndcg@10"] == pytest.approx(0.8503, abs=5e-5)
