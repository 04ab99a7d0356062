"""Where sentences end, by rule, for English, Korean, Chinese and Japanese."""

import re

#: What follows the end of a sentence and still belongs to it.
_CLOSING = "\"'”’»)\\]」』）】*_`"

#: A blank line ends any sentence. So does a full stop of Chinese or Japanese, with or without a space after it. A stop
#: of other writing needs a space after it, but Korean is often written without one: there a stop between a verb's
#: ending (다, 요, 죠, 까, 음, 함, 임, 됨) and another syllable ends a sentence, too.
_END = re.compile(
    rf"\n\s*\n|[。！？｡]+[{_CLOSING}]*|(?<=[다요죠까음함임됨])[.!?]+(?=[가-힣])|[.!?…]+[{_CLOSING}]*(?=\s|$)"
)

#: A stop after one of these, or after a single letter (an initial), does not end a sentence.
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\[])(?:[a-z]|[a-z]\.[a-z]|mr|mrs|ms|dr|prof|sr|jr|st|vs|cf|etc|al|approx|fig|figs|eq|eqs|no|nos|vol|pp|"
    r"sec|ch|ref|refs|inc|ltd|co|corp|dept|est|u\.s|u\.k|ph\.d)\.$",
    re.IGNORECASE,
)

_VISIBLE = re.compile(r"\S")

#: The number of a list's item at the start of a sentence: "1." or "12.".
_LIST_NUMBER = re.compile(r"\s*\d{1,3}\.$")


def sentences(text: str) -> list[str]:
    """Split a text into its sentences, without the spaces around them; blank ones are left out.

    A rule of thumb, not a parser: a stop ends no sentence after a known abbreviation, an initial or the number of a
    list's item, nor before a small letter. Whatever it does, the sentences hold every character that is no space, in
    order.
    """
    found, start = [], 0
    for match in _END.finditer(text):
        end = match.end()
        following = _VISIBLE.search(text, end)
        if not match.group().isspace() and not _ends(text[start:end], following[0] if following else ""):
            continue
        found.append(text[start:end])
        start = end
    found.append(text[start:])
    return [sentence.strip() for sentence in found if sentence.strip()]


def _ends(sentence: str, following: str) -> bool:
    if following.islower():
        return sentence[-1] in "。！？｡"
    return not (_ABBREVIATION.search(sentence) or _LIST_NUMBER.fullmatch(sentence))
