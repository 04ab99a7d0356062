"""Requests that share batches, and whose turn it is."""

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from operator import itemgetter

from langchain_rerank_retriever.runtime.backend import Row
from langchain_rerank_retriever.runtime.serving.batching import cost, pack, slices
from langchain_rerank_retriever.runtime.serving.request import Request

Placed = tuple[Request, Row]

#: After so many urgent batches in a row a bulk one runs, so that a stream of queries starves nobody.
URGENT_STREAK = 4
#: Where there is a deadline, rows are sorted by length within so many batches of a list and not beyond, so that the
#: deadline finds the head of the list done. Of the tokens that are computed for a hundred passages of three corpora,
#: 2, 7 and 9 % are padding then; 2, 5 and 6 % where all hundred are sorted.
SLICE_BATCHES = 2


class Round:
    """Batches made of the requests that waited at one moment, and those requests.

    Args:
        read: Requests, all urgent or all not, each with the rows that were read of it.
        budget: Largest cost of a batch in padded tokens.
        max_rows: Largest row count of a batch; ``None`` for no limit but the budget.
    """

    def __init__(
        self,
        read: Sequence[tuple[Request, Sequence[Row]]],
        *,
        budget: int,
        max_rows: int | None,
    ) -> None:
        self.requests = [request for request, _ in read]
        self.urgent = self.requests[0].urgent
        self.turn = 0.0
        self._max_rows = max_rows
        self._batches = deque(_arranged(read, budget, max_rows))

    @property
    def open(self) -> bool:
        """Whether a batch is left."""
        return bool(self._batches)

    @property
    def claims(self) -> int:
        """How many requests are served by it, at least 1."""
        return max(1, sum(request.answer.alive for request in self.requests))

    @property
    def next_cost(self) -> int:
        """Padded tokens of the next batch."""
        return cost([row.length for _, row in self._batches[0]])

    def next_batch(self, budget: int) -> list[Placed]:
        """Take the next batch out, without the rows that nobody waits for any more; it may be empty.

        Args:
            budget: As it is now; a batch packed when it was larger is packed anew.
        """
        batch = [(request, row) for request, row in self._batches.popleft() if request.wanted()]
        if len(batch) > 1 and cost([row.length for _, row in batch]) > budget:
            batch, *others = self._pack(batch, budget)
            self.put_back(others)
        return batch

    def put_back(self, batches: Sequence[list[Placed]]) -> None:
        """Put batches before the others."""
        self._batches.extendleft(reversed(batches))

    def _pack(self, placed: Sequence[Placed], budget: int) -> list[list[Placed]]:
        packed = pack([row.length for _, row in placed], budget=budget, max_rows=self._max_rows)
        return [[placed[place] for place in batch] for batch in packed]


class Rounds:
    """The rounds that have batches left; they take turns, urgent ones first.

    This is weighted fair queueing: each request has the same claim, so a round of fifty gets fifty times the
    computed tokens of a round of one. The clock of a class, urgent or not, says how many tokens each of its
    requests should have had by now; a round's turn says how many its requests have had. Next is the round that will
    be least ahead after its batch. A new one starts level with the clock, so that neither who came early nor who
    came late is starved.
    """

    def __init__(self) -> None:
        self._open: list[Round] = []
        self._clock = {True: 0.0, False: 0.0}
        self._streak = 0

    def __bool__(self) -> bool:
        return bool(self._open)

    def __iter__(self) -> Iterator[Round]:
        return iter(self._open)

    @property
    def urgent_next(self) -> bool:
        """Whether the next batch is an urgent one."""
        return self._streak < URGENT_STREAK and any(one.urgent for one in self._open)

    def add(self, one: Round) -> None:
        """Let a round take part."""
        one.turn = self._clock[one.urgent]
        self._open.append(one)

    def next_round(self) -> Round:
        """Choose a round; there must be one."""
        urgent = self.urgent_next
        candidates = [one for one in self._open if one.urgent == urgent] or self._open
        chosen = min(candidates, key=lambda one: one.turn + one.next_cost / one.claims)
        self._streak = self._streak + 1 if chosen.urgent else 0
        return chosen

    def ran(self, one: Round, tokens: int) -> None:
        """Charge a round for a batch, and drop it if that was its last."""
        claims = sum(other.claims for other in self._open if other.urgent == one.urgent)
        self._clock[one.urgent] += tokens / claims
        one.turn += tokens / one.claims
        if not one.open:
            self._open.remove(one)

    def clear(self) -> list[Request]:
        """Drop all rounds, and return their requests."""
        requests = [request for one in self._open for request in one.requests]
        self._open.clear()
        return requests


def _arranged(
    read: Sequence[tuple[Request, Sequence[Row]]], budget: int, max_rows: int | None
) -> list[list[Placed]]:
    """Pack what may share a batch, and say in which order the batches run."""
    size = None
    if any(request.answer.has_deadline for request, _ in read):
        size = max(1, SLICE_BATCHES * budget // len(read))
    shelves: dict[tuple[int, str], list[tuple[int, Placed]]] = defaultdict(list)
    for request, rows in read:
        numbers = [0] * len(rows) if size is None else slices([row.length for row in rows], size)
        for rank, (number, row) in enumerate(zip(numbers, rows, strict=True)):
            shelves[number, repr(row.group)].append((rank, (request, row)))
    batches: list[tuple[int, int, list[Placed]]] = []
    for (number, _), shelf in shelves.items():
        shelf.sort(key=itemgetter(0))
        for batch in pack([row.length for _, (_, row) in shelf], budget=budget, max_rows=max_rows):
            # Where several share the batches, those come first that hold the head of somebody's list: a
            # request of one row must not wait for a neighbour's hundredth. One alone runs its longest rows first.
            head = min(shelf[place][0] for place in batch) if len(read) > 1 else 0
            batches.append((number, head, [shelf[place][1] for place in batch]))
    batches.sort(key=itemgetter(0, 1))
    return [batch for _, _, batch in batches]
