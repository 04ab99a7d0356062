"""Texts in pictures: other people's names, drawn as they are and in a font that has their letters."""

import unicodedata
import warnings
from functools import cache

#: Families with Korean, Chinese and Japanese, Korean forms first; those that are installed follow matplotlib's own
#: font, for the letters that it lacks.
_FAMILIES = (
    "Noto Sans CJK KR",
    "Noto Sans KR",
    "Source Han Sans KR",
    "Source Han Sans K",
    "Pretendard",
    "NanumGothic",
    "NanumBarunGothic",
    "NanumSquare",
    "Malgun Gothic",
    "Apple SD Gothic Neo",
    "AppleGothic",
    "Baekmuk Dotum",
    "UnDotum",
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Noto Sans CJK TC",
    "Droid Sans Fallback",
    "Arial Unicode MS",
)
_OWN_FAMILY = "DejaVu Sans"  # comes with matplotlib

#: What stands for a letter that no font has.
_MISSING = "\N{REPLACEMENT CHARACTER}"

#: A longer name would leave no room for what it names.
LIMIT = 32


@cache
def families() -> tuple[str, ...]:
    """Name the font families to draw with, in the order in which a letter is looked for."""
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    return (_OWN_FAMILY, *(family for family in _FAMILIES if family in installed))


def label(text: str, *, limit: int = LIMIT) -> str:
    """Make a text safe to draw: on one line, of bounded length, no formula, only letters that some font has.

    Args:
        text: Anything.
        limit: More characters are cut off, with an ellipsis.

    Warns:
        UserWarning: If a letter is in no installed font; names the fix.
    """
    # Control characters, line ends, and those that turn the direction of what follows.
    kept = (
        " " if unicodedata.category(one) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") else one
        for one in text
    )
    line = " ".join("".join(kept).split()) or "(no name)"
    line = line if len(line) <= limit else line[: limit - 1].rstrip() + "…"
    missing = {one for one in line if not _drawable(one)}
    if missing:
        warnings.warn(
            f"No installed font has {''.join(sorted(missing)[:5])!r}, so that pictures show {_MISSING} instead. "
            f"Install a font with these letters, for Korean for example fonts-noto-cjk or fonts-nanum.",
            UserWarning,
            stacklevel=2,
        )
    # Two dollar signs would make a formula of what is between them.
    return "".join(_MISSING if one in missing else one for one in line).replace("$", r"\$")


@cache
def _drawable(letter: str) -> bool:
    from matplotlib.font_manager import FontProperties, findfont, get_font

    paths = [findfont(FontProperties(family=family)) for family in families()]
    return any(get_font(path).get_char_index(ord(letter)) for path in paths)
