"""What one way of recalling gives for the held-out queries, made ready to be blended and judged many times."""

from collections.abc import Callable, Mapping, Sequence
from itertools import product

import numpy as np

from langchain_rerank_retriever.blend import BlendVariant, Feature
from langchain_rerank_retriever.evaluation.judge import Judge
from langchain_rerank_retriever.recall.fusion import Floats, as_it_is, best_first
from langchain_rerank_retriever.training.proof.calibration import calibrated
from langchain_rerank_retriever.training.proof.stages import StageTable, System, candidates

GRID_STEPS = 20
MEASURE = "nDCG@10"
MEASURED_DEPTH = 10

Weights = dict[Feature, float]
Scale = Callable[[Floats], Floats]


class Pool:
    """The candidates that a system recalls for each query.

    Args:
        tables: Query id to candidates.
        qrels: Judgements of at least those queries.
        system: Recall mode, depth and fusion; its own variant is not looked at.
    """

    def __init__(
        self,
        tables: Mapping[str, StageTable],
        qrels: Mapping[str, Mapping[str, int]],
        system: System,
    ) -> None:
        self._qrels = {key: qrels[key] for key in tables}
        self._candidates = {key: candidates(table, system) for key, table in tables.items()}
        self._places = {key: place for place, key in enumerate(tables)}
        self._grids: dict[tuple[Feature, ...], tuple[list[Weights], Floats]] = {}

    def quality(self, variant: BlendVariant, keys: Sequence[str]) -> Floats:
        """Give nDCG@10 of a variant for each of some queries, shape ``(len(keys),)``."""
        orders = {}
        for key in keys:
            ids, columns = self._candidates[key]
            best = best_first(variant.blended(columns))[:MEASURED_DEPTH]
            orders[key] = [ids[place] for place in best]
        judge = Judge({key: self._qrels[key] for key in keys}, (MEASURE,))
        judged = judge(orders).per_query[MEASURE]
        return np.array([judged[key] for key in keys])

    def grid(self, features: Sequence[Feature], keys: Sequence[str]) -> tuple[list[Weights], Floats]:
        """Give every point of the grid, and nDCG@10 of every point and query, shape ``(points, len(keys))``.

        The grid is the same whichever queries weights are fitted on, so it is judged once.
        """
        wanted = tuple(features)
        if wanted not in self._grids:
            points = simplex(wanted)
            every = list(self._places)
            values = [self.quality(BlendVariant(point, 1.0, 0.0), every) for point in points]
            self._grids[wanted] = points, np.array(values)
        points, judged = self._grids[wanted]
        return points, judged[:, [self._places[key] for key in keys]]

    def stacked(
        self, features: Sequence[Feature], keys: Sequence[str], *, scale: Scale = as_it_is
    ) -> tuple[Floats, Floats]:
        """Return all candidates of some queries, one below the other.

        Args:
            features: The stages.
            keys: The queries.
            scale: Applied to each stage's scores of each query.

        Returns:
            Their scores by stage, shape ``(candidates, len(features))``, and 1.0 or 0.0 for whether each is relevant.
        """
        columns = [[scale(self._candidates[key][1][feature]) for feature in features] for key in keys]
        rows = [np.column_stack(one) for one in columns]
        return np.concatenate(rows), self._relevant(keys)

    def scores(self, variant: BlendVariant, keys: Sequence[str]) -> tuple[Floats, Floats]:
        """Return the blended scores of all candidates of some queries, and whether each is relevant."""
        blended = [variant.blended(self._candidates[key][1]) for key in keys]
        return np.concatenate(blended), self._relevant(keys)

    def calibrate(self, variant: BlendVariant, keys: Sequence[str]) -> BlendVariant | None:
        """Fit the logistic of a variant; see `calibrated`."""
        return calibrated(variant, *self.scores(variant, keys))

    def _relevant(self, keys: Sequence[str]) -> Floats:
        return np.array(
            [self._qrels[key].get(one, 0) > 0 for key in keys for one in self._candidates[key][0]], float
        )


def simplex(names: Sequence[Feature]) -> list[Weights]:
    """List all weights that are multiples of a twentieth and add up to one."""
    return [
        {name: count / GRID_STEPS for name, count in zip(names, counts, strict=True)}
        for counts in product(range(GRID_STEPS + 1), repeat=len(names))
        if sum(counts) == GRID_STEPS
    ]
