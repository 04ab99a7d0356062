"""Measures by the notation of ir-measures: `nDCG@10`, `RR@10`, `Success@10`, `R@100`, `AP`, `P(rel=2)@5`."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from langchain_rerank_retriever.errors import InvalidArgumentError

DEFAULT_MEASURES = ("nDCG@10", "RR@10", "Success@10", "R@100")

_EXAMPLES = "nDCG@10, RR@10, Success@10, R@100, P@5, AP"


def parse_measures(measures: Sequence[str]) -> dict[str, Any]:
    """Read measures, keep their order, drop repetitions.

    Args:
        measures: At least one measure in the notation of ir-measures; a single string is one measure.

    Returns:
        The measures of ir-measures by their canonical names (`NDCG@10` is `nDCG@10`).

    Raises:
        InvalidArgumentError: If there is none, or one is unknown or lacks its cutoff; names it.
    """
    notations = (measures,) if isinstance(measures, str) else tuple(measures)
    if not notations:
        raise InvalidArgumentError(f"measures is empty; expected at least one, such as {_EXAMPLES}.")
    parsed = [parse_measure(notation) for notation in notations]
    return {str(measure): measure for measure in parsed}


def parse_measure(notation: str) -> Any:
    """Read one measure; see `parse_measures`."""
    if not isinstance(notation, str):
        raise InvalidArgumentError(f"A measure is given as a string such as 'nDCG@10', got {notation!r}.")
    try:
        measure = _ir_measures().parse_measure(notation.strip())
        measure.validate_params()
    except (AssertionError, AttributeError, NameError, TypeError, ValueError) as error:
        raise InvalidArgumentError(
            f"Unknown measure {notation!r}: {error}. Expected the notation of ir-measures, such as "
            f"{_EXAMPLES}."
        ) from error
    depth = cutoff(measure)
    if depth is not None and depth < 1:
        raise InvalidArgumentError(f"The cutoff of measure {notation!r} must be at least 1, got {depth}.")
    return measure


def cutoff(measure: Any) -> int | None:
    """How many documents a measure looks at, None where it looks at all of them."""
    depth = measure.params.get("cutoff")
    return depth if isinstance(depth, int) else None


def deepest_cutoff(measures: Mapping[str, Any]) -> tuple[str, int] | None:
    """Name and cutoff of the measure that looks deepest, None where no measure has a cutoff."""
    depths = {name: depth for name, measure in measures.items() if (depth := cutoff(measure)) is not None}
    return max(depths.items(), key=lambda item: item[1]) if depths else None


def evaluator_of(measures: Mapping[str, Any], qrels: Mapping[str, Mapping[str, int]]) -> Any:
    """Make one evaluator of ir-measures for all measures, to be used for many rankings.

    Only providers that compute inside this process are asked: the one that writes files for a Perl script
    fails on document ids with a space.

    Raises:
        InvalidArgumentError: If no installed provider computes one of the measures; names it.
    """
    ir_measures = _ir_measures()
    in_process = ir_measures.providers.FallbackProvider(
        [
            ir_measures.pytrec_eval,
            ir_measures.cwl_eval,
            ir_measures.compat,
            ir_measures.judged,
            ir_measures.msmarco,
        ]
    )
    for name, measure in measures.items():
        if not in_process.supports(measure):
            raise InvalidArgumentError(
                f"Measure {name!r} cannot be computed with what is installed. Expected one such as "
                f"{_EXAMPLES}."
            )
    return in_process.evaluator(list(measures.values()), qrels)


def _ir_measures() -> Any:
    # Imported late, since ir-measures sets up a log handler when it is imported.
    return import_module("ir_measures")
