"""Pictures of curves: quality against depth and against latency, and how true the probabilities are."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.evaluation.curves.depth import DepthCurve, depth_curve
from langchain_rerank_retriever.evaluation.curves.reliability import Reliability, reliability
from langchain_rerank_retriever.evaluation.measures import parse_measure
from langchain_rerank_retriever.evaluation.plots.canvas import (
    LIGHT,
    Theme,
    dress,
    legend,
    looks,
    new_figure,
    say,
)
from langchain_rerank_retriever.evaluation.plots.given import Given, computed, several
from langchain_rerank_retriever.evaluation.plots.labels import label
from langchain_rerank_retriever.evaluation.result import Evaluation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Room that a depth takes beside its point, in pixels.
_REMARK_WIDTH, _REMARK_HEIGHT = 22, 12


def plot_depth(
    given: Given[DepthCurve],
    *,
    measure: str | None = None,
    systems: Sequence[str] = (),
    theme: Theme = LIGHT,
) -> "Figure":
    """Draw quality against the number of candidates that are re-ranked, with the 95 % interval of the mean.

    Args:
        given: One or more evaluations, of which `depth_curve` is computed, or ready curves, all of the same measure.
            Where nothing was re-ranked, a level line.
        measure: Of the curves to compute; None takes that of the first that is ready, or else the first evaluation's
            first.
        systems: Names in the order in which colours are given, so that a system has the same in every picture.
        theme: Colours.

    Raises:
        MissingExtraError: matplotlib is not installed.
        InvalidArgumentError: If there is none, they are of different measures, or an evaluation has no traces.
    """
    shown = _measure_of(given, measure)
    curves = computed(given, partial(depth_curve, measure=shown))
    figure = new_figure(theme, height=3.9)
    axes = figure.subplots()
    dress(axes, theme, x="candidates re-ranked (0: the order of recall)", y=label(shown))
    handles, names = [], []
    for curve, (name, colour, marker) in zip(curves, looks(theme, [one.name for one in curves], systems)):
        first, *more = curve.points
        if not more:
            handles.append(axes.axhline(first.value, color=colour, linewidth=1.8, linestyle="--"))
            names.append(f"{name} (not re-ranked)")
            continue
        depths = [point.depth for point in curve.points]
        low, high = zip(*(point.interval for point in curve.points), strict=True)
        axes.fill_between(depths, low, high, color=colour, alpha=0.13, linewidth=0)
        values = [point.value for point in curve.points]
        handles += axes.plot(depths, values, color=colour, marker=marker, markersize=5, linewidth=1.8)
        names.append(name)
    # Linear to 1, so that 0 has a place, then logarithmic.
    axes.set_xscale("symlog", linthresh=1, linscale=0.4)
    ticks = sorted({point.depth for point in max(curves, key=lambda curve: len(curve.points)).points})
    axes.set_xticks(ticks, labels=[str(depth) for depth in ticks])
    axes.set_xticks([], minor=True)
    legend(figure, handles, names, theme)
    return figure


def plot_latency(
    given: Given[DepthCurve],
    *,
    measure: str | None = None,
    systems: Sequence[str] = (),
    theme: Theme = LIGHT,
) -> "Figure":
    """Draw quality against the median time of a query; each point of a curve is a depth, as written beside it.

    Args:
        given: One or more evaluations, or ready curves, all of the same measure. Of an evaluation whose stages were
            traced and timed, `depth_curve` is computed; any other is one point, the mean and the median of the total
            time. What was not timed is left out.
        measure: As for `plot_depth`.
        systems: Names in the order in which colours are given, so that a system has the same in every picture.
        theme: Colours.

    Raises:
        MissingExtraError: matplotlib is not installed.
        InvalidArgumentError: If there is nothing to draw, or the measures differ.
    """
    shown = _measure_of(given, measure)
    lines = {one.name: points for one in several(given) if (points := _timed(one, shown))}
    if not lines:
        raise InvalidArgumentError("There is nothing to draw; expected a curve or an evaluation with times.")
    figure = new_figure(theme, height=3.9)
    axes = figure.subplots()
    dress(axes, theme, x="milliseconds a query (median)", y=label(shown))
    handles, names = [], []
    for points, (name, colour, marker) in zip(lines.values(), looks(theme, list(lines), systems)):
        times, values, _ = zip(*points, strict=True)
        handles += axes.plot(times, values, color=colour, marker=marker, markersize=5, linewidth=1.8)
        names.append(name)
    axes.set_xscale("log")
    axes.margins(0.08)
    _tick_times(axes)
    _say_depths(axes, [point for points in lines.values() if len(points) > 1 for point in points], theme)
    legend(figure, handles, names, theme)
    return figure


def _timed(one: Evaluation | DepthCurve, measure: str) -> list[tuple[float, float, int]]:
    """Gather milliseconds, value and depth of every point of a system; none where it was not timed."""
    curve = one if isinstance(one, DepthCurve) else None
    if isinstance(one, Evaluation) and one.traces and one.qrels:
        curve = depth_curve(one, measure)
    points = [] if curve is None else curve.points
    timed = [
        (point.milliseconds, point.value, point.depth) for point in points if point.milliseconds is not None
    ]
    if not timed and isinstance(one, Evaluation) and "total" in one.latency_ms:
        return [(one.latency_ms["total"]["p50"], one[measure], 0)]
    return timed


def _tick_times(axes: "Axes") -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:g}")


def _say_depths(axes: "Axes", points: Sequence[tuple[float, float, int]], theme: Theme) -> None:
    """Write depths beside their points, leaving out those that would cover another."""
    axes.autoscale_view()
    taken: list[tuple[float, float]] = []
    # The deepest of each curve are the runs as they were.
    for time, value, depth in sorted(points, key=lambda point: (-point[2], -point[1])):
        x, y = axes.transData.transform((time, value))
        if all(abs(x - left) > _REMARK_WIDTH or abs(y - below) > _REMARK_HEIGHT for left, below in taken):
            taken.append((x, y))
            say(axes, time, value, str(depth), theme, xytext=(0, 6), ha="center")


def plot_reliability(
    given: Given[Reliability], *, systems: Sequence[str] = (), theme: Theme = LIGHT
) -> "Figure":
    """Draw the share that is relevant against the probability, with its 95 % interval; on the diagonal it is true.

    Args:
        given: One or more evaluations, of which `reliability` is computed, or ready ones.
        systems: Names in the order in which colours are given, so that a system has the same in every picture.
        theme: Colours.

    Raises:
        MissingExtraError: matplotlib is not installed.
        InvalidArgumentError: If there is none, or an evaluation has no probabilities.
    """
    reliabilities = computed(given, reliability)
    if not reliabilities:
        raise InvalidArgumentError("There is nothing to draw; expected at least one evaluation.")
    figure = new_figure(theme, height=4.4)
    axes = figure.subplots()
    dress(axes, theme, x="probability (mean of the bin)", y="share that is relevant")
    axes.plot([0, 1], [0, 1], color=theme.quiet, linewidth=1, linestyle="--")
    handles, names = [], []
    drawn = [one.name for one in reliabilities]
    for one, (name, colour, marker) in zip(reliabilities, looks(theme, drawn, systems)):
        probability = [held.probability for held in one.bins]
        low, high = zip(*(held.interval for held in one.bins), strict=True)
        axes.vlines(probability, low, high, color=colour, linewidth=1.2)
        shares = [held.share for held in one.bins]
        handles += axes.plot(probability, shares, color=colour, marker=marker, markersize=4, linewidth=1)
        names.append(f"{name} (error {one.expected_calibration_error:.3f})")
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    legend(figure, handles, names, theme, columns=2)
    return figure


def _measure_of(given: Given[DepthCurve], wanted: str | None) -> str:
    """Find the one measure of what is drawn."""
    if not (items := several(given)):
        raise InvalidArgumentError("There is nothing to draw; expected at least one evaluation.")
    ready = {one.measure: None for one in items if isinstance(one, DepthCurve)}
    measures = list(ready if wanted is None else ready | {str(parse_measure(wanted)): None})
    if len(measures) > 1:
        raise InvalidArgumentError(f"Expected curves that are all of one measure; got {', '.join(measures)}.")
    evaluations = [one for one in items if isinstance(one, Evaluation)]
    return measures[0] if measures else next(iter(evaluations[0].means))
