"""Tuning on scored sentence pairs: a language model becomes an embedding model, judged by held-out pairs."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from langchain_core.documents import Document

from langchain_rerank_retriever.embeddings import PooledEmbeddings
from langchain_rerank_retriever.retriever import RerankRetriever
from langchain_rerank_retriever.store import FaissStore
from langchain_rerank_retriever.training.data.pairs import ScoredPairs
from langchain_rerank_retriever.training.encoder_runs import EncoderRuns
from langchain_rerank_retriever.training.fit.encoders import train_sentence_pairs
from langchain_rerank_retriever.training.fit.schedule import Budget
from langchain_rerank_retriever.training.indexing import fill_store
from langchain_rerank_retriever.training.phases import TuningResult
from langchain_rerank_retriever.training.plan import Plan
from langchain_rerank_retriever.training.progress import Phases
from langchain_rerank_retriever.training.proof.pairs import PairOutcome, cosines, decide_pairs
from langchain_rerank_retriever.training.proof.report import SystemReport, TuningReport
from langchain_rerank_retriever.training.proof.systems import BASE, TUNED
from langchain_rerank_retriever.training.run_folder import RunFolder

#: Texts embedded to find out how long it takes: a few batches.
TIMED_TEXTS = 48


@dataclass(frozen=True, slots=True)
class PairInputs:
    """What a run on scored pairs starts from.

    Attributes:
        corpus: Document id to document; may be empty.
        train: What the bi-encoder trains on.
        held_out: What it is judged by.
    """

    corpus: Mapping[str, Document]
    train: ScoredPairs
    held_out: ScoredPairs


class PairTuning:
    """One run of `tune` on scored pairs: the bi-encoder alone is trained, and recall alone is served.

    Args:
        inputs: Documents and pairs.
        plan: The promised time.
        phases: Times and shows the phases.
        run: Holds what is made on the way.
        runs: Trains.
        opened: Closes the stores and models that are opened on the way.
    """

    def __init__(
        self,
        inputs: PairInputs,
        plan: Plan,
        phases: Phases,
        run: RunFolder,
        runs: EncoderRuns,
        opened: ExitStack,
    ) -> None:
        self._inputs, self._plan, self._phases = inputs, plan, phases
        self._run, self._runs, self._opened = run, runs, opened

    def go(self, encoder: PooledEmbeddings, target: Path, *, seed: int) -> TuningResult:
        """Train, judge, index with the better one, save."""
        tuned = self._train(encoder)
        held_out = self._inputs.held_out
        with self._phases.phase("judge by held-out pairs"):
            before, after = (cosines(one, held_out.first, held_out.second) for one in (encoder, tuned))
            outcome = decide_pairs(before, after, held_out.scores, seed=seed)
        chosen = tuned if outcome.decision.promoted else encoder
        name = f"store, {TUNED if outcome.decision.promoted else BASE}"
        store = self._opened.enter_context(FaissStore(chosen, path=self._run.path(name)))
        with self._phases.phase("index the documents") as update:
            fill_store(store, list(self._inputs.corpus.values()), update)
        report = self._report(outcome)
        with self._phases.phase("save the bundle"):
            RerankRetriever(store).with_report(report.to_dict()).save_local(target)
        return TuningResult(report, RerankRetriever.load_local(target), target)

    def _train(self, encoder: PooledEmbeddings) -> PooledEmbeddings:
        pairs = self._inputs.train

        def budget() -> Budget:
            return self._plan.bi_encoder(
                epoch_steps=len(pairs) / self._runs.recipe.batch_size,
                still_needed=self._embedding_seconds(encoder),
                cross_encoder_too=False,
            )

        folder = self._runs.train(
            "bi_encoder", budget, lambda training: train_sentence_pairs(encoder, pairs, training)
        )
        return self._opened.enter_context(PooledEmbeddings(folder, normalize=encoder.normalize))

    def _embedding_seconds(self, encoder: PooledEmbeddings) -> float:
        """Measure what embedding the documents once and the held-out pairs twice will take."""
        held_out = self._inputs.held_out
        documents = [document.page_content for document in self._inputs.corpus.values()]
        total = 0.0
        for texts, times in ((documents, 1), ([*held_out.first, *held_out.second], 2)):
            sample = texts[:: max(1, len(texts) // TIMED_TEXTS)][:TIMED_TEXTS]
            started = monotonic()
            encoder.encode(sample)
            total += times * (monotonic() - started) * len(texts) / max(1, len(sample))
        return total

    def _report(self, outcome: PairOutcome) -> TuningReport:
        decision, pairs = outcome.decision, len(self._inputs.held_out)
        before, after = (outcome.measures[name]["Spearman"] for name in (BASE, TUNED))
        words = f"Spearman {before:.3f} -> {after:.3f} ({after - before:+.3f}) on held-out sentence pairs."
        return TuningReport(
            systems=[SystemReport(name, outcome.measures[name], {}) for name in (BASE, TUNED)],
            chosen=TUNED if decision.promoted else BASE,
            held_out_queries=pairs,
            verdict=(
                f"Chosen: tuned. {words}"
                if decision.promoted
                else f"Nothing was promoted: the untuned bi-encoder stays. {words} Not tuned: {decision.reason}."
            ),
            decisions=[decision],
            depth_curve={},
            blend=None,
            training=self._runs.report,
            data={
                "documents": len(self._inputs.corpus),
                "training_pairs": len(self._inputs.train),
                "held_out_pairs": pairs,
            },
            comparison={},
            seconds=dict(self._phases.seconds),
        )
