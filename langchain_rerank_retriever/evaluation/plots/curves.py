"""Pictures of curves: quality against depth and against latency, and how true the probabilities are."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.evaluation.curves.depth import DepthCurve
from langchain_rerank_retriever.evaluation.curves.reliability import Reliability
from langchain_rerank_retriever.evaluation.plots.canvas import (
    LIGHT,
    Theme,
    dress,
    legend,
    looks,
    new_figure,
    say,
)
from langchain_rerank_retriever.evaluation.plots.labels import label
from langchain_rerank_retriever.evaluation.result import Evaluation

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_depth(curves: Sequence[DepthCurve], *, theme: Theme = LIGHT) -> "Figure":
    """Draw quality against the number of candidates that are re-ranked, with the 95 % interval of the mean.

    Args:
        curves: At least one, all of the same measure.
        theme: Colours.

    Raises:
        MissingExtraError: matplotlib is not installed.
        InvalidArgumentError: If there is none, or they are of different measures.
    """
    measure = _measure_of(curves)
    figure = new_figure(theme, height=3.9)
    axes = figure.subplots()
    dress(axes, theme, x="candidates re-ranked (0: the order of recall)", y=label(measure))
    handles, names = [], []
    for curve, (name, colour, marker) in zip(curves, looks(theme, [one.name for one in curves])):
        depths = [point.depth for point in curve.points]
        low, high = zip(*(point.interval for point in curve.points), strict=True)
        axes.fill_between(depths, low, high, color=colour, alpha=0.13, linewidth=0)
        values = [point.value for point in curve.points]
        handles += axes.plot(depths, values, color=colour, marker=marker, markersize=5, linewidth=1.8)
        names.append(name)
    deepest = max(curves, key=lambda curve: curve.points[-1].depth).points
    axes.set_xscale("symlog", linthresh=1, linscale=0.4)
    axes.set_xticks([point.depth for point in deepest], labels=[str(point.depth) for point in deepest])
    axes.set_xticks([], minor=True)
    legend(figure, handles, names, theme)
    return figure


def plot_latency(
    curves: Sequence[DepthCurve], others: Sequence[Evaluation] = (), *, theme: Theme = LIGHT
) -> "Figure":
    """Draw quality against the median time of a query; each point of a curve is a depth, as written beside it.

    Args:
        curves: All of the same measure; those without times are left out.
        others: Systems without a curve, each a point: the mean of that measure, or of their first where there is no
            curve, and the median of their total time. Those that were not timed are left out.
        theme: Colours.

    Raises:
        MissingExtraError: matplotlib is not installed.
        InvalidArgumentError: If there is nothing to draw, or the measures differ.
    """
    clocked = [curve for curve in curves if curve.points[-1].milliseconds is not None]
    timed = [one for one in others if "total" in one.latency_ms]
    if not clocked and not timed:
        raise InvalidArgumentError("There is nothing to draw; expected a curve or an evaluation with times.")
    measure = _measure_of(clocked) if clocked else next(iter(timed[0].means))
    figure = new_figure(theme, height=3.9)
    axes = figure.subplots()
    dress(axes, theme, x="milliseconds a query (median)", y=label(measure))
    names = [*(one.name for one in clocked), *(one.name for one in timed)]
    lines = [
        [(point.milliseconds, point.value, str(point.depth)) for point in curve.points] for curve in clocked
    ]
    lines += [[(one.latency_ms["total"]["p50"], one[measure], "")] for one in timed]
    handles = []
    for line, (_, colour, marker) in zip(lines, looks(theme, names)):
        times, values, remarks = zip(*line, strict=True)
        handles += axes.plot(times, values, color=colour, marker=marker, markersize=5, linewidth=1.8)
        for time, value, remark in zip(times, values, remarks):
            say(axes, time, value, remark, theme, xytext=(0, 6), ha="center")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.margins(0.08)
    legend(figure, handles, [label(name) for name in names], theme)
    return figure


def plot_reliability(reliabilities: Sequence[Reliability], *, theme: Theme = LIGHT) -> "Figure":
    """Draw the share that is relevant against the probability, with its 95 % interval; on the diagonal it is true.

    Args:
        reliabilities: At least one.
        theme: Colours.

    Raises:
        MissingExtraError: matplotlib is not installed.
        InvalidArgumentError: If there is none.
    """
    if not reliabilities:
        raise InvalidArgumentError("There is nothing to draw; expected at least one reliability.")
    figure = new_figure(theme, height=4.4)
    axes = figure.subplots()
    dress(axes, theme, x="probability (mean of the bin)", y="share that is relevant")
    axes.plot([0, 1], [0, 1], color=theme.quiet, linewidth=1, linestyle="--")
    handles, names = [], []
    for one, (name, colour, marker) in zip(reliabilities, looks(theme, [one.name for one in reliabilities])):
        probability = [held.probability for held in one.bins]
        low, high = zip(*(held.interval for held in one.bins), strict=True)
        axes.vlines(probability, low, high, color=colour, linewidth=1.5)
        shares = [held.share for held in one.bins]
        handles += axes.plot(probability, shares, color=colour, marker=marker, markersize=5, linewidth=1.2)
        names.append(f"{name} (error {one.expected_calibration_error:.3f})")
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    legend(figure, handles, names, theme, columns=2)
    return figure


def _measure_of(curves: Sequence[DepthCurve]) -> str:
    measures = {curve.measure for curve in curves}
    if len(measures) != 1:
        raise InvalidArgumentError(
            f"Expected at least one curve, all of one measure; got {', '.join(sorted(measures)) or 'none'}."
        )
    return measures.pop()
