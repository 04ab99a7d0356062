"""What one query asks for, checked and decided before any work is done."""

import time
from dataclasses import dataclass
from typing import Any

from langchain_rerank_retriever.answering.options import Options, check_query
from langchain_rerank_retriever.answering.rescore import Reranker, gives_scores
from langchain_rerank_retriever.answering.stages import stages_of
from langchain_rerank_retriever.blend import Blend, BlendVariant
from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.recall import (
    RecallRequest,
    RecallSource,
    embedding_store,
    recall_score_is_fitted,
    with_queries,
)


@dataclass(frozen=True, slots=True)
class Plan:
    """One query with everything decided.

    Attributes:
        request: What is asked of the recall source.
        source: The recall source.
        stages: The re-rankers, one after the other; none for recall only.
        variant: How stage scores become a probability; None where no fitted variant can be used.
        options: What is done with the candidates.
        started: When the query came, by `time.perf_counter`.
        deadline: After which no further pairs are scored, by `time.monotonic`; None is no limit.
    """

    request: RecallRequest
    source: RecallSource
    stages: tuple[Reranker, ...]
    variant: BlendVariant | None
    options: Options
    started: float
    deadline: float | None


def make_plan(
    query: str,
    options: Options,
    *,
    source: RecallSource,
    reranker: Any,
    blend: Blend | None,
    timeout: float | None,
) -> Plan:
    """Decide what is to be done for a query; see `RerankRetriever` for what the parts mean.

    Raises:
        InvalidArgumentError: For a blank query, and for options that do not go with the source, the re-ranker or the
            blend.
    """
    check_query(query)
    stages, source = stages_of(reranker), with_queries(source, query, options.extra_queries)
    variant = _variant(source, stages, blend, options)
    if options.early_stop:
        _check_early_stop(variant, stages)
    if options.lambda_mult is not None:
        _check_diversity(source)
    if not stages:
        check_comparable(source, options)
    request = RecallRequest(
        query=query,
        fetch_k=max(options.k, options.fetch_k),
        mode=options.recall_mode,
        filter=options.filter,
        stage_scores=frozenset() if variant is None else source.stage_scores & set(variant.features),
        fusion=None if blend is None else blend.fusion,
        search_kwargs=options.search_kwargs,
    )
    deadline = None if timeout is None else time.monotonic() + timeout
    return Plan(request, source, stages, variant, options, time.perf_counter(), deadline)


def _variant(
    source: RecallSource, stages: tuple[Reranker, ...], blend: Blend | None, options: Options
) -> BlendVariant | None:
    if blend is None or (stages and not gives_scores(stages[-1])):
        return None
    available: set[str] = set(source.stage_scores)
    if stages:
        available.add("rerank")
    # Any other recall score is on another scale than the one that was fitted, or on none.
    if blend.fusion is not None and recall_score_is_fitted(source, options.recall_mode):
        available.add("recall")
    return blend.variant_for(available)


def _check_early_stop(variant: BlendVariant | None, stages: tuple[Reranker, ...]) -> None:
    if len(stages) > 1:
        raise InvalidArgumentError(
            f"early_stop=True was fitted for one re-ranker over all candidates; there are {len(stages)} stages here. "
            "Leave early_stop out."
        )
    if variant is not None and variant.early_stop is not None:
        return
    lacking = "no blend that orders by a re-ranker here" if variant is None else "a blend without it here"
    raise InvalidArgumentError(
        f"early_stop=True needs a blend for which tune() has fitted when to stop; there is {lacking}. Tune with a "
        "re-ranker (a bundle of an earlier version: anew), or leave early_stop out."
    )


def _check_diversity(source: RecallSource) -> None:
    if embedding_store(source) is None:
        raise InvalidArgumentError(
            "lambda_mult compares candidates by their vectors, and what is recalled from here has no embeddings. "
            "Recall from a FaissStore, or from a vector store that has an Embeddings, or leave lambda_mult out."
        )


def check_comparable(source: RecallSource, options: Options) -> None:
    """Refuse to weigh candidates by what a foreign store calls a score; higher may be worse.

    Raises:
        InvalidArgumentError: If the source's scores are such and an option needs to compare them.
    """
    asked = [name for name in ("score_threshold", "lambda_mult") if getattr(options, name) is not None]
    if asked and source.score_is_opaque:
        raise InvalidArgumentError(
            f"{asked[0]} needs a score of which higher is known to be better, and what a foreign store gives may be a "
            "distance. Add a re-ranker that scores (CrossEncoderScorer, CrossEncoderReranker), recall from a "
            f"FaissStore, or leave {asked[0]} out."
        )
