"""What one query asks for, checked and decided before any work is done."""

import math
import time
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from langchain_rerank_retriever.answering.rescore import gives_scores
from langchain_rerank_retriever.blend import Blend, BlendVariant
from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.protocols import RecallMode
from langchain_rerank_retriever.recall import RecallRequest, RecallSource

RECALL_MODES = ("dense", "lexical", "hybrid")


@dataclass(frozen=True, slots=True)
class Plan:
    """One query with everything decided.

    Attributes:
        request: What is asked of the recall source.
        source: The recall source.
        variant: How stage scores become a probability; None where no fitted variant can be used.
        k: How many documents to return at most.
        score_threshold: Lowest relevance that is returned; None returns all.
        collapse: Metadata key of the parent of which only the best candidate is returned; None returns all.
        early_stop: Whether scoring may end before all candidates are scored.
        started: When the query came, by `time.perf_counter`.
        deadline: After which no further pairs are scored, by `time.monotonic`; None is no limit.
    """

    request: RecallRequest
    source: RecallSource
    variant: BlendVariant | None
    k: int
    score_threshold: float | None
    collapse: str | None
    early_stop: bool
    started: float
    deadline: float | None


def make_plan(
    query: str,
    *,
    source: RecallSource,
    reranker: Any,
    blend: Blend | None,
    k: int,
    fetch_k: int,
    filter_: Any,
    recall_mode: RecallMode | None,
    score_threshold: float | None,
    collapse: str | None,
    early_stop: bool,
    timeout: float | None,
) -> Plan:
    """Check the arguments of a query and decide what is to be done; see `RerankRetriever` for their meaning.

    Raises:
        InvalidArgumentError: For a blank query, or an argument out of range.
    """
    check_query(query)
    k, fetch_k = checked_count("k", k), checked_count("fetch_k", fetch_k)
    if recall_mode not in (None, *RECALL_MODES):
        raise InvalidArgumentError(f"recall_mode must be one of {RECALL_MODES} or None, got {recall_mode!r}.")
    threshold = checked_threshold(score_threshold)
    variant = _variant(source, reranker, blend, recall_mode)
    if checked_flag("early_stop", early_stop):
        _check_early_stop(variant)
    request = RecallRequest(
        query=query,
        fetch_k=max(k, fetch_k),
        mode=recall_mode,
        filter=filter_,
        stage_scores=frozenset() if variant is None else source.stage_scores & set(variant.features),
        fusion=None if blend is None else blend.fusion,
    )
    deadline = None if timeout is None else time.monotonic() + timeout
    return Plan(
        request,
        source,
        variant,
        k,
        threshold,
        checked_collapse(collapse),
        early_stop,
        time.perf_counter(),
        deadline,
    )


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


def checked_flag(name: str, value: Any) -> bool:
    """Refuse what is neither True nor False.

    Raises:
        InvalidArgumentError: Naming the argument.
    """
    if not isinstance(value, bool):
        raise InvalidArgumentError(f"{name} must be True or False, got {value!r}.")
    return value


def checked_count(name: str, value: Any) -> int:
    """Refuse what is not a whole number of at least 1.

    Raises:
        InvalidArgumentError: Naming the argument.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise InvalidArgumentError(f"{name} must be a whole number of at least 1, got {value!r}.")
    return int(value)


def checked_threshold(value: Any) -> float | None:
    """Refuse what is neither a number nor None.

    Raises:
        InvalidArgumentError: Saying what it got.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Real) or math.isnan(value):
        raise InvalidArgumentError(f"score_threshold must be a number or None, got {value!r}.")
    return float(value)


def checked_collapse(value: Any) -> str | None:
    """Refuse what is neither a metadata key nor None.

    Raises:
        InvalidArgumentError: Saying what it got.
    """
    if value is not None and (not isinstance(value, str) or not value):
        raise InvalidArgumentError(
            f"collapse must be the name of a metadata key, such as 'source', or None; got {value!r}."
        )
    return value


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
