"""Tables as plain text and as Markdown."""

from collections.abc import Sequence


def as_text(cells: Sequence[Sequence[str]]) -> str:
    """Align columns: numbers to the right, all else and the first column to the left.

    Args:
        cells: Rows of equal length, the header first.
    """
    columns = [_aligned(column, left=place == 0) for place, column in enumerate(zip(*cells, strict=True))]
    return "\n".join("  ".join(row).rstrip() for row in zip(*columns, strict=True))


def _aligned(column: Sequence[str], *, left: bool) -> list[str]:
    width = max(map(len, column))
    numbers = all(cell[0] in "+-0123456789" for cell in column[1:] if cell)
    return [cell.rjust(width) if numbers and not left else cell.ljust(width) for cell in column]


def as_markdown(cells: Sequence[Sequence[str]]) -> str:
    """Write rows, the header first, as a Markdown table; a `|` within a cell is escaped."""
    header, *rows = [[cell.replace("|", "\\|") for cell in row] for row in cells]
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
