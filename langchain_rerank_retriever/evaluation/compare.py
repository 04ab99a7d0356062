"""Which of several systems is better, by how much, and whether there are enough queries to tell."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.evaluation.comparison import BASELINE, UNDECIDED, ComparedSystem, Comparison
from langchain_rerank_retriever.evaluation.judgements import some
from langchain_rerank_retriever.evaluation.paired import (
    RESAMPLES,
    RULE_OF_THREE,
    Floats,
    bootstrap_intervals,
    holm,
    queries_needed,
    sign_flip_p_values,
)
from langchain_rerank_retriever.evaluation.result import Evaluation

SIGNIFICANT = 0.05

#: A difference that is surely smaller than this is called none; of two systems so close, take the faster one.
SMALL_DIFFERENCE = 0.02

#: With fewer, no p-value falls below 0.01.
_FEWEST_RESAMPLES = 100

_TIE = 1e-12

Interval = tuple[float, float]

Pair = tuple[Evaluation, Evaluation]

#: A system and a measure, or a system, the one it is held against, and a measure.
Key = tuple[str, ...]


def compare(
    evaluations: Sequence[Evaluation],
    *,
    baseline: str | None = None,
    pairwise: bool = False,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Comparison:
    """Compare systems that were evaluated on the same queries by the same measures.

    A system is "better" or "worse" where its corrected p is below 0.05. Otherwise there is "no difference of
    more than X" if X is at most 0.02, X being the far end of the interval or 3 / queries, whichever is
    larger; else there are "not enough queries to tell", and `queries_needed` says about how many would do. All
    that takes higher values for better ones.

    p is corrected for the number of differences in one measure, not for that of measures: name the one that decides
    before looking, or ask `check_gate`, which corrects for all. The interval, and so "no difference", is that of each
    difference by itself. With fewer than about 100 queries of which a few lose much and most gain a little, systems
    that do not differ are called different too often: in 6 to 13 of 100 simulated comparisons, not in 5.

    Args:
        evaluations: At least one, each with its own name.
        baseline: Name of the one to compare with; None is the first.
        pairwise: Compare the others with each other, too. p is then corrected for all pairs.
        seed: The same seed gives the same numbers, whatever else is compared along.
        resamples: Of the test and of the bootstrap, at least 100.

    Raises:
        InvalidArgumentError: If there is nothing to compare, names repeat, or queries, judgements or measures
            differ; says what.
    """
    if resamples < _FEWEST_RESAMPLES:
        raise InvalidArgumentError(f"resamples must be at least {_FEWEST_RESAMPLES}, got {resamples}.")
    if isinstance(evaluations, Evaluation):
        evaluations = [evaluations]
    first = _checked(evaluations, baseline)
    others = [evaluation for evaluation in evaluations if evaluation is not first]
    among = [(later, earlier) for earlier, later in combinations(others, 2)] if pairwise else []
    pairs = [(other, first) for other in others] + among
    rows = _rows(first, evaluations, pairs, resamples=resamples, seed=seed)
    order = [(one, first) for one in evaluations] + among
    return Comparison(
        baseline=first.name,
        queries=first.queries,
        rows=tuple(rows[one.name, other.name, measure] for measure in first.means for one, other in order),
        latency_ms={evaluation.name: evaluation.latency_ms for evaluation in evaluations},
        resamples=resamples,
        seed=seed,
        asked={evaluation.name: evaluation.asked for evaluation in evaluations},
        unjudged={evaluation.name: evaluation.unjudged_documents for evaluation in evaluations},
        returned={evaluation.name: evaluation.most_returned for evaluation in evaluations},
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
        _check_same_judgements(first, other)
    return first


def _check_same_judgements(first: Evaluation, other: Evaluation) -> None:
    """Refuse values that differ because the judgements do; where one side does not know its own, trust it."""
    if not first.qrels or not other.qrels:
        return
    differ = [query_id for query_id, judged in other.qrels.items() if judged != first.qrels.get(query_id)]
    if differ:
        raise InvalidArgumentError(
            f"{first.name!r} and {other.name!r} were judged by other judgements, of {len(differ)} queries: "
            f"{some(differ)}. Judge the older one anew by those of today: judge(evaluation.ranking, qrels)."
        )


def _rows(
    first: Evaluation, evaluations: Sequence[Evaluation], pairs: Sequence[Pair], *, resamples: int, seed: int
) -> dict[Key, ComparedSystem]:
    """Test every pair by every measure; the baseline's own rows are among them."""
    values: dict[Key, Floats] = {
        (one.name, measure): one.values(measure) for one in evaluations for measure in one.means
    }
    differences: dict[Key, Floats] = {
        (one.name, other.name, measure): values[one.name, measure] - values[other.name, measure]
        for measure in first.means
        for one, other in pairs
    }
    intervals = _intervals({**values, **differences}, resamples=resamples, seed=seed)
    p_values = _p_values(differences, families=len(first.means), resamples=resamples, seed=seed)
    rows: dict[Key, ComparedSystem] = {
        (first.name, first.name, measure): _baseline_row(first, measure, intervals[first.name, measure])
        for measure in first.means
    }
    by_name = {one.name: one for one in evaluations}
    for key, found in differences.items():
        name, _, measure = key
        mean = (by_name[name].means[measure], intervals[name, measure])
        rows[key] = _row(key, mean, found, intervals[key], p_values[key], comparisons=len(pairs))
    return rows


def _intervals(columns: Mapping[Key, Floats], *, resamples: int, seed: int) -> dict[Key, Interval]:
    bounds = bootstrap_intervals(np.stack(list(columns.values()), axis=1), resamples=resamples, seed=seed)
    return {key: (float(low), float(high)) for key, low, high in zip(columns, *bounds, strict=True)}


def _p_values(
    differences: Mapping[Key, Floats], *, families: int, resamples: int, seed: int
) -> dict[Key, tuple[float, float]]:
    """Give the p-value of each column, as it is and corrected within its family; families follow each other."""
    if not differences:
        return {}
    columns = np.stack(list(differences.values()), axis=1)
    p_values = sign_flip_p_values(columns, resamples=resamples, seed=seed)
    corrected = np.concatenate([holm(family) for family in np.split(p_values, families)])
    return {
        key: (float(p), float(p_holm))
        for key, p, p_holm in zip(differences, p_values, corrected, strict=True)
    }


def _baseline_row(first: Evaluation, measure: str, mean_interval: Interval) -> ComparedSystem:
    return ComparedSystem(
        system=first.name,
        against=first.name,
        measure=measure,
        mean=first.means[measure],
        mean_interval=mean_interval,
        difference=0.0,
        interval=(0.0, 0.0),
        p_value=1.0,
        p_holm=1.0,
        wins=0,
        ties=first.queries,
        losses=0,
        verdict=BASELINE,
        queries_needed=None,
    )


def _row(
    key: Key,
    mean: tuple[float, Interval],
    differences: Floats,
    interval: Interval,
    p: tuple[float, float],
    *,
    comparisons: int,
) -> ComparedSystem:
    system, against, measure = key
    difference = float(differences.mean())
    wins, losses = int((differences > _TIE).sum()), int((differences < -_TIE).sum())
    verdict = _verdict(difference, interval, p[1], len(differences))
    return ComparedSystem(
        system=system,
        against=against,
        measure=measure,
        mean=mean[0],
        mean_interval=mean[1],
        difference=difference,
        interval=interval,
        p_value=p[0],
        p_holm=p[1],
        wins=wins,
        ties=len(differences) - wins - losses,
        losses=losses,
        verdict=verdict,
        queries_needed=_needed(differences, comparisons) if verdict == UNDECIDED else None,
    )


def _verdict(difference: float, interval: Interval, p_holm: float, queries: int) -> str:
    if p_holm < SIGNIFICANT:
        return "better" if difference > 0 else "worse"
    bound = max(abs(interval[0]), abs(interval[1]), RULE_OF_THREE / queries)
    if bound <= SMALL_DIFFERENCE:
        return f"no difference of more than {math.ceil(bound * 1000) / 1000:.3f}"
    return UNDECIDED


def _needed(differences: Floats, comparisons: int) -> int | None:
    return queries_needed(
        differences,
        small=SMALL_DIFFERENCE,
        fewest_alike=math.ceil(RULE_OF_THREE / SMALL_DIFFERENCE),
        # The level that Holm's correction asks of the smallest p, and of none a smaller one.
        significance=SIGNIFICANT / comparisons,
    )
