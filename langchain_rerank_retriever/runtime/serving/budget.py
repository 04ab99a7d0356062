"""How large a batch may be: smaller where memory ends, larger again once it holds."""

import logging

logger = logging.getLogger(__name__)

#: So many batches in a row must fit before a lowered bound is doubled: a failed attempt then costs a pass in so many.
GOOD_BATCHES = 64
#: After attempts that failed so many at most, so that a server is not slow for long once there is memory again.
MOST_GOOD_BATCHES = 1024


class BatchBudget:
    """The bound of a batch's padded tokens, which is halved where memory ends and doubled again after good batches.

    What else takes memory may go away again. Where it stays, an attempt to grow fails, and the next one is made after
    twice as many good batches; a growth that held makes it as few as at first.

    Args:
        largest: What it begins with and never goes beyond.
        name: Of the model, for the log.
    """

    def __init__(self, largest: int, *, name: str) -> None:
        self._largest = self._tokens = largest
        self._name = name
        self._needed = GOOD_BATCHES
        self._good = 0
        self._on_trial = False

    @property
    def tokens(self) -> int:
        """The bound as it is now."""
        return self._tokens

    def failed(self, tokens: int) -> None:
        """Learn that a batch of so many padded tokens did not fit, so that not every later one has to fail first."""
        if tokens // 2 >= self._tokens:
            return
        if self._on_trial:
            self._needed = min(2 * self._needed, MOST_GOOD_BATCHES)
        self._tokens, self._good, self._on_trial = tokens // 2, 0, False
        logger.warning(
            "%s: a batch of %d tokens does not fit the memory; for now batches hold at most %d.",
            self._name,
            tokens,
            self._tokens,
        )

    def fitted(self, tokens: int) -> None:
        """Learn that a batch of so many padded tokens has run."""
        # One that is far below the bound says nothing of it.
        if 2 * tokens <= self._tokens or not (self._on_trial or self._tokens < self._largest):
            return
        self._good += 1
        if self._good < self._needed:
            return
        self._good = 0
        if self._on_trial:
            self._needed, self._on_trial = GOOD_BATCHES, False
        if self._tokens < self._largest:
            self._tokens, self._on_trial = min(2 * self._tokens, self._largest), True
            logger.info("%s: batches hold up to %d tokens again.", self._name, self._tokens)
