"""What one query asks for, checked and decided before any work is done."""

import time
from dataclasses import dataclass
from typing import Any

from langchain_rerank_retriever.answering.options import Options
from langchain_rerank_retriever.answering.rescore import gives_scores
from langchain_rerank_retriever.blend import Blend, BlendVariant
from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.protocols import RecallMode
from langchain_rerank_retriever.recall import RecallRequest, RecallSource


@dataclass(frozen=True, slots=True)
class Plan:
    """One query with everything decided.

    Attributes:
        request: What is asked of the recall source.
        source: The recall source.
        variant: How stage scores become a probability; None where no fitted variant can be used.
        options: What is done with the candidates.
        started: When the query came, by `time.perf_counter`.
        deadline: After which no further pairs are scored, by `time.monotonic`; None is no limit.
    """

    request: RecallRequest
    source: RecallSource
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
        InvalidArgumentError: For a blank query, or an early stop that was not fitted.
    """
    check_query(query)
    variant = _variant(source, reranker, blend, options.recall_mode)
    if options.early_stop:
        _check_early_stop(variant)
    request = RecallRequest(
        query=query,
        fetch_k=max(options.k, options.fetch_k),
        mode=options.recall_mode,
        filter=options.filter,
        stage_scores=frozenset() if variant is None else source.stage_scores & set(variant.features),
        fusion=None if blend is None else blend.fusion,
    )
    deadline = None if timeout is None else time.monotonic() + timeout
    return Plan(request, source, variant, options, time.perf_counter(), deadline)


def _variant(
    source: RecallSource, reranker: Any, blend: Blend | None, recall_mode: RecallMode | None
) -> BlendVariant | None:
    if blend is None or (reranker is not None and not gives_scores(reranker)):
        return None
    available: set[str] = set(source.stage_scores)
    if reranker is not None:
        available.add("rerank")
    # Any other recall score is on another scale than the one that was fitted, or on none.
    if recall_mode == "hybrid" and blend.fusion is not None and "lexical" in source.stage_scores:
        available.add("recall")
    return blend.variant_for(available)


def _check_early_stop(variant: BlendVariant | None) -> None:
    if variant is not None and variant.early_stop is not None:
        return
    lacking = "no blend that orders by a re-ranker here" if variant is None else "a blend without it here"
    raise InvalidArgumentError(
        f"early_stop=True needs a blend for which tune() has fitted when to stop; there is {lacking}. Tune with a "
        "re-ranker (a bundle of an earlier version: anew), or leave early_stop out."
    )


def check_query(query: Any) -> None:
    """Refuse what is not a text to search for.

    Raises:
        InvalidArgumentError: For anything but a str, a blank one, and one that is no valid Unicode.
    """
    if not isinstance(query, str):
        raise InvalidArgumentError(f"A query must be a str, got {type(query).__name__}.")
    if not query.strip():
        raise InvalidArgumentError("The query is blank; expected some text to search for.")
    try:
        query.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgumentError(
            f"The query cannot be written as UTF-8: it holds a lone surrogate at position {error.start}. "
            "Decode the text with errors='replace'."
        ) from error
