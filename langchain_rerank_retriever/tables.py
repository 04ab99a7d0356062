"""Tables as plain text, as Markdown and as HTML, with other people's texts in them."""

import unicodedata
from collections.abc import Sequence
from html import escape

#: Format characters that are part of a word or an emoji, and cannot move other text.
_HARMLESS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}\N{SOFT HYPHEN}"


def visible(text: str) -> str:
    """Replace the characters that a page would act upon instead of showing them.

    Control characters and those that change the direction of the text after them become their number in brackets, such
    as `[U+202E]`: a name must not make the page say something else. Markup is left to be escaped.
    """
    return "".join(f"[U+{ord(one):04X}]" if _acts(one) else one for one in text)


def _acts(letter: str) -> bool:
    if letter in "\n\t" or letter in _HARMLESS:
        return False
    return unicodedata.category(letter) in ("Cc", "Cf", "Cs")


def shortened(text: str, limit: int = 80) -> str:
    """Put a text on one line and cut it off, with an ellipsis, after so many characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: limit - 1].rstrip()}…"


def known_columns(cells: Sequence[Sequence[str]]) -> list[list[str]]:
    """Leave out the columns in which there are rows below the header, and none of them has anything."""
    kept = [column for column in zip(*cells, strict=True) if any(column[1:]) or len(cells) == 1]
    return [list(row) for row in zip(*kept, strict=True)]


def as_text(cells: Sequence[Sequence[str]]) -> str:
    """Align columns: numbers to the right, all else and the first column to the left.

    Args:
        cells: Rows of equal length, the header first.
    """
    columns = [
        _aligned(column, right=right)
        for column, right in zip(zip(*cells, strict=True), _numeric(cells), strict=True)
    ]
    return "\n".join("  ".join(row).rstrip() for row in zip(*columns, strict=True))


def _numeric(cells: Sequence[Sequence[str]]) -> list[bool]:
    """Tell for each column whether it holds numbers; the first, which names the row, does not."""
    return [
        place > 0 and all(cell[0] in "+-0123456789" for cell in column[1:] if cell)
        for place, column in enumerate(zip(*cells, strict=True))
    ]


def _aligned(column: Sequence[str], *, right: bool) -> list[str]:
    width = max(map(len, column))
    return [cell.rjust(width) if right else cell.ljust(width) for cell in column]


def as_markdown(cells: Sequence[Sequence[str]]) -> str:
    """Write rows, the header first, as a Markdown table; a `|` within a cell is escaped."""
    header, *rows = [[cell.replace("|", "\\|") for cell in row] for row in cells]
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def as_html(cells: Sequence[Sequence[str]], caption: str) -> str:
    """Write rows, the header first, as an HTML table without any style but the alignment.

    Whatever the texts are, they are shown and not obeyed. Colours are the page's own, light or dark.
    """
    styles = [f' style="text-align:{"right" if right else "left"}"' for right in _numeric(cells)]
    rows = [
        "".join(f"<{tag}{style}>{_shown(cell)}</{tag}>" for style, cell in zip(styles, row, strict=True))
        for tag, row in zip(["th", *["td"] * (len(cells) - 1)], cells, strict=True)
    ]
    lines = "\n".join(f"<tr>{row}</tr>" for row in rows)
    return f"<table>\n<caption>{_shown(caption)}</caption>\n{lines}\n</table>"


def as_paragraphs(texts: Sequence[str]) -> str:
    """Write each text as an HTML paragraph, shown and not obeyed."""
    return "\n".join(f"<p>{_shown(text)}</p>" for text in texts)


def _shown(text: str) -> str:
    return escape(visible(text))
