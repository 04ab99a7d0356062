"""The early stop of one query: when its best candidates are too far ahead for the rest to matter."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from langchain_rerank_retriever.answering.collapse import belonging
from langchain_rerank_retriever.blend import BlendVariant
from langchain_rerank_retriever.early_stop import EarlyStop
from langchain_rerank_retriever.recall.candidate import Candidate, stage_columns
from langchain_rerank_retriever.recall.fusion import Floats, best_first


@dataclass(frozen=True, slots=True)
class Stopping:
    """What is known of a query's candidates before they are scored, and the rule by which scoring ends.

    Attributes:
        variant: The blend that orders them.
        fitted: What was fitted for its early stop.
        known: The scores of recall, by stage.
        k: How many documents are returned.
        parents: What each candidate belongs to, None for one that stands for itself; empty where nothing is collapsed.
    """

    variant: BlendVariant
    fitted: EarlyStop
    known: Mapping[str, Floats]
    k: int
    parents: tuple[Hashable | None, ...] = ()

    @property
    def looks(self) -> Sequence[int]:
        """After how many scored candidates to ask."""
        return tuple(self.fitted.looks)

    def enough(self, scores: Floats) -> bool:
        """Tell whether what would be returned is too far ahead of what is unscored; see `BlendVariant.leads`."""
        columns = {**self.known, "rerank": scores}
        place = self._last_place(columns)
        margin = None if place is None else self.fitted.margin(place)
        if place is None or margin is None:
            return False
        return bool(self.variant.leads(columns)[place - 1] >= margin)

    def _last_place(self, columns: Mapping[str, Floats]) -> int | None:
        """Find the place, from 1, of the last that would be returned; None where fewer are scored."""
        scored = np.flatnonzero(~np.isnan(columns["rerank"]))
        if not self.parents:
            return self.k if scored.size >= self.k else None
        order = scored[best_first(self.variant.blended(columns)[scored])]
        met: set[Hashable] = set()
        for place, candidate in enumerate(order.tolist(), start=1):
            parent = self.parents[candidate]
            met.add(("itself", candidate) if parent is None else parent)
            if len(met) == self.k:
                return place
        return None


def stopping(
    candidates: Sequence[Candidate],
    variant: BlendVariant | None,
    *,
    k: int,
    fetch_k: int,
    collapse: str | None,
) -> Stopping | None:
    """Make the rule for one query; None where all are to be scored, for want of a fit for so many candidates.

    Args:
        candidates: In recall order.
        variant: The blend that will order them.
        k: How many documents are returned.
        fetch_k: How many candidates were asked for.
        collapse: Metadata key of the parent that `k` counts; None counts documents.
    """
    fitted = None if variant is None else variant.early_stop
    if variant is None or fitted is None or fetch_k > fitted.fetch_k:
        return None
    parents: tuple[Hashable | None, ...] = ()
    if collapse is not None:
        parents = tuple(belonging(candidate.document.metadata, collapse) for candidate in candidates)
    return Stopping(variant, fitted, stage_columns(candidates), k, parents)
