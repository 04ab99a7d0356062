"""The report as words and as JSON."""

import json
from dataclasses import replace

import pytest

from langchain_rerank_retriever.blend import Blend, BlendVariant
from langchain_rerank_retriever.evaluation import compare
from langchain_rerank_retriever.evaluation.judge import judge
from langchain_rerank_retriever.training.proof.calibration import Calibration, Threshold
from langchain_rerank_retriever.training.proof.promote import promote
from langchain_rerank_retriever.training.proof.report import SystemReport, TuningReport, verdict
from langchain_rerank_retriever.training.proof.signal import Signal

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


BLEND = Blend(
    (
        BlendVariant({"rerank": 1.0}, 1.0, 0.0),
        BlendVariant({"rerank": 0.65, "recall": 0.35}, 2.0, -1.0),
        BlendVariant({"rerank": 0.8, "dense": 0.2}, 2.0, -1.0),
        BlendVariant({"dense": 1.0}, 2.0, -1.0),
    ),
    {"dense": 0.5, "lexical": 0.5},
)
CALIBRATION = Calibration(0.01234, 30, {"0.95": Threshold(0.0834, 0.831), "0.99": Threshold(0.01, 0.5)})


def test_what_was_fitted_is_told() -> None:
    report = replace(
        report_of("tuned"),
        chosen="blended",
        blend=BLEND.to_dict(),
        blend_forms={"standard": 0.78, "logistic": 0.7604, "reciprocal rank": 0.71},
        calibration=CALIBRATION.to_dict(),
        depth=20,
        warnings=("First.", "Second."),
    )
    lines = str(report).splitlines()
    assert lines[4:] == [
        "",
        "Blend (standard): rerank 0.65, recall 0.35.",
        "nDCG@10 by form of the blend: standard 0.780, logistic 0.760, reciprocal rank 0.710.",
        "Probabilities: ECE 0.012. score_threshold=0.083 keeps 95 % of the relevant candidates and drops 83 % of all.",
        "fetch_k: 20.",
        "Warning: First.",
        "Warning: Second.",
        f"30 held-out queries. {report.verdict}",
    ]
    data = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert data["blend_forms"]["logistic"] == 0.7604
    assert data["calibration"]["thresholds"]["0.95"] == {"threshold": 0.0834, "dropped": 0.831}
    assert (data["depth"], data["warnings"], data["signal"]) == (20, ["First.", "Second."], None)


def test_an_early_stop_is_told() -> None:
    error = {"changed": 0.0312, "lost": 0.001, "read": 0.349, "offered": True}
    documents = {str(k): error for k in range(1, 11)} | {"4": error | {"offered": False}}
    report = replace(report_of("tuned"), depth=30, early_stop={"queries": 161, "documents": documents})
    assert (
        "early_stop=True: for 1 35 % of the pairs are read and 3.1 % of the answers differ; for 4 it is not used; "
        "for 10 35 % of the pairs are read and 3.1 % of the answers differ (measured on 161 queries)."
    ) in str(report).splitlines()
    assert report.to_dict()["early_stop"]["documents"]["1"] == error
    assert "early_stop" not in str(replace(report, early_stop=None))


def test_the_form_of_the_chosen_system_is_told() -> None:
    raw = BlendVariant({"rerank": 1.5, "dense": -20.0, "lexical": 0.1}, 1.0, -3.0, "raw")
    blend = replace(BLEND, variants=(BLEND.variants[0], raw, BLEND.variants[2]))
    report = replace(report_of("tuned"), chosen="blended", blend=blend.to_dict())
    assert "Blend (logistic): rerank 1.50, dense -20.00, lexical 0.10." in str(report)
    # One stage alone is no blend.
    assert "Blend (" not in str(replace(report, chosen="tuned + cross-encoder"))
    assert "Blend (" not in str(replace(report, chosen="hybrid"))


def test_the_verdict_on_labels_at_chance() -> None:
    evaluations = {name: judge(one, QRELS, MEASURES, name=name) for name, one in RANKINGS.items()}
    signal = Signal(0.1, 0.09, 0.4321, ok=False, system="bm25")
    words = verdict("bm25", [], evaluations, few=False, signal=signal)
    assert words.startswith("Nothing trained is promoted; bm25, which is untuned, is shipped.")
    assert "the judged positives are found no better than chance by any system" in words
    fine = verdict("base", [], evaluations, few=False, signal=replace(signal, ok=True))
    assert fine == "Nothing was promoted: the untuned bi-encoder stays."


def test_verdicts() -> None:
    assert report_of("tuned").verdict == (
        "Chosen: tuned. nDCG@10 0.631 -> 1.000 (+0.369). "
        "Not bm25: not better, against base (-0.131 where it was chosen)."
    )
    words = report_of("base").verdict
    assert words.startswith("Nothing was promoted: the untuned bi-encoder stays. Not bm25: not better")
    assert words.endswith("too few queries to fit any weights; more training queries would allow it.")
