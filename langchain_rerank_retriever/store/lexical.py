"""Text to the terms of SQLite's FTS5: stemmed words, and pairs of Korean, Chinese and Japanese characters.

FTS5's own tokenizers stem English (``porter``) but know Korean, Chinese and Japanese only as long runs, or
as groups of three, too long for most Korean words. So runs of those scripts are cut into overlapping pairs
before they reach FTS5. Documents and queries go through the same steps.
"""

import re
import unicodedata

#: Part of the stored format: another tokenizer needs another format number.
TOKENIZER = "porter unicode61"
#: How ``index_text`` cuts. A later Unicode knows more letters, and terms can only be taken out of the index as they
#: were put in, so a store whose terms were made otherwise gets its lexical index made anew before it is changed.
TERMS = f"1, Unicode {unicodedata.unidata_version}"

_PAIRED = (
    "\u1100-\u11ff\u3130-\u318f\ua960-\ua97f\uac00-\ud7ff"  # Hangul
    "\u3040-\u30ff\u31f0-\u31ff"  # Kana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"  # Han
)
_RUN = re.compile(f"[{_PAIRED}]+")
# Letters and digits with the marks that may follow them: without the marks, a Hindi or Thai word falls apart.
_MARKS = (
    "\u0300-\u036f\u0591-\u05bd\u0610-\u061a\u064b-\u065f\u0900-\u0963\u0980-\u0df3"
    "\u0e31-\u0e3a\u0e47-\u0e4e\u0eb1-\u0ebc\u0ec8-\u0ecd\u102b-\u103e"
)
_WORD = re.compile(rf"[^\W_](?:[^\W_]|[{_MARKS}])*")

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


def _pairs(run: re.Match[str]) -> str:
    characters = run.group()
    if len(characters) == 1:
        return f" {characters} "
    return f" {' '.join(characters[i : i + 2] for i in range(len(characters) - 1))} "


def index_text(text: str) -> str:
    """What FTS5 is given in place of a document's text.

    The stored text is not touched: case and compatibility forms (full width, decomposed Hangul) are folded
    only here.
    """
    if text.isascii():
        return text
    # Cut here, not by FTS5, whose idea of a letter is that of an older Unicode than the query is cut by.
    return " ".join(_WORD.findall(_RUN.sub(_pairs, unicodedata.normalize("NFKC", text).casefold())))


def match_expression(query: str) -> str:
    """A query as an FTS5 expression: its distinct terms, each quoted, joined by OR.

    A lone Korean, Chinese or Japanese character matches every pair that begins with it.

    Returns:
        An empty text where the query has no terms.
    """
    terms = list(dict.fromkeys(_WORD.findall(index_text(query).casefold())))
    terms = [term for term in terms if term not in STOP_WORDS] or terms
    return " OR ".join(f'"{term}"*' if len(term) == 1 and _RUN.match(term) else f'"{term}"' for term in terms)
