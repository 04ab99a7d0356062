"""Text to the terms of SQLite's FTS5: stemmed words, and pairs of characters where no spaces stand between words.

FTS5's own tokenizers stem English (``porter``) but know Korean, Chinese, Japanese, Thai, Lao, Khmer and Burmese only as
long runs, or as groups of three, too long for most Korean words. So runs of those scripts are cut into overlapping
pairs before they reach FTS5. Documents and queries go through the same steps.

How terms are made is part of the stored format, since terms can only be taken out of the index as they were put in. So
a store keeps the name of its rules, and keeps being read and written by them as long as they are known here; where
they are not, its lexical index is made anew before it is changed.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

#: Part of the stored format: another tokenizer needs another format number.
PORTER = "porter unicode61"
#: For words that are stemmed before they reach FTS5.
PLAIN = "unicode61"

# A later Unicode knows more letters, so it cuts otherwise.
_UNICODE = f"Unicode {unicodedata.unidata_version}"
#: The rules of stores made before scripts of South East Asia were cut into pairs, and the rules of today.
OLD_RULES, RULES = f"1, {_UNICODE}", f"2, {_UNICODE}"

_HANGUL = "\u1100-\u11ff\u3130-\u318f\ua960-\ua97f\uac00-\ud7ff"
_KANA_AND_HAN = "\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
_PAIRED = f"{_HANGUL}{_KANA_AND_HAN}"
_RUN = re.compile(f"[{_PAIRED}]+")
_RUN_BUT_HANGUL = re.compile(f"[{_KANA_AND_HAN}]+")

# Letters and digits with the marks that may follow them: without the marks, a Hindi or Thai word falls apart.
_OLD_MARKS = (
    "\u0300-\u036f\u0591-\u05bd\u0610-\u061a\u064b-\u065f\u0900-\u0963\u0980-\u0df3"
    "\u0e31-\u0e3a\u0e47-\u0e4e\u0eb1-\u0ebc\u0ec8-\u0ecd\u102b-\u103e"
)
_OLD_WORD = re.compile(rf"[^\W_](?:[^\W_]|[{_OLD_MARKS}])*")

# Thai, Lao, Burmese and Khmer, without their digits and punctuation. A character of theirs is a letter and its marks.
_ASIAN_LETTERS = (
    "\u0e01-\u0e30\u0e32\u0e33\u0e40-\u0e46\u0e81-\u0eb0\u0eb2\u0eb3\u0ebd\u0ec0-\u0ec6\u0edc-\u0edf"
    "\u1000-\u102a\u103f\u1050-\u1055\u105a-\u105d\u1061\u1065\u1066\u106e-\u1070\u1075-\u1081\u108e"
    "\u1780-\u17b3\u17d7\u17dc"
)
_ASIAN_MARKS = (
    "\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ece\u102b-\u103e\u1056-\u1059\u105e-\u1060"
    "\u1062-\u1064\u1067-\u106d\u1071-\u1074\u1082-\u108d\u17b4-\u17d3\u17dd"
)
_WORD = re.compile(rf"[^\W_](?:[^\W_]|[{_OLD_MARKS}{_ASIAN_MARKS}])*")
_ASIAN_CHARACTER = re.compile(f"[{_ASIAN_LETTERS}][{_ASIAN_MARKS}]*")
_ASIAN_RUN = re.compile(f"[{_ASIAN_LETTERS}][{_ASIAN_LETTERS}{_ASIAN_MARKS}]*")
# FTS5 takes those marks for spaces, but characters of private use for letters: this is how marks are stored.
_AS_LETTERS = {
    code: 0xE000 + (code & 0xFFF)
    for first, last in re.findall(r"(.)(?:-(.))?", _ASIAN_MARKS)
    for code in range(ord(first), ord(last or first) + 1)
}
_STORED_MARKS = "".join(map(chr, _AS_LETTERS.values()))
# What a query's lone character looks like; it stands for every pair that begins with it.
_LONE = re.compile(f"[{_PAIRED}]|[{_ASIAN_LETTERS}][{_STORED_MARKS}]*")
_LONE_BUT_HANGUL = re.compile(f"[{_KANA_AND_HAN}]|[{_ASIAN_LETTERS}][{_STORED_MARKS}]*")
_LONE_OLD = re.compile(f"[{_PAIRED}]")

#: Words that carry no topic. They are dropped from a query that has other words: they match most documents,
#: which makes them slow, and their weight is close to nothing, which makes them useless.
STOP_WORDS = frozenset(
    """
    a about after all also am an and any are as at be because been before being between both but by
    can could did do does doing during each for from further had has have having he her here hers
    him his how i if in into is it its just me more most my no nor not of off on once only or other
    our out over own same she should so some such than that the their them then there these they
    this those through to too under until up very was we were what when where which while who whom
    why will with would you your
    """.split()  # noqa: SIM905 - a list of words reads better as text
)


@dataclass(frozen=True, slots=True)
class Analyzer:
    """How a store makes terms of texts.

    Attributes:
        rules: The name of the rules, which is stored; other rules have another.
        tokenizer: What FTS5 makes of the result: the name of its tokenizer.
        index_text: What FTS5 is given in place of a text: words, separated by whatever FTS5 takes for a space. The
            stored text is not touched: case and compatibility forms (full width, decomposed Hangul) are folded here.
        keeps_text: Whether that is stored, too. It need not be where it is made again in no time, and always the same.
        lone: What a term looks like that stands for every term that begins with it.
        stop_words: See STOP_WORDS.
    """

    rules: str
    tokenizer: str
    index_text: Callable[[str], str]
    keeps_text: bool
    lone: re.Pattern[str]
    stop_words: frozenset[str] = frozenset()

    def phrases(self, query: str) -> list[str]:
        """A query as distinct terms, each quoted as FTS5 wants it; none where the query has no word."""
        terms = list(dict.fromkeys(_split(self.index_text(query))))
        terms = [term for term in terms if term not in self.stop_words] or terms
        return [f'"{term}"*' if self.lone.fullmatch(term) else f'"{term}"' for term in terms]


def match_expression(phrases: Sequence[str]) -> str:
    """Phrases as an FTS5 expression that any of them fulfils."""
    return " OR ".join(phrases)


def _split(text: str) -> list[str]:
    """Split what ``index_text`` made into terms."""
    return _WORD.findall(text.casefold()) if text.isascii() else text.split()


def _pairs(run: re.Match[str]) -> str:
    return f" {_joined_pairs(list(run.group()))} "


def _asian_pairs(run: re.Match[str]) -> str:
    return f" {_joined_pairs(_ASIAN_CHARACTER.findall(run.group()))} ".translate(_AS_LETTERS)


def _joined_pairs(characters: list[str]) -> str:
    if len(characters) == 1:
        return characters[0]
    return " ".join(map("".join, pairwise(characters)))


def folded(text: str) -> str:
    """A text without differences of case and of compatibility."""
    return unicodedata.normalize("NFKC", text).casefold()


def words(text: str, paired: re.Pattern[str] = _RUN) -> list[str]:
    """The words of a folded text, and pairs of characters of the scripts that have no spaces."""
    # Cut here, not by FTS5, whose idea of a letter is that of an older Unicode than the query is cut by.
    cut = " ".join(_WORD.findall(paired.sub(_pairs, text)))
    return _ASIAN_RUN.sub(_asian_pairs, cut).split()


def _index_text(text: str) -> str:
    return text if text.isascii() else " ".join(words(folded(text)))


def _old_index_text(text: str) -> str:
    if text.isascii():
        return text
    return " ".join(_OLD_WORD.findall(_RUN.sub(_pairs, folded(text))))


#: English words are stemmed; other words are taken as they are.
DEFAULT = Analyzer(RULES, PORTER, _index_text, keeps_text=False, lone=_LONE, stop_words=STOP_WORDS)
#: The same for stores made by earlier versions.
OLD = Analyzer(OLD_RULES, PORTER, _old_index_text, keeps_text=False, lone=_LONE_OLD, stop_words=STOP_WORDS)


def stemmed(rules: str, stem: Callable[[list[str]], list[str]]) -> Analyzer:
    """An analyzer for a language that has a stemmer.

    Args:
        rules: The name of the stemmer's rules.
        stem: Words to as many stems.
    """

    def index_text(text: str) -> str:
        return " ".join(stem(words(folded(text))))

    return Analyzer(f"{rules}, {RULES}", PLAIN, index_text, keeps_text=True, lone=_LONE)


def segmented(rules: str, segment: Callable[[str], list[str]]) -> Analyzer:
    """An analyzer for Korean, cut into morphemes; English words in it are stemmed.

    Args:
        rules: The name of the rules of cutting.
        segment: A text to its morphemes.
    """

    def index_text(text: str) -> str:
        return " ".join(words(folded(" ".join(segment(text))), _RUN_BUT_HANGUL))

    return Analyzer(f"{rules}, {RULES}", PORTER, index_text, keeps_text=True, lone=_LONE_BUT_HANGUL)
