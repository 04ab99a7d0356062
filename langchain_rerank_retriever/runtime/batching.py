"""From the lengths of rows to batches. Pure arithmetic."""

from collections.abc import Sequence
from itertools import accumulate


def cost(lengths: Sequence[int]) -> int:
    """Return the tokens that are computed for a batch: its row count times its longest row; 0 for no rows."""
    return len(lengths) * max(lengths, default=0)


def pack(lengths: Sequence[int], *, budget: int, max_rows: int | None = None) -> list[list[int]]:
    """Pack rows into batches of similar length under a token budget.

    A batch costs its row count times its longest row, because the shorter ones are padded. Longest rows come
    first, so that a batch too large for the memory shows at once and not at the end of a long job.

    Args:
        lengths: Tokens of each row.
        budget: Largest cost of a batch. A row longer than this gets a batch of its own.
        max_rows: Largest row count of a batch; ``None`` for no limit but the budget.

    Returns:
        Places in ``lengths``; each occurs in exactly one batch. Rows of equal length keep their order.
    """
    order = sorted(range(len(lengths)), key=lambda place: -lengths[place])
    batches: list[list[int]] = []
    start = 0
    while start < len(order):
        longest = max(1, lengths[order[start]])
        rows = max(1, budget // longest)
        if max_rows is not None:
            rows = min(rows, max_rows)
        batches.append(order[start : start + rows])
        start += rows
    return batches


def slices(lengths: Sequence[int], size: int) -> list[int]:
    """Number consecutive rows by the slice that they begin in; a slice begins every ``size`` tokens.

    Returns:
        One number a row, 0-based and never falling. Long rows may leave numbers out.
    """
    return [begin // size for begin in accumulate(lengths[:-1], initial=0)] if lengths else []
