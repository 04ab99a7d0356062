"""The analyzer of a store, by the language that its lexical index was made for."""

import threading
from functools import cache
from importlib.metadata import version
from typing import Any

from langchain_rerank_retriever.errors import InvalidArgumentError, brought_by

from .analysis import DEFAULT, OLD, Analyzer, segmented, stemmed

#: Whether there is a lexical index, or the language that it is made for.
Lexical = bool | str

KOREAN = "korean"

#: Morphemes that carry meaning, by the first letters of Kiwi's tags: nouns, verbs, adjectives, adverbs, determiners,
#: roots, foreign words, Chinese characters, numbers, web addresses. Particles, endings and affixes are left out.
_KEPT = ("NN", "NP", "NR", "VV", "VA", "MAG", "MM", "XR", "SL", "SH", "SN", "SW", "W_")


def analyzer_of(lexical: Lexical, rules: str | None = None) -> Analyzer:
    """The analyzer for a setting.

    Args:
        lexical: True or a language.
        rules: The name of the rules that terms were made by; those of today where these are not known any more.

    Raises:
        InvalidArgumentError: The language is not known.
        MissingExtraError: The package that the language needs is not installed.
    """
    if isinstance(lexical, str):
        return _korean() if lexical == KOREAN else _stemmed(lexical)
    return OLD if rules == OLD.rules else DEFAULT


@cache
def _stemmed(language: str) -> Analyzer:
    with brought_by("stemming", "PyStemmer"):
        import Stemmer
    known = Stemmer.algorithms()
    if language not in known:
        raise InvalidArgumentError(
            f"lexical must be True, False or one of {', '.join(sorted({*known, KOREAN}))}, got {language!r}"
        )
    # A stemmer serves one thread at a time.
    own = threading.local()

    def stem(words: list[str]) -> list[str]:
        if not hasattr(own, "stemmer"):
            own.stemmer = Stemmer.Stemmer(language)
        return list(own.stemmer.stemWords(words))

    return stemmed(f"{language}, PyStemmer {version('PyStemmer')}", stem)


@cache
def _korean() -> Analyzer:
    with brought_by("korean", "kiwipiepy"):
        versions = [f"{name} {version(name)}" for name in ("kiwipiepy", "kiwipiepy_model")]
    return segmented(", ".join((KOREAN, *versions)), _morphemes)


def _morphemes(text: str) -> list[str]:
    tokens = _kiwi().tokenize(text)
    return [token.form for token in tokens if token.tag.startswith(_KEPT)]


@cache
def _kiwi() -> Any:
    from kiwipiepy import Kiwi

    # One worker is this thread. Without the dictionary of names of several words, those are found by each word.
    return Kiwi(num_workers=1, load_multi_dict=False)
