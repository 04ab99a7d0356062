"""What all pictures share: colours, type, axes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_rerank_retriever.errors import brought_by
from langchain_rerank_retriever.evaluation.plots.labels import families, label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SMALL, NORMAL, LARGE = 8.5, 9.5, 11.0
WIDTH = 7.2

# Okabe and Ito (2008): eight colours that people with any common colour vision tell apart.
BLUE, ORANGE, GREEN, PINK = "#0072B2", "#E69F00", "#009E73", "#CC79A7"
SKY, VERMILION, YELLOW, GREY = "#56B4E9", "#D55E00", "#F0E442", "#999999"


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours of a picture.

    Attributes:
        ink: Of text.
        quiet: Of axes and of what is said aside.
        grid: Of grid lines.
        paper: Of the background; `"none"` is transparent.
        series: Of one system after another. Markers differ as well.
    """

    ink: str
    quiet: str
    grid: str
    paper: str
    series: tuple[str, ...]


LIGHT = Theme("#1a1a1a", "#5c5c5c", "#e2e2e2", "#ffffff", (BLUE, VERMILION, GREEN, PINK, ORANGE, SKY))
DARK = Theme("#ececec", "#a9a9a9", "#3d3d3d", "#1c1c1e", (SKY, ORANGE, GREEN, PINK, VERMILION, YELLOW))

_MARKERS = "osD^vPX"


def new_figure(theme: Theme, *, height: float, width: float = WIDTH) -> "Figure":
    """Make an empty figure, sizes in inches.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    with brought_by("plots", "matplotlib"):
        from langchain_rerank_retriever.evaluation.plots.picture import Picture
    return Picture(figsize=(width, height), layout="constrained", facecolor=theme.paper)


def dress(
    axes: "Axes", theme: Theme, *, title: str = "", x: str = "", y: str = "", grid: str = "both"
) -> None:
    """Give axes the common look, and their texts.

    Args:
        axes: Changed.
        theme: Colours.
        title: Above the axes, at the left.
        x: Name of the horizontal axis.
        y: Name of the vertical axis.
        grid: `"x"`, `"y"` or `"both"`.
    """
    family = list(families())
    axes.set_facecolor("none")
    axes.set_title(title, loc="left", fontsize=LARGE, color=theme.ink, family=family)
    axes.set_xlabel(x, fontsize=NORMAL, color=theme.ink, family=family)
    axes.set_ylabel(y, fontsize=NORMAL, color=theme.ink, family=family)
    axes.tick_params(
        which="both", colors=theme.quiet, labelcolor=theme.ink, labelsize=NORMAL, labelfontfamily=family
    )
    axes.grid(visible=True, axis=grid, color=theme.grid, linewidth=0.8)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(theme.quiet)


def looks(theme: Theme, names: Sequence[str], systems: Sequence[str] = ()) -> Iterator[tuple[str, str, str]]:
    """Give each system its label, colour and marker.

    Args:
        theme: Colours.
        names: Of what is drawn.
        systems: Names in the order in which colours are given; those that it lacks follow.
    """
    order = list(dict.fromkeys([*systems, *names]))
    for name in names:
        place = order.index(name)
        yield label(name), theme.series[place % len(theme.series)], _MARKERS[place % len(_MARKERS)]


def legend(
    target: Any, handles: Sequence[Any], texts: Sequence[str], theme: Theme, *, columns: int = 3
) -> None:
    """Put a legend below all axes of a figure, where it hides no data."""
    # matplotlib leaves out what begins with an underscore.
    shown = [f"\N{ZERO WIDTH SPACE}{text}" if text.startswith("_") else text for text in texts]
    target.legend(
        handles,
        shown,
        loc="outside lower left",
        ncols=columns,
        frameon=False,
        labelcolor=theme.ink,
        prop={"family": list(families()), "size": NORMAL},
    )


def say(axes: "Axes", x: float, y: float, text: str, theme: Theme, **settings: Any) -> None:
    """Write a short remark at a point of the data."""
    axes.annotate(
        text,
        (x, y),
        color=theme.quiet,
        fontsize=SMALL,
        family=list(families()),
        textcoords="offset points",
        **settings,
    )
