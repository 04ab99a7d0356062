"""Pictures of whole systems: their means, and who lost the documents they miss."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.evaluation.attribution.attribute import Attribution, attribute
from langchain_rerank_retriever.evaluation.attribution.fates import FATES, IN_WORDS, Fate
from langchain_rerank_retriever.evaluation.plots.canvas import (
    BLUE,
    GREY,
    LIGHT,
    NORMAL,
    ORANGE,
    PINK,
    SKY,
    SMALL,
    VERMILION,
    YELLOW,
    Theme,
    dress,
    legend,
    looks,
    new_figure,
    say,
)
from langchain_rerank_retriever.evaluation.plots.given import Given, computed
from langchain_rerank_retriever.evaluation.plots.labels import families, label
from langchain_rerank_retriever.evaluation.result import Evaluation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Colour and hatching. What recall lost is blue or grey, what order lost is warm.
_FATES: dict[Fate, tuple[str, str]] = {
    "not_indexed": (GREY, ""),
    "filtered": (GREY, "///"),
    "not_recalled": (BLUE, ""),
    "not_returned": (SKY, ""),
    "timeout": (YELLOW, ""),
    "early_stop": (YELLOW, "///"),
    "dropped_by_reranker": (PINK, ""),
    "below_threshold": (PINK, "///"),
    "collapsed": (PINK, "..."),
    "truncated": (VERMILION, ""),
    "ranked_out": (ORANGE, ""),
}


def plot_means(
    given: Evaluation | Sequence[Evaluation], *, measures: Sequence[str] | None = None, theme: Theme = LIGHT
) -> "Figure":
    """Draw the mean of every measure with its 95 % interval, system beside system.

    Args:
        given: One or more evaluations; the first is drawn on top.
        measures: By canonical name; None takes those of the first evaluation.
        theme: Colours.

    Raises:
        MissingExtraError: matplotlib is not installed.
        InvalidArgumentError: If there is no evaluation.
    """
    evaluations = [given] if isinstance(given, Evaluation) else list(given)
    if not evaluations:
        raise InvalidArgumentError("There is nothing to draw; expected at least one evaluation.")
    shown = list(evaluations[0].means if measures is None else measures)
    step = 0.8 / len(evaluations)
    figure = new_figure(theme, height=1.1 + 0.22 * len(shown) * (len(evaluations) + 0.8))
    axes = figure.subplots()
    dress(axes, theme, x="mean over the queries, with its 95 % interval", grid="x")
    handles, names = [], []
    for place, (evaluation, (name, colour, marker)) in enumerate(
        zip(evaluations, looks(theme, [one.name for one in evaluations]))
    ):
        means = [evaluation[measure] for measure in shown]
        low, high = zip(*(evaluation.intervals[measure] for measure in shown), strict=True)
        heights = [row - 0.4 + step * (place + 0.5) for row in range(len(shown))]
        handles.append(axes.scatter(means, heights, color=colour, marker=marker, s=36, zorder=3))
        names.append(name)
        axes.hlines(heights, low, high, color=colour, linewidth=2)
        for mean, end, height in zip(means, high, heights):
            say(axes, end, height, f"{mean:.3f}", theme, xytext=(5, 0), va="center")
    axes.set_yticks(range(len(shown)), labels=[label(measure) for measure in shown], family=list(families()))
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.margins(x=0.08)
    legend(figure, handles, names, theme)
    return figure


def plot_attribution(given: Given[Attribution], *, theme: Theme = LIGHT) -> "Figure":
    """Draw how many relevant documents each system misses, by who lost them.

    Args:
        given: One or more evaluations, of which `attribute` is computed, or ready attributions, of systems on the same
            queries. The first is drawn on top.
        theme: Colours.

    Raises:
        MissingExtraError: matplotlib is not installed.
        InvalidArgumentError: If there is none, or an evaluation has no relevant documents.
    """
    attributions = computed(given, attribute)
    if not attributions:
        raise InvalidArgumentError("There is nothing to draw; expected at least one evaluation.")
    figure = new_figure(theme, height=1.7 + 0.42 * len(attributions))
    axes = figure.subplots()
    first = attributions[0]
    dress(axes, theme, x=f"relevant documents not among the first {first.k}, of {first.relevant}", grid="x")
    rows = range(len(attributions))
    ends = [0.0 for _ in rows]
    handles, names = [], []
    longest = max((len(one.lost) for one in attributions), default=0)
    for fate in FATES:
        counts = [one.counts.get(fate, 0) for one in attributions]
        if not any(counts):
            continue
        colour, hatch = _FATES[fate]
        bars = axes.barh(
            rows,
            counts,
            left=ends,
            height=0.62,
            color=colour,
            hatch=hatch,
            edgecolor=theme.paper,
            linewidth=0.8,
        )
        handles.append(bars)
        names.append(IN_WORDS[fate])
        for row, count in enumerate(counts):
            # A number that does not fit into its piece would cover the next.
            if count > longest / 25:
                axes.text(
                    ends[row] + count / 2,
                    row,
                    str(count),
                    ha="center",
                    va="center",
                    fontsize=SMALL,
                    color="#ffffff" if colour == BLUE else "#000000",
                    family=list(families()),
                )
            ends[row] += count
    axes.set_yticks(
        rows, labels=[label(one.name) for one in attributions], family=list(families()), fontsize=NORMAL
    )
    axes.set_ylim(len(attributions) - 0.5, -0.5)
    axes.set_xlim(0, max(longest * 1.02, 1))
    legend(figure, handles, names, theme)
    return figure
