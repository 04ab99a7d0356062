"""Judging by held-out queries: what it costs, the cross-encoder's scores, and the decision."""

from collections.abc import Mapping
from functools import partial
from time import monotonic

from langchain_rerank_retriever.cross_encoder import CrossEncoderScorer
from langchain_rerank_retriever.embeddings import PooledEmbeddings
from langchain_rerank_retriever.evaluation.judge import Judge
from langchain_rerank_retriever.training.fallback import best_untuned
from langchain_rerank_retriever.training.inputs import DEV, TEST, Inputs, part
from langchain_rerank_retriever.training.plan import Plan, scoring_seconds
from langchain_rerank_retriever.training.progress import Phases
from langchain_rerank_retriever.training.proof.decide import Fusion, Outcome, decide
from langchain_rerank_retriever.training.proof.fit_blend import MEASURE, Tables
from langchain_rerank_retriever.training.proof.promote import promote
from langchain_rerank_retriever.training.proof.stages import StageTable, System, served_order, with_rerank
from langchain_rerank_retriever.training.proof.systems import BASE, TUNED, HeldOut
from langchain_rerank_retriever.training.shipping import TIMED_QUERIES

#: Pairs scored to find out how long scoring takes: two or three batches.
TIMED_PAIRS = 64

#: About what a new cross-encoder reads of a pair, in characters: 128 tokens of English. Of other scripts it reads
#: fewer, so that a little too much time is kept for it.
PAIR_CHARACTERS = 600

#: Systems that re-rank, each of which answers the queries that are timed.
RERANKING_SYSTEMS = 2


class Judging:
    """Judges systems by the held-out queries, within the time that is planned for it.

    Args:
        inputs: The held-out queries and their judgements.
        plan: The promised time.
        phases: Times and shows the phases.
    """

    def __init__(self, inputs: Inputs, plan: Plan, phases: Phases) -> None:
        self._inputs, self._plan, self._phases = inputs, plan, phases
        self._texts, self._queries = inputs.texts, inputs.queries
        self._pair_seconds = 0.0
        self._within = float("inf")

    def seconds(self) -> float:
        """Estimate what scoring the held-out queries and timing the re-ranking systems will take."""
        queries = len(self._queries) + RERANKING_SYSTEMS * (1 + TIMED_QUERIES)
        return scoring_seconds(queries, self._depth(), self._pair_seconds)

    def time(self, model: CrossEncoderScorer | PooledEmbeddings, tables: Tables) -> None:
        """Measure what scoring a pair takes.

        Args:
            model: The cross-encoder; or the bi-encoder that one will be made from, which then reads as long texts.
            tables: Candidates of the held-out queries.
        """
        pairs = [
            (self._queries[key], self._texts[one]) for key, table in tables.items() for one in table.ids[:4]
        ][:TIMED_PAIRS]
        if not pairs:
            return
        for sample in (pairs[:8], pairs):  # the first batch pays for setting up
            started = monotonic()
            if isinstance(model, CrossEncoderScorer):
                model.score(sample)
            else:
                model.encode([f"{query} {text}"[:PAIR_CHARACTERS] for query, text in sample])
            self._pair_seconds = (monotonic() - started) / len(sample)

    def rerank(self, tables: Tables, scorer: CrossEncoderScorer, fusion: Fusion) -> dict[str, StageTable]:
        """Score the candidates of every held-out query, as deep as there is time for."""
        reranked: dict[str, StageTable] = {}
        with self._phases.phase("re-rank held-out queries") as update:
            self.time(scorer, tables)
            self._within = self._plan.left()
            depth = self._depth()
            recalls = (System("", depth=depth), System("", mode="hybrid", depth=depth, fusion=fusion))
            for key, table in tables.items():
                query = self._queries[key]
                reranked[key] = with_rerank(table, query, self._texts, scorer.score, recalls)
                update(len(reranked) / len(tables))
        return reranked

    def gained(self, before: Tables, after: Tables) -> bool:
        """Tell whether training the bi-encoder helped its own recall, by the rule for all promotions."""
        judge = Judge(self._inputs.dev.qrels, (MEASURE,))
        values: dict[str, Mapping[str, float]] = {}
        for name, tables in ((BASE, before), (TUNED, after)):
            orders = {key: served_order(table, System(name)) for key, table in part(tables, DEV).items()}
            values[name] = judge(orders).per_query[MEASURE]
        return promote(values, (BASE, TUNED), seed=self._inputs.seed)[0] == TUNED

    def decide(
        self,
        tables: tuple[Tables, Tables, Tables],
        encoder: PooledEmbeddings,
        *,
        reranked: bool,
        fusion: Fusion,
    ) -> Outcome:
        """Fit the blend and choose.

        Args:
            tables: From the stores of the untuned bi-encoder, of the tuned one, and of the one that serves.
            encoder: The untuned bi-encoder.
            reranked: Whether there is a cross-encoder.
            fusion: Weights of hybrid recall.
        """
        inputs = self._inputs
        dev = HeldOut(inputs.dev.qrels, *(part(one, DEV) for one in tables))
        test = None
        if inputs.test is not None:
            test = HeldOut(inputs.test.qrels, *(part(one, TEST) for one in tables))
        documents = list(inputs.corpus.values())
        with self._phases.phase("fit the blend and decide"):
            return decide(
                dev,
                test,
                depth=self._depth(),
                reranked=reranked,
                fusion=fusion,
                seed=inputs.seed,
                fallback=partial(best_untuned, documents, encoder, seed=inputs.seed),
            )

    def _depth(self) -> int:
        return self._plan.judged_depth(
            queries=len(self._queries), pair_seconds=self._pair_seconds, within=self._within
        )
