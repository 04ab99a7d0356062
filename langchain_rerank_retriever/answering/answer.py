"""One query's answer, put together from what its stages gave."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from langchain_rerank_retriever.answering.diversity import diversified, pool
from langchain_rerank_retriever.answering.explaining import documents_of, explained, returned_documents
from langchain_rerank_retriever.answering.plan import Plan, check_comparable
from langchain_rerank_retriever.answering.ranking import Ranking, rank
from langchain_rerank_retriever.answering.rescore import Rescored
from langchain_rerank_retriever.answering.stopping import Stopping, stopping
from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.protocols import ExplainedCandidate, Explanation
from langchain_rerank_retriever.recall import Candidate, embedding_store, vectors_of

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Stopwatch:
    """The wall time of one stage after the other.

    Attributes:
        started: When the first began, by `time.perf_counter`.
        seconds: What each took.
    """

    started: float
    seconds: dict[str, float] = field(default_factory=dict)

    def lap(self, stage: str) -> None:
        """End a stage."""
        self.seconds[stage] = time.perf_counter() - self.started - sum(self.seconds.values())

    def total(self) -> dict[str, float]:
        """Return the time of every stage and of all together."""
        return {**self.seconds, "total": sum(self.seconds.values())}


def stop_rule(plan: Plan, candidates: Sequence[Candidate]) -> Stopping | None:
    """Make the rule by which the scoring of a query may end early; None where all are to be scored."""
    options = plan.options
    # Whom maximal marginal relevance chooses is not known before all are scored.
    if not options.early_stop or options.lambda_mult is not None:
        return None
    return stopping(
        candidates, plan.variant, k=options.k, fetch_k=plan.request.fetch_k, collapse=options.collapse
    )


def ranked(plan: Plan, candidates: Sequence[Candidate], rescored: Rescored | None) -> Ranking:
    """Order the candidates.

    Raises:
        InvalidArgumentError: If an option asks to compare scores that cannot be compared.
    """
    ranking = rank(candidates, rescored, plan.variant)
    if candidates and ranking.kind == "recall_score":
        check_comparable(plan.source, plan.options)
    return ranking


def spread_out(
    plan: Plan, candidates: Sequence[Candidate], rescored: Rescored | None, ranking: Ranking
) -> Ranking:
    """Put documents in front that are relevant and unlike each other, where that is asked for.

    Raises:
        InvalidArgumentError: If a compressor gave an order without scores.
    """
    lambda_mult, store = plan.options.lambda_mult, embedding_store(plan.source)
    if lambda_mult is None or store is None or not candidates:
        return ranking
    if rescored is not None and ranking.kind == "recall_score":
        raise InvalidArgumentError(
            f"lambda_mult weighs relevance, and {type(plan.stages[-1]).__name__} gives no scores. Put a re-ranker "
            "that does last, such as CrossEncoderReranker, or leave lambda_mult out."
        )
    places = pool(ranking, documents_of(candidates, rescored), plan.options)
    if not places:
        return ranking
    cosine = rescored is None and all(one.dense_score == one.recall_score for one in candidates)
    return diversified(
        ranking,
        places,
        vectors_of(store, [candidates[place].document for place in places]),
        k=plan.options.k,
        lambda_mult=lambda_mult,
        as_it_is=cosine or ranking.kind == "probability",
    )


def explanation(
    plan: Plan,
    candidates: Sequence[Candidate],
    rescored: Rescored | None,
    ranking: Ranking,
    watch: Stopwatch,
) -> Explanation:
    """Say what is returned, and of every candidate why."""
    rows = explained(candidates, rescored, ranking, plan.options)
    documents = returned_documents(rows, ranking.kind)
    if not documents:
        _warn_of_what_came_too_late(rows, plan.options.score_threshold)
    watch.lap("blend")
    return Explanation(plan.request.query, documents, rows, watch.total(), ranking.kind)


def _warn_of_what_came_too_late(rows: Sequence[ExplainedCandidate], score_threshold: float | None) -> None:
    """Say where nothing is returned since a threshold refuses what was not scored: no metadata can."""
    late = sum(one.unscored == "timeout" and one.outcome == "below_threshold" for one in rows)
    if late:
        logger.warning(
            "Nothing is returned for a query: %d of its %d candidates were not scored before timeout=, so "
            "score_threshold=%s leaves them out, and no other reaches it. Raise timeout=, or lower fetch_k=.",
            late,
            len(rows),
            score_threshold,
        )
