"""From the tables of the held-out queries to the system that is shipped, and its figures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from langchain_rerank_retriever.blend import Blend, BlendVariant
from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.evaluation import Evaluation
from langchain_rerank_retriever.evaluation.judge import Judge
from langchain_rerank_retriever.training.proof.calibration import Calibration, calibration_of
from langchain_rerank_retriever.training.proof.early_stop import EarlyStopReport, Error, Replay, errors_of
from langchain_rerank_retriever.training.proof.fit_blend import MEASURE, BlendFitter
from langchain_rerank_retriever.training.proof.forms import divided
from langchain_rerank_retriever.training.proof.pool import Pool
from langchain_rerank_retriever.training.proof.promote import Decision, compared, promote
from langchain_rerank_retriever.training.proof.signal import AT_CHANCE, Signal, labels_carry_signal, warning
from langchain_rerank_retriever.training.proof.stages import System
from langchain_rerank_retriever.training.proof.systems import (
    BASE,
    BLENDED,
    CROSS_ENCODER,
    ORDER,
    UNTUNED,
    HeldOut,
    Rankings,
    as_served,
    best_depth,
    can_cross_fit,
    cross_fitted,
    depth_curve,
    rankings,
)
from langchain_rerank_retriever.training.proof.systems import systems as all_systems

MEASURES = (MEASURE, "Success@1", "Success@10", "RR@10", "R@100")

#: Weights of dense and lexical scores in hybrid recall; None fuses by rank.
Fusion = Mapping[str, float] | None

#: Which untuned system to ship where the labels cannot tell.
Fallback = Callable[[], str] | str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The decision and what it rests on.

    Attributes:
        chosen: The name of the system to ship.
        decisions: Every comparison on the way.
        systems: Every system, simplest first, fitted on all of the dev queries.
        blend: Fitted on all of the dev queries; None where they are too few, or their labels are at chance.
        curve: nDCG@10 by depth, of the chosen system where it re-ranks, else of the richest one that does; empty
            where none does.
        evaluations: Every system on the reporting queries.
        blend_forms: Cross-fitted nDCG@10 of the richest blend by its form; empty where it was not fitted.
        calibration: Of the chosen system's probabilities, cross-fitted over the dev queries; None where it has none.
        early_stop: How the chosen system's early stop does, cross-fitted over the dev queries; None where it does not
            re-rank by a fitted blend, or there are too few queries to fit it.
        signal: Whether the labels of the dev queries say anything.
        warnings: What to tell the user, in words.
    """

    chosen: str
    decisions: list[Decision]
    systems: dict[str, System]
    blend: Blend | None
    curve: dict[int, float]
    evaluations: dict[str, Evaluation]
    blend_forms: Mapping[str, float] = field(default_factory=dict)
    calibration: Calibration | None = None
    early_stop: EarlyStopReport | None = None
    signal: Signal | None = None
    warnings: Sequence[str] = ()


def decide(
    dev: HeldOut,
    test: HeldOut | None,
    *,
    depth: int,
    reranked: bool,
    fusion: Fusion,
    seed: int,
    fallback: Fallback = None,
) -> Outcome:
    """Fit, choose and judge.

    Args:
        dev: Held-out queries to fit and decide by. Each is answered with a blend that was fitted without it; only
            the one weight of `fusion`, the choice of depth, and which bi-encoder serves have seen all of them.
        test: Queries for the report alone; None reports the cross-fitted figures of `dev`.
        depth: How many candidates the cross-encoder scored.
        reranked: Whether there is a cross-encoder.
        fusion: Weights of hybrid recall.
        seed: Of folds, bootstrap and permutations.
        fallback: The untuned system to ship where the labels are at chance, or what names it when it is needed;
            None is `"base"`.

    Raises:
        InvalidArgumentError: If `fallback` names another system.
    """
    fitter = BlendFitter(dev.serving, dev.qrels, depth=depth, fusion=fusion, seed=seed)
    fits = _Fits(dev, fitter, reranked, seed)
    systems, unfitted = fits.systems(dev, depth), all_systems(None, depth=depth, reranked=reranked)
    answers = fits.answers(depth)
    order = [name for name in ORDER if name in answers and name in systems]
    evaluations = _judged({name: answers[name] for name in order}, dev)
    values = {name: evaluations[name].per_query[MEASURE] for name in order}
    # What was fitted on these very labels cannot tell whether they are better than chance.
    signal = labels_carry_signal({name: answers[name] for name in unfitted}, dev.qrels, seed=seed)
    if signal.ok:
        chosen, decisions = promote(values, order, seed=seed)
    else:
        chosen, decisions = _untuned(fallback, values, order, seed=seed)
    curve = _curve(chosen, {name: systems[name] for name in order}, dev)
    served_depth = best_depth(curve) if systems[chosen].reranked else depth
    # Weights and probabilities that were fitted on random labels serve nobody.
    blend = fitter.blend(tuple(dev.qrels), served_depth) if signal.ok else None
    served = fits.served(blend, served_depth, order)
    reported = _judged(rankings(served, test), test) if test is not None else {}
    if test is None:
        # The figures are those of what is shipped: at its depth.
        answers = answers if served_depth == depth else fits.answers(served_depth)
        reported = _judged({name: answers[name] for name in served}, dev)
    outcome = Outcome(chosen, decisions, served, blend, curve, reported, signal=signal)
    if not signal.ok:
        return replace(outcome, warnings=(warning(signal),))
    blend, early_stop = fits.early_stop(served[chosen], blend)
    return replace(
        outcome,
        systems=fits.served(blend, served_depth, order),
        blend=blend,
        blend_forms=fits.forms(),
        calibration=fits.calibration(served[chosen], served_depth),
        early_stop=early_stop,
    )


@dataclass(frozen=True, slots=True)
class _Fits:
    """What is fitted on the dev queries, or on a part of them."""

    dev: HeldOut
    fitter: BlendFitter
    reranked: bool
    seed: int

    def systems(self, some: HeldOut, depth: int) -> dict[str, System]:
        """Set up every system with what some of the queries give."""
        blend = self.fitter.blend(tuple(some.qrels), depth)
        return all_systems(blend, depth=depth, reranked=self.reranked)

    def served(self, blend: Blend | None, depth: int, order: Sequence[str]) -> dict[str, System]:
        """Set up the systems that a blend allows, in some order."""
        found = all_systems(blend, depth=depth, reranked=self.reranked)
        return {name: found[name] for name in order if name in found}

    def answers(self, depth: int) -> Mapping[str, Rankings]:
        """Let every system answer each dev query with what the others give."""
        unfitted = all_systems(None, depth=depth, reranked=self.reranked)
        return cross_fitted(
            self.dev, lambda some: self.systems(some, depth), unfitted=unfitted, seed=self.seed
        )

    def forms(self) -> Mapping[str, float]:
        fitted = self.fitter.fit(tuple(self.dev.qrels))
        return {} if fitted is None else fitted.forms

    def calibration(self, chosen: System, depth: int) -> Calibration | None:
        """Judge the probabilities that the chosen system gives to queries that its blend was not fitted on."""
        if not can_cross_fit(self.dev):
            return None
        probability, relevant = [], []
        for outside, inside in divided(list(self.dev.qrels), seed=self.seed):
            blend = self.fitter.blend(tuple(outside), depth)
            found = all_systems(blend, depth=depth, reranked=self.reranked)
            variant = as_served(found[chosen.name], blend).variant if chosen.name in found else None
            if variant is None:
                return None
            pool = Pool(self.dev.only(inside).tables(chosen), self.dev.qrels, chosen)
            scores, labels = pool.scores(variant, inside)
            probability.append(variant.probability(scores))
            relevant.append(labels)
        queries = len(self.dev.qrels)
        return calibration_of(np.concatenate(probability), np.concatenate(relevant), queries=queries)

    def early_stop(self, chosen: System, blend: Blend | None) -> tuple[Blend | None, EarlyStopReport | None]:
        """Fit when the chosen system may stop early, and judge that on queries that it was not fitted on.

        Returns:
            The blend, in which the variant that the system orders by carries what was fitted, and the judgement.
        """
        variant = as_served(chosen, blend).variant
        if not chosen.reranked or blend is None or variant is None or not can_cross_fit(self.dev):
            return blend, None
        errors = self._errors_of_stopping(chosen)
        if errors is None:
            return blend, None
        replay = self._replay(list(self.dev.qrels), chosen, variant)
        # What costs more than it may on queries that it was not fitted on is not offered.
        margins = [
            margin if error.tolerable else None
            for margin, error in zip(replay.margins(), errors, strict=True)
        ]
        stopping = replace(variant, early_stop=replay.fitted(margins))
        variants = tuple(stopping if one == variant else one for one in blend.variants)
        offered = tuple(margin is not None for margin in margins)
        return replace(blend, variants=variants), EarlyStopReport(len(self.dev.qrels), errors, offered)

    def _errors_of_stopping(self, chosen: System) -> tuple[Error, ...] | None:
        """Stop each dev query by the margins, and with the blend, that the others give; None where they give none."""
        stops = []
        for outside, inside in divided(list(self.dev.qrels), seed=self.seed):
            blend = self.fitter.blend(tuple(outside), chosen.depth)
            found = all_systems(blend, depth=chosen.depth, reranked=True)
            if chosen.name not in found:
                return None
            system = as_served(found[chosen.name], blend)
            if system.variant is None:
                return None
            margins = self._replay(outside, system, system.variant).margins()
            judged = self._replay(inside, system, system.variant)
            stops.append([judged.stops(k, margin) for k, margin in enumerate(margins, start=1)])
        return errors_of(stops)

    def _replay(self, keys: Sequence[str], system: System, variant: BlendVariant) -> Replay:
        return Replay(self.dev.only(keys).tables(system), self.dev.qrels, system, variant)


def _judged(answers: Mapping[str, Rankings], queries: HeldOut) -> dict[str, Evaluation]:
    judge = Judge(queries.qrels, MEASURES)
    return {name: judge(ranked, name=name) for name, ranked in answers.items()}


def _untuned(
    fallback: Fallback, values: Mapping[str, Mapping[str, float]], order: Sequence[str], *, seed: int
) -> tuple[str, list[Decision]]:
    """Ship what the labels had no part in."""
    chosen = fallback() if callable(fallback) else fallback or BASE
    if chosen not in UNTUNED:
        raise InvalidArgumentError(f"fallback must name one of {UNTUNED}, got {chosen!r}.")
    others = [compared(values, name, chosen, seed=seed) for name in order if name != chosen]
    return chosen, [replace(one, promoted=False, reason=AT_CHANCE) for one in others]


def _curve(chosen: str, systems: Mapping[str, System], dev: HeldOut) -> dict[int, float]:
    """Give the depth curve of the chosen system, or else of the richest that re-ranks."""
    for name in (chosen, BLENDED, CROSS_ENCODER):
        if name in systems and systems[name].reranked:
            return depth_curve(systems[name], dev)
    return {}
