"""The phases of a tuning run, in order."""

from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from langchain_rerank_retriever.cross_encoder import CrossEncoderScorer
from langchain_rerank_retriever.embeddings import PooledEmbeddings
from langchain_rerank_retriever.evaluation import compare
from langchain_rerank_retriever.retriever import RerankRetriever
from langchain_rerank_retriever.store import FaissStore
from langchain_rerank_retriever.tables import as_paragraphs
from langchain_rerank_retriever.training.describe import describe
from langchain_rerank_retriever.training.encoder_runs import EncoderRuns
from langchain_rerank_retriever.training.fit.cross_encoder import LISTS_PER_STEP
from langchain_rerank_retriever.training.fit.distil import LISTS_PER_STEP as LISTS_PER_DISTILLATION_STEP
from langchain_rerank_retriever.training.fit.encoders import (
    distil,
    lists_for,
    train_bi_encoder,
    train_cross_encoder,
)
from langchain_rerank_retriever.training.fit.mining import Mined
from langchain_rerank_retriever.training.fit.schedule import Budget
from langchain_rerank_retriever.training.fit.trainer import Fitted, Training
from langchain_rerank_retriever.training.indexing import (
    fill_store,
    recall_tables,
    warns_of_long_indexing,
)
from langchain_rerank_retriever.training.inputs import DEV, Inputs, part
from langchain_rerank_retriever.training.judging import Judging
from langchain_rerank_retriever.training.plan import Plan
from langchain_rerank_retriever.training.progress import Phases
from langchain_rerank_retriever.training.proof.decide import Fusion, Outcome
from langchain_rerank_retriever.training.proof.fit_blend import LEAST_QUERIES, Tables, fit_fusion
from langchain_rerank_retriever.training.proof.report import SystemReport, TuningReport, verdict
from langchain_rerank_retriever.training.run_folder import RunFolder
from langchain_rerank_retriever.training.shipping import Parts, latency

BI_ENCODER, NEGATIVES, CROSS_ENCODER = "bi_encoder", "hard_negatives", "cross_encoder"
DISTILLED = "distilled_bi_encoder"


@dataclass(frozen=True, slots=True, repr=False)
class TuningResult:
    """What `tune` made; a notebook shows its report.

    Attributes:
        report: The figures and the verdict; printable.
        retriever: The chosen system, opened from the bundle.
        output_dir: The bundle; `RerankRetriever.load_local` opens it.
    """

    report: TuningReport
    retriever: RerankRetriever
    output_dir: Path

    def __repr__(self) -> str:
        return f"<TuningResult in {str(self.output_dir)!r}: {self.report!r}>"

    def _repr_html_(self) -> str:
        """Show the report and the bundle's name in a notebook."""
        # Not its whole path: notebooks are passed on, and folders have the names of people.
        where = f"The bundle is the folder {self.output_dir.name}."
        return f"{self.report._repr_html_()}\n{as_paragraphs([where])}"


class Tuning:
    """One run of `tune`.

    Args:
        inputs: Documents, queries and recipe.
        plan: The promised time.
        phases: Times and shows the phases.
        run: Holds what is made on the way; what is already whole in it is not made again.
        opened: Closes the stores and models that are opened on the way, however the run ends.
    """

    def __init__(self, inputs: Inputs, plan: Plan, phases: Phases, run: RunFolder, opened: ExitStack) -> None:
        self._inputs, self._plan, self._phases, self._run = inputs, plan, phases, run
        self._opened = opened
        self._runs = EncoderRuns(run, plan, phases, inputs.recipe, inputs.seed)
        self._texts, self._queries = inputs.texts, inputs.queries
        self._judging = Judging(inputs, plan, phases)
        self._index_seconds = 0.0
        self._warnings: list[str] = []

    def go(self, encoder: PooledEmbeddings, reranker: Any, target: Path) -> TuningResult:
        """Index, train, index again, re-rank, decide, save."""
        base_store, base = self._index("untuned", encoder, first=True)
        with self._phases.phase("describe the data"):
            self._card = describe(self._inputs, base, encoder)
            # A cross-encoder that is not there yet will be as fast as the bi-encoder is with texts of that length.
            self._judging.time(reranker if isinstance(reranker, CrossEncoderScorer) else encoder, base)
        trained, reranker = self._affordable(reranker)
        tuned_encoder, tuned_store, tuned = encoder, base_store, base
        if trained:
            tuned_encoder = self._train_bi_encoder(encoder, cross_encoder_too=reranker is not None)
            tuned_store, tuned = self._index("tuned", tuned_encoder)
        # Stage two builds on the bi-encoder that is the better one, which may be the untuned one.
        better = self._judging.gained(base, tuned)
        store, serving = (tuned_store, tuned) if better else (base_store, base)
        fusion = fit_fusion(part(serving, DEV), self._inputs.dev.qrels)
        scorer = None
        if reranker is not None and not self._runs.ended_early:
            scorer = self._train_cross_encoder(reranker, tuned_encoder, store, fusion)
            distilled = self._distil(tuned_encoder, scorer, serving)
            if distilled is not None:
                tuned_store, tuned = store, serving = distilled
                fusion = fit_fusion(part(serving, DEV), self._inputs.dev.qrels)
            serving = self._judging.rerank(serving, scorer, fusion)
        parts = Parts(base_store, tuned_store, store, scorer)
        outcome = self._judging.decide(
            (base, tuned, serving), encoder, reranked=scorer is not None, fusion=fusion
        )
        return self._ship(parts, outcome, target)

    # -- indexing ----------------------------------------------------------------------------------------------

    def _index(
        self, label: str, encoder: PooledEmbeddings, *, first: bool = False
    ) -> tuple[FaissStore, Tables]:
        with self._phases.phase(f"index, {label}") as update:
            store = self._opened.enter_context(FaissStore(encoder, path=self._run.path(label)))
            started, already = monotonic(), len(store)
            told = warns_of_long_indexing(self._plan, update) if first else update
            fill_store(store, list(self._inputs.corpus.values()), told)
        timed = self._run.facts(f"{label}.timed")
        if timed is None:
            # Noted, because a run that goes on from this one finds the documents indexed and has nothing to time.
            added = max(1, len(store) - already)
            seconds = (monotonic() - started) * len(store) / added
            with self._run.writing(f"{label}.timed") as part_:
                part_.facts.update(seconds=seconds, elapsed=self._plan.elapsed)
            timed = part_.facts
        self._index_seconds = timed["seconds"]
        with self._phases.phase(f"recall, {label}") as update:
            return store, recall_tables(store, self._queries, update)

    # -- training ----------------------------------------------------------------------------------------------

    def _train_bi_encoder(self, encoder: PooledEmbeddings, *, cross_encoder_too: bool) -> PooledEmbeddings:
        def budget() -> Budget:
            needed = self._indexing_again()
            if cross_encoder_too:
                needed += self._after_cross_encoder()
            pairs = sum(len(self._inputs.train.positives(key)) for key in self._inputs.train.queries)
            return self._plan.bi_encoder(
                epoch_steps=pairs / self._inputs.recipe.batch_size,
                still_needed=needed,
                cross_encoder_too=cross_encoder_too,
            )

        def train(training: Training) -> Fitted:
            return train_bi_encoder(encoder, self._inputs.train, self._texts, training)

        if self._run.facts(BI_ENCODER) is None:
            self._run.forget("tuned")  # of another bi-encoder than the one that is trained now
        folder = self._runs.train(BI_ENCODER, budget, train)
        return self._opened.enter_context(PooledEmbeddings(folder, normalize=encoder.normalize))

    def _train_cross_encoder(
        self, reranker: Any, bi_encoder: PooledEmbeddings, store: FaissStore, fusion: Fusion
    ) -> CrossEncoderScorer:
        mined = self._mine(reranker, store, fusion)

        def train(training: Training) -> Fitted:
            return train_cross_encoder(reranker, bi_encoder, mined, training)

        folder = self._runs.train(CROSS_ENCODER, self._cross_encoder_budget, train)
        return self._opened.enter_context(CrossEncoderScorer(folder))

    def _cross_encoder_budget(self) -> Budget:
        return self._plan.cross_encoder(
            epoch_steps=len(self._inputs.train.queries) / LISTS_PER_STEP,
            still_needed=self._after_cross_encoder(),
            distillation_too=self._inputs.recipe.distill is not None,
        )

    def _affordable(self, reranker: Any) -> tuple[bool, Any]:
        """Decide which encoders to train, once, also for the runs that go on from this one.

        Returns:
            Whether to train the bi-encoder, and what the cross-encoder starts from; None is not to train one.
        """
        facts = self._run.facts("plan")
        if facts is None:
            judging = 0.0 if reranker is None else self._after_cross_encoder()
            with self._run.writing("plan") as part_:
                both = self._plan.affordable(indexing=self._indexing_again(), judging=judging)
                part_.facts.update(bi_encoder=both[0], cross_encoder=both[1], elapsed=self._plan.elapsed)
            facts = part_.facts
        skipped = []
        if not facts["bi_encoder"]:
            skipped.append(("bi-encoder", "indexing anew", self._indexing_again()))
        if reranker is not None and not facts["cross_encoder"]:
            skipped.append(("cross-encoder", "judging it", self._after_cross_encoder()))
        self._warnings += [
            f"There was no time to train a {encoder}: {work} takes about {seconds:.0f} s of the promised minutes. "
            "Give more minutes."
            for encoder, work, seconds in skipped
        ]
        return facts["bi_encoder"], reranker if facts["cross_encoder"] else None

    def _indexing_again(self) -> float:
        """Seconds of indexing with a bi-encoder that has just been trained, and of asking all held-out queries."""
        return self._index_seconds + self._phases.seconds["recall, untuned"]

    def _after_cross_encoder(self) -> float:
        """Seconds that are needed when the cross-encoder is trained."""
        distilled = self._inputs.recipe.distill is not None
        return self._judging.seconds() + (self._indexing_again() if distilled else 0.0)

    def _mine(self, reranker: Any, store: FaissStore, fusion: Fusion) -> Mined:
        if self._run.facts(NEGATIVES) is None:
            with self._phases.phase("mine hard negatives") as update, self._run.writing(NEGATIVES) as part_:
                teacher = reranker if isinstance(reranker, CrossEncoderScorer) else None
                mined = lists_for(
                    store,
                    self._inputs.train,
                    self._texts,
                    self._cross_encoder_budget(),
                    fusion=fusion,
                    seed=self._inputs.seed,
                    recipe=self._inputs.recipe,
                    teacher=teacher,
                    on_progress=update,
                )
                mined.save(part_.folder)
                part_.facts["elapsed"] = self._plan.elapsed
        mined = Mined.load(self._run.path(NEGATIVES))
        self._runs.report[NEGATIVES] = mined.counts
        return mined

    def _distil(
        self, encoder: PooledEmbeddings, scorer: CrossEncoderScorer, serving: Tables
    ) -> tuple[FaissStore, Tables] | None:
        """Where the recipe says so, train the bi-encoder further, to agree with the cross-encoder.

        Returns:
            Its store and what it recalls; None where it was not trained, or did not gain on what serves.
        """
        if self._inputs.recipe.distill is None or self._runs.ended_early:
            return None
        mined = Mined.load(self._run.path(NEGATIVES))

        def budget() -> Budget:
            return self._plan.distillation(
                epoch_steps=len(self._inputs.train.queries) / LISTS_PER_DISTILLATION_STEP,
                still_needed=self._after_cross_encoder(),
            )

        if self._run.facts(DISTILLED) is None:
            self._run.forget("distilled")
        folder = self._runs.train(
            DISTILLED, budget, lambda training: distil(encoder, mined, scorer, training)
        )
        distilled = self._opened.enter_context(PooledEmbeddings(folder, normalize=encoder.normalize))
        store, tables = self._index("distilled", distilled)
        gained = self._judging.gained(serving, tables)
        self._runs.report[DISTILLED]["kept"] = gained
        return (store, tables) if gained else None

    # -- what comes out ----------------------------------------------------------------------------------------

    def _ship(self, parts: Parts, outcome: Outcome, target: Path) -> TuningResult:
        retrievers = parts.retrievers(outcome.systems, outcome.blend)
        with self._phases.phase("time queries"):
            queries = list(self._queries.values())
            timed = {name: latency(retriever, queries) for name, retriever in retrievers.items()}
        report = self._report(outcome, timed)
        with self._phases.phase("save the bundle"):
            retrievers[outcome.chosen].with_report(report.to_dict()).save_local(target)
        return TuningResult(report, RerankRetriever.load_local(target), target)

    def _report(self, outcome: Outcome, timed: dict[str, dict[str, float]]) -> TuningReport:
        evaluations, inputs = outcome.evaluations, self._inputs
        held_out = evaluations[outcome.chosen].queries
        few = len(inputs.dev.queries) < LEAST_QUERIES
        return TuningReport(
            systems=[SystemReport(name, dict(one.means), timed[name]) for name, one in evaluations.items()],
            chosen=outcome.chosen,
            held_out_queries=held_out,
            verdict=verdict(outcome.chosen, outcome.decisions, evaluations, few=few, signal=outcome.signal),
            decisions=outcome.decisions,
            depth_curve=outcome.curve,
            blend=None if outcome.blend is None else outcome.blend.to_dict(),
            training=self._runs.report,
            data={
                "documents": len(inputs.corpus),
                "training_queries": len(inputs.train.queries),
                "fitting_queries": len(inputs.dev.queries),
                "held_out_queries": held_out,
            },
            comparison=compare(list(evaluations.values()), seed=inputs.seed).to_dict(),
            data_card=self._card.to_dict(),
            seconds=dict(self._phases.seconds),
            blend_forms=dict(outcome.blend_forms),
            calibration=None if outcome.calibration is None else outcome.calibration.to_dict(),
            early_stop=None if outcome.early_stop is None else outcome.early_stop.to_dict(),
            depth=outcome.systems[outcome.chosen].depth,
            signal=None if outcome.signal is None else asdict(outcome.signal),
            warnings=[*self._warnings, *outcome.warnings],
        )
