"""Stage scores to one relevance: fitted weights over scaled scores, then a calibrated probability.

A cross-encoder alone is not the best order: weighed with the bi-encoder's similarity and BM25, it usually gives a
better one, and where it is bad it may get the weight 0. `tune` fits the weights on queries that the models were not
trained on, together with a logistic that maps the blended score to a probability; only then does a `score_threshold`
mean the same for every query. A retriever without a blend orders by its re-ranker.

A `Blend` holds a `BlendVariant` for each set of scores that may be there, and the richest that can be used is. One
may be written by hand, for instance to weigh the stages alike:

```python
from langchain_rerank_retriever import RerankRetriever
from langchain_rerank_retriever.blend import Blend, BlendVariant

alike = BlendVariant({"rerank": 1.0, "dense": 1.0, "lexical": 1.0}, slope=1.0, intercept=0.0)
retriever = RerankRetriever.from_documents(
    documents, embeddings=any_embeddings, reranker=any_cross_encoder, blend=Blend((alike,))
)
print(retriever.invoke("gift cards")[0].metadata["relevance_kind"])  # probability
```

Such a probability is one in name only: the slope and intercept are fitted to nothing.
`langchain_rerank_retriever.training` fits them, and `langchain_rerank_retriever.evaluation` has `reliability`, which
shows how true they are.

Only the fitted form lives here; how it is fitted is the training room's business.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from scipy.special import expit

from langchain_rerank_retriever.early_stop import EarlyStop
from langchain_rerank_retriever.errors import FormatError
from langchain_rerank_retriever.recall.fusion import (
    Floats,
    as_it_is,
    reciprocal_ranks,
    scaled,
    standardise,
    weighted_sum,
)

__all__ = ["Blend", "BlendVariant"]

#: `recall` is the score of fitted hybrid recall: the weighted sum of dense and lexical scores, each standardised over
#: everything that was recalled, of which the candidates are the best. With all weight on it, the order is recall's own.
Feature = Literal["rerank", "recall", "dense", "lexical"]

#: How each stage's scores are scaled before they are weighted. `standard` brings them to mean 0 and deviation 1 within
#: the query's candidates; `raw` leaves them, so that the weighted sum is that of a logistic regression;
#: `reciprocal_rank` takes 1 / (60 + rank) within the candidates, so that equal weights are reciprocal rank fusion.
Scaling = Literal["standard", "raw", "reciprocal_rank"]
BLEND_FORMAT = 1

_SCALES: Mapping[Scaling, Callable[[Floats], Floats]] = {
    "standard": standardise,
    "raw": as_it_is,
    "reciprocal_rank": reciprocal_ranks,
}


@dataclass(frozen=True, slots=True)
class BlendVariant:
    """One fitted way from stage scores to a probability.

    Attributes:
        weights: Weight of each stage's scores.
        slope: Of the logistic that maps a blended score to a probability; positive, so the order is kept.
        intercept: Of the same logistic.
        scaling: What is done to the scores of each stage first.
        early_stop: When the re-ranking of a query may end early; None where that was not fitted.
    """

    weights: Mapping[Feature, float]
    slope: float
    intercept: float
    scaling: Scaling = "standard"
    early_stop: EarlyStop | None = None

    @property
    def features(self) -> frozenset[Feature]:
        """The stages whose scores must be there."""
        return frozenset(self.weights)

    def blended(self, stage_scores: Mapping[str, Floats]) -> Floats:
        """Blend one query's candidates.

        Args:
            stage_scores: An array of shape ``(n,)`` for at least every feature of this variant; NaN where the
                re-ranker has not scored a candidate yet.

        Returns:
            Shape ``(n,)``, higher is better; NaN where a score is missing.
        """
        return weighted_sum(stage_scores, self.weights, _SCALES[self.scaling])

    def leads(self, stage_scores: Mapping[str, Floats]) -> Floats:
        """Tell how far the candidates that are scored are ahead of those that are not.

        What recall knows of an unscored candidate is known; a lead is how many standard deviations above the mean of
        the re-ranker's scores so far the most promising of them would have to be scored to catch up.

        Args:
            stage_scores: As for `blended`, with at least one re-rank score.

        Returns:
            One lead for each scored candidate, best first; infinite where every candidate is scored.
        """
        parts = {
            name: weight * scaled(np.asarray(stage_scores[name], float), _SCALES[self.scaling])
            for name, weight in self.weights.items()
        }
        rerank = parts.pop("rerank")
        known = np.sum([np.zeros(rerank.size), *parts.values()], axis=0)
        there = ~np.isnan(rerank)
        best = np.sort((known + rerank)[there])[::-1]
        if there.all():
            return np.full(best.size, np.inf)
        ahead = best - (known[~there].max() + rerank[there].mean())
        spread = float(rerank[there].std())
        # Scores that do not differ, or have no weight: then what recall knows decides alone.
        return ahead / spread if spread > 0 else np.where(ahead >= 0, np.inf, -np.inf)

    def probability(self, blended: Floats, *, scored: int | None = None) -> Floats:
        """Map blended scores to estimated probabilities of relevance (Platt 1999), in the same order.

        The estimate holds for queries and candidates like the ones it was fitted on.

        Args:
            blended: Blended scores, shape ``(n,)``.
            scored: After how many candidates scoring ended early; None where it did not.
        """
        slope, intercept = self.slope, self.intercept
        if scored is not None and self.early_stop is not None:
            slope, intercept = self.early_stop.looks.get(scored, (slope, intercept))
        return np.asarray(expit(slope * blended + intercept))


@dataclass(frozen=True, slots=True)
class Blend:
    """The fitted variants, and the weights for fusing dense with lexical recall.

    Attributes:
        variants: Each for another set of available scores.
        fusion: Weights `{"dense": w, "lexical": 1 - w}` for hybrid recall, None where none were fitted.
    """

    variants: tuple[BlendVariant, ...]
    fusion: Mapping[str, float] | None = None

    def variant_for(self, available: Iterable[str]) -> BlendVariant | None:
        """Pick the variant that uses most of the available scores, None where none fits."""
        # Of two that use as many, the first.
        fitting = [variant for variant in self.variants if variant.features <= set(available)]
        return max(fitting, key=lambda variant: len(variant.features), default=None)

    def to_dict(self) -> dict[str, Any]:
        """Return the coefficients as plain JSON data."""
        return {
            "format": BLEND_FORMAT,
            "fusion": None if self.fusion is None else dict(self.fusion),
            "variants": [_variant_to_dict(variant) for variant in self.variants],
        }

    @classmethod
    def from_dict(cls, data: Any) -> "Blend":
        """Read what `to_dict` wrote.

        Raises:
            FormatError: If it is something else, of a newer format, or holds numbers that are not finite.
        """
        try:
            if data["format"] != BLEND_FORMAT:
                raise FormatError(
                    f"The blend has format {data['format']!r}; this version reads format {BLEND_FORMAT}. "
                    "Install a newer langchain-rerank-retriever."
                )
            variants = tuple(_variant(one) for one in data["variants"])
            fusion = None if data["fusion"] is None else _weights(data["fusion"], ("dense", "lexical"))
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise FormatError(f"The blend cannot be read: {error!r}. Fit it anew with tune().") from error
        return cls(variants, fusion)


def _variant_to_dict(variant: BlendVariant) -> dict[str, Any]:
    data: dict[str, Any] = {
        "weights": dict(variant.weights),
        "slope": variant.slope,
        "intercept": variant.intercept,
        "scaling": variant.scaling,
    }
    if variant.early_stop is not None:
        data["early_stop"] = variant.early_stop.to_dict()
    return data


def _weights(data: Any, names: tuple[str, ...]) -> dict[Any, float]:
    weights = {name: float(weight) for name, weight in data.items()}
    if not weights or not set(weights) <= set(names) or not np.isfinite(list(weights.values())).all():
        raise ValueError(f"weights must be finite numbers for {names}, got {json.dumps(data)}")
    return weights


def _variant(data: Any) -> BlendVariant:
    slope, intercept = float(data["slope"]), float(data["intercept"])
    if not np.isfinite([slope, intercept]).all() or slope <= 0:
        raise ValueError(f"slope must be positive and both finite, got {slope} and {intercept}")
    # Blends written before there was a choice do not name it.
    scaling = data.get("scaling", "standard")
    if scaling not in get_args(Scaling):
        raise ValueError(f"scaling must be one of {get_args(Scaling)}, got {json.dumps(scaling)}")
    # Nor do blends for which no early stop was fitted, or which were written before there was one, name that.
    stop = data.get("early_stop")
    early_stop = None if stop is None else EarlyStop.from_dict(stop)
    weights = _weights(data["weights"], get_args(Feature))
    if early_stop is not None and "rerank" not in weights:
        raise ValueError(f"early_stop needs a weight for the re-ranker, got {json.dumps(weights)}")
    return BlendVariant(weights, slope, intercept, scaling, early_stop)
