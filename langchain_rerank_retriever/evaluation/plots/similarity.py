"""How far apart the similarities of pairs that belong together and of pairs that do not are."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from langchain_rerank_retriever.errors import InvalidArgumentError
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

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]
_BINS = 40


def plot_similarities(
    positives: ArrayLike,
    negatives: ArrayLike,
    *,
    before: tuple[ArrayLike, ArrayLike] | None = None,
    theme: Theme = LIGHT,
) -> "Figure":
    """Draw how the similarities of two kinds of pairs are distributed.

    Args:
        positives: Similarities of queries with documents that answer them, any shape.
        negatives: Of queries with documents that do not.
        before: Positives and negatives of the model before it was tuned, drawn above on the same scale.
        theme: Colours.

    Raises:
        MissingExtraError: matplotlib is not installed.
        InvalidArgumentError: If an array is empty or holds what is no finite number.
    """
    given = (
        {"": (positives, negatives)}
        if before is None
        else {"before": before, "after": (positives, negatives)}
    )
    panels = {
        title: (_checked("positives", some), _checked("negatives", others))
        for title, (some, others) in given.items()
    }
    every = np.concatenate([values for pair in panels.values() for values in pair])
    edges = np.histogram_bin_edges(every, bins=_BINS)
    figure = new_figure(theme, height=0.9 + 2.3 * len(panels))
    rows = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
    colours = (SKY if theme is DARK else BLUE, ORANGE)
    for axes, (title, pair) in zip(rows, panels.items()):
        dress(axes, theme, title=_title(title, *pair), y="share of the pairs", grid="y")
        for values, colour in zip(pair, colours):
            # Shares, since there are usually many more negatives.
            weights = np.full(values.size, 1 / values.size)
            axes.hist(values, edges, weights=weights, color=colour, alpha=0.45)
            axes.hist(values, edges, weights=weights, color=colour, histtype="step", linewidth=1.6)
    dress(
        rows[-1],
        theme,
        title=rows[-1].get_title(loc="left"),
        x="similarity",
        y="share of the pairs",
        grid="y",
    )
    patches = [rows[0].patches[0], rows[0].patches[_BINS + 1]]
    legend(figure, patches, ["positives: pairs that belong together", "negatives"], theme)
    return figure


def _title(title: str, positives: Floats, negatives: Floats) -> str:
    from scipy.stats import mannwhitneyu

    # The area under the ROC curve: a tie counts half.
    area = mannwhitneyu(positives, negatives).statistic / positives.size / negatives.size
    return f"{title + ': ' if title else ''}a positive is more similar than a negative in {area:.1%} of pairs"


def _checked(what: str, values: ArrayLike) -> Floats:
    array = np.asarray(values, dtype=np.float64).ravel()
    if array.size == 0 or not np.isfinite(array).all():
        raise InvalidArgumentError(
            f"{what} must be finite numbers, at least one; got {array.size} of which {int(np.isfinite(array).sum())} "
            f"are finite."
        )
    return array
