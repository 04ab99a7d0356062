"""One call: tune both encoders on the user's own data, and prove on held-out queries what that brought."""

import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from langchain_core.documents import Document

from langchain_rerank_retriever import bundle
from langchain_rerank_retriever.blend import Blend
from langchain_rerank_retriever.cross_encoder import CrossEncoderScorer
from langchain_rerank_retriever.embeddings import PooledEmbeddings
from langchain_rerank_retriever.evaluation import compare
from langchain_rerank_retriever.evaluation.judge import Judge
from langchain_rerank_retriever.retriever import RerankRetriever
from langchain_rerank_retriever.store import FaissStore
from langchain_rerank_retriever.training.corpus import build_store, corpus_of, recall_tables
from langchain_rerank_retriever.training.data import TrainingData, read_training_data
from langchain_rerank_retriever.training.encoders import (
    Trainee,
    check_start,
    lists_for,
    train_bi_encoder,
    train_cross_encoder,
)
from langchain_rerank_retriever.training.fit_blend import LEAST_QUERIES, MEASURE, Tables, fit_fusion
from langchain_rerank_retriever.training.plan import Plan, scoring_seconds
from langchain_rerank_retriever.training.progress import Phases
from langchain_rerank_retriever.training.promote import promote
from langchain_rerank_retriever.training.report import SystemReport, TuningReport, verdict
from langchain_rerank_retriever.training.split import split_by_group
from langchain_rerank_retriever.training.stages import StageTable, System, served_order, with_rerank
from langchain_rerank_retriever.training.systems import (
    BASE,
    ORDER,
    TUNED,
    HeldOut,
    at_depth,
    best_depth,
    blend_of,
    cross_fitted,
    depth_curve,
    fit_systems,
    rankings,
)

MEASURES = (MEASURE, "Success@1", "Success@10", "RR@10", "R@100")

#: Weights of dense and lexical scores in hybrid recall; None fuses by rank.
Fusion = Mapping[str, float] | None

TIMED_QUERIES = 20
DEFAULT_MINUTES = 10.0


@dataclass(frozen=True, slots=True)
class TuningResult:
    """What `tune` made.

    Attributes:
        report: The figures and the verdict; printable.
        retriever: The chosen system, opened from the bundle.
        output_dir: The bundle; `RerankRetriever.load_local` opens it.
    """

    report: TuningReport
    retriever: RerankRetriever
    output_dir: Path


def tune(
    documents: Iterable[Document],
    training_data: Any,
    *,
    embeddings: Any,
    reranker: Any = "warm",
    output_dir: str | Path,
    minutes: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    held_out: Any = None,
    unknown_passages: Literal["refuse", "add"] = "refuse",
    show_progress: bool = False,
) -> TuningResult:
    """Tune a bi-encoder, a cross-encoder and their blend on your own data, and keep what proves to be better.

    Args:
        documents: The corpus; each document needs an id.
        training_data: Queries with the documents that answer them, see `read_training_data`: a `datasets.Dataset`,
            a list of dicts, or a path (JSONL, CSV, Parquet, BEIR folder) with the columns `query` and `document_id`
            or `passage`, and optionally `relevance`, `negatives`, `group`.
        embeddings: The bi-encoder to start from: a `PooledEmbeddings`, or a model name or folder.
        reranker: `"warm"` trains a cross-encoder from the tuned bi-encoder's language model; the name or folder of
            a cross-encoder (or a `CrossEncoderScorer`) fine-tunes that one; of another model, trains a new head on
            it; None tunes recall only.
        output_dir: The folder of the bundle. An earlier bundle there is replaced only when the new one is complete.
        minutes: Budget of wall time for everything; default 10. Longer only where indexing and judging alone take
            longer.
        steps: Instead of minutes: optimiser steps of each encoder. Equal steps and seed give equal models on a CPU.
        seed: Of splitting, drawing and training.
        held_out: Data in any of the same forms that only the report's figures come from. None: a fifth of the
            training queries (at most 300, split by `group`) is held out, and whatever is fitted on them is
            cross-fitted.
        unknown_passages: Whether a `passage` that is no document's text is refused or added to the documents.
        show_progress: Show bars on standard error.

    Returns:
        The report, the chosen retriever and the bundle's folder. The untuned systems are always candidates: where
        tuning does not help, the chosen one is untuned and the report says so.

    Raises:
        DataError: If documents or data cannot be used; nothing was written.
        InvalidArgumentError: If an argument is out of range.
        ModelLoadError: If a model cannot be loaded.
    """
    plan = Plan.of(minutes, steps, default_minutes=DEFAULT_MINUTES)
    check_start(reranker)
    target = Path(output_dir).resolve()
    bundle.check_target(target)
    corpus = corpus_of(documents)
    data = read_training_data(training_data, corpus, unknown_passages=unknown_passages)
    corpus |= {str(document.id): document for document in data.added}
    test = None if held_out is None else read_training_data(held_out, corpus, beir_split="test")
    train, dev = split_by_group(data, seed=seed)
    encoder = embeddings if isinstance(embeddings, PooledEmbeddings) else PooledEmbeddings(embeddings)
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{target.name}.tuning-", dir=target.parent))
    try:
        with Phases(show=show_progress) as phases:
            return _Tuning(corpus, train, dev, test, plan, phases, work, seed).run(encoder, reranker, target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


class _Tuning:
    """One run of `tune`, phase by phase."""

    def __init__(
        self,
        corpus: dict[str, Document],
        train: TrainingData,
        dev: TrainingData,
        test: TrainingData | None,
        plan: Plan,
        phases: Phases,
        work: Path,
        seed: int,
    ) -> None:
        self._corpus, self._train, self._dev, self._test = corpus, train, dev, test
        self._plan, self._phases, self._work, self._seed = plan, phases, work, seed
        self._texts = {key: document.page_content for key, document in corpus.items()}
        self._training: dict[str, Any] = {}
        # The queries that fit and the queries that only report, under names that cannot collide.
        self._queries = {f"dev {key}": text for key, text in dev.queries.items()}
        if test is not None:
            self._queries |= {f"test {key}": text for key, text in test.queries.items()}

    def run(self, encoder: PooledEmbeddings, reranker: Any, target: Path) -> TuningResult:
        base_store, base = self._index("untuned", encoder)
        tuned_encoder = self._train_bi_encoder(encoder, cross_encoder_too=reranker is not None)
        tuned_store, tuned = self._index("tuned", tuned_encoder)
        # Stage two builds on the bi-encoder that is the better one, which may be the untuned one.
        store, serving = tuned_store, tuned
        if not self._gained(base, tuned):
            store, serving = base_store, base
        fusion = fit_fusion(_part(serving, "dev "), self._dev.qrels)
        scorer = None
        if reranker is not None:
            scorer = self._train_cross_encoder(reranker, store, fusion)
            serving = self._rerank(serving, scorer, fusion)
        parts = _Parts(base_store, tuned_store, store, scorer, fusion)
        return self._conclude(parts, base, tuned, serving, target)

    # -- the phases --------------------------------------------------------------------------------------------

    def _index(self, label: str, encoder: PooledEmbeddings) -> tuple[FaissStore, Tables]:
        with self._phases.phase(f"index, {label}") as update:
            store = build_store(list(self._corpus.values()), encoder, self._work / label, update)
        with self._phases.phase(f"recall, {label}") as update:
            return store, recall_tables(store, self._queries, update)

    def _train_bi_encoder(self, encoder: PooledEmbeddings, *, cross_encoder_too: bool) -> PooledEmbeddings:
        needed = self._seconds("index, untuned") + self._seconds("recall, untuned")
        needed += self._scoring_seconds() + self._seconds("recall, untuned") if cross_encoder_too else 0.0
        budget = self._plan.bi_encoder(still_needed=needed, cross_encoder_too=cross_encoder_too)
        trainee = Trainee(self._work / "bi_encoder", budget, self._seed)
        with self._phases.phase("train bi-encoder") as update:
            tuned, fitted = train_bi_encoder(encoder, self._train, self._texts, trainee, update)
        self._training["bi_encoder"] = asdict(fitted) | {"seconds": self._seconds("train bi-encoder")}
        return tuned

    def _train_cross_encoder(self, reranker: Any, store: FaissStore, fusion: Fusion) -> CrossEncoderScorer:
        budget = self._plan.cross_encoder(still_needed=self._scoring_seconds())
        trainee = Trainee(self._work / "cross_encoder", budget, self._seed)
        with self._phases.phase("mine hard negatives") as update:
            lists = lists_for(store, self._train, self._texts, trainee, fusion, update)
        budget = self._plan.cross_encoder(still_needed=self._scoring_seconds())
        trainee = Trainee(self._work / "cross_encoder", budget, self._seed)
        with self._phases.phase("train cross-encoder") as update:
            folder = self._work / "bi_encoder"
            scorer, fitted = train_cross_encoder(reranker, folder, lists, trainee, update)
        self._training["cross_encoder"] = asdict(fitted) | {"seconds": self._seconds("train cross-encoder")}
        return scorer

    def _rerank(self, tables: Tables, scorer: CrossEncoderScorer, fusion: Fusion) -> dict[str, StageTable]:
        reranked: dict[str, StageTable] = {}
        depth = self._depth()
        recalls = (System("", depth=depth), System("", mode="hybrid", depth=depth, fusion=fusion))
        with self._phases.phase("re-rank held-out queries") as update:
            for key, table in tables.items():
                query = self._queries[key]
                reranked[key] = with_rerank(table, query, self._texts, scorer.score, recalls)
                update(len(reranked) / len(tables))
        return reranked

    def _seconds(self, phase: str) -> float:
        return self._phases.seconds[phase]

    def _pair_seconds(self) -> float:
        """Estimate what scoring a pair takes: about as much as indexing a document did."""
        return self._seconds("index, untuned") / len(self._corpus)

    def _depth(self) -> int:
        return self._plan.judged_depth(queries=len(self._queries), pair_seconds=self._pair_seconds())

    def _scoring_seconds(self) -> float:
        return scoring_seconds(len(self._queries), self._depth(), self._pair_seconds())

    # -- the decision ------------------------------------------------------------------------------------------

    def _gained(self, base: Tables, tuned: Tables) -> bool:
        """Tell whether tuning the bi-encoder helped its own recall, by the rule for all promotions."""
        judge = Judge(self._dev.qrels, (MEASURE,))
        values = {
            name: judge(
                {key: served_order(one, System(name)) for key, one in _part(tables, "dev ").items()}
            ).per_query[MEASURE]
            for name, tables in ((BASE, base), (TUNED, tuned))
        }
        return promote(values, (BASE, TUNED), seed=self._seed)[0] == TUNED

    def _conclude(
        self, parts: "_Parts", base: Tables, tuned: Tables, serving: Tables, target: Path
    ) -> TuningResult:
        depth, reranked = self._depth(), parts.scorer is not None
        dev = HeldOut(self._dev.qrels, *(_part(tables, "dev ") for tables in (base, tuned, serving)))
        fit = partial(fit_systems, depth=depth, reranked=reranked, fusion=parts.fusion)
        fitted_on_dev = cross_fitted(dev, lambda part: fit(part)[1], seed=self._seed)
        judge = Judge(self._dev.qrels, MEASURES)
        evaluations = {name: judge(ranked, name=name) for name, ranked in fitted_on_dev.items()}
        order = [name for name in ORDER if name in evaluations]
        values = {name: evaluations[name].per_query[MEASURE] for name in order}
        chosen, decisions = promote(values, order, seed=self._seed)
        with self._phases.phase("fit the blend"):
            blend, found = fit(dev)
        curve = depth_curve(found[chosen], dev)
        if curve:
            found = {
                name: at_depth(one, best_depth(curve)) if one.reranked else one for name, one in found.items()
            }
        if self._test is not None:
            test = HeldOut(self._test.qrels, *(_part(tables, "test ") for tables in (base, tuned, serving)))
            judge = Judge(self._test.qrels, MEASURES)
            evaluations = {name: judge(ranked, name=name) for name, ranked in rankings(found, test).items()}
        retrievers = {name: parts.retriever(found[name], blend) for name in order}
        with self._phases.phase("time queries"):
            latency = {name: self._latency(retriever) for name, retriever in retrievers.items()}
        comparison = compare([evaluations[name] for name in order], seed=self._seed)
        report = TuningReport(
            systems=[SystemReport(name, dict(evaluations[name].means), latency[name]) for name in order],
            chosen=chosen,
            held_out_queries=evaluations[chosen].queries,
            verdict=verdict(chosen, decisions, evaluations, few=len(self._dev.queries) < LEAST_QUERIES),
            decisions=decisions,
            depth_curve=curve,
            blend=None if blend is None else blend.to_dict(),
            training=self._training,
            data={
                "documents": len(self._corpus),
                "training_queries": len(self._train.queries),
                "fitting_queries": len(self._dev.queries),
                "held_out_queries": evaluations[chosen].queries,
            },
            comparison=comparison.to_dict(),
            seconds=self._phases.seconds,
        )
        retriever = self._save(retrievers[chosen], report, target)
        parts.close()
        return TuningResult(report, retriever, target)

    def _latency(self, retriever: RerankRetriever) -> dict[str, float]:
        queries = list(self._queries.values())[-TIMED_QUERIES:]
        retriever.invoke(queries[0])  # the first query pays for what is made on first use
        milliseconds = [1000 * retriever.explain(query).seconds["total"] for query in queries]
        p50, p95 = np.percentile(milliseconds, [50, 95])
        return {"p50": round(float(p50), 2), "p95": round(float(p95), 2)}

    def _save(self, retriever: RerankRetriever, report: TuningReport, target: Path) -> RerankRetriever:
        with self._phases.phase("save the bundle"):
            retriever.with_report(report.to_dict()).save_local(target)
            return RerankRetriever.load_local(target)


@dataclass(frozen=True, slots=True)
class _Parts:
    """The stores and the cross-encoder that the systems are put together from."""

    base_store: FaissStore
    tuned_store: FaissStore
    serving_store: FaissStore
    scorer: CrossEncoderScorer | None
    fusion: Fusion

    def retriever(self, system: System, blend: Blend | None) -> RerankRetriever:
        """Set up the retriever that a system describes."""
        store = {"base": self.base_store, "tuned": self.tuned_store, "serving": self.serving_store}[
            system.encoder
        ]
        return RerankRetriever(
            store,
            reranker=self.scorer if system.reranked else None,
            fetch_k=system.depth,
            recall_mode=system.mode,
            blend=blend_of(system.name, blend),
        )

    def close(self) -> None:
        """Close what the bundle has its own copy of."""
        for store in {id(store): store for store in (self.base_store, self.tuned_store)}.values():
            store.close()
        if self.scorer is not None:
            self.scorer.close()


def _part(tables: Tables, prefix: str) -> dict[str, StageTable]:
    return {key.removeprefix(prefix): table for key, table in tables.items() if key.startswith(prefix)}
