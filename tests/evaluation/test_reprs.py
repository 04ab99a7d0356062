"""What a notebook shows of results: tables that hold the numbers, and in which foreign texts are only texts."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document

from langchain_rerank_retriever import RerankRetriever, compare
from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.evaluation import (
    Similarities,
    attribute,
    check_gate,
    depth_curve,
    reliability,
    similarities,
)
from langchain_rerank_retriever.protocols import Explanation
from langchain_rerank_retriever.training import TuningReport, TuningResult
from langchain_rerank_retriever.training.proof.report import SystemReport

from .test_html import Page
from .traced import candidate, evaluated, trace

HOSTILE = "</td></table><script>alert(1)</script><img src=x onerror=alert(1)> &amp; \u202egnp"
SHOWN = HOSTILE.replace("\u202e", "[U+202E]")


def system(name: str = "mine") -> Any:
    scored = [
        candidate(one, dense_score=0.8 - place / 10, rerank_score=-1.0, relevance_score=0.9 - place / 5)
        for place, one in enumerate(["x", "wanted", HOSTILE])
    ]
    answers = {f"q{number}": trace(scored, kind="probability") for number in range(3)}
    return evaluated(answers, {one: {"wanted": 1} for one in answers}, name=name)


@pytest.fixture
def explanation(hash_embeddings: Any) -> Explanation:
    documents = [
        Document(id="first", page_content=f"bread {HOSTILE}"),
        Document(id=HOSTILE, page_content="bread and butter " * 20),
    ]
    return RerankRetriever.from_documents(documents, embeddings=hash_embeddings, k=1).explain(
        HOSTILE, recall_mode="hybrid"
    )


def report(name: str = "tuned", *, kind: str = "held_out_queries") -> TuningReport:
    compared = compare([system("base"), system(name)]).to_dict() if kind == "held_out_queries" else {}
    return TuningReport(
        systems=[
            SystemReport("base", {"nDCG@10": 0.5}, {}),
            SystemReport(name, {"nDCG@10": 0.75}, {"p50": 4.25}),
        ],
        chosen=name,
        held_out_queries=3,
        verdict=f"Chosen: {name}.",
        decisions=[],
        depth_curve={},
        blend=None,
        training={},
        data={kind: 3},
        comparison=compared,
        warnings=["Few queries."],
    )


def test_an_explanation_is_a_table_of_its_candidates(explanation: Explanation) -> None:
    page = Page(explanation._repr_html_())
    header, *rows = page.rows
    assert header == ["document", "text", "recalled", "dense", "BM25", "relevance", "outcome"]
    assert {row[0] for row in rows} == {"first", SHOWN}
    for row, one in zip(rows, explanation.candidates, strict=True):
        assert row[2:4] == [str(one.recall_rank), f"{one.dense_score:.3f}"]
        assert row[-1] == one.outcome.replace("_", " ")
        assert len(row[1]) <= 80 + len("[U+202E]")
    assert repr(explanation).endswith("1 of 2 candidates returned, by recall_score>")


def test_of_many_candidates_the_first_are_shown(hash_embeddings: Any) -> None:
    documents = [Document(id=f"d{number}", page_content=f"bread {number}") for number in range(30)]
    asked = RerankRetriever.from_documents(documents, embeddings=hash_embeddings).explain("bread")
    page = Page(asked._repr_html_())
    assert [row[0] for row in page.rows[1:]] == [one.document.id for one in asked.candidates[:20]]
    assert "bread: 30 candidates; the first 20" in page.text


def test_nothing_found_is_shown(hash_embeddings: Any) -> None:
    nothing = RerankRetriever.from_documents([], embeddings=hash_embeddings).explain("bread")
    assert Page(nothing._repr_html_()).rows[1:] == []


def test_what_tune_made_is_a_table_with_the_verdict() -> None:
    page = Page(TuningResult(report(), None, Path("/home/ann/bundle"))._repr_html_())  # type: ignore[arg-type]
    low, high = report().comparison["systems"][1]["measures"]["nDCG@10"]["mean_interval"]
    assert page.rows[0] == ["system", "nDCG@10", "95% interval", "ms p50"]
    assert page.rows[2] == ["tuned *", "0.750", f"{low:.3f} to {high:.3f}", "4.2"]
    for text in ("3 held-out queries", "Chosen: tuned.", "Warning: Few queries.", "the folder bundle."):
        assert text in page.text
    assert "/home" not in page.text
    assert repr(report()) == (
        "<TuningReport: 'tuned' chosen of 2 systems, nDCG@10 0.500 -> 0.750 over 3 held-out queries>"
    )


def test_sentence_pairs_have_no_intervals() -> None:
    page = Page(report(kind="held_out_pairs")._repr_html_())
    assert page.rows[0] == ["system", "nDCG@10", "ms p50"]
    assert "3 held-out sentence pairs" in page.text


def test_curves_are_tables() -> None:
    curve, found = depth_curve(system()), reliability(system(), bins=2)
    rows = Page(curve._repr_html_()).rows
    assert rows[0] == ["re-ranked", "nDCG@10", "95% interval", "ms p50"]
    assert [row[:2] for row in rows[1:]] == [[str(one.depth), f"{one.value:.4f}"] for one in curve.points]
    untimed = Page(depth_curve(replace(system(), seconds={}))._repr_html_())
    assert untimed.rows[0] == ["re-ranked", "nDCG@10", "95% interval"]
    rows = Page(found._repr_html_()).rows
    assert [row[1] for row in rows[1:]] == [f"{one.share:.4f}" for one in found.bins]
    assert repr(found).startswith("<Reliability of 'mine': expected calibration error 0.")


def test_a_gate_is_a_table() -> None:
    gate = check_gate(system(), fail_below={"nDCG@10": 0.1, "R@10": 1.1})
    assert [row[0] for row in Page(gate._repr_html_()).rows[1:]] == ["passed", "FAILED"]
    assert repr(gate) == "<Gate: 1 of 2 checks passed>"


def test_similarities_are_of_relevant_candidates_and_of_others() -> None:
    found = similarities(system())
    assert found.positives.tolist() == pytest.approx([0.7] * 3)
    assert sorted(found.negatives) == pytest.approx([0.6] * 3 + [0.8] * 3)
    assert found.separation == pytest.approx(0.5)
    assert Similarities("ties", [1.0, 2.0], [1.0]).separation == 0.75
    assert found.to_dict()["separation"] == found.separation
    for none in (replace(system(), traces={}), replace(system(), qrels={"q0": {"x": 0}})):
        with pytest.raises(InvalidArgumentError, match="has 0 relevant and"):
            similarities(none)


@pytest.mark.parametrize(
    "shown",
    [
        lambda: system(HOSTILE),
        lambda: compare([system("base"), system(HOSTILE)]),
        lambda: attribute(system(HOSTILE)),
        lambda: depth_curve(system(HOSTILE)),
        lambda: reliability(system(HOSTILE)),
        lambda: system().traces["q0"],
        lambda: report(HOSTILE),
        lambda: TuningResult(report(HOSTILE), None, Path(HOSTILE.replace("/", ""))),  # type: ignore[arg-type]
    ],
    ids=["evaluation", "comparison", "attribution", "depth", "reliability", "trace", "report", "result"],
)
def test_foreign_texts_are_shown_and_not_obeyed(shown: Any) -> None:
    html = shown()._repr_html_()
    page = Page(html)
    assert {tag for tag, _ in page.tags} <= {"table", "caption", "tr", "th", "td", "p"}
    assert SHOWN in page.text
    assert "\u202e" not in html


def test_the_text_of_a_document_is_shown_and_not_obeyed(explanation: Explanation) -> None:
    html = explanation._repr_html_()
    page = Page(html)
    assert {tag for tag, _ in page.tags} == {"table", "caption", "tr", "th", "td"}
    assert "bread </td></table><script>alert(1)</script>" in page.text
    assert "\u202e" not in html
