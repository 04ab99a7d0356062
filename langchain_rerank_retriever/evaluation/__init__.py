"""Judge any LangChain retriever on queries with known answers, and compare several without fooling oneself.

`evaluate` asks a retriever, `Judge` takes rankings that already exist; both give an `Evaluation`, and
`compare` says which of several is better, by how much, and whether there are enough queries to tell.
`attribute` says who lost the documents that are missed, `depth_curve` and `reliability` what else one run shows;
the functions that begin with `plot_` draw all that, and `html_report` puts it on one page.
`check_gate` stops a build when a system got worse. Queries, judgements and rankings come from and go to the files of
BEIR and TREC, evaluations are kept as JSON: `read_...`, `write_...`, `save_evaluation`, `load_evaluation`.
"""

from langchain_rerank_retriever.evaluation.attribution.attribute import Attribution, attribute
from langchain_rerank_retriever.evaluation.attribution.fates import LostDocument
from langchain_rerank_retriever.evaluation.attribution.splits import ErrorSplit
from langchain_rerank_retriever.evaluation.compare import compare
from langchain_rerank_retriever.evaluation.comparison import ComparedSystem, Comparison
from langchain_rerank_retriever.evaluation.curves.depth import DepthCurve, DepthPoint, depth_curve
from langchain_rerank_retriever.evaluation.curves.reliability import Reliability, ReliabilityBin, reliability
from langchain_rerank_retriever.evaluation.evaluate import evaluate
from langchain_rerank_retriever.evaluation.files import (
    judge_run,
    load_evaluation,
    read_qrels,
    read_queries,
    save_evaluation,
)
from langchain_rerank_retriever.evaluation.gate import Check, Gate, check_gate
from langchain_rerank_retriever.evaluation.html.report import html_report
from langchain_rerank_retriever.evaluation.judge import Judge, judge
from langchain_rerank_retriever.evaluation.measures import DEFAULT_MEASURES
from langchain_rerank_retriever.evaluation.plots.curves import plot_depth, plot_latency, plot_reliability
from langchain_rerank_retriever.evaluation.plots.similarity import plot_similarities
from langchain_rerank_retriever.evaluation.plots.systems import plot_attribution, plot_means
from langchain_rerank_retriever.evaluation.result import Evaluation
from langchain_rerank_retriever.formats.beir import (
    read_beir_documents,
    read_beir_qrels,
    read_beir_queries,
    write_beir,
)
from langchain_rerank_retriever.formats.trec import read_run, write_qrels, write_run

__all__ = [
    "DEFAULT_MEASURES",
    "Attribution",
    "Check",
    "ComparedSystem",
    "Comparison",
    "DepthCurve",
    "DepthPoint",
    "ErrorSplit",
    "Evaluation",
    "Gate",
    "Judge",
    "LostDocument",
    "Reliability",
    "ReliabilityBin",
    "attribute",
    "check_gate",
    "compare",
    "depth_curve",
    "evaluate",
    "html_report",
    "judge",
    "judge_run",
    "load_evaluation",
    "plot_attribution",
    "plot_depth",
    "plot_latency",
    "plot_means",
    "plot_reliability",
    "plot_similarities",
    "read_beir_documents",
    "read_beir_qrels",
    "read_beir_queries",
    "read_qrels",
    "read_queries",
    "read_run",
    "reliability",
    "save_evaluation",
    "write_beir",
    "write_qrels",
    "write_run",
]
