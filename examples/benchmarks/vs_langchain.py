"""This package next to LangChain's usual recipe for re-ranking: same weights, one process, in turns.

    python examples/benchmarks/vs_langchain.py
    python examples/benchmarks/vs_langchain.py --bundle FOLDER --json
    python examples/benchmarks/vs_langchain.py --documents 300 --queries 5 --rounds 1 --concurrent 4  # a quick look

The recipe is FAISS + HuggingFaceEmbeddings + ContextualCompressionRetriever + CrossEncoderReranker over
HuggingFaceCrossEncoder, from `pip install 'langchain-rerank-retriever[bench]'`. Both sides get the same texts, queries,
weights, lengths, number of candidates, threads and device; vectors are normalised on both. All else is the default of
either side: for the recipe batches of 32 in float32, for this package what `--backend` and `--precision` choose.

Without `--bundle` the cross-encoder is the language model under a head of random weights: as fast as any, and its
order is one that both sides must agree on, but no measure of quality. With `--bundle`, a folder that `tune` wrote for
the same data set, both sides get the bundle's models and lengths, and what its own depth is worth is measured, too.

Before queries are asked at once, what is loaded is taken out of the garbage collector's sight (`gc.freeze()`), as a
server does when it has started: torch and transformers bring half a million objects, and when the collector looks at
them all, every thread stops for up to 0.3 s, whichever side is asked.

A ratio is the median over the rounds of theirs by ours, with its quartiles; the sides swap places every round.
"""

import asyncio
import gc
import json
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import typer
from beir import DATA, documents, qrels, queries
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from sides import FETCH_K, K, Sides, Weights, of_bundle, ours_of, sides_of, untrained

from langchain_rerank_retriever import RerankRetriever, evaluate
from langchain_rerank_retriever.benchmark.speed import model_speed
from langchain_rerank_retriever.benchmark.timing import LoopWatch, Race, Spread, spread, take_turns

#: Pairs scored in bulk: enough for dozens of batches.
BULK = 256


@dataclass(frozen=True)
class Row:
    """One kind of work; `theirs` and `ours` in `unit`."""

    what: str
    unit: str
    theirs: Spread
    ours: Spread
    ratio: Spread


@dataclass(frozen=True)
class Times:
    """How often things are done: single queries, rounds of all else, queries in a batch or at once."""

    queries: int
    rounds: int
    concurrent: int


def row(what: str, race: Race, unit: str = "s") -> Row:
    scale = 1000 if unit == "ms" else 1
    theirs, ours = ([scale * seconds for seconds in side] for side in (race.theirs, race.ours))
    return Row(what, unit, spread(theirs), spread(ours), race.ratio)


def say(text: str) -> None:
    typer.echo(text, err=True)


# -- the same work on both sides -------------------------------------------------------------------------------


def work(sides: Sides, corpus: list[Document], pool: list[str], times: Times) -> dict[str, Any]:
    """Everything that needs no judgements."""
    say("indexing")
    for embeddings in (sides.recipe.embeddings, sides.embeddings):
        embeddings.embed_query(pool[0])  # pays for what is made at the first call
    built: dict[str, Any] = {}
    indexed = take_turns(
        lambda _: built.update(theirs=sides.theirs(corpus)),
        lambda _: built.update(ours=sides.ours(corpus)),
        range(times.rounds),
    )
    theirs, ours = built["theirs"], built["ours"]
    say("single queries")
    single, agreement = one_by_one(theirs, ours, pool[: times.queries])
    many = times.concurrent
    groups = [
        [pool[(number * many + one) % len(pool)] for one in range(many)] for number in range(times.rounds)
    ]
    say("batches")
    batches = take_turns(theirs.batch, ours.batch, groups)
    say("concurrent queries")
    concurrent, blocked = concurrently(theirs, ours, groups)
    say("scoring")
    scored = scoring(sides, ours, pool, times.rounds)
    return {
        "rows": [
            row(f"index of {len(corpus)} documents", indexed),
            row("one query", single, "ms"),
            row(f"batch of {many}", batches),
            row(f"{many} concurrent ainvoke", concurrent),
            scored.pop("row"),
        ],
        "event_loop_blocked_ms": blocked,
        "same_in_top_10": agreement,
        **scored,
    }


def one_by_one(theirs: BaseRetriever, ours: BaseRetriever, asked: list[str]) -> tuple[Race, float]:
    """Race of single queries, and the mean share of the documents of one side that the other returns as well."""
    theirs.invoke(asked[0])
    ours.invoke(asked[0])
    answers: dict[str, list[set[str | None]]] = {"theirs": [], "ours": []}
    race = take_turns(
        lambda query: answers["theirs"].append({one.id for one in theirs.invoke(query)}),
        lambda query: answers["ours"].append({one.id for one in ours.invoke(query)}),
        asked,
    )
    shares = [len(them & us) / len(them) for them, us in zip(answers["theirs"], answers["ours"])]
    return race, float(np.mean(shares))


def concurrently(
    theirs: BaseRetriever, ours: BaseRetriever, groups: list[list[str]]
) -> tuple[Race, dict[str, float]]:
    """Race of `ainvoke`, and the longest time either side kept its event loop from running, in milliseconds."""
    longest = {"theirs": 0.0, "ours": 0.0}

    async def ask(retriever: BaseRetriever, asked: list[str], side: str) -> None:
        async with LoopWatch() as watch:
            await asyncio.gather(*(retriever.ainvoke(query) for query in asked))
        longest[side] = max(longest[side], 1000 * watch.longest)

    gc.collect()
    gc.freeze()
    race = take_turns(
        lambda asked: asyncio.run(ask(theirs, asked, "theirs")),
        lambda asked: asyncio.run(ask(ours, asked, "ours")),
        groups,
    )
    return race, longest


def scoring(sides: Sides, ours: RerankRetriever, asked: list[str], rounds: int) -> dict[str, Any]:
    """Pairs alone: the race, shares of the machine's matrix peak, and the share of padding.

    This package has tokenised their passages before, as it has any passage that comes back.
    """
    pairs = [
        (query, candidate.document.page_content)
        for query in asked[: 1 + BULK // FETCH_K]
        for candidate in ours.explain(query).candidates
    ][:BULK]
    race = take_turns(
        lambda _: sides.recipe.cross_encoder.score(pairs), lambda _: sides.scorer.score(pairs), range(rounds)
    )
    speed = model_speed(sides.scorer, lambda: sides.scorer.score(pairs), len(pairs), rounds=rounds)
    return {
        "row": row(f"scoring {len(pairs)} pairs", race),
        "matrix_peak": dict(speed.peaks),
        "peak_share": {
            "ours": dict(speed.peak_share),
            "theirs": {name: share / race.ratio.median for name, share in speed.peak_share.items()},
        },
        "padded_share": speed.padded_share,
    }


# -- the depth that a bundle has chosen ------------------------------------------------------------------------


def depth(sides: Sides, bundle: Path, corpus: list[Document], asked: list[str]) -> list[Row]:
    """What the bundle's own depth costs, next to a depth of 100 and to recall alone."""
    say("the bundle's own depth")
    with ExitStack() as opened:
        tuned = opened_bundle(bundle, opened, sides.embeddings, sides.scorer)
        recall = tuned.model_copy(update={"reranker": None})
        theirs = sides.theirs(corpus)
        for retriever in (tuned, recall, theirs):
            retriever.invoke(asked[0])
        deep = take_turns(theirs.invoke, tuned.invoke, asked)
        reranked = take_turns(tuned.invoke, recall.invoke, asked)
    return [
        row(f"one query, depth {FETCH_K} against the bundle's {tuned.fetch_k}", deep, "ms"),
        row(f"the bundle's own query, re-ranked against recall only, depth {tuned.fetch_k}", reranked, "ms"),
    ]


def quality(
    sides: Sides, weights: Weights, bundle: Path, texts: dict[str, str], judged: dict[str, dict[str, int]]
) -> dict[str, float]:
    """nDCG@10 of the bundle: at its own depth, at a depth of 100, and with int8 in float32 as well."""
    say("judging")
    asked = {query_id: texts[query_id] for query_id in judged}

    def measured(tuned: RerankRetriever, fetch_k: int) -> float:
        return evaluate(tuned.bind(fetch_k=fetch_k), asked, judged, measures=["nDCG@10"])["nDCG@10"]

    with ExitStack() as opened:
        tuned = opened_bundle(bundle, opened, sides.embeddings, sides.scorer)
        found = {f"depth {fetch_k}": measured(tuned, fetch_k) for fetch_k in (tuned.fetch_k, FETCH_K)}
        if sides.scorer.precision == "int8":
            models = ours_of(weights, opened, sides.scorer.backend, "float32")
            whole = opened_bundle(bundle, opened, *models)
            found[f"depth {whole.fetch_k}, float32"] = measured(whole, whole.fetch_k)
    return found


def opened_bundle(bundle: Path, opened: ExitStack, embeddings: Any, scorer: Any) -> RerankRetriever:
    """The bundle's retriever with these models, returning ten documents."""
    tuned = RerankRetriever.load_local(bundle, embeddings=embeddings, reranker=scorer, read_only=True)
    opened.callback(tuned.recall.close)
    return tuned.model_copy(update={"k": K})


# -- putting it together ---------------------------------------------------------------------------------------


def table(found: dict[str, Any]) -> None:
    """Print what was found."""
    print(f"{found['setup']}\n")
    print("| | LangChain's recipe | here | ratio |\n|---|---|---|---|")
    for one in found["rows"]:
        print(f"| {one.what}, {one.unit} | {shown(one.theirs)} | {shown(one.ours)} | {shown(one.ratio)}x |")
    blocked, share = found["event_loop_blocked_ms"], found["peak_share"]
    print(f"| event loop blocked at most, ms | {blocked['theirs']:.0f} | {blocked['ours']:.0f} | |")
    for name in found["matrix_peak"]:
        print(
            f"| share of the {name} peak, scoring | {share['theirs'][name]:.2f} | {share['ours'][name]:.2f} | |"
        )
    print(f"| padded share, scoring | | {found['padded_share']:.3f} | |")
    print(f"| same documents in the top 10 | | {found['same_in_top_10']:.3f} | |")
    for name, value in found.get("nDCG@10", {}).items():
        print(f"| nDCG@10, {name} | | {value:.4f} | |")


def shown(one: Spread) -> str:
    return f"{one.median:.2f} ({one.low:.2f} to {one.high:.2f})"


def main(
    name: Annotated[str, typer.Argument(help="Folder of the data set.")] = "scifact",
    documents_: Annotated[
        int | None, typer.Option("--documents", min=FETCH_K, help="Index so many; all by default.")
    ] = None,
    queries_: Annotated[int, typer.Option("--queries", min=1, help="Asked one after the other.")] = 20,
    rounds: Annotated[int, typer.Option(min=1, help="Of everything else.")] = 3,
    concurrent: Annotated[int, typer.Option(min=1, help="Queries in a batch, and at the same time.")] = 32,
    bundle: Annotated[Path | None, typer.Option(help="Compare with the models that tune made.")] = None,
    test_queries: Annotated[int, typer.Option(min=1, help="Judge a bundle by so many at most.")] = 300,
    backend: Annotated[str, typer.Option(help="Of this package.")] = "auto",
    precision: Annotated[str, typer.Option(help="Of this package.")] = "auto",
    data: Annotated[Path, typer.Option(help="Folder of the data sets.")] = DATA,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    folder = data / name
    corpus, texts = documents(folder)[:documents_], queries(folder)
    judged = qrels(folder, "test")
    drawn = np.random.default_rng(0).permutation(sorted(judged)).tolist()
    pool = [texts[query_id] for query_id in drawn]
    with TemporaryDirectory() as scratch, ExitStack() as opened:
        say("loading")
        weights = untrained(Path(scratch)) if bundle is None else of_bundle(bundle)
        sides = sides_of(weights, opened, backend, precision)
        found: dict[str, Any] = {"setup": f"{len(corpus)} documents, {FETCH_K} candidates; {sides.setup()}"}
        found |= work(sides, corpus, pool, Times(queries_, rounds, concurrent))
        if bundle is not None:
            found["rows"] += depth(sides, bundle, corpus, pool[:queries_])
            found["judged_queries"] = min(test_queries, len(drawn))
            few = {query_id: judged[query_id] for query_id in drawn[:test_queries]}
            found["nDCG@10"] = quality(sides, weights, bundle, texts, few)
    if json_:
        print(json.dumps(found | {"rows": [asdict(one) for one in found["rows"]]}, indent=2))
    else:
        table(found)


if __name__ == "__main__":
    typer.run(main)
