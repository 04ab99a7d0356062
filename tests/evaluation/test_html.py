"""The report says what the evaluations say, in one file that does nothing but show it."""

import base64
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from langchain_rerank_retriever.errors import InvalidArgumentError, MissingExtraError, StorageError
from langchain_rerank_retriever.evaluation import attribute, compare, html_report, judge
from langchain_rerank_retriever.evaluation.html.words import visible_text

from .traced import candidate, evaluated, trace

VOID = {"meta", "img"}


class Page(HTMLParser):
    """A page taken apart, the balance of its tags checked on the way."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.rows: list[list[str]] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.text += data
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data


def system(name: str, *, wanted: int, kind: str = "probability", texts: dict[str, str] | None = None) -> Any:
    answers = {}
    for number in range(6):
        order = ["x", "y", "z"]
        order.insert(min(wanted + number % 2, 3), "wanted")
        scored = [
            candidate(one, rerank_score=-place, relevance_score=0.8 - 0.2 * place, truncated=place == 2)
            for place, one in enumerate(order)
        ]
        answers[f"q{number}"] = trace(scored if number else [], kind=kind)
    qrels = {one: {"wanted": 1, "never": 1, "x": 0} for one in answers}
    return evaluated(answers, qrels, name=name, texts=texts)


@pytest.fixture(scope="module")
def systems() -> list[Any]:
    foreign = judge(
        {f"q{number}": ["x", "wanted"] for number in range(6)},
        {f"q{number}": {"wanted": 1, "never": 1, "x": 0} for number in range(6)},
        ["nDCG@10", "R@10"],
        name="foreign",
        seconds={"total": {f"q{number}": 0.05 for number in range(6)}},
    )
    texts = {f"q{number}": f"question {number}" for number in range(6)}
    return [system("base", wanted=2), system("tuned", wanted=0, texts=texts), foreign]


@pytest.fixture(scope="module")
def report(systems: Any) -> str:
    return html_report(systems, title="Mine", worst=2)


def test_it_says_what_the_evaluations_say(systems: Any, report: str) -> None:
    page = Page(report)
    comparison = compare(systems)
    row = comparison.row("tuned", "nDCG@10")
    assert "3 systems on 6 queries." in page.text
    assert f"tuned against base, by nDCG@10: {row.words} ({row.mean:.3f} against" in page.text
    (found,) = [
        cells
        for cells in page.rows
        if cells[0] == "tuned" and row.words in cells and f"{row.mean:.4f}" in cells
    ]
    low, high = row.interval
    own_low, own_high = systems[1].intervals["nDCG@10"]
    assert found == [
        "tuned",
        f"{row.mean:.4f}",
        f"{own_low:.3f} to {own_high:.3f}",
        f"{row.difference:+.4f}",
        f"{low:+.3f} to {high:+.3f}",
        f"{row.p_value:.4f}",
        f"{row.p_holm:.4f}",
        f"{row.wins} / {row.ties} / {row.losses}",
        row.words,
    ]
    assert all(note in page.text for note in comparison.notes())
    for one in systems:
        attribution = attribute(one)
        assert attribution.advice in page.text
        for cells in attribution.table()[1:]:
            assert cells in page.rows
    assert ["foreign", "total", "", "50.0", "50.0", "50.0"] in page.rows
    assert ["tuned", "rerank", "one at a time", "100.0", "100.0", "100.0"] in page.rows


def test_counts_and_worst_queries(report: str) -> None:
    page = Page(report)
    base = next(cells for cells in page.rows if cells[:4] == ["base", "6", "0", "1"])
    assert base[4] == "5 of 20"
    assert base[5].startswith("nDCG@10 ")
    assert ["foreign", "6", "0", "0", "not known"] in [cells[:5] for cells in page.rows]
    worst = [cells for cells in page.rows if cells[1:2] in (["question 0"], ["question 1"])]
    # q0 got nothing; then those with the document one place further down, those that lost most first.
    assert worst[0] == ["q0", "question 0", "0.0000", "0.0000", "2 not recalled"]
    assert worst[1][:2] == ["q1", "question 1"]
    assert worst[1][4] == "1 not recalled"
    assert len(worst) == 2


def test_pictures_are_in_the_page_for_light_and_dark(report: str) -> None:
    page = Page(report)
    pictures = [known for tag, known in page.tags if tag == "img"]
    light, dark = ([known for known in pictures if known["class"] == name] for name in ("light", "dark"))
    assert len(light) == len(dark) == 5
    assert all(known["alt"] for known in pictures)
    for known in pictures:
        kind, _, data = str(known["src"]).partition(",")
        assert kind == "data:image/svg+xml;base64"
        assert ElementTree.fromstring(base64.b64decode(data)).tag.endswith("svg")


def test_it_asks_for_nothing_and_runs_nothing(report: str) -> None:
    page = Page(report)
    assert report.startswith("<!DOCTYPE html>\n<html lang")
    names = {tag for tag, _ in page.tags}
    assert names.isdisjoint({"script", "link", "iframe", "object", "embed", "form", "base"})
    for _, known in page.tags:
        assert not any(attribute.startswith("on") for attribute in known)
        for address in ("src", "href"):
            if address in known:
                assert str(known[address]).startswith(("data:image/svg+xml;base64,", "#"))
    assert not re.search(r"https?:|url\(|@import", report)
    assert "default-src 'none'" in report


HOSTILE = {
    "q0": "<script>alert(1)</script>",
    "q1": '"><img src=x onerror=alert(1)>',
    "q2": "\u202egnirts\u202c \u2066x",
    "q3": "{{ 7 * 7 }} {% raw %} &amp; 검색 \x00\x1b[31m \ud800",
}


def test_hostile_texts_are_shown_and_not_obeyed(report: str) -> None:
    name = "<b onmouseover=alert(1)>&amp;\u202e"
    page_text = html_report(
        [system("</style><script>", wanted=2, texts=HOSTILE), system(name, wanted=0, texts=HOSTILE)],
        title="</title><script>alert(1)</script>",
    )
    page = Page(page_text)
    assert {tag for tag, _ in page.tags} == {tag for tag, _ in Page(report).tags}
    assert not any("onerror" in known or "onmouseover" in known for _, known in page.tags)
    assert "<b onmouseover=alert(1)>&amp;[U+202E]" in page.text
    assert "<script>alert(1)</script>" in page.text
    assert "[U+202E]gnirts[U+202C] [U+2066]x" in page.text
    assert "{{ 7 * 7 }} {% raw %} &amp; 검색 [U+0000][U+001B][31m [U+D800]" in page.text
    assert not set(page_text) & set("\u202e\u202c\u2066\x00\x1b\ud800")


def test_what_is_made_visible() -> None:
    assert visible_text("검색\t\n é") == "검색\t\n é"
    assert visible_text("\N{ZERO WIDTH JOINER}") == "\N{ZERO WIDTH JOINER}"
    assert visible_text("\u200f\u061c\ufeff\x85") == "[U+200F][U+061C][U+FEFF][U+0085]"
    assert visible_text(3) == 3


def test_the_same_evaluations_give_the_same_page(systems: Any, report: str) -> None:
    assert html_report(systems, title="Mine", worst=2) == report


@pytest.mark.parametrize(
    "only",
    [
        judge({"q": ["a"]}, {"q": {"a": 1}}),
        judge({"q": []}, {"q": {"a": 0}}),
        replace(judge({"q": ["a"]}, {"q": {"a": 1}}), qrels={}),
        system("one", wanted=1, kind="rerank_score"),
    ],
    ids=["ranking", "nothing relevant", "no judgements kept", "no probabilities"],
)
def test_what_is_not_known_is_left_out(only: Any) -> None:
    page = Page(html_report(only))
    links = {str(known["href"]).removeprefix("#") for tag, known in page.tags if tag == "a"}
    assert links == {known["id"] for tag, known in page.tags if tag == "section" and "id" in known}
    assert "1 system on" in page.text
    assert "Are the probabilities true" not in page.text


def test_no_picture_of_depths_where_nobody_re_ranks() -> None:
    def named(**scores: float) -> set[str]:
        answers = {"q": trace([candidate(one, **scores) for one in ("x", "wanted")])}
        page = Page(html_report(evaluated(answers, {"q": {"wanted": 1}}, name="one")))
        return {str(known["alt"]) for tag, known in page.tags if tag == "img"}

    picture = "nDCG@10 by the number of candidates re-ranked."
    assert picture in named(rerank_score=0.5, relevance_score=0.5)
    assert picture not in named()


def test_a_given_comparison_and_attributions(systems: Any) -> None:
    told = [attribute(one, k=2, indexed=()) for one in systems]
    comparison = compare(systems, baseline="tuned", pairwise=True)
    page = Page(html_report(systems, comparison=comparison, attributions=told, measure="R@10"))
    assert "base against tuned, by R@10" in page.text
    assert "not among the first 2" in page.text
    row = comparison.row("foreign", "R@10", against="base")
    assert ["foreign", "base", f"{row.difference:+.4f}"] in [cells[:3] for cells in page.rows]
    with pytest.raises(InvalidArgumentError, match="only one of them has 'foreign'"):
        html_report(systems[:2], comparison=compare(systems))
    with pytest.raises(
        InvalidArgumentError, match="attributions are of other systems than evaluations: 'foreign'"
    ):
        html_report(systems[:2], attributions=told)
    with pytest.raises(InvalidArgumentError, match="'AP' is none of nDCG@10, R@10"):
        html_report(systems, measure="AP")
    with pytest.raises(InvalidArgumentError, match="nothing to compare"):
        html_report([])


def test_the_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    only = judge({"q": ["a"]}, {"q": {"a": 1}})
    path = tmp_path / "new" / "report.html"
    page = html_report(only, path)
    assert path.read_text(encoding="utf-8") == page
    assert list(path.parent.iterdir()) == [path]
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        html_report(only, tmp_path / "file" / "report.html")


def test_without_matplotlib(systems: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delitem(sys.modules, "langchain_rerank_retriever.evaluation.plots.picture", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"langchain-rerank-retriever\[plots\]"):
        html_report(systems, tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []
