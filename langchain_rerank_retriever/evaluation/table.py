"""Tables as plain text, as Markdown and as HTML."""

from collections.abc import Sequence
from html import escape


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
    """Write rows, the header first, as an HTML table without any style but the alignment; all text is escaped."""
    styles = [f' style="text-align:{"right" if right else "left"}"' for right in _numeric(cells)]
    rows = [
        "".join(f"<{tag}{style}>{escape(cell)}</{tag}>" for style, cell in zip(styles, row, strict=True))
        for tag, row in zip(["th", *["td"] * (len(cells) - 1)], cells, strict=True)
    ]
    lines = "\n".join(f"<tr>{row}</tr>" for row in rows)
    return f"<table>\n<caption>{escape(caption)}</caption>\n{lines}\n</table>"
