"""Which of several systems is better, by how much, and whether there are enough queries to tell."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.evaluation.comparison import ComparedSystem, Comparison
from langchain_rerank_retriever.evaluation.judgements import some
from langchain_rerank_retriever.evaluation.paired import (
    Floats,
    bootstrap_intervals,
    holm,
    sign_flip_p_values,
)
from langchain_rerank_retriever.evaluation.result import Evaluation

SIGNIFICANT = 0.05

#: A difference that is surely smaller than this is called none; of two systems so close, take the faster one.
SMALL_DIFFERENCE = 0.02

#: If none of n queries shows something, at most 3/n of all queries do, with 95 % confidence ("rule of
#: three"). An interval from few queries that happen to agree would otherwise be far too sure of itself.
_RULE_OF_THREE = 3.0

#: With fewer, no p-value falls below 0.01.
_FEWEST_RESAMPLES = 100

_TIE = 1e-12


def compare(
    evaluations: Sequence[Evaluation],
    *,
    baseline: str | None = None,
    seed: int = 0,
    resamples: int = 10_000,
) -> Comparison:
    """Compare systems that were evaluated on the same queries by the same measures.

    A system is "better" or "worse" where its corrected p is below 0.05. Otherwise there is "no difference of
    more than X" if X is at most 0.02, X being the far end of the interval or 3 / queries, whichever is
    larger; else there are "not enough queries to tell". All that takes higher values for better ones.

    Args:
        evaluations: At least one, each with its own name.
        baseline: Name of the one to compare with; None is the first.
        seed: The same seed gives the same numbers, whatever else is compared along.
        resamples: Of the test and of the bootstrap, at least 100.

    Raises:
        InvalidArgumentError: If there is nothing to compare, names repeat, or queries or measures differ;
            says what.
    """
    if resamples < _FEWEST_RESAMPLES:
        raise InvalidArgumentError(f"resamples must be at least {_FEWEST_RESAMPLES}, got {resamples}.")
    if isinstance(evaluations, Evaluation):
        evaluations = [evaluations]
    first = _checked(evaluations, baseline)
    others = [evaluation for evaluation in evaluations if evaluation is not first]
    rows = {(first.name, measure): _baseline_row(first, measure) for measure in first.means}
    if others:
        differences = np.stack(
            [
                _values(other, measure) - _values(first, measure)
                for measure in first.means
                for other in others
            ],
            axis=1,
        )
        p_values = sign_flip_p_values(differences, resamples=resamples, seed=seed)
        lower, upper = bootstrap_intervals(differences, resamples=resamples, seed=seed)
        for number, measure in enumerate(first.means):
            columns = range(number * len(others), (number + 1) * len(others))
            for other, column, p_holm in zip(others, columns, holm(p_values[list(columns)])):
                interval = (float(lower[column]), float(upper[column]))
                p = (float(p_values[column]), float(p_holm))
                rows[other.name, measure] = _row(other, measure, differences[:, column], interval, p)
    return Comparison(
        baseline=first.name,
        queries=first.queries,
        rows=tuple(rows[evaluation.name, measure] for measure in first.means for evaluation in evaluations),
        latency_ms={evaluation.name: evaluation.latency_ms for evaluation in evaluations},
        resamples=resamples,
        seed=seed,
    )


def _checked(evaluations: Sequence[Evaluation], baseline: str | None) -> Evaluation:
    if not evaluations:
        raise InvalidArgumentError("There is nothing to compare; expected at least one Evaluation.")
    repeated = [name for name, times in Counter(one.name for one in evaluations).items() if times > 1]
    if repeated:
        raise InvalidArgumentError(
            f"Several evaluations are called {some(repeated)}; give each its own: evaluate(..., name=...)."
        )
    by_name = {evaluation.name: evaluation for evaluation in evaluations}
    if baseline is not None and baseline not in by_name:
        raise InvalidArgumentError(f"No evaluation is called {baseline!r}; there are {', '.join(by_name)}.")
    first = evaluations[0] if baseline is None else by_name[baseline]
    for other in evaluations:
        for what, ours, theirs in (
            ("measures", first.means.keys(), other.means.keys()),
            ("queries", first.ranking.keys(), other.ranking.keys()),
        ):
            if ours != theirs:
                raise InvalidArgumentError(
                    f"{first.name!r} and {other.name!r} were evaluated on different {what}; only one of them "
                    f"has {some(ours ^ theirs)}. Evaluate both with the same qrels and measures."
                )
    return first


def _values(evaluation: Evaluation, measure: str) -> Floats:
    # In one order for all systems, whatever order each was asked in.
    values = evaluation.per_query[measure]
    return np.array([values[query_id] for query_id in sorted(values)], dtype=np.float64)


def _baseline_row(evaluation: Evaluation, measure: str) -> ComparedSystem:
    mean, queries = evaluation.means[measure], evaluation.queries
    return ComparedSystem(
        evaluation.name, measure, mean, 0.0, (0.0, 0.0), 1.0, 1.0, 0, queries, 0, "baseline"
    )


def _row(
    evaluation: Evaluation,
    measure: str,
    differences: Floats,
    interval: tuple[float, float],
    p: tuple[float, float],
) -> ComparedSystem:
    difference = float(differences.mean())
    wins, losses = int((differences > _TIE).sum()), int((differences < -_TIE).sum())
    return ComparedSystem(
        system=evaluation.name,
        measure=measure,
        mean=evaluation.means[measure],
        difference=difference,
        interval=interval,
        p_value=p[0],
        p_holm=p[1],
        wins=wins,
        ties=len(differences) - wins - losses,
        losses=losses,
        verdict=_verdict(difference, interval, p[1], len(differences)),
    )


def _verdict(difference: float, interval: tuple[float, float], p_holm: float, queries: int) -> str:
    if p_holm < SIGNIFICANT:
        return "better" if difference > 0 else "worse"
    bound = max(abs(interval[0]), abs(interval[1]), _RULE_OF_THREE / queries)
    if bound <= SMALL_DIFFERENCE:
        return f"no difference of more than {math.ceil(bound * 1000) / 1000:.3f}"
    return "not enough queries to tell"
