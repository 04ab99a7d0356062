"""Pictures show the numbers, in letters that can be read, and leave matplotlib as they found it."""

import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from sklearn.metrics import roc_auc_score

from langchain_rerank_retriever.errors import InvalidArgumentError, MissingExtraError
from langchain_rerank_retriever.evaluation import (
    Similarities,
    attribute,
    depth_curve,
    judge,
    plot_attribution,
    plot_depth,
    plot_latency,
    plot_means,
    plot_reliability,
    plot_similarities,
    reliability,
    similarities,
)
from langchain_rerank_retriever.evaluation.plots import labels
from langchain_rerank_retriever.evaluation.plots.canvas import DARK, LIGHT

from .traced import candidate, evaluated, trace


@contextmanager
def silent() -> Iterator[None]:
    """A warning is an error; that ir-measures uses what Python 3.14 will not have is not of a picture's making."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", r"ast\.Num|Attribute n ", DeprecationWarning)
        yield


def run(name: str, *, first: str = "x", seconds: float = 0.1) -> Any:
    """Three queries with their document at place 2 of 3, or 1 where `first` is that document."""
    final = [candidate(first), candidate("wanted" if first == "x" else "x"), candidate("y")]
    scored = [
        replace(
            one, relevance_score=0.9 - 0.3 * place, rerank_score=1.0 - place, dense_score=0.5 - 0.1 * place
        )
        for place, one in enumerate(final)
    ]
    answers = {
        f"q{place}": trace(scored, kind="probability", rerank=seconds, total=seconds + 0.02)
        for place in range(3)
    }
    qrels = {one: {"wanted": 1, "never": 1} for one in answers}
    return evaluated(answers, qrels, name=name)


@pytest.fixture
def systems() -> list[Any]:
    return [run("base"), run("tuned", first="wanted", seconds=0.2)]


def settings() -> dict[str, Any]:
    # Reading the backend would choose one.
    return {name: mpl.rcParams[name] for name in mpl.rcParams if name != "backend"}


DRAWN: dict[str, Callable[..., Figure]] = {
    "means": plot_means,
    "attribution": lambda systems, **theme: plot_attribution(
        [attribute(one, k=1) for one in systems], **theme
    ),
    "depth": plot_depth,
    "latency": lambda systems, **theme: plot_latency(
        [*systems, replace(systems[0], name="foreign", traces={})], **theme
    ),
    "reliability": plot_reliability,
    "similarities": plot_similarities,
}


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("name", DRAWN)
def test_every_picture_is_drawn_without_a_word_and_changes_nothing(
    systems: Any, name: str, theme: Any
) -> None:
    before = settings()
    with silent():
        png = DRAWN[name](systems, theme=theme)._repr_png_()
    assert png.startswith(b"\x89PNG")
    assert settings() == before


def test_pyplot_is_not_imported_and_matplotlib_only_when_drawing() -> None:
    program = """
import sys
from langchain_rerank_retriever.evaluation import Similarities, html_report, judge, plot_means, plot_similarities
assert "matplotlib" not in sys.modules and "jinja2" not in sys.modules
plot_similarities(Similarities("one", [1.0], [0.0]))._repr_png_()
html_report(judge({"q": ["a"]}, {"q": {"a": 1}}))
assert "matplotlib" in sys.modules and "matplotlib.pyplot" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=250, check=False
    )
    assert done.returncode == 0, done.stderr


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "langchain_rerank_retriever.evaluation.plots.picture", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r'pip install "langchain-rerank-retriever\[plots\]"'):
        plot_similarities(Similarities("one", [1.0], [0.0]))


def texts_of(figure: Any) -> list[str]:
    from matplotlib.text import Text

    return [one.get_text() for one in figure.findobj(Text) if one.get_text()]


def test_means_are_where_they_should_be(systems: Any) -> None:
    figure = plot_means(systems, measures=["R@10"])
    (axes,) = figure.axes
    points = [
        tuple(one.get_offsets()[0])
        for one in axes.collections
        if hasattr(one, "get_paths") and not hasattr(one, "get_segments")
    ]
    assert [x for x, _ in points] == [one["R@10"] for one in systems]
    assert points[0][1] < points[1][1]
    assert axes.yaxis_inverted()
    assert {"base", "tuned", "R@10", "0.500"} <= set(texts_of(figure))


def test_intervals_are_where_they_should_be() -> None:
    uneven = judge({"q": ["a"], "r": []}, {"q": {"a": 1}, "r": {"a": 1}}, ["R@10"])
    (axes,) = plot_means([uneven]).axes
    (line,) = [segment for one in axes.collections for segment in getattr(one, "get_segments", list)()]
    assert line[:, 0].tolist() == list(uneven.intervals["R@10"]) == [0.0, 1.0]


def test_bars_are_as_long_as_documents_are_many(systems: Any) -> None:
    figure = plot_attribution([attribute(one, k=1) for one in systems])
    (axes,) = figure.axes
    lengths = [[bar.get_width() for bar in bars] for bars in axes.containers]
    assert lengths == [[3, 3], [3, 0]]
    assert [bar.get_x() for bar in axes.containers[1]] == [3, 3]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["not recalled", "ranked out"]


def test_curves_go_through_their_points(systems: Any) -> None:
    curves = [depth_curve(one) for one in systems]
    (axes,) = plot_depth(curves).axes
    for line, curve in zip(axes.lines, curves, strict=True):
        assert line.get_xydata().tolist() == [[point.depth, point.value] for point in curve.points]
    (axes,) = plot_latency([*curves, replace(systems[1], name="foreign", traces={})]).axes
    assert axes.lines[1].get_xydata().tolist() == [
        [point.milliseconds, point.value] for point in curves[1].points
    ]
    assert axes.lines[2].get_xydata().tolist() == [[pytest.approx(220), systems[1]["nDCG@10"]]]


def test_a_system_has_one_colour_in_all_pictures(systems: Any) -> None:
    names = ["tuned", "base"]
    curves = [depth_curve(one) for one in systems]
    for figure in (plot_depth(curves, systems=names), plot_latency(systems, systems=names)):
        assert [line.get_color() for line in figure.axes[0].lines] == [LIGHT.series[1], LIGHT.series[0]]
    _, line = plot_reliability([reliability(systems[0])], systems=names).axes[0].lines
    assert line.get_color() == LIGHT.series[1]


def test_depths_are_written_beside_their_points_but_not_over_each_other(systems: Any) -> None:
    figure = plot_latency([depth_curve(one) for one in (systems[0], replace(systems[0], name="same"))])
    assert [text for text in texts_of(figure.axes[0]) if text in {"0", "1", "2", "3"}] == ["3", "2", "1", "0"]


def test_what_is_not_re_ranked_is_a_level_line(systems: Any) -> None:
    plain = evaluated({"q": trace([candidate("wanted")])}, {"q": {"wanted": 1}}, name="plain")
    figure = plot_depth([depth_curve(systems[0]), depth_curve(plain)])
    assert list(figure.axes[0].lines[1].get_ydata()) == [1.0, 1.0]
    assert "plain (not re-ranked)" in texts_of(figure)


def test_curves_without_times_are_left_out(systems: Any) -> None:
    unclocked = replace(systems[0], seconds={})
    (axes,) = plot_latency([depth_curve(unclocked), depth_curve(systems[1])]).axes
    assert len(axes.lines) == 1
    with pytest.raises(InvalidArgumentError, match="nothing to draw"):
        plot_latency([depth_curve(unclocked)])


def test_reliability_is_drawn_against_the_diagonal(systems: Any) -> None:
    found = reliability(systems[0])
    figure = plot_reliability([found])
    diagonal, line = figure.axes[0].lines
    assert diagonal.get_xydata().tolist() == [[0, 0], [1, 1]]
    assert line.get_xydata().tolist() == [[one.probability, one.share] for one in found.bins]
    assert f"base (error {found.expected_calibration_error:.3f})" in texts_of(figure)


def test_similarities_share_their_scale_and_say_how_far_apart_they_are() -> None:
    rng = np.random.default_rng(0)
    positives, negatives = rng.normal(0.6, 0.2, 300), rng.normal(0.4, 0.2, 900)
    before, after = Similarities("before", negatives, negatives), Similarities("after", positives, negatives)
    figure = plot_similarities([before, after])
    upper, lower = figure.axes
    assert upper.get_xlim() == lower.get_xlim()
    area = roc_auc_score([1] * 300 + [0] * 900, [*positives, *negatives])
    assert lower.get_title(loc="left") == f"after: a relevant one is the more similar in {area:.1%} of pairs"
    assert "in 50.0% of pairs" in upper.get_title(loc="left")
    bars = [bar.get_height() for bar in lower.containers[0]]
    assert bars == pytest.approx(
        np.histogram(positives, np.histogram_bin_edges([*negatives, *negatives, *positives, *negatives], 40))[
            0
        ]
        / 300
    )


@pytest.mark.parametrize(
    "call",
    [plot_means, plot_attribution, plot_depth, plot_latency, plot_reliability, plot_similarities],
)
def test_nothing_to_draw(call: Callable[..., Any]) -> None:
    with pytest.raises(InvalidArgumentError, match=r"nothing to draw; expected at least one evaluation"):
        call([])


def test_one_call_on_an_evaluation_draws_what_was_computed_of_it(systems: Any) -> None:
    (one, _) = systems
    assert [line.get_xydata().tolist() for line in plot_depth(one, measure="R@10").axes[0].lines] == [
        line.get_xydata().tolist() for line in plot_depth(depth_curve(one, "R@10")).axes[0].lines
    ]
    assert plot_latency(one, measure="R@10").axes[0].get_ylabel() == "R@10"
    assert texts_of(plot_attribution(one)) == texts_of(plot_attribution(attribute(one)))
    assert texts_of(plot_reliability(one)) == texts_of(plot_reliability([reliability(one)]))
    assert texts_of(plot_similarities(one)) == texts_of(plot_similarities([similarities(one)]))
    plain = replace(one, traces={})
    for draw in (plot_depth, plot_reliability, plot_similarities):
        with pytest.raises(InvalidArgumentError, match="'base'"):
            draw([one, plain])


def test_what_cannot_be_drawn(systems: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"all of one measure; got nDCG@10, R@10"):
        plot_depth([depth_curve(systems[0]), depth_curve(systems[1], "R@10")])
    with pytest.raises(InvalidArgumentError, match=r"all of one measure; got nDCG@10, R@10"):
        plot_latency(depth_curve(systems[0]), measure="R@10")
    for wrong in ([], [float("nan")]):
        with pytest.raises(InvalidArgumentError, match="negatives must be finite numbers"):
            Similarities("one", [1.0], wrong)


HOSTILE = [
    "$\\frac{",
    "a $x$ b",
    "_hidden",
    "<script>",
    "\u202egnp.exe",
    "line\nbreak",
    "",
    "%s{0}",
    "x" * 300,
]


def test_hostile_names_are_drawn_as_they_are() -> None:
    systems = [run(name) for name in HOSTILE]
    figure = plot_means(systems, measures=["R@10"])
    with silent():
        figure._repr_png_()
        plot_attribution([attribute(one, k=1) for one in systems])._repr_png_()
    shown = texts_of(figure)
    assert "\u200b_hidden" in shown
    assert "a \\$x\\$ b" in shown  # how matplotlib is told that a dollar is one
    assert "gnp.exe" in shown
    assert "line break" in shown
    assert "(no name)" in shown
    assert any(text.endswith("…") and len(text) == labels.LIMIT for text in shown)


def test_a_letter_that_no_font_has_is_said_and_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels, "families", lambda: ("DejaVu Sans",))
    labels._drawable.cache_clear()
    with pytest.warns(UserWarning, match="No installed font has '검'.*fonts-noto-cjk"):
        name = labels.label("검a")
    labels._drawable.cache_clear()
    assert name == "\N{REPLACEMENT CHARACTER}a"


def test_a_letter_is_taken_from_the_family_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # A font that comes with matplotlib and has letters that its default font lacks stands for a Korean one.
    own, other = (get_font(findfont(FontProperties(family=name))) for name in ("DejaVu Sans", "STIXGeneral"))
    letter = chr(min(set(other.get_charmap()) - set(own.get_charmap())))
    monkeypatch.setattr(labels, "_FAMILIES", ("Not Installed", "STIXGeneral"))
    for cached in (labels.families, labels._drawable):
        cached.cache_clear()
    try:
        assert labels.families() == ("DejaVu Sans", "STIXGeneral")
        with silent():
            assert labels.label(letter) == letter
            plot_means([run(f"name {letter}")])._repr_png_()
    finally:
        monkeypatch.undo()
        for cached in (labels.families, labels._drawable):
            cached.cache_clear()


def test_korean_is_drawn_where_there_is_a_font_for_it() -> None:
    if labels.families() == ("DejaVu Sans",):
        pytest.skip(f"none of {len(fontManager.ttflist)} installed fonts is known to have Korean letters")
    with silent():
        assert labels.label("검색기") == "검색기"
        plot_means([run("검색기")])._repr_png_()
