"""Lexical indexes for a language, and what a store remembers of how its terms were made."""

import builtins
import re
import sqlite3
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest
import Stemmer

from langchain_rerank_retriever.errors import FormatError, InvalidArgumentError, MissingExtraError
from langchain_rerank_retriever.store import FaissStore
from langchain_rerank_retriever.store.lexical import languages
from langchain_rerank_retriever.store.lexical.analysis import DEFAULT, OLD, RULES, STOP_WORDS

from .helpers import FastEmbeddings

LANGUAGES = "langchain_rerank_retriever.store.lexical.languages"


def store_of(*texts: str, **settings: Any) -> FaissStore:
    store = FaissStore(FastEmbeddings(4), **settings)
    store.add_texts(texts, ids=[str(i) for i in range(len(texts))])
    return store


def found(store: FaissStore, query: str) -> list[str]:
    return sorted(document.id or "" for document in store.lexical_search(query, k=50))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("ภาษา", ["0"]),
        ("ไทย", ["0"]),
        # The same letters with other vowels and tones are another word.
        ("ภูษิ", []),
        ("ລາວ", ["1"]),
        ("កម្ពុជា", ["2"]),
        ("မြန်မာ", ["3"]),
        ("ที่", ["4"]),
        ("๑๒๓", ["5"]),
        ("10", ["5"]),
    ],
)
def test_scripts_without_spaces(query: str, expected: list[str]) -> None:
    store = store_of("ฉันพูดภาษาไทยได้", "ປະເທດລາວ", "ប្រទេសកម្ពុជា", "မြန်မာနိုင်ငံ", "อยู่ ที่ นี่", "ราคา ๑๒๓ หรือ 10")
    assert found(store, query) == expected
    assert store.verify(deep=True).ok


@pytest.mark.parametrize(
    ("language", "text", "queries", "others"),
    [
        ("german", "Die Häuser der Straßen", ["Haus", "hauses", "STRASSE", "häusern"], ["Hausse", "Strand"]),
        ("french", "Les chevaux continuaient", ["cheval", "continué"], ["chevron"]),
        ("russian", "Важные книги", ["книга", "важный"], ["книжка"]),
        ("finnish", "taloissa", ["talossa"], ["talvi"]),
        ("german", "삼성전자의 Häuser", ["삼성", "haus"], ["상성"]),
    ],
)
def test_stems(language: str, text: str, queries: list[str], others: list[str]) -> None:
    with store_of(text, lexical=language) as store:
        assert [found(store, query) for query in queries] == [["0"]] * len(queries)
        assert [found(store, query) for query in others] == [[]] * len(others)


def test_stems_are_those_of_snowball() -> None:
    words = ["laufen", "lief", "gelaufen", "häuser", "aufgaben", "wichtigsten"]
    expected = Stemmer.Stemmer("german").stemWords(words)
    assert languages.analyzer_of("german").index_text(" ".join(words)).split() == expected


def test_a_language_is_remembered(tmp_path: Path) -> None:
    folder, copy = tmp_path / "store", tmp_path / "copy"
    with store_of("Häuser", "Bäume", "Blumen", path=folder, lexical="german") as store:
        assert (store.settings["lexical"], store.settings["format"]) == ("german", 2)
        store.add_texts(["Wälder"], ids=["1"])
        store.delete(["2"])
        store.save_local(copy)
    for place in (folder, copy):
        with FaissStore.load_local(place, FastEmbeddings(4)) as store:
            assert store.settings["lexical"] == "german"
            assert (found(store, "Haus"), found(store, "Wald"), found(store, "Baum Blume")) == (
                ["0"],
                ["1"],
                [],
            )
            assert store.lexical_scores("Haus", ["0", "1"])["1"] == 0.0
            assert store.verify(deep=True).ok
            store.clear()
            assert found(store, "Haus") == []
            assert store.verify(deep=True).ok
    FaissStore(FastEmbeddings(4), path=folder, lexical="german").close()
    for other in (True, False, "french"):
        with pytest.raises(InvalidArgumentError, match=rf"made with lexical='german', got lexical={other!r}"):
            FaissStore(FastEmbeddings(4), path=folder, lexical=other)


def test_a_store_for_no_language_is_of_the_first_format(tmp_path: Path) -> None:
    with store_of("red", path=tmp_path / "store") as store:
        assert (store.settings["lexical"], store.settings["format"]) == (True, 1)
    with pytest.raises(InvalidArgumentError, match="made with lexical=True, got lexical='german'"):
        FaissStore(FastEmbeddings(4), path=tmp_path / "store", lexical="german")


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    store_of("red", path=tmp_path, lexical="german").close()
    connection = sqlite3.connect(tmp_path / "store.db")
    connection.execute("PRAGMA user_version = 3")
    connection.close()
    with pytest.raises(FormatError, match="has format 3, and this version of the package reads up to 2"):
        FaissStore(FastEmbeddings(4), path=tmp_path)


@pytest.mark.parametrize(
    ("lexical", "message"),
    [
        ("klingon", r"one of arabic, .*korean.*, got 'klingon'"),
        ("German", "got 'German'"),
        ("", "got ''"),
        (1, "True, False or a language, got 1"),
        (["german"], "True, False or a language"),
    ],
)
def test_a_language_that_is_none(tmp_path: Path, lexical: Any, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        FaissStore(FastEmbeddings(4), path=tmp_path / "store", lexical=lexical)
    # Nothing was made that would stand in the way of a second try.
    FaissStore(FastEmbeddings(4), path=tmp_path / "store", lexical="german").close()


@pytest.mark.parametrize(("language", "extra"), [("german", "stemming"), ("korean", "korean")])
def test_a_missing_extra_is_named_when_a_store_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, language: str, extra: str
) -> None:
    FaissStore(FastEmbeddings(4), path=tmp_path / "old", lexical=language).close()

    def version(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setitem(sys.modules, "Stemmer", None)
    monkeypatch.setattr(languages, "version", version)
    for cached in (languages._stemmed, languages._korean):
        cached.cache_clear()
        monkeypatch.setattr(languages, cached.__name__, cached.__wrapped__)
    for folder in ("old", "new"):
        with pytest.raises(MissingExtraError, match=rf'pip install "langchain-rerank-retriever\[{extra}\]"'):
            FaissStore(FastEmbeddings(4), path=tmp_path / folder, lexical=language)


def test_no_package_is_imported_for_no_language(monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def refuse(name: str, *arguments: Any) -> Any:
        assert name not in ("Stemmer", "kiwipiepy")
        return imported(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with store_of("red foxes", "책을 읽다") as store:
        assert found(store, "fox") == ["0"]


def test_the_rules_of_earlier_versions_stay_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as earlier:
        earlier.setattr(f"{LANGUAGES}.DEFAULT", OLD)
        store = store_of("ภาษาไทย", "red foxes", "책을 읽다")
    # As it was: a run of Thai letters is one word.
    assert (found(store, "ภาษา"), found(store, "ภาษาไทย"), found(store, "fox")) == ([], ["0"], ["1"])
    store.add_texts(["ไทย"], ids=["3"])
    store.delete(["1"])
    assert (found(store, "ไทย"), found(store, "fox"), found(store, "책을")) == (["3"], [], ["2"])
    with store._engine.snapshot() as snapshot:
        assert snapshot.state.terms == OLD.rules != RULES
    assert store.verify(deep=True).ok


@pytest.fixture
def earlier(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A German store that another version of the stemmer has filled."""
    with monkeypatch.context() as before:
        other = replace(
            languages.analyzer_of("german"), rules="german, PyStemmer 0.1", index_text=lambda text: f"x{text}"
        )
        before.setattr(languages, "_stemmed", lambda _language: other)
        with store_of("Häuser", "Bäume", path=tmp_path / "earlier", lexical="german") as store:
            assert store.verify(deep=True).ok
            assert found(store, "Häuser") == ["0"]
    return tmp_path / "earlier"


def other_rules() -> str:
    """What is said of such a store."""
    today = re.escape(languages.analyzer_of("german").rules)
    return rf"made by the rules 'german, PyStemmer 0\.1', but queries are cut by '{today}' now"


def rules_told(told: Sequence[warnings.WarningMessage]) -> list[str]:
    return [str(one.message) for one in told if "made by the rules" in str(one.message)]


def test_a_stemmer_of_another_version_has_its_terms_made_anew(earlier: Path) -> None:
    with pytest.warns(
        UserWarning, match=other_rules() + r".*: repair\(\) makes it anew, and so does the next"
    ):
        store = FaissStore(FastEmbeddings(4), path=earlier)
    with store, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert found(store, "Haus") == []
        for deep in (False, True):
            result = store.verify(deep=deep)
            (problem,) = result.problems
            assert not result.ok
            assert re.search(other_rules() + r".*can miss documents: repair\(\) makes it anew$", problem)
        store.delete(["1"])
        assert (found(store, "Haus"), found(store, "Baum")) == (["0"], [])
        assert store.verify(deep=True).ok
        assert rules_told(told) == []  # Once for each store that is open.


def test_repair_renews_the_terms_of_a_stemmer_of_another_version(earlier: Path) -> None:
    with pytest.warns(UserWarning, match=other_rules()):
        store = FaissStore(FastEmbeddings(4), path=earlier)
    with store:
        result = store.repair()
        assert (result.ok, result.repaired, result.problems) == (True, ("the lexical index",), ())
        assert (found(store, "Haus"), found(store, "Baum")) == (["0"], ["1"])
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with FaissStore(FastEmbeddings(4), path=earlier) as store:
            assert store.verify(deep=True).ok
        assert rules_told(told) == []


def test_a_store_that_is_only_read_tells_of_other_rules_and_stays_as_it_is(earlier: Path) -> None:
    for _ in range(2):
        with pytest.warns(UserWarning, match=other_rules() + r".*read_only=True") as told:
            store = FaissStore(FastEmbeddings(4), path=earlier, read_only=True)
        assert [one.filename for one in told] == [__file__]
        with store:
            assert found(store, "Haus") == []
            assert not store.verify().ok


def test_rules_that_change_while_a_store_is_open_are_told_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    newer = replace(languages.analyzer_of("german"), rules="german, PyStemmer 99", index_text=str.upper)
    with store_of("Häuser", path=tmp_path, lexical="german") as store:
        with monkeypatch.context() as later:
            later.setattr(languages, "_stemmed", lambda _language: newer)
            with (
                pytest.warns(UserWarning, match="queries are cut by 'german, PyStemmer 99' now"),
                FaissStore(FastEmbeddings(4), path=tmp_path) as other,
            ):
                other.add_texts(["Bäume"], ids=["1"])
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            assert store.lexical_scores("Haus", ["0"]) == {"0": 0.0}
            assert found(store, "Haus") == []
        assert len(rules_told(told)) == 1
        assert "made by the rules 'german, PyStemmer 99'" in str(told[0].message)
        assert [one.filename for one in told] == [__file__]


def test_words_without_a_topic_are_those_of_english() -> None:
    assert languages.analyzer_of("german").phrases("die Die was") == ['"die"', '"was"']
    assert "was" in STOP_WORDS


@pytest.fixture(scope="module")
def korean() -> Any:
    """Kiwi takes seconds to load, so it is loaded once."""
    with store_of(
        "서울에서 대학교를 다녔다",
        "책을 읽었다",
        "책상을 샀다",
        "삼성SDK로 running 하기",
        "漢字와 カメラ",
        lexical="korean",
    ) as store:
        yield store


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("서울은", ["0"]),
        ("대학교는 어디", ["0"]),
        ("다니는", ["0"]),
        ("책", ["1"]),
        ("읽다", ["1"]),
        ("책상", ["2"]),
        ("SDK", ["3"]),
        ("runs", ["3"]),
        ("漢字", ["4"]),
        ("カメ", ["4"]),
        ("에서", []),
        ("\u1109\u1165\u110b\u116e\u11af", ["0"]),
        ("", []),
    ],
)
def test_morphemes(korean: FaissStore, query: str, expected: list[str]) -> None:
    assert found(korean, query) == expected


def test_a_korean_store_is_whole(korean: FaissStore) -> None:
    assert korean.settings["lexical"] == "korean"
    assert korean.verify(deep=True).ok
    korean.add_texts(["산을 오르다"], ids=["5"])
    korean.add_texts(["바다를 건너다"], ids=["5"])
    assert (found(korean, "산"), found(korean, "바다")) == ([], ["5"])
    korean.delete(["5"])
    assert found(korean, "바다") == []
    assert korean.verify(deep=True).ok


def test_rules_are_named_by_what_makes_the_terms() -> None:
    assert DEFAULT.rules == RULES
    names = {languages.analyzer_of(language).rules for language in (True, "german", "french", "korean")}
    assert len(names) == 4
    assert "kiwipiepy_model" in languages.analyzer_of("korean").rules
