"""From the tables of the held-out queries to the system that is shipped, and its figures."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from langchain_rerank_retriever.blend import Blend
from langchain_rerank_retriever.evaluation import Evaluation
from langchain_rerank_retriever.evaluation.judge import Judge
from langchain_rerank_retriever.training.proof.fit_blend import MEASURE
from langchain_rerank_retriever.training.proof.promote import Decision, promote
from langchain_rerank_retriever.training.proof.stages import System
from langchain_rerank_retriever.training.proof.systems import (
    ORDER,
    HeldOut,
    at_depth,
    best_depth,
    cross_fitted,
    depth_curve,
    fit_systems,
    rankings,
)
from langchain_rerank_retriever.training.proof.systems import systems as all_systems

MEASURES = (MEASURE, "Success@1", "Success@10", "RR@10", "R@100")

#: Weights of dense and lexical scores in hybrid recall; None fuses by rank.
Fusion = Mapping[str, float] | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The decision and what it rests on.

    Attributes:
        chosen: The name of the system to ship.
        decisions: Every comparison on the way.
        systems: Every system, simplest first, fitted on all of the dev queries.
        blend: Fitted on all of the dev queries; None where they are too few.
        curve: nDCG@10 of the chosen system by depth; empty for one that does not re-rank.
        evaluations: Every system on the reporting queries.
    """

    chosen: str
    decisions: list[Decision]
    systems: dict[str, System]
    blend: Blend | None
    curve: dict[int, float]
    evaluations: dict[str, Evaluation]


def decide(
    dev: HeldOut, test: HeldOut | None, *, depth: int, reranked: bool, fusion: Fusion, seed: int
) -> Outcome:
    """Fit, choose and judge.

    Args:
        dev: Held-out queries to fit and decide by. Each is answered with a blend that was fitted without it; only
            the one weight of `fusion` and the choice of depth have seen all of them.
        test: Queries for the report alone; None reports the cross-fitted figures of `dev`.
        depth: How many candidates the cross-encoder scored.
        reranked: Whether there is a cross-encoder.
        fusion: Weights of hybrid recall.
        seed: Of folds and bootstrap.
    """
    fit = partial(fit_systems, depth=depth, reranked=reranked, fusion=fusion)
    blend, systems = fit(dev)
    unfitted = all_systems(None, depth=depth, reranked=reranked)
    answers = cross_fitted(dev, lambda some: fit(some)[1], unfitted=unfitted, seed=seed)
    judge = Judge(dev.qrels, MEASURES)
    order = [name for name in ORDER if name in answers and name in systems]
    evaluations = {name: judge(answers[name], name=name) for name in order}
    values = {name: evaluations[name].per_query[MEASURE] for name in order}
    chosen, decisions = promote(values, order, seed=seed)
    curve = depth_curve(systems[chosen], dev)
    shipped = {name: _at_best_depth(systems[name], curve) for name in order}
    if test is not None:
        judge = Judge(test.qrels, MEASURES)
        evaluations = {name: judge(ranked, name=name) for name, ranked in rankings(shipped, test).items()}
    return Outcome(chosen, decisions, shipped, blend, curve, evaluations)


def _at_best_depth(system: System, curve: Mapping[int, float]) -> System:
    return at_depth(system, best_depth(curve)) if system.reranked and curve else system
