"""The report as words and as JSON."""

import json

import pytest

from langchain_rerank_retriever.evaluation import compare
from langchain_rerank_retriever.evaluation.judge import judge
from langchain_rerank_retriever.training.proof.promote import promote
from langchain_rerank_retriever.training.proof.report import SystemReport, TuningReport, verdict

MEASURES = ("nDCG@10", "Success@1", "R@100")
QRELS = {f"q{number}": {f"d{number}": 1} for number in range(30)}
RANKINGS = {
    "base": {key: ["x", f"d{key[1:]}"] for key in QRELS},
    "bm25": {key: ["x", "y", f"d{key[1:]}"] for key in QRELS},
    "tuned": {key: [f"d{key[1:]}"] for key in QRELS},
}


def report_of(chosen: str) -> TuningReport:
    evaluations = {name: judge(one, QRELS, MEASURES, name=name) for name, one in RANKINGS.items()}
    values = {name: one.per_query["nDCG@10"] for name, one in evaluations.items()}
    _, decisions = promote(values, ("base", "bm25", "tuned"), seed=0)
    latency = {"base": {"p50": 1.25, "p95": 2.5}, "bm25": {}, "tuned": {"p50": 123.4, "p95": 250.0}}
    return TuningReport(
        systems=[SystemReport(name, dict(one.means), latency[name]) for name, one in evaluations.items()],
        chosen=chosen,
        held_out_queries=30,
        verdict=verdict(chosen, decisions, evaluations, few=chosen == "base"),
        decisions=decisions,
        depth_curve={10: 0.5, 30: 0.75},
        blend=None,
        training={"bi_encoder": {"steps": 3, "loss": 0.5}},
        data={"documents": 31},
        comparison=compare(list(evaluations.values())).to_dict(),
        seconds={"index": 1.0},
    )


def test_the_table_holds_every_figure() -> None:
    report = report_of("tuned")
    lines = str(report).splitlines()
    assert lines[0].split("  ")[0].strip() == "system"
    assert all(name in lines[0] for name in (*MEASURES, "ms p50"))
    # A relevant document in second place has gain 1 / log2(3), in third 1 / log2(4).
    assert lines[1].split() == ["base", "0.631", "0.000", "1.000", "1.2"]
    assert lines[2].split() == ["bm25", "0.500", "0.000", "1.000", "-"]
    assert lines[3].split() == ["tuned", "*", "1.000", "1.000", "1.000", "123.4"]
    assert len({len(line) for line in lines[:4]}) == 1
    assert lines[-1] == f"30 held-out queries. {report.verdict}"


def test_json() -> None:
    report = report_of("tuned")
    data = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert [system["name"] for system in data["systems"]] == ["base", "bm25", "tuned"]
    for system in data["systems"]:
        assert set(system) == {"name", "measures", "latency_ms"}
        assert set(system["measures"]) == set(MEASURES)
    assert data["systems"][0]["latency_ms"] == {"p50": 1.25, "p95": 2.5}
    assert data["systems"][0]["measures"]["nDCG@10"] == pytest.approx(0.6309, abs=1e-4)
    assert data["chosen"] == "tuned"
    assert data["held_out_queries"] == 30
    assert data["depth_curve"] == {"10": 0.5, "30": 0.75}
    assert [one["candidate"] for one in data["decisions"]] == ["bm25", "tuned"]
    assert data["decisions"][1]["difference"] == pytest.approx(1 - 0.6309, abs=1e-4)
    assert data["verdict"] == report.verdict


def test_verdicts() -> None:
    assert report_of("tuned").verdict == (
        "Chosen: tuned. nDCG@10 0.631 -> 1.000 (+0.369). Not bm25: not better, against base (-0.131)."
    )
    words = report_of("base").verdict
    assert words.startswith("Nothing was promoted: the untuned bi-encoder stays. Not bm25: not better")
    assert words.endswith("too few queries to fit any weights; more training queries would allow it.")
