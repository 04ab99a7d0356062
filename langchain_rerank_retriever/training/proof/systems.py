"""The systems that compete, and their rankings of the held-out queries."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from langchain_rerank_retriever.blend import Blend, BlendVariant, Feature
from langchain_rerank_retriever.evaluation.judge import Judge
from langchain_rerank_retriever.training.proof.fit_blend import LEAST_QUERIES, MEASURE, Qrels, Tables
from langchain_rerank_retriever.training.proof.forms import FOLDS, RICHEST, RICHEST_RAW, divided
from langchain_rerank_retriever.training.proof.stages import System, served_order

Rankings = Mapping[str, list[str]]

BASE = "base"
BM25 = "bm25"
HYBRID = "hybrid"
TUNED = "tuned"
TUNED_HYBRID = "tuned hybrid"
CROSS_ENCODER = "tuned + cross-encoder"
BLENDED = "blended"

#: From simple to complex: the order in which one system may replace another.
ORDER = (BASE, BM25, HYBRID, TUNED, TUNED_HYBRID, CROSS_ENCODER, BLENDED)

#: What needs no training: one of these is shipped where labels cannot be trusted.
UNTUNED = (BASE, BM25, HYBRID)

#: The stages whose scores each system orders by; its blend holds just the variants over them.
FEATURES: dict[str, tuple[frozenset[Feature], ...]] = {
    BASE: (frozenset({"dense"}),),
    BM25: (frozenset({"lexical"}),),
    HYBRID: (),
    TUNED: (frozenset({"dense"}),),
    TUNED_HYBRID: (frozenset({"recall"}),),
    CROSS_ENCODER: (frozenset({"rerank"}),),
    BLENDED: (
        frozenset({"rerank"}),
        frozenset({"rerank", "dense"}),
        frozenset(RICHEST),
        frozenset(RICHEST_RAW),
    ),
}

#: Depths that are tried, and the loss of nDCG@10 for which a smaller one is taken.
DEPTHS = (10, 15, 20, 30, 50)
DEPTH_TOLERANCE = 0.003


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What is known of some held-out queries.

    Attributes:
        qrels: Their judgements.
        base: Their candidates from the untuned bi-encoder's store.
        tuned: Their candidates from the tuned bi-encoder's store.
        serving: Of the better of the two, with cross-encoder scores where there are any.
    """

    qrels: Qrels
    base: Tables
    tuned: Tables
    serving: Tables

    def only(self, query_ids: Sequence[str]) -> "HeldOut":
        """Return the part that concerns some queries."""
        return HeldOut(
            {key: self.qrels[key] for key in query_ids},
            {key: self.base[key] for key in query_ids},
            {key: self.tuned[key] for key in query_ids},
            {key: self.serving[key] for key in query_ids},
        )

    def tables(self, system: System) -> Tables:
        """Return the candidates that a system starts from."""
        return {"base": self.base, "tuned": self.tuned, "serving": self.serving}[system.encoder]


def systems(blend: Blend | None, *, depth: int, reranked: bool) -> dict[str, System]:
    """Set up every system that what was fitted allows."""
    found = {
        BASE: System(BASE),
        BM25: System(BM25, mode="lexical"),
        HYBRID: System(HYBRID, mode="hybrid"),
        TUNED: System(TUNED, "tuned"),
    }
    if blend is not None:
        both = _variant_over(blend, ("recall",))
        found[TUNED_HYBRID] = System(
            TUNED_HYBRID, "serving", mode="hybrid", fusion=blend.fusion, variant=both
        )
    if reranked:
        found[CROSS_ENCODER] = System(CROSS_ENCODER, "serving", depth=depth, reranked=True)
        full = None if blend is None else _variant_over(blend, RICHEST) or _variant_over(blend, RICHEST_RAW)
        if blend is not None and full is not None:
            found[BLENDED] = System(
                BLENDED, "serving", "hybrid", depth, reranked=True, fusion=blend.fusion, variant=full
            )
    return found


def _variant_over(blend: Blend, features: Sequence[Feature]) -> BlendVariant | None:
    return next((variant for variant in blend.variants if variant.features == set(features)), None)


def rankings(found: Mapping[str, System], held_out: HeldOut) -> dict[str, dict[str, list[str]]]:
    """Let every system answer the held-out queries."""
    return {
        name: {key: served_order(table, system) for key, table in held_out.tables(system).items()}
        for name, system in found.items()
    }


def cross_fitted(
    held_out: HeldOut,
    fit: Callable[[HeldOut], Mapping[str, System]],
    *,
    unfitted: Mapping[str, System],
    seed: int,
) -> dict[str, dict[str, list[str]]]:
    """Let every system answer each held-out query with weights that were fitted without it.

    Args:
        held_out: All held-out queries.
        fit: Fits systems on a part of them.
        unfitted: The systems that need no fitting; the only ones that answer where the queries are too few to leave
            some out and still fit.
        seed: Of the division into folds.
    """
    if not can_cross_fit(held_out):
        return rankings(unfitted, held_out)
    merged: dict[str, dict[str, list[str]]] = {}
    for outside, inside in divided(list(held_out.qrels), seed=seed):
        fitted = fit(held_out.only(outside))
        for name, ranked in rankings(fitted, held_out.only(inside)).items():
            merged.setdefault(name, {}).update(ranked)
    # A system that could be fitted on some folds only has no ranking of every query.
    return {name: ranked for name, ranked in merged.items() if len(ranked) == len(held_out.qrels)}


def can_cross_fit(held_out: HeldOut) -> bool:
    """Tell whether enough queries are left to fit on when a fold is left out."""
    return len(held_out.qrels) * (FOLDS - 1) / FOLDS >= LEAST_QUERIES


def blend_of(name: str, blend: Blend | None) -> Blend | None:
    """Keep of a blend what the named system orders by, so that the retriever serves just that system."""
    if blend is None:
        return None
    kept = tuple(variant for variant in blend.variants if variant.features in FEATURES[name])
    return Blend(kept, blend.fusion if name in (TUNED_HYBRID, BLENDED) else None)


def as_served(system: System, blend: Blend | None) -> System:
    """Return the system with the variant by which its retriever orders, None where it has no probabilities."""
    if system.variant is not None or system.name == TUNED_HYBRID:
        return system
    kept = blend_of(system.name, blend)
    return replace(system, variant=kept.variants[0] if kept is not None and kept.variants else None)


def at_depth(system: System, depth: int) -> System:
    """Return the same system over fewer candidates."""
    return replace(system, depth=depth)


def depth_curve(system: System, held_out: HeldOut) -> dict[int, float]:
    """Give nDCG@10 of a re-ranking system by depth; empty for a system that does not re-rank."""
    if not system.reranked:
        return {}
    judge = Judge(held_out.qrels, (MEASURE,))
    tables = held_out.tables(system)
    curve = {}
    for depth in [one for one in DEPTHS if one < system.depth] + [system.depth]:
        answers = {key: served_order(table, at_depth(system, depth)) for key, table in tables.items()}
        curve[depth] = judge(answers)[MEASURE]
    return curve


def best_depth(curve: Mapping[int, float]) -> int:
    """Pick the smallest depth whose quality is within the tolerance of the best."""
    return min(depth for depth, value in curve.items() if value >= max(curve.values()) - DEPTH_TOLERANCE)
