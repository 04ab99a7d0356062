"""The phases of a tuning run, in order."""

from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from langchain_rerank_retriever.blend import Blend
from langchain_rerank_retriever.cross_encoder import CrossEncoderScorer
from langchain_rerank_retriever.embeddings import PooledEmbeddings
from langchain_rerank_retriever.evaluation import compare
from langchain_rerank_retriever.evaluation.judge import Judge
from langchain_rerank_retriever.retriever import RerankRetriever
from langchain_rerank_retriever.store import FaissStore
from langchain_rerank_retriever.training.fit.encoders import (
    Trainee,
    lists_for,
    train_bi_encoder,
    train_cross_encoder,
)
from langchain_rerank_retriever.training.indexing import fill_store, recall_tables
from langchain_rerank_retriever.training.inputs import DEV, TEST, Inputs, part
from langchain_rerank_retriever.training.plan import Plan, scoring_seconds
from langchain_rerank_retriever.training.progress import Phases
from langchain_rerank_retriever.training.proof.decide import Fusion, Outcome, decide
from langchain_rerank_retriever.training.proof.fit_blend import LEAST_QUERIES, MEASURE, Tables, fit_fusion
from langchain_rerank_retriever.training.proof.promote import promote
from langchain_rerank_retriever.training.proof.report import SystemReport, TuningReport, verdict
from langchain_rerank_retriever.training.proof.stages import StageTable, System, served_order, with_rerank
from langchain_rerank_retriever.training.proof.systems import BASE, TUNED, HeldOut, blend_of

TIMED_QUERIES = 20


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


class Tuning:
    """One run of `tune`.

    Args:
        inputs: Documents and queries.
        plan: The promised time.
        phases: Times and shows the phases.
        work: A folder for what is made on the way; the caller removes it.
        opened: Closes the stores and models that are opened on the way, however the run ends.
    """

    def __init__(self, inputs: Inputs, plan: Plan, phases: Phases, work: Path, opened: ExitStack) -> None:
        self._inputs, self._plan, self._phases, self._work = inputs, plan, phases, work
        self._opened = opened
        self._texts, self._queries = inputs.texts, inputs.queries
        self._training: dict[str, Any] = {}

    def run(self, encoder: PooledEmbeddings, reranker: Any, target: Path) -> TuningResult:
        """Index, train, index again, re-rank, decide, save."""
        base_store, base = self._index("untuned", encoder)
        tuned_encoder = self._train_bi_encoder(encoder, cross_encoder_too=reranker is not None)
        tuned_store, tuned = self._index("tuned", tuned_encoder)
        # Stage two builds on the bi-encoder that is the better one, which may be the untuned one.
        store, serving = (tuned_store, tuned) if self._gained(base, tuned) else (base_store, base)
        fusion = fit_fusion(part(serving, DEV), self._inputs.dev.qrels)
        scorer = None
        if reranker is not None:
            scorer = self._train_cross_encoder(reranker, store, fusion)
            serving = self._rerank(serving, scorer, fusion)
        parts = _Parts(base_store, tuned_store, store, scorer)
        outcome = self._decide((base, tuned, serving), reranked=scorer is not None, fusion=fusion)
        return self._ship(parts, outcome, target)

    # -- the phases --------------------------------------------------------------------------------------------

    def _index(self, label: str, encoder: PooledEmbeddings) -> tuple[FaissStore, Tables]:
        with self._phases.phase(f"index, {label}") as update:
            store = self._opened.enter_context(FaissStore(encoder, path=self._work / label))
            fill_store(store, list(self._inputs.corpus.values()), update)
        with self._phases.phase(f"recall, {label}") as update:
            return store, recall_tables(store, self._queries, update)

    def _train_bi_encoder(self, encoder: PooledEmbeddings, *, cross_encoder_too: bool) -> PooledEmbeddings:
        needed = self._seconds("index, untuned") + self._seconds("recall, untuned")
        if cross_encoder_too:
            needed += self._scoring_seconds()
        budget = self._plan.bi_encoder(epoch_steps=1, still_needed=needed, cross_encoder_too=cross_encoder_too)
        trainee = Trainee(self._work / "bi_encoder", budget, self._inputs.seed)
        with self._phases.phase("train bi-encoder") as update:
            tuned, fitted = train_bi_encoder(encoder, self._inputs.train, self._texts, trainee, update)
        self._opened.enter_context(tuned)
        self._training["bi_encoder"] = asdict(fitted) | {"seconds": self._seconds("train bi-encoder")}
        return tuned

    def _train_cross_encoder(self, reranker: Any, store: FaissStore, fusion: Fusion) -> CrossEncoderScorer:
        def trainee() -> Trainee:
            budget = self._plan.cross_encoder(epoch_steps=1, still_needed=self._scoring_seconds())
            return Trainee(self._work / "cross_encoder", budget, self._inputs.seed)

        with self._phases.phase("mine hard negatives") as update:
            lists = lists_for(store, self._inputs.train, self._texts, trainee(), fusion, update)
        with self._phases.phase("train cross-encoder") as update:
            folder = self._work / "bi_encoder"
            scorer, fitted = train_cross_encoder(reranker, folder, lists, trainee(), update)
        self._opened.enter_context(scorer)
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
        return self._seconds("index, untuned") / len(self._inputs.corpus)

    def _depth(self) -> int:
        return self._plan.judged_depth(queries=len(self._queries), pair_seconds=self._pair_seconds())

    def _scoring_seconds(self) -> float:
        return scoring_seconds(len(self._queries), self._depth(), self._pair_seconds())

    # -- the decision ------------------------------------------------------------------------------------------

    def _gained(self, base: Tables, tuned: Tables) -> bool:
        """Tell whether tuning the bi-encoder helped its own recall, by the rule for all promotions."""
        judge = Judge(self._inputs.dev.qrels, (MEASURE,))
        values = {}
        for name, tables in ((BASE, base), (TUNED, tuned)):
            orders = {key: served_order(table, System(name)) for key, table in part(tables, DEV).items()}
            values[name] = judge(orders).per_query[MEASURE]
        return promote(values, (BASE, TUNED), seed=self._inputs.seed)[0] == TUNED

    def _decide(self, tables: tuple[Tables, Tables, Tables], *, reranked: bool, fusion: Fusion) -> Outcome:
        dev = HeldOut(self._inputs.dev.qrels, *(part(one, DEV) for one in tables))
        test = None
        if self._inputs.test is not None:
            test = HeldOut(self._inputs.test.qrels, *(part(one, TEST) for one in tables))
        with self._phases.phase("fit the blend and decide"):
            return decide(
                dev,
                test,
                depth=self._depth(),
                reranked=reranked,
                fusion=fusion,
                seed=self._inputs.seed,
            )

    # -- what comes out ----------------------------------------------------------------------------------------

    def _ship(self, parts: "_Parts", outcome: Outcome, target: Path) -> TuningResult:
        retrievers = {name: parts.retriever(one, outcome.blend) for name, one in outcome.systems.items()}
        with self._phases.phase("time queries"):
            latency = {name: self._latency(retriever) for name, retriever in retrievers.items()}
        report = self._report(outcome, latency)
        with self._phases.phase("save the bundle"):
            retrievers[outcome.chosen].with_report(report.to_dict()).save_local(target)
        return TuningResult(report, RerankRetriever.load_local(target), target)

    def _report(self, outcome: Outcome, latency: dict[str, dict[str, float]]) -> TuningReport:
        evaluations, inputs = outcome.evaluations, self._inputs
        held_out = evaluations[outcome.chosen].queries
        few = len(inputs.dev.queries) < LEAST_QUERIES
        return TuningReport(
            systems=[
                SystemReport(name, dict(evaluations[name].means), latency[name]) for name in outcome.systems
            ],
            chosen=outcome.chosen,
            held_out_queries=held_out,
            verdict=verdict(outcome.chosen, outcome.decisions, evaluations, few=few),
            decisions=outcome.decisions,
            depth_curve=outcome.curve,
            blend=None if outcome.blend is None else outcome.blend.to_dict(),
            training=self._training,
            data={
                "documents": len(inputs.corpus),
                "training_queries": len(inputs.train.queries),
                "fitting_queries": len(inputs.dev.queries),
                "held_out_queries": held_out,
            },
            comparison=compare(list(evaluations.values()), seed=inputs.seed).to_dict(),
            seconds=dict(self._phases.seconds),
        )

    def _latency(self, retriever: RerankRetriever) -> dict[str, float]:
        queries = list(self._queries.values())[-TIMED_QUERIES:]
        retriever.invoke(queries[0])  # the first query pays for what is made on first use
        milliseconds = [1000 * retriever.explain(query).seconds["total"] for query in queries]
        p50, p95 = np.percentile(milliseconds, [50, 95])
        return {"p50": round(float(p50), 2), "p95": round(float(p95), 2)}


@dataclass(frozen=True, slots=True)
class _Parts:
    """The stores and the cross-encoder that the systems are put together from."""

    base_store: FaissStore
    tuned_store: FaissStore
    serving_store: FaissStore
    scorer: CrossEncoderScorer | None

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
