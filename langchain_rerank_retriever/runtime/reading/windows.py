"""Windows of long passages, cut out of texts that were tokenised on their own, exactly as their tokenizer would."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from langchain_rerank_retriever.runtime.reading.pairs import (
    COMPARED_LIMIT,
    Ids,
    PairReader,
    Template,
    plain_tokens,
)
from langchain_rerank_retriever.runtime.reading.token_cache import TokenCache

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class WindowReader:
    """Tokenises each text of the pairs once, and cuts the windows of the passages out of what it kept.

    Args:
        tokenizer: A fast one.
        template: Its own.
        limit: Tokens of a window, the query and the special tokens among them.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", template: Template, *, limit: int) -> None:
        self._template = template
        self._limit = limit
        self._shared = shared_tokens(limit)
        self._cache = TokenCache(partial(plain_tokens, tokenizer))

    @classmethod
    def of(cls, tokenizer: "PreTrainedTokenizerBase") -> Self | None:
        """Return a reader, or ``None`` where it would not read every pair as the tokenizer itself does."""
        template = None if PairReader.of(tokenizer) is None else Template.of(tokenizer)
        if template is None or not _agrees(tokenizer, cls(tokenizer, template, limit=COMPARED_LIMIT)):
            return None
        return cls(tokenizer, template, limit=tokenizer.model_max_length)

    def read(self, pairs: Sequence[tuple[str, str]]) -> list[list[dict[str, Ids]]] | None:
        """Tokenise pairs; the windows of each, in their order, by column.

        Returns:
            ``None`` where a query leaves no room for a window to move on; what then happens is the tokenizer's.
        """
        known = self._cache.get(text for pair in pairs for text in pair)
        read = []
        for query, passage in pairs:
            windows = self._windows(known[query].ids, known[passage].ids)
            if windows is None:
                return None
            read.append(windows)
        return read

    def _windows(self, query: Ids, passage: Ids) -> list[dict[str, Ids]] | None:
        room = self._limit - self._template.special - len(query)
        if len(passage) <= room:
            return [self._template.fill(query, passage)]
        if room <= self._shared:
            return None
        # The last one ends where the passage does, and is as short as that leaves it.
        begins = range(0, len(passage) - self._shared, room - self._shared)
        return [self._template.fill(query, passage[begin : begin + room]) for begin in begins]


def shared_tokens(limit: int) -> int:
    """Return how many tokens of a passage two neighbouring windows of so many tokens share.

    It is an eighth, so that a sentence on a border is whole in one of the two.
    """
    return max(0, min(limit // 8, limit // 2 - 8))


def _agrees(tokenizer: Any, reader: WindowReader) -> bool:
    """Compare a reader, whose limit is `COMPARED_LIMIT`, with the tokenizer itself where a passage is cut."""
    # Numbers, so that it shows where a window begins.
    passages = [" ".join(map(str, range(count))) for count in (3, COMPARED_LIMIT, 5 * COMPARED_LIMIT)]
    pairs = [(query, passage) for query in ("", "a", "a b 1 2 3") for passage in passages]
    expected = tokenizer(
        [query for query, _ in pairs],
        [passage for _, passage in pairs],
        truncation="only_second",
        max_length=COMPARED_LIMIT,
        stride=shared_tokens(COMPARED_LIMIT),
        return_overflowing_tokens=True,
        verbose=False,
    )
    read = reader.read(pairs)
    if read is None:
        return False
    owners = [owner for owner, windows in enumerate(read) for _ in windows]
    return owners == expected["overflow_to_sample_mapping"] and all(
        [window[name].tolist() for windows in read for window in windows] == expected[name]
        for name in read[0][0]
    )
