"""The report: what is in it, and the file it becomes."""

from collections.abc import Sequence
from functools import cache, partial
from importlib import resources
from pathlib import Path
from typing import Any

from langchain_rerank_retriever.errors import InvalidArgumentError
from langchain_rerank_retriever.evaluation.attribution.attribute import Attribution, attribute, in_words
from langchain_rerank_retriever.evaluation.compare import compare
from langchain_rerank_retriever.evaluation.comparison import Comparison
from langchain_rerank_retriever.evaluation.curves.depth import depth_curve
from langchain_rerank_retriever.evaluation.curves.reliability import has_probabilities, reliability
from langchain_rerank_retriever.evaluation.curves.similarities import has_similarities, similarities
from langchain_rerank_retriever.evaluation.html.content import (
    WorstQuery,
    count_table,
    latency_table,
    worst_queries,
)
from langchain_rerank_retriever.evaluation.html.pictures import PagePicture, page_picture
from langchain_rerank_retriever.evaluation.html.words import number, p_value, sentence, signed, visible_text
from langchain_rerank_retriever.evaluation.judgements import some
from langchain_rerank_retriever.evaluation.measures import parse_measure
from langchain_rerank_retriever.evaluation.plots.curves import plot_depth, plot_latency, plot_reliability
from langchain_rerank_retriever.evaluation.plots.similarity import plot_similarities
from langchain_rerank_retriever.evaluation.plots.systems import plot_attribution, plot_means
from langchain_rerank_retriever.evaluation.result import Evaluation
from langchain_rerank_retriever.files import written_whole


def html_report(
    evaluations: Evaluation | Sequence[Evaluation],
    path: str | Path | None = None,
    *,
    comparison: Comparison | None = None,
    attributions: Sequence[Attribution] | None = None,
    title: str = "Retrieval evaluation",
    measure: str | None = None,
    worst: int = 10,
) -> str:
    """Write one HTML page with all there is to say of evaluations, their pictures in it.

    It opens from disk without a network and has no scripts; it follows the light or dark setting of the screen, and
    can be printed. All texts are escaped. The same evaluations give the same page.

    Args:
        evaluations: At least one, on the same queries.
        path: Where the page is written, whole or not at all; None only returns it.
        comparison: Of these evaluations; None makes it, with the first as baseline.
        attributions: One for each evaluation that has judgements with relevant documents; None makes them. Make them
            yourself where the store can be asked: `attribute(evaluation, indexed=store.get_by_ids)`.
        title: Of the page.
        measure: What curves, worst queries and the summary go by; None takes the first.
        worst: How many of the worst queries are listed for each system.

    Returns:
        The page.

    Raises:
        MissingExtraError: matplotlib is not installed.
        InvalidArgumentError: If the evaluations cannot be compared, or comparison or attributions are of others.
        StorageError: If the file cannot be written.
    """
    systems = [evaluations] if isinstance(evaluations, Evaluation) else list(evaluations)
    compared = compare(systems) if comparison is None else comparison
    found = (
        [attribute(one) for one in systems if _has_relevant(one)] if attributions is None else attributions
    )
    _check_names(systems, compared, found)
    main = _main_measure(systems[0], measure)
    page: str = _template().render(
        title=title,
        systems=systems,
        comparison=compared,
        measure=main,
        measures=list(systems[0].means),
        attributions=found,
        pictures=_pictures(systems, found, main),
        latency=latency_table(systems),
        counts=count_table(systems),
        worst=_worst(systems, compared, found, main, worst),
    )
    if path is not None:
        with written_whole(Path(path)) as file:
            file.write(page)
    return page


def _main_measure(evaluation: Evaluation, measure: str | None) -> str:
    if measure is None:
        return next(iter(evaluation.means))
    name = str(parse_measure(measure))
    if name not in evaluation.means:
        raise InvalidArgumentError(f"Measure {measure!r} is none of {', '.join(evaluation.means)}.")
    return name


def _has_relevant(evaluation: Evaluation) -> bool:
    return any(relevance > 0 for judged in evaluation.qrels.values() for relevance in judged.values())


def _check_names(
    systems: Sequence[Evaluation], comparison: Comparison, attributions: Sequence[Attribution]
) -> None:
    names = {one.name for one in systems}
    if strangers := {row.system for row in comparison.rows} ^ names:
        raise InvalidArgumentError(
            f"comparison and evaluations are of different systems: only one of them has {some(strangers)}."
        )
    if strangers := {one.name for one in attributions} - names:
        raise InvalidArgumentError(f"attributions are of other systems than evaluations: {some(strangers)}.")


def _pictures(
    systems: Sequence[Evaluation], attributions: Sequence[Attribution], measure: str
) -> dict[str, PagePicture]:
    curves = [depth_curve(one, measure) for one in systems if one.traces and one.qrels]
    clocked = {curve.name: curve for curve in curves if curve.points[-1].milliseconds is not None}
    timed = [
        clocked.get(one.name, one) for one in systems if one.name in clocked or "total" in one.latency_ms
    ]
    probable = [reliability(one) for one in systems if has_probabilities(one)]
    dense = [similarities(one) for one in systems if has_similarities(one)]
    names = [one.name for one in systems]
    drawn = {
        "means": (
            partial(plot_means, systems),
            "Means with their 95 % intervals; the numbers are in the tables below.",
            True,
        ),
        "attribution": (
            partial(plot_attribution, attributions),
            "Missed relevant documents by who lost them; the numbers are in the tables below.",
            any(one.lost for one in attributions),
        ),
        "depth": (
            partial(plot_depth, curves, systems=names),
            f"{measure} by the number of candidates re-ranked.",
            any(len(one.points) > 1 for one in curves),
        ),
        "latency": (
            partial(plot_latency, timed, measure=measure, systems=names),
            f"{measure} by milliseconds a query.",
            bool(timed),
        ),
        "reliability": (
            partial(plot_reliability, probable, systems=names),
            "Share that is relevant by probability; a true probability lies on the diagonal.",
            bool(probable),
        ),
        "similarities": (
            partial(plot_similarities, dense),
            "Similarities of queries with relevant and with other documents; how often the relevant one is the more "
            "similar stands above each.",
            bool(dense),
        ),
    }
    return {name: page_picture(draw, says) for name, (draw, says, there) in drawn.items() if there}


def _worst(
    systems: Sequence[Evaluation],
    comparison: Comparison,
    attributions: Sequence[Attribution],
    measure: str,
    shown: int,
) -> list[tuple[str, list[WorstQuery]]]:
    by_name = {one.name: one for one in attributions}
    baseline = next(one for one in systems if one.name == comparison.baseline)
    return [
        (one.name, worst_queries(one, baseline, measure, by_name.get(one.name), shown=shown))
        for one in systems
    ]


@cache
def _template() -> Any:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=visible_text,
    )
    environment.filters.update(number=number, signed=signed, p_value=p_value)
    environment.globals.update(sentence=sentence, in_words=in_words)
    source = resources.files(__package__).joinpath("report.html").read_text(encoding="utf-8")
    return environment.from_string(source)
