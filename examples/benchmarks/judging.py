"""Whether `evaluate` says of a real run what ir-measures and trec_eval say of it, and what a comparison costs.

    python examples/benchmarks/judging.py cranfield scifact

The run is BM25 on all judged queries, 100 documents each. It is judged by `evaluate`; by ir-measures, from a list of
rows written down beside it; and by trec_eval as pytrec_eval has it, from a dictionary. Nothing is tuned here, so that
all queries of a data set are taken.
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import ir_measures
import pytrec_eval
import typer
from beir import DATA, documents, qrels, queries
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.runnables import RunnableLambda

from langchain_rerank_retriever import FaissStore, compare, evaluate
from langchain_rerank_retriever.evaluation import Evaluation

DEPTH = 100

#: The largest difference that is still none.
AGREED = 1e-6

#: The measure by its name in trec_eval. RR@10 is not one of its own: it is that of the first ten documents.
MEASURES = {
    "nDCG@10": "ndcg_cut_10",
    "nDCG": "ndcg",
    "RR": "recip_rank",
    "RR@10": "",
    "Success@10": "success_10",
    "R@100": "recall_100",
    "P@5": "P_5",
    "AP": "map",
}

Judgements = dict[str, dict[str, int]]


class NoModel(Embeddings):
    """Stands where a store asks for a model; BM25 needs none."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Vectors that depend on the texts' lengths alone."""
        return [[1.0, float(len(text))] for text in texts]

    def embed_query(self, text: str) -> list[float]:
        """The vector of a document."""
        return self.embed_documents([text])[0]


def by_ir_measures(run: Mapping[str, list[str]], judged: Judgements) -> dict[tuple[str, str], float]:
    """Values by measure and query."""
    rows = [
        ir_measures.ScoredDoc(query, document, 1 / rank)
        for query, found in run.items()
        for rank, document in enumerate(found, start=1)
    ]
    wanted = [ir_measures.parse_measure(measure) for measure in MEASURES]
    return {
        (str(one.measure), one.query_id): one.value for one in ir_measures.iter_calc(wanted, judged, rows)
    }


def by_trec_eval(run: Mapping[str, list[str]], judged: Judgements) -> dict[tuple[str, str], float]:
    """Values by measure and query."""
    values = {}
    for measure, name in MEASURES.items():
        depth = 10 if measure == "RR@10" else None
        scored = {
            query: {document: -float(rank) for rank, document in enumerate(found[:depth])}
            for query, found in run.items()
            if found
        }
        wanted = name or "recip_rank"
        # ndcg_cut_10 is asked for as ndcg_cut.10.
        stem, _, cutoff = wanted.rpartition("_")
        evaluator = pytrec_eval.RelevanceEvaluator(
            judged, {f"{stem}.{cutoff}" if cutoff.isdigit() else wanted}
        )
        told = evaluator.evaluate(scored)
        for query in judged:
            values[measure, query] = told[query][wanted] if query in told else 0.0
    return values


def largest(evaluation: Evaluation, others: Mapping[tuple[str, str], float]) -> dict[str, float]:
    """The largest difference of a query by measure."""
    return {
        measure: max(abs(value - others[measure, query]) for query, value in values.items())
        for measure, values in evaluation.per_query.items()
    }


def judge(folder: Path) -> None:
    """Build the run of one data set, judge it in three ways and print the differences."""
    texts = queries(folder)
    judged: Judgements = {}
    for split in sorted(path.stem for path in (folder / "qrels").glob("*.tsv")):
        judged |= qrels(folder, split)
    found: dict[str, list[str]] = {}
    with FaissStore.from_documents(documents(folder), NoModel()) as store:

        def bm25(query: str) -> list[Document]:
            answer = store.lexical_search(query, k=DEPTH)
            found[query] = [str(document.id) for document in answer]
            return answer

        started = time.perf_counter()
        evaluation = evaluate(RunnableLambda(bm25), texts, judged, measures=tuple(MEASURES), name="bm25")
    taken = time.perf_counter() - started
    grades = sorted({grade for documents_ in judged.values() for grade in documents_.values()})
    print(f"{folder.name}: {len(judged)} queries, relevance {grades}, asked and judged in {taken:.1f} s")
    print(evaluation)
    # By text, since some queries of scifact have the same.
    run = {query: found[texts[query]] for query in judged}
    for told, judge_ in (("ir-measures", by_ir_measures), ("trec_eval", by_trec_eval)):
        values = judge_(run, judged)
        differences = largest(evaluation, values)
        print(f"  largest difference of a query from {told}: {max(differences.values()):.1e}")
        if max(differences.values()) > AGREED:
            raise SystemExit(f"{folder.name}: {told} says something else: {differences}")
    started = time.perf_counter()
    compare([evaluation, replace(evaluation, name="the same")])
    print(f"  compared with itself in {time.perf_counter() - started:.2f} s\n")


def main(
    sets: Annotated[list[str], typer.Argument(help="Folders in --data.")],
    data: Annotated[Path, typer.Option(help="Where the data sets lie.")] = DATA,
) -> None:
    for name in sets:
        judge(data / name)


if __name__ == "__main__":
    typer.run(main)
