"""`langchain-rerank evaluate`."""

import hashlib
import math
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from langchain_rerank_retriever.bundle_folder import MANIFEST
from langchain_rerank_retriever.bundled_model import Placed
from langchain_rerank_retriever.cli.opening import opened_bundle
from langchain_rerank_retriever.cli.output import print_json, print_text
from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.evaluation import (
    DEFAULT_MEASURES,
    Attribution,
    Evaluation,
    Gate,
    attribute,
    check_gate,
    html_report,
    judge_run,
    load_evaluation,
    read_beir_qrels,
    read_beir_queries,
    read_qrels,
    read_queries,
    save_evaluation,
    write_run,
)
from langchain_rerank_retriever.evaluation import evaluate as ask_and_judge
from langchain_rerank_retriever.evaluation.attribution.fates import Indexed
from langchain_rerank_retriever.evaluation.measures import parse_measures
from langchain_rerank_retriever.retriever import RerankRetriever
from langchain_rerank_retriever.store import FaissStore
from langchain_rerank_retriever.tables import as_markdown

#: What a document is lost from, where `--k` does not say.
LOST_BELOW = 10

#: A comma or blank between measures; not within brackets, as in `nDCG(dcg='exp-log2',cutoff=10)`.
_BETWEEN = re.compile(r"[,\s]+(?![^(]*\))")

#: What only the saved form has: a number or more for every query.
_BULKY = ("per_query", "ranking", "seconds", "qrels", "query_texts", "traces")

Qrels = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """Where queries and judgements are: in a BEIR folder, or in two files."""

    beir: Path | None
    split: str
    queries: Path | None
    qrels: Path | None

    def read_qrels(self) -> Qrels:
        """Read the judgements."""
        if (self.beir is None) == (self.qrels is None):
            raise InvalidArgumentError("Expected either --beir FOLDER, or --queries FILE with --qrels FILE.")
        if self.beir is not None:
            return read_beir_qrels(self.beir, self.split)
        return read_qrels(self.qrels) if self.qrels is not None else {}

    def read_queries(self, qrels: Qrels) -> Mapping[str, str]:
        """Read the queries; of a BEIR folder those of the split alone, as one file holds those of all splits."""
        if self.queries is not None:
            return read_queries(self.queries)
        if self.beir is None:
            raise InvalidArgumentError("A bundle is asked: expected --queries FILE beside --qrels.")
        return {key: text for key, text in read_beir_queries(self.beir).items() if key in qrels}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """How a bundle is asked; None leaves it to the bundle."""

    k: int | None
    fetch_k: int | None
    recall_mode: str | None
    run_file: Path | None
    placed: Placed = field(default_factory=Placed)

    def arguments(self) -> dict[str, Any]:
        """Return those for the retriever."""
        given = {"k": self.k, "fetch_k": self.fetch_k, "recall_mode": self.recall_mode}
        return {name: value for name, value in given.items() if value is not None}

    def name_of(self, bundle: Path) -> str:
        """Name a bundle asked that way, so that it is not taken for the same asked in another."""
        given = ", ".join(
            f"{name}={value}" for name, value in {**self.arguments(), **self.placed.given()}.items()
        )
        return bundle.resolve().name + (f" ({given})" if given else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is measured, and what must hold.

    Attributes:
        measures: Names of measures.
        floors: Lowest mean that will do, by measure.
        baseline: What must not be significantly better.
        against: Where it was read from.
    """

    measures: tuple[str, ...]
    floors: Mapping[str, float] = field(default_factory=dict)
    baseline: Evaluation | None = None
    against: Path | None = None

    @classmethod
    def of(cls, measures: str | None, fail_below: list[str], against: Path | None) -> "Wanted":
        """Read it from the options; measures of the baseline and of the floors are measured, too."""
        baseline = None if against is None else load_evaluation(against)
        floors = dict(map(_floor, fail_below))
        named: tuple[str, ...] = DEFAULT_MEASURES if baseline is None else tuple(baseline.means)
        if measures is not None:
            named = tuple(_BETWEEN.split(measures.strip(", ")))
        # Unknown ones are found before a model is loaded.
        measured = tuple(parse_measures((*named, *floors)))
        return cls(measures=measured, floors=floors, baseline=baseline, against=against)

    def gate(self, evaluation: Evaluation) -> Gate | None:
        """Check what must hold; None where nothing must."""
        if not self.floors and self.baseline is None:
            return None
        return check_gate(evaluation, fail_below=self.floors, against=self.baseline)


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """Where the outcome goes besides standard output, and how it is printed there."""

    save: Path | None
    trec_run: Path | None
    html: Path | None
    markdown: bool
    as_json: bool


def run(system: Path, data: Data, asking: Asking, wanted: Wanted, output: Output, name: str | None) -> bool:
    """Evaluate, keep and print; tell whether the gate let it pass."""
    _check(output, wanted.against)
    with ExitStack() as opened:
        if system.is_file():
            evaluation, indexed = _judged(system, data, asking, wanted, name), None
        else:
            evaluation, indexed = _asked(system, data, asking, wanted, name, opened)
        # Kept before anything else can fail: it may have taken long.
        if output.save is not None:
            save_evaluation(evaluation, output.save)
        attribution = attribute(evaluation, k=asking.k or LOST_BELOW, indexed=indexed)
        gate = wanted.gate(evaluation)
    _print(evaluation, attribution, gate, output)
    if output.html is not None:
        html_report(evaluation, output.html, attributions=[attribution])
    # Last, since the format has no place for some ids.
    if output.trec_run is not None:
        write_run(output.trec_run, evaluation.ranking, name=evaluation.name)
    return gate is None or gate.passed


def _check(output: Output, against: Path | None) -> None:
    if output.markdown and output.as_json:
        raise InvalidArgumentError("Expected one of --markdown and --json, got both.")
    if against is not None and output.save is not None and output.save.resolve() == against.resolve():
        raise InvalidArgumentError(
            f"--save and --against are both {against}: a worse system would replace what it is held against, and pass "
            "the next time. Save to another file, and move it there once the gate has passed."
        )


def _judged(path: Path, data: Data, asking: Asking, wanted: Wanted, name: str | None) -> Evaluation:
    if asking.arguments() or asking.placed.given() or asking.run_file is not None:
        raise InvalidArgumentError(
            f"{path} is a run file, which is judged as it is; --k, --fetch-k, --recall-mode, --run-file and how models "
            "run are for asking a bundle."
        )
    qrels = data.read_qrels()
    evaluation = judge_run(path, qrels, wanted.measures, name=name)
    if data.beir is None and data.queries is None:
        return evaluation
    # For the report, which shows what the worst queries were.
    texts = data.read_queries(qrels)
    return replace(evaluation, query_texts={key: texts[key] for key in evaluation.ranking if key in texts})


def _asked(
    bundle: Path, data: Data, asking: Asking, wanted: Wanted, name: str | None, opened: ExitStack
) -> tuple[Evaluation, Indexed | None]:
    # Files are read first: loading models takes seconds.
    qrels = data.read_qrels()
    queries = data.read_queries(qrels)
    retriever = opened_bundle(bundle, opened, asking.placed)
    evaluation = ask_and_judge(
        retriever.bind(**asking.arguments()),
        queries,
        qrels,
        measures=wanted.measures,
        name=asking.name_of(bundle) if name is None else name,
        run_file=asking.run_file,
        state="" if asking.run_file is None else _state(bundle, retriever),
        show_progress=sys.stderr.isatty(),
    )
    return evaluation, retriever.recall.get_by_ids if isinstance(retriever.recall, FaissStore) else None


def _state(bundle: Path, retriever: RerankRetriever) -> str:
    """Tell a bundle from what it was before another tuning or indexing."""
    manifest = hashlib.sha256((bundle / MANIFEST).read_bytes()).hexdigest()[:16]
    held = f", documents {retriever.recall.revision}" if isinstance(retriever.recall, FaissStore) else ""
    return f"bundle {manifest}{held}"


def _floor(option: str) -> tuple[str, float]:
    measure, _, text = option.rpartition("=")
    try:
        floor = float(text)
    except ValueError:
        floor = math.nan
    if not math.isfinite(floor):
        raise InvalidArgumentError(
            f"--fail-below expects a measure and a number, such as nDCG@10=0.70, got {option!r}."
        )
    return measure.strip(), floor


def _print(evaluation: Evaluation, attribution: Attribution, gate: Gate | None, output: Output) -> None:
    if output.as_json:
        summary = {key: value for key, value in evaluation.to_dict().items() if key not in _BULKY}
        judged = None if gate is None else gate.to_dict()
        print_json(summary | {"attribution": attribution.to_dict(), "gate": judged})
        return
    parts = [str(evaluation), str(attribution)]
    if output.markdown:
        parts = list(_markdown(evaluation, attribution))
    if gate is not None:
        lines = str(gate).splitlines()
        # Markdown would run them together.
        parts.append("\n".join(f"- {line}" for line in lines) if output.markdown else "\n".join(lines))
    print_text("\n\n".join(parts))


def _markdown(evaluation: Evaluation, attribution: Attribution) -> Iterator[str]:
    """Give paragraphs and tables, with all that the plain text says."""
    yield f"{evaluation.name}: {evaluation.counts}"
    yield _table(evaluation)
    yield from evaluation.notes
    yield as_markdown(attribution.table())
    yield from attribution.words


def _table(evaluation: Evaluation) -> str:
    header = ["", "mean", "95% interval", "not judged"]
    unjudged = {measure: f"{share:.0%}" for measure, share in evaluation.unjudged_documents.items()}
    rows = [
        [
            measure,
            f"{mean:.4f}",
            "{:.4f} to {:.4f}".format(*evaluation.intervals[measure]),
            unjudged.get(measure, ""),
        ]
        for measure, mean in evaluation.means.items()
    ]
    rows += [
        [f"milliseconds a query, {name}", f"{value:.1f}", "", ""]
        for name, value in evaluation.latency_ms.get("total", {}).items()
    ]
    return as_markdown([header, *rows])
