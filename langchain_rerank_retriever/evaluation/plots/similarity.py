"""How far apart the similarities of pairs that belong together and of pairs that do not are."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.evaluation.curves.similarities import Similarities, similarities
from langchain_rerank_retriever.evaluation.plots.canvas import (
    BLUE,
    DARK,
    LIGHT,
    ORANGE,
    SKY,
    Theme,
    dress,
    legend,
    new_figure,
)
from langchain_rerank_retriever.evaluation.plots.given import Given, computed
from langchain_rerank_retriever.evaluation.plots.labels import label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BINS = 40


def plot_similarities(given: Given[Similarities], *, theme: Theme = LIGHT) -> "Figure":
    """Draw how the similarities of two kinds of pairs are distributed, all systems on one scale.

    Args:
        given: One or more evaluations, of which `similarities` are computed, or ready ones, such as
            `[Similarities("before", positives, negatives), Similarities("after", ...)]`. The first is drawn on top.
        theme: Colours.

    Raises:
        MissingExtraError: matplotlib is not installed.
        InvalidArgumentError: If there is none, or an evaluation has no similarities.
    """
    panels = computed(given, similarities)
    if not panels:
        raise InvalidArgumentError("There is nothing to draw; expected at least one evaluation.")
    every = np.concatenate([values for one in panels for values in (one.positives, one.negatives)])
    edges = np.histogram_bin_edges(every, bins=_BINS)
    figure = new_figure(theme, height=0.9 + 1.9 * len(panels))
    rows = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
    for axes, one in zip(rows, panels):
        title = f"{label(one.name)}: a relevant one is the more similar in {one.separation:.1%} of pairs"
        below = "similarity" if axes is rows[-1] else ""
        dress(axes, theme, title=title, x=below, y="share of the pairs", grid="y")
        _draw(axes, one, edges.tolist(), theme)
    patches = [rows[0].patches[0], rows[0].patches[_BINS + 1]]
    legend(figure, patches, ["query with a relevant document", "query with another"], theme)
    return figure


def _draw(axes: "Axes", one: Similarities, edges: Sequence[float], theme: Theme) -> None:
    colours = (SKY if theme.ink == DARK.ink else BLUE, ORANGE)
    for values, colour in zip((one.positives, one.negatives), colours):
        # Shares, since there are usually many more negatives.
        weights = np.full(values.size, 1 / values.size)
        axes.hist(values, edges, weights=weights, color=colour, alpha=0.45)
        axes.hist(values, edges, weights=weights, color=colour, histtype="step", linewidth=1.6)
