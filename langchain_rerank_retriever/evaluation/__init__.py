"""Judge any LangChain retriever on queries with known answers, and compare several without fooling oneself.

```python
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_rerank_retriever import FaissStore, RerankRetriever, compare, evaluate

lexical = RerankRetriever(FaissStore.from_documents(documents, any_embeddings), recall_mode="lexical")
other = InMemoryVectorStore.from_documents(documents, any_embeddings).as_retriever(search_kwargs={"k": 100})

# queries: {id: text}; qrels: {query id: {document id: relevance}}
ours = evaluate(lexical, queries, qrels, measures=["nDCG@10", "Success@1"], name="BM25")
theirs = evaluate(other, queries, qrels, measures=["nDCG@10", "Success@1"], name="dense")
print(ours["nDCG@10"])  # 1.0
comparison = compare([theirs, ours])
print(comparison.row("BM25", "nDCG@10").verdict)  # not enough queries to tell
```

**Measures** are those of ir-measures in its notation, over full judgements and all queries: one that got nothing
counts 0. With few queries differences are noise: every mean comes with an interval, every difference with a paired
randomisation test, corrected for how many are compared, and a verdict in words: better, worse, no difference of more
than so much, or not enough queries to tell.

A retriever with `explain()` is judged by all its candidates, so that more can be said of one run:

```python
from langchain_rerank_retriever.evaluation import attribute, check_gate

print(attribute(ours, k=1).found)  # 3
print(check_gate(ours, fail_below={"nDCG@10": 0.7}, against=theirs).passed)  # True
```

The names by purpose:

* measuring: `evaluate` asks a retriever, `Judge` and `judge` take rankings that exist already, `judge_run` those of a
  file; each gives an `Evaluation`; `DEFAULT_MEASURES` are taken where none are named;
* comparing: `compare` gives a `Comparison` of `ComparedSystem` rows;
* stopping a build that got worse: `check_gate` gives a `Gate` of `Check` lines;
* who lost the document: `attribute` gives an `Attribution` with each `LostDocument`, and an `ErrorSplit` for each
  measure;
* what depth and thresholds bring: `depth_curve` gives a `DepthCurve` of `DepthPoint` values, `reliability` a
  `Reliability` of `ReliabilityBin` values, `similarities` gives `Similarities` of positives and negatives;
* pictures (extra `plots`): `plot_means`, `plot_depth`, `plot_latency`, `plot_attribution`, `plot_reliability`,
  `plot_similarities`; and `html_report`, one page with all of it;
* files: `save_evaluation`, `load_evaluation`; BEIR: `read_beir_documents`, `read_beir_queries`, `read_beir_qrels`,
  `write_beir`; TREC: `read_run`, `write_run`, `write_qrels`; either: `read_queries`, `read_qrels`.

From the shell: `langchain-rerank evaluate` and `compare`, see `langchain_rerank_retriever.cli`. What is judged:
`langchain_rerank_retriever.retriever`. How fast: `langchain_rerank_retriever.benchmark`.
"""

from langchain_rerank_retriever.evaluation.attribution.attribute import Attribution, attribute
from langchain_rerank_retriever.evaluation.attribution.fates import LostDocument
from langchain_rerank_retriever.evaluation.attribution.splits import ErrorSplit
from langchain_rerank_retriever.evaluation.compare import compare
from langchain_rerank_retriever.evaluation.comparison import ComparedSystem, Comparison
from langchain_rerank_retriever.evaluation.curves.depth import DepthCurve, DepthPoint, depth_curve
from langchain_rerank_retriever.evaluation.curves.reliability import Reliability, ReliabilityBin, reliability
from langchain_rerank_retriever.evaluation.curves.similarities import Similarities, similarities
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
    "Similarities",
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
    "similarities",
    "write_beir",
    "write_qrels",
    "write_run",
]
