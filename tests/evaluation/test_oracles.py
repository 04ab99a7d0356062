"""What `evaluate` says of any answers is what ir-measures, trec_eval and the formulas say of them."""

from typing import Any

import ir_measures
import numpy as np
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda

from langchain_rerank_retriever.evaluation import Evaluation, evaluate

#: The first ten can be judged, the others never are.
DOCUMENTS = [f"d{number:02}" for number in range(16)]
MEASURES = ("nDCG@5", "nDCG", "RR@5", "Success@3", "R@5", "P@5", "AP")

#: Any number of documents, none among them, fewer than a cutoff or more, some of them again and again.
answers = st.lists(st.sampled_from(DOCUMENTS), max_size=24)
#: Grades, also negative ones; none above 0 for some queries.
judgements = st.dictionaries(st.sampled_from(DOCUMENTS[:10]), st.integers(-2, 3), min_size=1)
#: A query without judgements is asked for nothing.
cases = st.dictionaries(
    st.sampled_from([f"q{number}" for number in range(6)]),
    st.tuples(answers, st.one_of(st.none(), judgements)),
    min_size=1,
).filter(lambda case: any(judged for _, judged in case.values()))


def evaluated(case: dict[str, Any], **arguments: Any) -> Evaluation:
    """Ask a retriever that answers so, all with the same score."""
    retriever = RunnableLambda(
        lambda query: [
            Document(id=name, page_content="", metadata={"relevance_score": 0.5}) for name in case[query][0]
        ]
    )
    qrels = {query: judged for query, (_, judged) in case.items() if judged}
    return evaluate(retriever, {query: query for query in case}, qrels, measures=MEASURES, **arguments)


def asked(case: dict[str, Any]) -> dict[str, tuple[list[str], dict[str, int]]]:
    """What is left when repeated documents and queries without judgements are gone."""
    return {
        query: (list(dict.fromkeys(found)), {one: max(grade, 0) for one, grade in judged.items()})
        for query, (found, judged) in case.items()
        if judged
    }


def by_formulas(found: list[str], judged: dict[str, int]) -> dict[str, float]:
    """The measures of one query by numpy, from their definitions."""
    gains = np.array([judged.get(one, 0) for one in found], dtype=float)
    ideal = np.sort(np.array(list(judged.values()), dtype=float))[::-1]
    relevant, total = gains > 0, int((ideal > 0).sum())
    if total == 0:
        return dict.fromkeys(MEASURES, 0.0)

    def dcg(values: np.ndarray, depth: int) -> float:
        kept = values[:depth]
        return float((kept / np.log2(np.arange(2, len(kept) + 2))).sum())

    first = np.flatnonzero(relevant[:5])
    precisions = np.cumsum(relevant) / np.arange(1, len(found) + 1)
    return {
        "nDCG@5": dcg(gains, 5) / dcg(ideal, 5),
        "nDCG": dcg(gains, 99) / dcg(ideal, 99),
        "RR@5": 1 / (first[0] + 1) if len(first) else 0.0,
        "Success@3": float(relevant[:3].any()),
        "R@5": relevant[:5].sum() / total,
        "P@5": relevant[:5].sum() / 5,
        "AP": precisions[relevant].sum() / total,
    }


@pytest.mark.filterwarnings(
    "ignore:None of the:UserWarning", "ignore:The retriever returned at most:UserWarning"
)
@settings(max_examples=100, deadline=None)
@given(cases)
def test_by_formulas(case: dict[str, Any]) -> None:
    result = evaluated(case)
    expected = {query: by_formulas(*rest) for query, rest in asked(case).items()}
    for measure in MEASURES:
        values = {query: one[measure] for query, one in expected.items()}
        assert result.per_query[measure] == pytest.approx(values, abs=1e-9)
        assert result[measure] == pytest.approx(np.mean(list(values.values())), abs=1e-9)
    assert result.queries_without_answer == sum(not found for found, _ in asked(case).values())
    assert result.unjudged_queries == len(case) - len(expected)


@pytest.mark.filterwarnings(
    "ignore:None of the:UserWarning", "ignore:The retriever returned at most:UserWarning"
)
@settings(max_examples=60, deadline=None)
@given(cases)
def test_by_ir_measures_and_trec_eval(case: dict[str, Any]) -> None:
    result, kept = evaluated(case), asked(case)
    qrels = [
        ir_measures.Qrel(query, one, grade)
        for query, (_, judged) in kept.items()
        for one, grade in judged.items()
    ]
    run = [
        ir_measures.ScoredDoc(query, one, 1 / rank)
        for query, (found, _) in kept.items()
        for rank, one in enumerate(found, start=1)
    ]
    parsed = [ir_measures.parse_measure(measure) for measure in MEASURES]
    values = {
        (str(one.measure), one.query_id): one.value
        for one in ir_measures.iter_calc(parsed, qrels, reversed(run))
    }
    assert len(values) == len(kept) * len(MEASURES)
    for (measure, query), value in values.items():
        assert result.per_query[measure][query] == pytest.approx(value, abs=1e-6)
    trec_eval = pytrec_eval.RelevanceEvaluator(
        {query: judged for query, (_, judged) in kept.items()},
        {"ndcg_cut.5", "ndcg", "success.3", "recall.5", "P.5", "map"},
    )
    scored = {
        query: {one: -float(rank) for rank, one in enumerate(found)}
        for query, (found, _) in kept.items()
        if found
    }
    names = {
        "nDCG@5": "ndcg_cut_5",
        "nDCG": "ndcg",
        "Success@3": "success_3",
        "R@5": "recall_5",
        "P@5": "P_5",
        "AP": "map",
    }
    for query, told in trec_eval.evaluate(scored).items():
        for measure, name in names.items():
            assert result.per_query[measure][query] == pytest.approx(told[name], abs=1e-6)


@pytest.mark.parametrize(
    ("found", "judged", "expected"),
    [
        pytest.param([], {"d00": 1}, {"nDCG@5": 0, "AP": 0}, id="nothing returned"),
        pytest.param(["d15", "d00"], {"d00": 1}, {"RR@5": 1 / 2, "P@5": 1 / 5}, id="fewer than the cutoff"),
        pytest.param(["d15", "d15", "d00"], {"d00": 1}, {"RR@5": 1 / 2}, id="repeated before the hit"),
        pytest.param(["d00", "d00"], {"d00": 1, "d01": 1}, {"P@5": 1 / 5, "AP": 1 / 2}, id="repeated hit"),
        pytest.param(["d15", "d14"], {"d00": 3}, {"nDCG": 0, "Success@3": 0}, id="only unjudged documents"),
        pytest.param(["d00"], {"d00": 0, "d01": -1}, {"nDCG": 0, "R@5": 0}, id="nothing is relevant"),
        pytest.param(["d01", "d00"], {"d00": 1, "d01": -2}, {"nDCG": 1 / np.log2(3)}, id="negative grade"),
        pytest.param(
            ["d00", "d01"],
            {"d00": 1, "d01": 3},
            {"nDCG": (1 + 3 / np.log2(3)) / (3 + 1 / np.log2(3))},
            id="graded",
        ),
    ],
)
@pytest.mark.filterwarnings(
    "ignore:None of the:UserWarning", "ignore:The retriever returned at most:UserWarning"
)
def test_by_hand(found: list[str], judged: dict[str, int], expected: dict[str, float]) -> None:
    # Beside a query that nobody judged.
    result = evaluated({"q0": (found, judged), "q1": (["d00"], None)})
    assert {measure: result[measure] for measure in expected} == pytest.approx(expected)
