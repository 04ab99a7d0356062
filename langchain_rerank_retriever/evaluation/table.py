"""Tables as plain text and as Markdown."""

from collections.abc import Sequence


def as_text(cells: Sequence[Sequence[str]]) -> str:
    """Align columns: the first and the last to the left, those between, which hold numbers, to the right.

    Args:
        cells: Rows of equal length, the header first.
    """
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for row in cells:
        last = len(row) - 1
        aligned = [
            cell.ljust(width) if place in (0, last) else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(aligned).rstrip())
    return "\n".join(lines)


def as_markdown(cells: Sequence[Sequence[str]]) -> str:
    """Write rows, the header first, as a Markdown table; a `|` within a cell is escaped."""
    header, *rows = [[cell.replace("|", "\\|") for cell in row] for row in cells]
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
