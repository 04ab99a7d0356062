"""From the lengths of rows to batches. Pure arithmetic."""

from collections.abc import Sequence
from itertools import accumulate

import numpy as np

#: What a forward pass costs beside its tokens, as a share of the budget. On a CPU, where budgets are 500 to 4000
#: tokens, a model of six layers spends as much on a pass as on 50 to 100 of them; on a GPU, whose budget is larger,
#: some thousands.
PASS_SHARE = 1 / 16


def cost(lengths: Sequence[int]) -> int:
    """Return the tokens that are computed for a batch: its row count times its longest row; 0 for no rows."""
    return len(lengths) * max(lengths, default=0)


def pack(lengths: Sequence[int], *, budget: int, max_rows: int | None = None) -> list[list[int]]:
    """Pack rows into batches of similar length under a token budget, so that all together cost least.

    A batch costs its row count times its longest row, because the shorter ones are padded, and a share of the
    budget for the pass itself. Of all ways to cut the rows, sorted by length, into batches, the cheapest is
    taken. Longest rows come first, so that a batch too large for the memory shows at once and not at the end of
    a long job.

    Args:
        lengths: Tokens of each row.
        budget: Largest cost of a batch in padded tokens. A row longer than this gets a batch of its own.
        max_rows: Largest row count of a batch; ``None`` for no limit but the budget.

    Returns:
        Places in ``lengths``; each occurs in exactly one batch. Rows of equal length keep their order.
    """
    order = sorted(range(len(lengths)), key=lambda place: -lengths[place])
    cuts = _cheapest_cuts([max(1, lengths[place]) for place in order], budget, max_rows or len(lengths))
    return [order[begin:end] for begin, end in cuts]


def _cheapest_cuts(longest_first: list[int], budget: int, max_rows: int) -> list[tuple[int, int]]:
    """Solve it for ever more rows: the cheapest way to the end of a batch is known from those to its beginnings."""
    lengths = np.array(longest_first, dtype=np.float64)
    count = len(lengths)
    least = np.zeros(count + 1)
    begin_of = np.zeros(count + 1, dtype=np.int64)
    first = 0
    for end in range(1, count + 1):
        # Batches that end here may begin here or later: with more rows or longer ones they grow too large.
        while end - first > 1 and (end - first > max_rows or lengths[first] * (end - first) > budget):
            first += 1
        totals = least[first:end] + lengths[first:end] * np.arange(end - first, 0, -1)
        # Of equally cheap ways the one whose last batch is the smallest, so that the others are full.
        rows = 1 + int(totals[::-1].argmin())
        least[end] = totals[-rows] + budget * PASS_SHARE
        begin_of[end] = end - rows
    cuts = []
    end = count
    while end > 0:
        begin = int(begin_of[end])
        cuts.append((begin, end))
        end = begin
    return cuts[::-1]


def slices(lengths: Sequence[int], size: int) -> list[int]:
    """Number consecutive rows by the slice that they begin in; a slice begins every ``size`` tokens.

    Returns:
        One number a row, 0-based and never falling. Long rows may leave numbers out.
    """
    return [begin // size for begin in accumulate(lengths[:-1], initial=0)] if lengths else []
